"""A dispute that the bank amends, told by words and by lines of reports, in any order.

Stripe books a dispute once, and takes back and books again what it changes; Adyen tells a second
chargeback under the same dispute; others book the difference as another line. Whatever comes first,
the books lose what the bank took.
"""

import itertools
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import pytest

from caas.billing_database.invariants import INVARIANTS
from caas.billing_database.payments import Payment
from caas.external_systems.payment_gateway import DisputeStatus, GatewayDispute
from caas.payment_processing.disputes import Disputes
from caas.rules.discrepancies import DiscrepancyKind, Resolution
from tests.databases import over_everything
from tests.payment_processing.test_money_that_contradicts import START
from tests.people import COMMAND_LINE
from tests.reconciliation.office import Office

OPENED, LOST = DisputeStatus.OPENED, DisputeStatus.LOST
# The bank takes 600, then makes it 900: words by name, and lines without one.
WORDS: Final = {"opened 600": (OPENED, 600, 1), "opened 900": (OPENED, 900, 2),
                "lost 900": (LOST, 900, 3)}  # fmt: skip
IN_PARTS: Final = {"line 600": -600, "line 300": -300}
BOOKED_AGAIN: Final = {"line 600": -600, "line back 600": 600, "line 900": -900}


def orders(lines: Sequence[str]) -> list[tuple[str, ...]]:
    """Return every order in which the lines stay in theirs; words may come in any."""
    every = itertools.permutations((*WORDS, *lines))
    return [one for one in every if [it for it in one if it in lines] == list(lines)]


async def happens(office: Office, payment: Payment, what: str, gross: int | None) -> None:
    """Let one thing come; a person accepts what only a line told."""
    if gross is None:
        status, amount, minute = WORDS[what]
        reported = GatewayDispute(
            id=f"dp_{payment.id}", transaction_id=payment.gateway_transaction_id or "",
            amount=amount, currency="EUR", status=status,
        )  # fmt: skip
        at = START + timedelta(minutes=minute)
        await Disputes(office.installation.platform.tables).on_event("contract", reported, at)
        return
    kind = "chargeback" if gross < 0 else "chargeback_reversal"
    await office.line(payment, type=kind, gross=gross, fee=0)


async def decided(office: Office) -> None:
    """Reconcile, and accept whatever is found."""
    await office.reconciliation.reconcile(office.today, mode="incremental")
    found = await office.found(unresolved=True)
    for one in sorted(found, key=lambda it: it.line_no or 0):
        came_back = one.kind is DiscrepancyKind.CHARGEBACK_REVERSAL
        resolution = Resolution.REINSTATE_THE_PAYMENT if came_back else Resolution.ACCEPT_LOSS
        await office.reconciliation.investigation.resolve(
            one.id, resolution=resolution, note="Seen.", by=COMMAND_LINE
        )


@pytest.mark.parametrize(
    "lines", [IN_PARTS, BOOKED_AGAIN], ids=["as its difference", "taken back and booked again"]
)
@pytest.mark.parametrize("named", [True, False], ids=["by name", "by lines alone"])
async def test_an_amended_dispute_counts_once_whatever_came_first(
    office: Office, lines: dict[str, int], *, named: bool
) -> None:
    every = orders(tuple(lines)) if named else [tuple(lines)]
    lives = [
        (await office.installation.settled(), order) for order in every[:: max(len(every) // 15, 1)]
    ]

    for place in range(max(map(len, every))):
        for payment, order in lives:
            await happens(office, payment, order[place], lines.get(order[place]))
        await decided(office)

    wrong = []
    for payment, order in lives:
        now = await office.payment(payment)
        held = [it for it in await Disputes(office.installation.platform.tables).of(payment)
                if it.state in ("opened", "lost")]  # fmt: skip
        taken = sum(it.claimed_amount for it in held)
        if (taken, sum(it.excess for it in held), now.disputed_amount) != (900, 0, 900):
            wrong.append((order, taken, now.disputed_amount))
    assert wrong == []
    broken = [
        invariant.name
        for invariant in INVARIANTS
        if await office.installation.database.fetch(over_everything(invariant.query))
    ]
    assert broken == []


async def test_two_disputes_are_two_though_the_larger_is_told_first(office: Office) -> None:
    payment = await office.installation.settled()
    for gross in (-600, -400):
        await happens(office, payment, "line", gross)
        await decided(office)
    dispute = Disputes(office.installation.platform.tables)
    for name, amount in (("dp_large", 600), ("dp_small", 400)):
        reported = GatewayDispute(
            id=name, transaction_id=payment.gateway_transaction_id or "", amount=amount,
            currency="EUR", status=LOST,
        )  # fmt: skip
        await dispute.on_event("contract", reported, START)

    held = [(it.gateway_dispute_id, it.amount, it.state) for it in await dispute.of(payment)]

    assert sorted(map(str, held)) == sorted(
        map(str, [("dp_large", 600, "lost"), ("dp_small", 400, "lost")])
    )

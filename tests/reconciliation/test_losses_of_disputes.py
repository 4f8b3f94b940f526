"""What a payment lost by disputes, when a claim took it over and facts change afterwards.

A decision moves the whole amount of its line from the loss; a dispute moves what it holds, and its
bank returns that by a webhook. A loss that a claim had taken over was then below zero for ever.
"""

from pathlib import Path

import pytest

from caas.billing_database.payments import Payment
from caas.external_systems.payment_gateway import DisputeStatus, GatewayDispute
from caas.payment_processing.disputes import Disputes
from caas.rules.discrepancies import DiscrepancyKind as Kind
from caas.rules.discrepancies import Resolution
from tests.payment_processing.test_money_that_contradicts import until_ended
from tests.people import COMMAND_LINE, employed
from tests.reconciliation.office import Office
from tests.reconciliation.test_chargebacks_that_came_back import BACK, TAKEN, balances, broken
from tests.reconciliation.test_excess_that_fits_later import beside_a_refund
from tests.reconciliation.test_money_adds_up import by_file, decided, next_day, settled

OPENED, LOST, WON = DisputeStatus.OPENED, DisputeStatus.LOST, DisputeStatus.WON
ACCEPT, CLAIM, CORRECT, REINSTATE = (
    Resolution.ACCEPT_LOSS, Resolution.CLAIM_FROM_GATEWAY, Resolution.CORRECT_BY_ENTRY,
    Resolution.REINSTATE_THE_PAYMENT,
)  # fmt: skip
ACCOUNTS = (
    "risk_loss:chargeback", "risk_loss:dispute_excess", "risk_loss:refund_mismatch",
    "settled_funds", "disputed_funds", "gateway_claims", "unexplained_funds",
)  # fmt: skip
ORDERS = [
    ("line", "claim", OPENED, WON),
    ("line", "claim", OPENED, LOST, WON),
    ("line", OPENED, "claim", WON),
    ("line", OPENED, LOST, "claim", WON),
    ("line", "claim", LOST, WON),
]


async def reported(office: Office, payment: Payment, status: DisputeStatus, amount: int) -> None:
    """Let the webhook of a dispute arrive, and what follows from it be done."""
    dispute = GatewayDispute(
        id=f"dsp_{payment.id}",
        transaction_id=payment.gateway_transaction_id or "",
        amount=amount,
        currency=payment.currency,
        status=status,
    )
    await Disputes(office.installation.platform.tables).on_event("contract", dispute)
    await office.installation.rest()


async def reopened(office: Office, kind: Kind, amount: int) -> None:
    """Reopen the one discrepancy of a kind and an amount."""
    [found] = [it for it in await office.found(kind=kind) if it.amount == amount]
    await office.reconciliation.investigation.reopen(found.id, note="Look.", by="Luis")
    await office.installation.rest()


async def are(office: Office, **expected: int) -> None:
    """Check the balances of the payment's accounts; those that are not named are zero."""
    names = [it.rpartition(":")[2] for it in ACCOUNTS]
    now = dict(zip(names, await balances(office, *ACCOUNTS), strict=True))
    assert {name: amount for name, amount in now.items() if amount} == expected
    assert await broken(office.installation.database) == set()


@pytest.mark.parametrize("order", ORDERS)
async def test_what_a_bank_returned_by_webhook_pays_the_claim(
    office: Office, order: tuple[str | DisputeStatus, ...]
) -> None:
    payment = await settled(office)
    for step in order:
        if step == "line":
            await next_day(office, payment, TAKEN)
        elif step == "claim":
            await decided(office, Kind.CHARGEBACK, CLAIM)
        else:
            assert isinstance(step, DisputeStatus)
            await reported(office, payment, step, 1299)
    await next_day(office, payment, BACK)

    assert await office.found(unresolved=True) == []
    await are(office, gateway_claims=1299, unexplained_funds=-1299)
    [claim] = await office.reconciliation.bulk.claims(open_only=True)
    await office.reconciliation.bulk.claim_step(
        claim.discrepancy_id, "paid", receipt="C-7", note="Came.", by=COMMAND_LINE
    )
    await are(office)


@pytest.mark.parametrize("wins", [True, False])
async def test_a_claim_beyond_what_is_lost_waits_for_the_dispute(
    office: Office, *, wins: bool
) -> None:
    payment = await settled(office)
    await reported(office, payment, OPENED, 500)
    await next_day(office, payment, TAKEN | {"gross": -799})

    await decided(office, Kind.CHARGEBACK, CLAIM)

    await are(office, gateway_claims=799, disputed_funds=500, unexplained_funds=-500)
    await reported(office, payment, WON if wins else LOST, 500)
    if wins:
        await next_day(office, payment, BACK | {"gross": 500})
        await are(office, gateway_claims=799, unexplained_funds=-500)
    else:
        await are(office, gateway_claims=799)


async def test_a_refund_that_fails_after_some_came_back_leaves_no_excess(office: Office) -> None:
    payment = await beside_a_refund(office, "chargeback")
    await decided(office, Kind.CHARGEBACK, CLAIM)
    await next_day(office, payment, BACK | {"gross": 300})
    await decided(office, Kind.CHARGEBACK_REVERSAL, REINSTATE)

    await until_ended(office.installation, payment)
    await office.installation.rest()

    await are(office, gateway_claims=1299, unexplained_funds=-300)


async def test_reopening_a_chargeback_lets_the_excess_of_a_refund_fit(
    office: Office, tmp_path: Path
) -> None:
    payment = await settled(office)
    await next_day(office, payment, TAKEN | {"gross": -799})
    await decided(office, Kind.CHARGEBACK, CLAIM)
    await next_day(office, payment, {"type": "refund", "gross": -1299, "fee": 0})
    await decided(office, Kind.REFUND_MISMATCH, CORRECT)
    await by_file(office, tmp_path, payment, ("RefundedReversed", 300))
    await decided(office, Kind.REFUND_MISMATCH, CORRECT)

    await reopened(office, Kind.CHARGEBACK, 799)

    await are(office, unexplained_funds=999)


async def test_reopening_a_reversal_leaves_the_claim_beside_it_whole(
    office: Office, tmp_path: Path
) -> None:
    payment = await settled(office)
    await next_day(office, payment, {"type": "refund", "gross": -1299, "fee": 0})
    await decided(office, Kind.REFUND_MISMATCH, ACCEPT)
    await by_file(office, tmp_path, payment, ("RefundedReversed", 1299))
    back = await decided(office, Kind.REFUND_MISMATCH, REINSTATE)
    await next_day(office, payment, TAKEN | {"gross": -300})
    await decided(office, Kind.CHARGEBACK, CLAIM)

    await office.reconciliation.investigation.reopen(back.id, note="Look.", by="Luis")

    await are(office, refund_mismatch=1299, gateway_claims=300)


async def decided_one(office: Office, kind: Kind, amount: int, resolution: Resolution) -> None:
    """Decide the one open discrepancy of a kind and an amount."""
    [found] = [it for it in await office.found(unresolved=True, kind=kind) if it.amount == amount]
    await office.reconciliation.investigation.resolve(
        found.id, resolution=resolution, note="Seen.", by=COMMAND_LINE
    )


@pytest.mark.parametrize("again", [False, True])
async def test_a_reopened_chargeback_takes_back_what_later_decisions_returned(
    office: Office, *, again: bool
) -> None:
    """Reversals were taken back in the order of their reports, not of their decisions."""
    payment = await settled(office)
    await next_day(office, payment, BACK)
    await next_day(office, payment, TAKEN | {"gross": -799})
    await next_day(office, payment, BACK | {"gross": 300})
    await decided(office, Kind.CHARGEBACK, CLAIM)
    await decided_one(office, Kind.CHARGEBACK_REVERSAL, 300, REINSTATE)
    await decided_one(office, Kind.CHARGEBACK_REVERSAL, 1299, CORRECT)
    if again:
        await reopened(office, Kind.CHARGEBACK_REVERSAL, 300)
        await decided_one(office, Kind.CHARGEBACK_REVERSAL, 300, REINSTATE)
    await are(office, gateway_claims=799, unexplained_funds=-1599)

    await reopened(office, Kind.CHARGEBACK, 799)

    await are(office, unexplained_funds=-1599)
    [dispute] = await Disputes(office.installation.platform.tables).of(payment)
    assert (dispute.state, dispute.claimed_amount) == ("reversed", 799)
    await decided(office, Kind.CHARGEBACK, CLAIM)
    await are(office, gateway_claims=799, unexplained_funds=-1599)


async def test_a_claim_that_is_refused_gives_back_what_a_bank_returned(office: Office) -> None:
    """The loss came back from the claim, and what the bank had returned stayed unexplained."""
    payment = await settled(office)
    await next_day(office, payment, TAKEN)
    claim = await decided(office, Kind.CHARGEBACK, CLAIM)
    await reported(office, payment, OPENED, 1299)
    await reported(office, payment, WON, 1299)
    await next_day(office, payment, BACK)
    people = [await employed(office.installation.database, name) for name in ("ana", "luis")]
    bulk = office.reconciliation.bulk

    for by in people:
        await bulk.claim_step(claim.id, "refused", receipt="C-7", note="They refuse.", by=by)
        if await bulk.claims(status="refused"):
            break

    await are(office)

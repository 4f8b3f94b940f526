"""A line that took more than its payment received: the excess goes where the decision puts it.

A line of 50.00 about a payment of 12.99 left 37.01 on settled funds, and a loss below zero: the
decision moved the whole amount, and the dispute booked what the payment had received.
"""

from pathlib import Path
from uuid import UUID

import pytest

from caas.billing_database.invariants import INVARIANTS
from caas.billing_database.payments import Payment
from caas.payment_processing.disputes import CONTRADICTION, Disputes
from caas.rules.discrepancies import DiscrepancyKind as Kind
from caas.rules.discrepancies import Resolution
from tests.databases import over_everything
from tests.people import COMMAND_LINE
from tests.reconciliation.office import Office
from tests.reconciliation.test_chargebacks_that_came_back import BACK, TAKEN, balances, broken
from tests.reconciliation.test_money_adds_up import by_file, decided, next_day, settled

ACCOUNTS = (
    "settled_funds", "risk_loss:chargeback", "risk_loss:refund_mismatch",
    "risk_loss:dispute_excess", "gateway_claims", "unexplained_funds",
)  # fmt: skip
ACCEPT, CLAIM, CORRECT, REINSTATE = (
    Resolution.ACCEPT_LOSS, Resolution.CLAIM_FROM_GATEWAY, Resolution.CORRECT_BY_ENTRY,
    Resolution.REINSTATE_THE_PAYMENT,
)  # fmt: skip
DECIDED = [
    ("refund", ACCEPT, [0, 0, 1299, 3701, 0, 0]),
    ("refund", CLAIM, [0, 0, 0, 0, 5000, 0]),
    ("refund", CORRECT, [0, 0, 0, 0, 0, 5000]),
    ("chargeback", ACCEPT, [0, 1299, 0, 3701, 0, 0]),
    ("chargeback", CLAIM, [0, 0, 0, 0, 5000, 0]),
]
KINDS = {"refund": (Kind.REFUND_MISMATCH,) * 2,
         "chargeback": (Kind.CHARGEBACK, Kind.CHARGEBACK_REVERSAL)}  # fmt: skip


async def taken(office: Office, of: str, resolution: Resolution, gross: int = -5000) -> Payment:
    """Let a line take so much of a payment of 12.99, and decide it."""
    payment = await settled(office)
    await next_day(office, payment, {"type": of, "gross": gross, "fee": 0, "batch_id": "b"})
    await decided(office, KINDS[of][0], resolution)
    return payment


async def again(office: Office, discrepancy_id: UUID, kind: Kind, resolution: Resolution) -> None:
    """Reopen a discrepancy and decide it as before."""
    await office.reconciliation.investigation.reopen(discrepancy_id, note="Look.", by="Luis")
    await decided(office, kind, resolution)


@pytest.mark.parametrize(("of", "resolution", "expected"), DECIDED)
async def test_the_excess_goes_where_the_decision_puts_it(
    office: Office, of: str, resolution: Resolution, expected: list[int]
) -> None:
    payment = await taken(office, of, resolution)
    once = await balances(office, *ACCOUNTS)
    [found] = await office.found(payment_id=payment.id)

    await again(office, found.id, KINDS[of][0], resolution)

    assert (once, await balances(office, *ACCOUNTS)) == (expected, expected)
    assert await broken(office.installation.database) == set()


@pytest.mark.parametrize("resolution", [ACCEPT, CLAIM])
async def test_a_little_more_than_was_received_is_no_loss_below_zero(
    office: Office, resolution: Resolution
) -> None:
    await taken(office, "chargeback", resolution, -2000)

    lost = [0, 1299, 0, 701, 0, 0] if resolution is ACCEPT else [0, 0, 0, 0, 2000, 0]
    assert await balances(office, *ACCOUNTS) == lost


@pytest.mark.parametrize(("of", "resolution", "expected"), DECIDED)
async def test_the_excess_comes_back_as_it_went(
    office: Office, tmp_path: Path, of: str, resolution: Resolution, expected: list[int]
) -> None:
    payment = await taken(office, of, resolution)
    if of == "refund":
        await by_file(office, tmp_path, payment, ("RefundedReversed", 5000))
    else:
        await next_day(office, payment, BACK | {"gross": 5000})
    [back] = await office.found(unresolved=True)

    await decided(office, KINDS[of][1], REINSTATE)
    once = await balances(office, *ACCOUNTS)
    await again(office, back.id, KINDS[of][1], REINSTATE)

    accepted = resolution is ACCEPT
    assert once == [0, 0, 0, 0, expected[4], 0 if accepted else -5000 + expected[5]]
    assert await balances(office, *ACCOUNTS) == once
    [dispute] = await Disputes(office.installation.platform.tables).of(payment)
    assert dispute.state == "reversed"
    assert await broken(office.installation.database) == set()


async def test_a_reversal_decided_again_leaves_the_same_books(office: Office) -> None:
    """The dispute was reversed already, so that the entry of no dispute was posted once more."""
    payment = await settled(office)
    await next_day(office, payment, TAKEN)
    await decided(office, Kind.CHARGEBACK, ACCEPT)
    backs = []
    for _ in range(2):
        await next_day(office, payment, BACK)
        backs.append(await decided(office, Kind.CHARGEBACK_REVERSAL, REINSTATE))
    before = await balances(office, *ACCOUNTS, "bank")

    for back in backs:
        await again(office, back.id, Kind.CHARGEBACK_REVERSAL, REINSTATE)

        assert await balances(office, *ACCOUNTS, "bank") == before
    assert before == [0, 0, 0, 0, 0, -1299, 1256 + 1299]
    assert await broken(office.installation.database) == set()


async def test_a_reversal_that_is_not_decided_reverses_nothing(office: Office) -> None:
    payment = await settled(office)
    await next_day(office, payment, TAKEN)
    await decided(office, Kind.CHARGEBACK, ACCEPT)
    for _ in range(2):
        await next_day(office, payment, BACK)
    first, _ = await office.found(unresolved=True, kind=Kind.CHARGEBACK_REVERSAL)
    investigation = office.reconciliation.investigation

    for _ in range(2):
        await investigation.resolve(first.id, resolution=REINSTATE, note="Seen.", by=COMMAND_LINE)
        assert await balances(office, *ACCOUNTS) == [0] * len(ACCOUNTS)
        await investigation.reopen(first.id, note="Look.", by="Luis")


async def test_a_contradiction_hides_nothing_that_only_lines_told(office: Office) -> None:
    payment = await taken(office, "chargeback", ACCEPT)
    database, cases = office.installation.database, office.installation.platform.tables.cases
    [law] = [it for it in INVARIANTS if it.name == "lines_move_what_payments_account_for"]

    async def looked() -> None:
        async with database.transaction() as connection:
            await cases.open(CONTRADICTION, payment.id, "Not believed.", within=connection)
            await connection.execute(
                "insert into discrepancy_entries (discrepancy_id, payment_id, debit, credit,"
                " amount, currency, at) select id, payment_id, 'settled_funds',"
                " 'unexplained_funds', 1, currency, now() from discrepancies where payment_id = $1",
                payment.id,
            )
            seen = await connection.fetch(over_everything(law.query))
            raise AssertionError("is seen" if seen else "is hidden")

    with pytest.raises(AssertionError, match="is seen"):
        await looked()

"""A chargeback that the bank returned: the dispute was won, and the payment stands again.

Stripe reports it as `dispute_reversal` (funds reinstated), Adyen as `ChargebackReversed`. It was
called a chargeback, of which only the loss could be accepted.
"""

import pytest

from caas.billing_database import self_check
from caas.billing_database.connection import Database
from caas.billing_database.payments import Payment
from caas.external_systems.payment_gateway import DisputeStatus
from caas.payment_processing.disputes import Disputes
from caas.rules.discrepancies import DiscrepancyKind as Kind
from caas.rules.discrepancies import Resolution
from tests.people import COMMAND_LINE
from tests.reconciliation.office import Office
from tests.reconciliation.test_money_adds_up import decided, next_day, settled

TAKEN = {"type": "chargeback", "gross": -1299, "fee": 0}
BACK = {"type": "chargeback_reversal", "gross": 1299, "fee": 0}


async def broken(database: Database) -> set[str]:
    return {found.invariant.name for found in await self_check.self_check(database) if found.broken}


async def balances(office: Office, *accounts: str) -> list[int]:
    return [await office.balance(account) for account in accounts]


async def lost_and_back(office: Office, resolution: Resolution) -> Payment:
    """Let a chargeback be decided in this way, and its reversal be reported."""
    payment = await settled(office)
    await next_day(office, payment, TAKEN)
    await decided(office, Kind.CHARGEBACK, resolution)
    await next_day(office, payment, BACK)
    return payment


async def test_what_came_back_reinstates_the_payment(office: Office) -> None:
    payment = await lost_and_back(office, Resolution.ACCEPT_LOSS)
    [found] = await office.found(unresolved=True)
    allowed = (await office.reconciliation.investigation.check(found.id)).allowed

    await decided(office, Kind.CHARGEBACK_REVERSAL, Resolution.REINSTATE_THE_PAYMENT)

    assert set(allowed) == {
        Resolution.REINSTATE_THE_PAYMENT, Resolution.CORRECT_BY_ENTRY, Resolution.WAIT,
    }  # fmt: skip
    [dispute] = await Disputes(office.installation.platform.tables).of(payment)
    assert (dispute.state, (await office.payment(payment)).disputed_amount) == ("reversed", 0)
    assert await balances(office, "risk_loss:chargeback", "settled_funds", "bank") == [0, 0, 1256]
    assert await broken(office.installation.database) == set()


async def test_the_word_of_a_won_dispute_reinstates_it_too(office: Office) -> None:
    payment = await settled(office)
    await office.told_of_dispute(payment)
    await next_day(office, payment, TAKEN)
    await next_day(office, payment, BACK)
    assert await office.kinds() == [Kind.CHARGEBACK_REVERSAL]

    await office.told_of_dispute(payment, DisputeStatus.WON)
    done = await next_day(office, payment)

    assert (done.run.cleared, await office.kinds()) == ({"chargeback_reversal": 1}, [])


async def test_a_claim_for_what_came_back_is_paid_by_it(office: Office) -> None:
    """The loss was the claim's, so that reinstating made a loss below zero."""
    await lost_and_back(office, Resolution.CLAIM_FROM_GATEWAY)
    [claim] = await office.reconciliation.bulk.claims(open_only=True)
    await decided(office, Kind.CHARGEBACK_REVERSAL, Resolution.REINSTATE_THE_PAYMENT)
    accounts = ("risk_loss:chargeback", "settled_funds", "gateway_claims", "unexplained_funds")
    between = await balances(office, *accounts)

    await office.reconciliation.bulk.claim_step(
        claim.discrepancy_id, "paid", receipt="C-7", note="Came.", by=COMMAND_LINE
    )

    assert between == [0, 0, 1299, -1299]
    assert await balances(office, *accounts) == [0, 0, 0, 0]
    assert await broken(office.installation.database) == set()


@pytest.mark.parametrize("reopened", [False, True])
async def test_what_no_chargeback_took_is_unexplained_and_no_loss_below_zero(
    office: Office, *, reopened: bool
) -> None:
    payment = await settled(office)
    await next_day(office, payment, BACK)
    found = await decided(office, Kind.CHARGEBACK_REVERSAL, Resolution.REINSTATE_THE_PAYMENT)
    if reopened:
        await office.reconciliation.investigation.reopen(found.id, note="Look.", by="Luis")
        await decided(office, Kind.CHARGEBACK_REVERSAL, Resolution.REINSTATE_THE_PAYMENT)

    accounts = ("risk_loss:chargeback", "settled_funds", "unexplained_funds")
    assert await balances(office, *accounts) == [0, 0, -1299]
    assert await broken(office.installation.database) == set()


async def test_a_refund_without_a_line_is_no_loss(office: Office) -> None:
    """We recorded a refund, and the gateway never took it: the money is still there."""
    payment = await office.installation.settled()
    await office.closed()
    await office.refund_order(payment, 300)
    await office.forget_lines_of("refund")
    await office.days_pass(9)
    await office.closed(office.later(-1))
    [found] = await office.found(unresolved=True)

    allowed = (await office.reconciliation.investigation.check(found.id)).allowed

    assert (found.kind, found.report_id) == (Kind.REFUND_MISMATCH, None)
    assert set(allowed) == {Resolution.CORRECT_BY_ENTRY, Resolution.WAIT}


@pytest.mark.parametrize("part", [1299, 500])
async def test_reopening_what_came_back_takes_the_dispute_back_too(
    office: Office, part: int
) -> None:
    """The dispute stayed reversed, so that the payment could be refunded and the loss was gone."""
    payment = await settled(office)
    await next_day(office, payment, TAKEN)
    await decided(office, Kind.CHARGEBACK, Resolution.ACCEPT_LOSS)
    await next_day(office, payment, BACK | {"gross": part})
    found = await decided(office, Kind.CHARGEBACK_REVERSAL, Resolution.REINSTATE_THE_PAYMENT)

    await office.reconciliation.investigation.reopen(found.id, note="No.", by="Luis")

    accounts = ("risk_loss:chargeback", "settled_funds", "bank", "unexplained_funds")
    [dispute] = await Disputes(office.installation.platform.tables).of(payment)
    lost = (await office.payment(payment)).disputed_amount
    assert (dispute.state, dispute.claimed_amount, lost) == ("lost", 1299, 1299)
    assert await balances(office, *accounts) == [1299, 0, -43, 0]
    await decided(office, Kind.CHARGEBACK_REVERSAL, Resolution.CORRECT_BY_ENTRY)
    assert await balances(office, *accounts) == [1299, 0, -43 + part, -part]
    assert await broken(office.installation.database) == set()


async def test_reopening_a_chargeback_takes_its_dispute_back(office: Office) -> None:
    """The loss stayed on the payment while nobody had accepted it."""
    payment = await settled(office)
    await next_day(office, payment, TAKEN)
    found = await decided(office, Kind.CHARGEBACK, Resolution.ACCEPT_LOSS)

    await office.reconciliation.investigation.reopen(found.id, note="No.", by="Luis")
    await next_day(office, payment)

    assert (await office.payment(payment)).disputed_amount == 0
    assert await balances(office, "risk_loss:chargeback", "settled_funds", "bank") == [0, 0, 1256]
    assert await office.kinds() == [Kind.CHARGEBACK]
    await decided(office, Kind.CHARGEBACK, Resolution.CLAIM_FROM_GATEWAY)
    accounts = ("risk_loss:chargeback", "settled_funds", "gateway_claims")
    assert await balances(office, *accounts) == [0, 0, 1299]
    assert (await office.payment(payment)).disputed_amount == 1299
    assert await broken(office.installation.database) == set()

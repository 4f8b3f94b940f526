"""Money that went out by a settlement report alone: it counts, and holds refunds back."""

import pytest

from caas.billing_database.payments import Payment
from caas.billing_database.refunds import Refund
from caas.external_systems.payment_gateway import DisputeStatus
from caas.payment_processing.disputes import Disputes
from caas.payment_processing.refund_requests import RefundMustWaitError, RefundTooLargeError
from caas.rules.discrepancies import Resolution
from caas.rules.payment_states import PaymentState
from tests.people import COMMAND_LINE
from tests.reconciliation.office import Office

NOTHING_LEFT = (RefundTooLargeError, RefundMustWaitError)


async def asks_back(office: Office, payment: Payment, amount: int) -> Refund:
    """Ask for a refund, as the API does."""
    return await office.installation.platform.payment_processing.refund_payment(
        payment.id, amount=amount, reason="desistimiento", key=f"k{amount}", requested_by="ops"
    )


async def charged_back(office: Office, *amounts: int, **reported: object) -> Payment:
    """Let a settled payment's chargebacks stand in a report, and nowhere else."""
    payment = await office.installation.settled()
    for amount in amounts:
        await office.line(payment, **{"type": "chargeback", "gross": -amount, "fee": 0} | reported)
    await office.closed()
    return payment


async def states(office: Office, payment: Payment) -> list[tuple[str, int, int]]:
    """Return what is known of a payment's disputes."""
    found = await Disputes(office.installation.platform.tables).of(payment)
    return [(it.state, it.amount, it.excess) for it in found]


@pytest.mark.parametrize("resolution", [Resolution.ACCEPT_LOSS, Resolution.CLAIM_FROM_GATEWAY])
async def test_a_chargeback_line_holds_refunds_and_counts_whatever_is_decided(
    office: Office, resolution: Resolution
) -> None:
    payment = await charged_back(office, 1299)

    with pytest.raises(RefundMustWaitError, match="chargeback"):
        await asks_back(office, payment, 1299)
    await office.resolved(resolution)

    with pytest.raises(RefundTooLargeError):
        await asks_back(office, payment, 1)
    claimed = resolution is Resolution.CLAIM_FROM_GATEWAY
    assert await states(office, payment) == [("lost", 1299, 0)]
    assert await office.balance("settled_funds") == 0
    assert await office.balance("gateway_claims") == (1299 if claimed else 0)
    assert await office.balance("risk_loss:chargeback") == (0 if claimed else 1299)


async def test_a_dispute_told_after_its_line_was_decided_is_the_same_one(office: Office) -> None:
    payment = await charged_back(office, 1299)
    await office.resolved(Resolution.ACCEPT_LOSS)

    for status in (DisputeStatus.OPENED, DisputeStatus.LOST):
        await office.told_of_dispute(payment, status)
    once = await states(office, payment)
    await office.told_of_dispute(payment, DisputeStatus.WON)

    assert once == [("lost", 1299, 0)]
    assert await states(office, payment) == [("reversed", 1299, 0)]


async def test_a_line_decided_after_its_dispute_was_told_is_the_same_one(office: Office) -> None:
    payment = await charged_back(office, 1299)
    await office.told_of_dispute(payment, DisputeStatus.OPENED)

    await office.resolved(Resolution.ACCEPT_LOSS)

    assert await states(office, payment) == [("lost", 1299, 0)]


async def test_two_chargebacks_of_one_amount_are_two(office: Office) -> None:
    payment = await office.installation.settled()
    for second in (1, 2):
        at = f"2026-11-19T10:00:0{second}Z"
        await office.line(payment, type="chargeback", gross=-400, fee=0, booked_at=at)
    await office.closed()

    for found in await office.found(unresolved=True):
        await office.reconciliation.investigation.resolve(
            found.id, resolution=Resolution.ACCEPT_LOSS, note="Seen.", by=COMMAND_LINE
        )

    assert await states(office, payment) == [("lost", 400, 0), ("lost", 400, 0)]


async def test_a_chargeback_that_is_given_back_undoes_its_loss(office: Office) -> None:
    payment = await office.installation.settled()
    await office.line(payment, type="chargeback", gross=-1299, fee=0)
    await office.reconciliation.reconcile(office.today, mode="incremental")
    await office.resolved(Resolution.ACCEPT_LOSS)
    lost = await states(office, payment)

    await office.line(payment, type="chargeback_reversal", gross=1299, fee=0)
    await office.reconciliation.reconcile(office.today, mode="incremental")
    with pytest.raises(NOTHING_LEFT):
        await asks_back(office, payment, 1299)
    await office.resolved(Resolution.REINSTATE_THE_PAYMENT)

    assert (lost, await states(office, payment)) == (
        [("lost", 1299, 0)], [("reversed", 1299, 0)],
    )  # fmt: skip
    assert await office.balance("risk_loss:chargeback") == 0
    assert await office.balance("settled_funds") == 0


async def test_a_refund_in_a_report_that_we_did_not_make_counts(office: Office) -> None:
    payment = await charged_back(office, 800, type="refund")

    with pytest.raises(RefundMustWaitError, match="refund_mismatch"):
        await asks_back(office, payment, 1299)
    await office.resolved(Resolution.CORRECT_BY_ENTRY)
    with pytest.raises(RefundTooLargeError):
        await asks_back(office, payment, 500)

    await asks_back(office, payment, 499)
    await office.installation.until(payment.id, lambda p: p.refunded_amount == 499)
    assert await office.balance("unexplained_funds") == 800
    assert await office.balance("risk_loss:chargeback") == 0


async def test_a_chargeback_in_another_currency_holds_refunds_for_good(office: Office) -> None:
    payment = await charged_back(office, 1400, currency="USD")
    await office.resolved(Resolution.CLAIM_FROM_GATEWAY)

    with pytest.raises(RefundMustWaitError, match="another currency"):
        await asks_back(office, payment, 1)


async def test_a_settlement_that_failed_in_a_report_holds_refunds(office: Office) -> None:
    payment = await charged_back(office, 1299, type="settlement_failure")

    with pytest.raises(RefundMustWaitError, match="failed_settlement"):
        await asks_back(office, payment, 1299)
    await office.resolved(Resolution.ACCEPT_LOSS)

    assert (await office.payment(payment)).state is PaymentState.SETTLEMENT_FAILED

"""What was given up as a loss and came after all is the customer's again to be refunded.

A payment that was settled for less ended as Refunded by the refund of what had come by then, so
that the rest could never be refunded; one whose settlement failed had nothing to refund for ever.
"""

from typing import Any

import pytest

from caas.billing_database.payments import Payment
from caas.payment_processing.refund_requests import NothingToRefundError, RefundTooLargeError
from caas.rules.discrepancies import DiscrepancyKind as Kind
from caas.rules.discrepancies import Resolution
from caas.rules.payment_states import PaymentState
from tests.reconciliation.office import Office
from tests.reconciliation.test_chargebacks_that_came_back import broken
from tests.reconciliation.test_losses_taken_back import PART, REST
from tests.reconciliation.test_losses_that_came_after_all import lost
from tests.reconciliation.test_money_adds_up import RIGHT, decided, next_day

FAILURE = {"type": "settlement_failure", "gross": 0, "fee": 0}


async def settled_for_less(office: Office) -> Payment:
    """Buy a service of 12.99, of which 9.00 come, and give up the rest; the gateway has it all."""
    payment = await office.bought()
    await next_day(office, payment, PART)
    await decided(office, Kind.PARTIAL_SETTLEMENT, Resolution.ACCEPT_LOSS)
    at_gateway(office, payment)
    return payment


def at_gateway(office: Office, payment: Payment) -> None:
    """Let the gateway have settled all of a payment."""
    office.gateway_took(payment, payment.amount)
    assert payment.gateway_transaction_id is not None
    booking = office.installation.gateway.store.bookings[payment.gateway_transaction_id]
    booking.transaction.status = "settled"


async def comes(office: Office, payment: Payment) -> None:
    """Let the line of the rest come, and reinstate the payment with it."""
    await next_day(office, payment, REST)
    await decided(office, Kind.AMOUNT, Resolution.REINSTATE_THE_PAYMENT)


async def refunded(office: Office, payment: Payment, *amounts: int) -> Payment:
    """Refund these amounts, each to its end."""
    processing = office.installation.platform.payment_processing
    after = await office.payment(payment)
    for amount in amounts:
        whole = after.refunded_amount + amount
        await processing.refund_payment(
            payment.id, amount=amount, reason="goodwill", key=str(whole), requested_by="ops",
            term="keep",
        )  # fmt: skip
        await office.installation.gateway_does("settle")
        after = await office.installation.until(
            payment.id,
            lambda p, whole=whole: p.refunded_amount == whole,  # type: ignore[misc]  # of its loop
        )
    return after


@pytest.mark.parametrize("amounts", [(1299,), (900, 399)])
async def test_all_that_came_after_all_is_refunded(
    office: Office, amounts: tuple[int, ...]
) -> None:
    payment = await settled_for_less(office)
    await comes(office, payment)

    after = await refunded(office, payment, *amounts)

    assert (after.state, after.refunded_amount) == (PaymentState.REFUNDED, 1299)
    assert await broken(office.installation.database) == set()


async def test_the_rest_is_refunded_that_came_after_the_refund_of_the_part(office: Office) -> None:
    payment = await settled_for_less(office)
    after = await refunded(office, payment, 900)
    assert after.state is PaymentState.SETTLED
    await comes(office, payment)

    after = await refunded(office, payment, 399)

    assert (after.state, after.refunded_amount) == (PaymentState.REFUNDED, 1299)


async def failed(office: Office, *lines: dict[str, Any]) -> Payment:
    """Buy a service whose settlement fails and is given up, and that these lines reinstate."""
    payment = await office.bought()
    await next_day(office, payment, FAILURE)
    await decided(office, Kind.FAILED_SETTLEMENT, Resolution.ACCEPT_LOSS)
    at_gateway(office, payment)
    for line in lines:
        await next_day(office, payment, line)
        await decided(office, Kind.STATE_CONFLICT, Resolution.REINSTATE_THE_PAYMENT)
    return await office.payment(payment)


@pytest.mark.parametrize("lines", [(RIGHT,), (PART, REST)])
@pytest.mark.parametrize("amounts", [(1299,), (500, 799)])
async def test_a_failed_settlement_that_came_after_all_is_refunded(
    office: Office, lines: tuple[dict[str, Any], ...], amounts: tuple[int, ...]
) -> None:
    payment = await failed(office, *lines)
    assert payment.state is PaymentState.SETTLEMENT_FAILED

    after = await refunded(office, payment, *amounts)

    assert (after.state, after.refunded_amount) == (PaymentState.REFUNDED, 1299)
    assert await office.balance("settled_funds") == -1299  # until the gateway's line of it
    assert await office.balance("refunds_payable") == 0
    assert await broken(office.installation.database) == set()


async def test_a_withdrawal_refunds_a_failed_settlement_that_came_after_all(
    office: Office,
) -> None:
    payment = await failed(office, RIGHT)
    processing = office.installation.platform.payment_processing

    # The simulated days are longer than the period of withdrawal, which this ends all the same.
    assert await processing.service_withdrawal._undo(
        payment.subject, requested_by="Ana", by_customer=False
    )
    await office.installation.gateway_does("settle")
    after = await office.installation.until(payment.id, lambda p: p.refunded_amount == 1299)

    assert after.state is PaymentState.REFUNDED
    assert await broken(office.installation.database) == set()


async def test_only_what_came_of_a_failed_settlement_is_refunded(office: Office) -> None:
    payment = await failed(office, PART)
    with pytest.raises(RefundTooLargeError):
        await refunded(office, payment, 1299)
    after = await refunded(office, payment, 500)
    with pytest.raises(RefundTooLargeError):
        await refunded(office, after, 799)

    after = await refunded(office, after, 400)

    assert after.state is PaymentState.SETTLED
    assert await lost(office) == 399
    await next_day(office, payment, REST)
    [found] = await office.found(unresolved=True)
    await decided(office, found.kind, Resolution.REINSTATE_THE_PAYMENT)
    after = await refunded(office, after, 399)
    assert after.state is PaymentState.REFUNDED
    assert await broken(office.installation.database) == set()


async def test_nothing_of_a_failed_settlement_is_refunded_that_did_not_come(
    office: Office,
) -> None:
    payment = await failed(office)
    with pytest.raises(NothingToRefundError):
        await refunded(office, payment, 100)
    await next_day(office, payment, RIGHT)
    with pytest.raises(NothingToRefundError):
        await refunded(office, payment, 100)
    back = await decided(office, Kind.STATE_CONFLICT, Resolution.REINSTATE_THE_PAYMENT)
    await office.reconciliation.investigation.reopen(back.id, note="A copy.", by="Luis")

    with pytest.raises(NothingToRefundError):
        await refunded(office, payment, 100)

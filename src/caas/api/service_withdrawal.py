"""Desistimiento from a one-time service: what is held is voided, what was taken is given back.

Rules a change must keep: withdrawing again changes nothing; the amount is what is left of the
payment, never the caller's; Payment Processing decides what may be voided or refunded.
"""

from typing import Final

from caas.api.answers import RETRY_AFTER, Answer, answer_of
from caas.api.bodies import NOTHING
from caas.api.call import Call
from caas.api.idempotency import once
from caas.api.ownership import own_service_order
from caas.api.rooms import Api
from caas.api.service_answers import service_order_answer
from caas.billing_database.payments import Payment
from caas.errors import ConflictError
from caas.rules.payment_states import PaymentState

DESISTIMIENTO: Final = "desistimiento"
TAKEN: Final = frozenset({PaymentState.CAPTURING, PaymentState.SETTLED})
OPEN: Final = frozenset({PaymentState.INITIATED, PaymentState.PENDING})


class PaymentOpenError(ConflictError):
    """The outcome of the payment is not known yet; withdraw when it is."""

    code = "payment_open"


async def withdraw_from_service(api: Api, call: Call) -> Answer:
    """Withdraw from a one-time service (desistimiento): the charge is voided or given back."""
    body = NOTHING.read(call.body)
    order_id = call.ids["order_id"]

    async def withdraw() -> Answer:
        order = await own_service_order(api.rooms, call.by, order_id)
        if order.payment_id is not None:
            await _undo(api, call, await api.rooms.books.payments.get(order.payment_id))
        payments = await api.rooms.books.payments.listed(subject=order_id)
        told = service_order_answer(
            await api.rooms.service_catalog.service_order(order_id), payments
        )
        under_way = any(not _is_undone(payment) for payment in payments)
        return answer_of(202, told, RETRY_AFTER) if under_way else answer_of(200, told)

    return await once(api.rooms.books.keys, call, body, withdraw)


async def _undo(api: Api, call: Call, payment: Payment) -> None:
    if payment.state in OPEN:
        raise PaymentOpenError
    if payment.state is PaymentState.AUTHORIZED:
        await api.rooms.payment_processing.void_payment(payment.id, DESISTIMIENTO)
    left = payment.captured_amount - payment.refunded_amount - payment.disputed_amount
    if payment.state in TAKEN and left > 0:
        await api.rooms.payment_processing.refund_payment(
            payment.id,
            amount=left,
            reason=DESISTIMIENTO,
            key=f"{DESISTIMIENTO}:{payment.subject}",
            requested_by=call.by.name,
        )


def _is_undone(payment: Payment) -> bool:
    return payment.state in {PaymentState.FAILED, PaymentState.VOIDED, PaymentState.REFUNDED}

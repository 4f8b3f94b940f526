"""Desistimiento from a one-time service, as a call of the API.

Rule a change must keep: what is undone is decided by Payment Processing; this answers with what the
order, its payments and their refunds are then; a refund that failed is told as such.
"""

from typing import Final

from caas.api.bodies import NOTHING
from caas.api.call import Call
from caas.api.context import Api
from caas.api.idempotency import once
from caas.api.ownership import own_service_order
from caas.api.service_answers import service_order_answer
from caas.rules.payment_states import PaymentState
from caas.web.problems import RETRY_AFTER
from caas.web.response import Response, json_response

UNDONE: Final = frozenset({PaymentState.FAILED, PaymentState.VOIDED, PaymentState.REFUNDED})


async def withdraw_from_service(api: Api, call: Call) -> Response:
    """Withdraw from a one-time service (desistimiento): its money and its term end together."""
    body = NOTHING.read(call.body)
    order_id = call.ids["order_id"]

    async def withdraw() -> Response:
        await own_service_order(api.platform, call.by, order_id)
        await api.platform.payment_processing.withdraw_from_service(
            order_id, requested_by=call.by.name
        )
        payments = await api.platform.tables.payments.listed(subject=order_id)
        order = await api.platform.service_catalog.service_order(order_id)
        refunds = await api.platform.payment_processing.refunds_of(payments)
        content = service_order_answer(order, payments, refunds)
        if all(payment.state in UNDONE for payment in payments):
            return json_response(200, content)
        return json_response(202, content, RETRY_AFTER)

    return await once(api.platform.tables.keys, call, body, withdraw)

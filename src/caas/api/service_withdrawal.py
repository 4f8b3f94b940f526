"""Withdrawal (desistimiento) from a one-time service."""

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
    """Withdraw from a one-time service (desistimiento). It ends and its payments are refunded."""
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

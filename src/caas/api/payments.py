"""The Internal Payment API: the seed's seven calls and two more.

`confirmDelivery` and `refundPayment` are the additional ones (decisions 5 and 15). A caller gets
the first definitive outcome within its deadline, or a response that the payment is still open
(decision 4); a decline is a response with a problem body, not a failure.

Rules a change must keep: operation ids are the seed's function names; the caller's Idempotency-Key
is committed together with the payment.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from caas.api.authentication import Call
from caas.api.bodies import BodyOf, QueryOf, refuse_named_token
from caas.api.context import Api
from caas.api.first_answers import FIRST_ANSWERS, first_answer, prefers_async
from caas.api.idempotency import keyed, replayed
from caas.api.operation import Operation
from caas.api.ownership import (
    own_order,
    own_payment,
    refuse_foreign_subject,
    refuse_other_customer,
)
from caas.api.payment_answers import (
    PaymentAnswer,
    PaymentPage,
    RefundAnswer,
    payment_answer,
    payment_summary,
)
from caas.api.payment_steps import (
    DELIVERY,
    REFUND,
    SETTLEMENT,
    VOID,
    InitiateBody,
    PaymentQuery,
    confirm_delivery,
    record_settlement,
    refund_payment,
    void_payment,
)
from caas.api.problems import Problem
from caas.billing_database.idempotency import StoredAnswer, hashed
from caas.billing_database.payment_search import Wanted, listed
from caas.billing_database.payments import Payment
from caas.errors import UnavailableError
from caas.payment_processing import CallerKey, PaymentRequest
from caas.payment_processing.initiation import LivePaymentError
from caas.rules.money import payment_amount
from caas.rules.payment_types import PaymentType
from caas.rules.scopes import Scope
from caas.web.response import Response, json_response

TAG: Final = "payments"


INITIATE: Final = BodyOf(InitiateBody)
LISTED: Final = QueryOf(PaymentQuery)


async def initiate_reservation_payment(api: Api, call: Call) -> Response:
    """Create a reservation payment and wait for its outcome."""
    return await _initiate(
        api,
        call,
        PaymentType.RESERVATION,
        api.platform.payment_processing.initiate_reservation_payment,
    )


async def initiate_final_payment(api: Api, call: Call) -> Response:
    """Create the final payment of a vehicle and wait for its outcome."""
    return await _initiate(
        api, call, PaymentType.FINAL, api.platform.payment_processing.initiate_final_payment
    )


async def initiate_service_payment(api: Api, call: Call) -> Response:
    """Create a one-time service payment; activation and settlement follow asynchronously."""
    return await _initiate(
        api, call, PaymentType.SERVICE, api.platform.payment_processing.initiate_service_payment
    )


async def initiate_subscription_payment(api: Api, call: Call) -> Response:
    """Create a month's subscription payment (mes vencido); settlement follows asynchronously."""
    return await _initiate(
        api, call, PaymentType.SUBSCRIPTION,
        api.platform.payment_processing.initiate_subscription_payment,
    )  # fmt: skip


async def query_payment_status(api: Api, call: Call) -> Response:
    """Return a payment with its timeline."""
    payment_id = call.ids["payment_id"]
    await own_payment(api.platform, call.by, payment_id)
    status = await api.platform.payment_processing.query_payment_status(payment_id)
    to_response = payment_answer(
        status.payment, status.events, refunds=status.refunds, disputes=status.disputes
    )
    return json_response(200, to_response)


async def list_payments(api: Api, call: Call) -> Response:
    """List payments, newest first. A restricted key sees only its own.

    A page can hold fewer payments than the limit; continue while `next_cursor` is not null.
    """
    query = LISTED.read(call.scope["query_string"])
    if query.customer is not None:
        refuse_other_customer(call.by, query.customer)
    if call.by.dealership is not None and query.subject is not None:
        await own_order(api.platform, call.by, query.subject)
    wanted = Wanted(
        subject=query.subject, customer=query.customer or call.by.customer, vin=query.vin,
        dealership=call.by.dealership, payment_type=query.type, state=query.state,
        outcome=query.outcome, gateway=query.gateway, since=query.created_from,
        until=query.created_to,
    )  # fmt: skip
    page = await listed(
        api.platform.tables.database, wanted, below=query.cursor, rows_max=query.limit
    )
    to_response = [payment_summary(payment) for payment in page.payments]
    return json_response(
        200, PaymentPage(data=to_response, next_cursor=str(page.below) if page.below else None)
    )


async def _initiate(
    api: Api,
    call: Call,
    payment_type: PaymentType,
    initiate: Callable[[PaymentRequest], Awaitable[Payment | StoredAnswer]],
) -> Response:
    body = INITIATE.read(call.body)
    respond_async = prefers_async(call)
    caller, key, digest = keyed(call, body, more=b"async" if respond_async else b"")
    request = PaymentRequest(
        subject=body.subject,
        customer=body.customer,
        amount=payment_amount(body.amount, body.currency).amount,
        currency=body.currency,
        payment_method=body.payment_method,
        return_url=body.return_url,
        caller_key=CallerKey(caller, hashed(key), digest),
        respond_async=respond_async,
    )
    if call.by.is_restricted:
        await refuse_foreign_subject(
            api.platform, call.by, payment_type, customer=body.customer, subject=body.subject
        )
    await refuse_named_token(api.platform, body.customer, body.payment_method)
    try:
        payment = await initiate(request)
    except LivePaymentError:
        await api.platform.tables.keys.forget(caller, key)
        raise
    if isinstance(payment, StoredAnswer):
        return replayed(payment)
    try:
        answer = await first_answer(api, call, payment)
    except UnavailableError:
        api.platform.tables.keys.give_up(caller, hashed(key), payment.id)
        raise
    await api.platform.tables.keys.end(caller, key, StoredAnswer(answer.status, answer.body))
    return answer


_DONE: Final = {200: PaymentAnswer, 404: Problem, 409: Problem}

PAYMENT_OPERATIONS: Final = (
    Operation(
        id="initiateReservationPayment", pays=True, narrowed=True,
        tag=TAG, method="POST", path="/v1/payments/reservation",
        scopes=frozenset({Scope.ORDER_MANAGEMENT}), body=INITIATE, answers=FIRST_ANSWERS,
        handle=initiate_reservation_payment,
    ),
    Operation(
        id="initiateFinalPayment", pays=True, narrowed=True,
        tag=TAG, method="POST", path="/v1/payments/final",
        scopes=frozenset({Scope.ORDER_MANAGEMENT}), body=INITIATE, answers=FIRST_ANSWERS,
        handle=initiate_final_payment,
    ),
    Operation(
        id="initiateServicePayment", pays=True, narrowed=True,
        tag=TAG, method="POST", path="/v1/payments/service",
        scopes=frozenset({Scope.SERVICE_CATALOG}), body=INITIATE, answers=FIRST_ANSWERS,
        handle=initiate_service_payment,
    ),
    Operation(
        id="initiateSubscriptionPayment", pays=True, narrowed=True, tag=TAG, method="POST",
        path="/v1/payments/subscription", scopes=frozenset({Scope.BILLING}), body=INITIATE,
        answers=FIRST_ANSWERS, handle=initiate_subscription_payment,
    ),
    Operation(
        id="voidPayment", narrowed=True,
        tag=TAG, method="POST", path="/v1/payments/{payment_id:uuid}/void",
        scopes=frozenset({Scope.OTA_ENGINE}), body=VOID,
        answers={**_DONE, 202: PaymentAnswer}, handle=void_payment,
    ),
    Operation(
        id="queryPaymentStatus", narrowed=True,
        tag=TAG, method="GET", path="/v1/payments/{payment_id:uuid}",
        answers={200: PaymentAnswer, 404: Problem}, handle=query_payment_status,
    ),
    Operation(
        id="listPayments", narrowed=True, tag=TAG, method="GET", path="/v1/payments", query=LISTED,
        answers={200: PaymentPage}, handle=list_payments,
    ),
    Operation(
        id="recordSettlement", narrowed=True, tag=TAG, method="POST",
        path="/v1/payments/{payment_id:uuid}/settlements",
        scopes=frozenset({Scope.WEBHOOK_HANDLER}), body=SETTLEMENT, answers=_DONE,
        handle=record_settlement,
    ),
    Operation(
        id="confirmDelivery", narrowed=True, tag=TAG, method="POST",
        path="/v1/payments/{payment_id:uuid}/delivery", scopes=frozenset({Scope.OTA_ENGINE}),
        body=DELIVERY, answers=_DONE, handle=confirm_delivery,
    ),
    Operation(
        id="refundPayment", narrowed=True,
        tag=TAG, method="POST", path="/v1/payments/{payment_id:uuid}/refunds",
        scopes=frozenset({Scope.ORDER_MANAGEMENT, Scope.SERVICE_CATALOG, Scope.OPERATIONS}),
        body=REFUND, answers={201: RefundAnswer, 202: RefundAnswer}, handle=refund_payment,
    ),
)  # fmt: skip

"""Orders: reserve a vehicle, pay the rest, withdraw (Diagrams 2 and 3, desistimiento).

Rule a change must keep: a caller sets the deposit, never the price; Order Management calculates the
final payment.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from caas.api.authentication import Call
from caas.api.bodies import (
    NOTHING,
    PAGE_ROWS,
    BodyOf,
    Limit,
    QueryOf,
    refuse_named_token,
    refuse_personal_data,
)
from caas.api.context import Api
from caas.api.first_answers import (
    FIRST_ANSWERS,
    PaidWith,
    first_answer,
    prefers_async,
    purchase_answer,
)
from caas.api.idempotency import keyed, once
from caas.api.operation import Operation
from caas.api.ownership import (
    own_order,
    refuse_foreign_customer,
    refuse_other_customer,
    refuse_other_dealership,
)
from caas.api.payment_answers import PaymentSummary, payment_summary
from caas.api.problems import Problem
from caas.api.row_answers import answer_from, page_of
from caas.api.texts import MoneyBody, Name, Vin, shown
from caas.api.vehicles import MoneyAnswer
from caas.billing_database.orders import Order, OrderTransition
from caas.billing_database.payments import Payment
from caas.payment_processing import PaymentRequest
from caas.rules.money import payment_amount
from caas.rules.order_states import OrderState
from caas.rules.scopes import Scope
from caas.web.idempotency import checkout
from caas.web.response import Response, json_response


class OrderEventAnswer(
    msgspec.Struct, frozen=True, kw_only=True, rename={"version": "seq", "to_state": "state"}
):
    """An order transition, with the event names of Diagrams 2 and 3."""

    version: int
    event: str
    to_state: OrderState
    at: datetime


class OrderSummary(msgspec.Struct, frozen=True, kw_only=True):
    """An order; `vin` is null until its vehicle is built.

    `withdrawal_requested`: it is withdrawn once the outcome of its final payment is known.
    """

    id: UUID
    state: OrderState
    withdrawal_requested: bool
    customer: UUID
    dealership: str
    model: str
    vin: str | None
    deposit: MoneyAnswer
    price: MoneyAnswer
    rest: MoneyAnswer
    factory_order_id: str | None
    plate: str | None
    registered_at: datetime | None
    delivery_id: str | None
    delivery_scheduled_for: datetime | None
    delivered_at: datetime | None
    created_at: datetime
    updated_at: datetime
    links: dict[str, str]


class OrderAnswer(OrderSummary, frozen=True, kw_only=True):
    """An order with its timeline and its payments, newest first."""

    events: list[OrderEventAnswer]
    payments: list[PaymentSummary]


class OrderPage(msgspec.Struct, frozen=True, kw_only=True):
    """Orders, newest first; pass `next_cursor` to get the next page, null at the end."""

    data: list[OrderSummary]
    next_cursor: str | None


def order_answer(
    order: Order, events: Sequence[OrderTransition], payments: Sequence[Payment]
) -> OrderAnswer:
    """Return an order with its timeline."""
    return answer_from(
        OrderAnswer,
        order,
        events=events,
        payments=[payment_summary(payment) for payment in payments],
        links=_links(order),
    )


def order_summary(order: Order) -> OrderSummary:
    """Return an order for a list."""
    return answer_from(OrderSummary, order, links=_links(order))


def order_path(order_id: UUID) -> str:
    """Return the path of an order."""
    return f"/v1/orders/{order_id}"


def _links(order: Order) -> dict[str, str]:
    path = order_path(order.id)
    return {
        "self": path,
        "final_payment": f"{path}/final-payment",
        "withdrawal": f"{path}/withdrawal",
        "payments": f"/v1/payments?subject={order.id}",
    }


TAG: Final = "orders"


class OrderBody(PaidWith, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A vehicle by VIN or a model to build, and the deposit that reserves it.

    At another price than `expected_price`, the one that the customer saw, nothing is ordered.
    """

    customer: UUID
    dealership: Name
    deposit: MoneyBody
    vin: Vin | None = None
    model: Name | None = None
    expected_price: MoneyBody | None = None


class FinalPaymentBody(PaidWith, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The means of payment for the rest."""


class OrderQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Filters for orders."""

    customer: UUID | None = None
    dealership: Name | None = None
    state: OrderState | None = None
    cursor: UUID | None = None
    limit: Limit = PAGE_ROWS


NEW: Final = BodyOf(OrderBody)
FINAL: Final = BodyOf(FinalPaymentBody)
LISTED: Final = QueryOf(OrderQuery)


async def create_order(api: Api, call: Call) -> Response:
    """Order a vehicle and pay the deposit that reserves it."""
    body = NEW.read(call.body)
    refuse_other_customer(call.by, body.customer)
    refuse_other_dealership(call.by, body.dealership)
    deposit = payment_amount(body.deposit.amount, body.deposit.currency)

    request = keyed(call, body)

    async def ordered() -> PaymentRequest:
        await refuse_foreign_customer(api.platform, call.by, body.customer)
        await refuse_personal_data(
            api.platform, body.customer, body.dealership, body.model, body.payment_method
        )
        made = await api.platform.order_management.ordering.create_order(
            customer=body.customer, vin=body.vin, model=body.model, dealership=body.dealership,
            deposit=deposit, shown=shown(body.expected_price),
        )  # fmt: skip
        return PaymentRequest(
            subject=made.id, customer=made.customer, amount=deposit.amount,
            currency=deposit.currency, payment_method=body.payment_method,
            return_url=body.return_url, caller_key=request.payment_key,
            respond_async=prefers_async(call),
        )  # fmt: skip

    async def order() -> Response:
        initiate = api.platform.payment_processing.initiate_reservation_payment
        payment = await checkout(api.platform.tables, request, initiate, ordered)
        return await purchase_answer(api, call, payment, to_response)

    async def to_response(payment: Payment) -> tuple[OrderAnswer, str]:
        return await _to_response(api, payment.subject), order_path(payment.subject)

    return await once(api.platform.tables.keys, call, body, order)


async def pay_final(api: Api, call: Call) -> Response:
    """Pay the rest of the price of a ready vehicle. A decline loses the reservation."""
    body = FINAL.read(call.body)
    order_id = call.ids["order_id"]

    request = keyed(call, body)

    async def ordered() -> PaymentRequest:
        order = await own_order(api.platform, call.by, order_id)
        await refuse_named_token(api.platform, order.customer, body.payment_method)
        return PaymentRequest(
            subject=order.id, customer=order.customer, amount=order.rest.amount,
            currency=order.rest.currency, payment_method=body.payment_method,
            return_url=body.return_url, caller_key=request.payment_key,
            respond_async=prefers_async(call),
        )  # fmt: skip

    async def pay() -> Response:
        initiate = api.platform.payment_processing.initiate_final_payment
        payment = await checkout(api.platform.tables, request, initiate, ordered)
        return await first_answer(api, call, payment)

    return await once(api.platform.tables.keys, call, body, pay)


async def withdraw_from_order(api: Api, call: Call) -> Response:
    """Withdraw from an order (desistimiento). It frees the vehicle and refunds all payments.

    While the outcome of the final payment is not known, the answer is 202: the withdrawal is
    carried out once it is. A held amount is released then.
    """
    body = NOTHING.read(call.body)
    order_id = call.ids["order_id"]

    async def withdraw() -> Response:
        await own_order(api.platform, call.by, order_id)
        order = await api.platform.order_management.withdrawal.withdraw(order_id)
        status = 202 if order.withdrawal_requested else 200
        return json_response(status, await _to_response(api, order_id))

    return await once(api.platform.tables.keys, call, body, withdraw)


async def get_order(api: Api, call: Call) -> Response:
    """Return an order with its timeline and payments."""
    order_id = call.ids["order_id"]
    await own_order(api.platform, call.by, order_id)
    return json_response(200, await _to_response(api, order_id))


async def list_orders(api: Api, call: Call) -> Response:
    """List orders, newest first. A restricted key sees only its own."""
    query = LISTED.read(call.scope["query_string"])
    if query.customer is not None:
        refuse_other_customer(call.by, query.customer)
    if query.dealership is not None:
        refuse_other_dealership(call.by, query.dealership)
    page = await api.platform.order_management.orders.listed(
        customer=query.customer or call.by.customer,
        dealership=query.dealership or call.by.dealership,
        state=query.state,
        before=query.cursor,
    )
    shown, more = page_of(page, query.limit)
    return json_response(200, OrderPage(data=[order_summary(o) for o in shown], next_cursor=more))


async def _to_response(api: Api, order_id: UUID) -> OrderAnswer:
    return order_answer(
        await api.platform.order_management.orders.get(order_id),
        await api.platform.order_management.orders.timeline(order_id),
        await api.platform.tables.payments.listed(subject=order_id),
    )


_PATH: Final = "/v1/orders/{order_id:uuid}"
_SELLERS: Final = frozenset({Scope.ORDER_MANAGEMENT})
_READERS: Final = frozenset({Scope.ORDER_MANAGEMENT, Scope.OPERATIONS})

ORDER_OPERATIONS: Final = (
    Operation(
        id="createOrder", pays=True, narrowed=True,
        tag=TAG, method="POST", path="/v1/orders", scopes=_SELLERS, body=NEW,
        answers={**FIRST_ANSWERS, 201: OrderAnswer, 202: OrderAnswer, 404: Problem},
        handle=create_order,
    ),
    Operation(
        id="payFinal", pays=True, narrowed=True,
        tag=TAG, method="POST", path=f"{_PATH}/final-payment", scopes=_SELLERS,
        body=FINAL, answers={**FIRST_ANSWERS, 404: Problem}, handle=pay_final,
    ),
    Operation(
        id="withdrawFromOrder", narrowed=True, tag=TAG, method="POST", path=f"{_PATH}/withdrawal",
        scopes=_READERS, body=NOTHING,
        answers={200: OrderAnswer, 202: OrderAnswer, 404: Problem}, handle=withdraw_from_order,
    ),
    Operation(
        id="getOrder", narrowed=True, tag=TAG, method="GET", path=_PATH, scopes=_READERS,
        answers={200: OrderAnswer, 404: Problem}, handle=get_order,
    ),
    Operation(
        id="listOrders", narrowed=True,
        tag=TAG, method="GET", path="/v1/orders", scopes=_READERS, query=LISTED,
        answers={200: OrderPage}, handle=list_orders,
    ),
)  # fmt: skip

"""API representations of orders and their timelines."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from caas.api.payment_answers import PaymentSummary, payment_summary
from caas.api.row_answers import answer_from
from caas.api.vehicles import MoneyAnswer
from caas.billing_database.orders import Order, OrderTransition
from caas.billing_database.payments import Payment
from caas.rules.order_states import OrderState


class OrderEventAnswer(
    msgspec.Struct, frozen=True, kw_only=True, rename={"version": "seq", "to_state": "state"}
):
    """An order transition, with the event names of Diagrams 2 and 3."""

    version: int
    event: str
    to_state: OrderState
    at: datetime


class OrderSummary(msgspec.Struct, frozen=True, kw_only=True):
    """An order; `vin` is null until its vehicle is built."""

    id: UUID
    state: OrderState
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

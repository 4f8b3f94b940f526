"""An order as the API tells it: what was ordered, how far it is, what happened, what was paid.

Rule a change must keep: an answer is a value; nothing is looked up or decided here.
"""

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
    """One move of an order, in the words of Diagrams 2 and 3."""

    version: int
    event: str
    to_state: OrderState
    at: datetime


class OrderSummary(msgspec.Struct, frozen=True, kw_only=True):
    """An order as it stands; it has no VIN while its vehicle is not built."""

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
    """An order with its timeline and its payments, the newest first."""

    events: list[OrderEventAnswer]
    payments: list[PaymentSummary]


class OrderPage(msgspec.Struct, frozen=True, kw_only=True):
    """Orders, newest first; `next_cursor` asks for those before them, null at the end."""

    data: list[OrderSummary]
    next_cursor: str | None


def order_answer(
    order: Order, events: Sequence[OrderTransition], payments: Sequence[Payment]
) -> OrderAnswer:
    """Return an order with its timeline as the API tells it."""
    return answer_from(
        OrderAnswer,
        order,
        events=events,
        payments=[payment_summary(payment) for payment in payments],
        links=_links(order),
    )


def order_summary(order: Order) -> OrderSummary:
    """Return an order as a list shows it."""
    return answer_from(OrderSummary, order, links=_links(order))


def order_path(order_id: UUID) -> str:
    """Return where an order is found."""
    return f"/v1/orders/{order_id}"


def _links(order: Order) -> dict[str, str]:
    path = order_path(order.id)
    return {
        "self": path,
        "final_payment": f"{path}/final-payment",
        "withdrawal": f"{path}/withdrawal",
        "payments": f"/v1/payments?subject={order.id}",
    }

"""An order as the API tells it: what was ordered, how far it is, what happened, what was paid.

Rule a change must keep: an answer is a value; nothing is looked up or decided here.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from caas.api.payment_answers import PaymentSummary, payment_summary
from caas.api.vehicles import MoneyAnswer, money_answer
from caas.billing_database.orders import Order, OrderMoved
from caas.billing_database.payments import Payment
from caas.rules.order_states import OrderState


class OrderEventAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One move of an order, in the words of Diagrams 2 and 3."""

    seq: int
    event: str
    state: OrderState
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
    order: Order, events: Sequence[OrderMoved], payments: Sequence[Payment]
) -> OrderAnswer:
    """Return an order with its timeline as the API tells it."""
    told = [
        OrderEventAnswer(
            seq=moved.version, event=moved.event, state=OrderState(moved.to_state), at=moved.at
        )
        for moved in events
    ]
    return OrderAnswer(
        **_facts(order), events=told, payments=[payment_summary(payment) for payment in payments]
    )


def order_summary(order: Order) -> OrderSummary:
    """Return an order as a list shows it."""
    return OrderSummary(**_facts(order))


def order_path(order_id: UUID) -> str:
    """Return where an order is found."""
    return f"/v1/orders/{order_id}"


def _facts(order: Order) -> dict[str, Any]:
    path = order_path(order.id)
    return {
        "id": order.id,
        "state": order.state,
        "customer": order.customer,
        "dealership": order.dealership,
        "model": order.model,
        "vin": order.vin,
        "deposit": money_answer(order.deposit),
        "price": money_answer(order.price),
        "rest": money_answer(order.rest),
        "factory_order_id": order.factory_order_id,
        "plate": order.plate,
        "registered_at": order.registered_at,
        "delivery_id": order.delivery_id,
        "delivery_scheduled_for": order.delivery_scheduled_for,
        "delivered_at": order.delivered_at,
        "created_at": order.created_at,
        "updated_at": order.updated_at,
        "links": {
            "self": path,
            "final_payment": f"{path}/final-payment",
            "withdrawal": f"{path}/withdrawal",
            "payments": f"/v1/payments?subject={order.id}",
        },
    }

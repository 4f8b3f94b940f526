"""View model of a vehicle purchase: steps, current state, amount due.

The steps are the states of Diagrams 2 and 3 in the order of a successful purchase.

Rules a change must keep: every order state has a text for sales and one for customers; an order
that ended early shows where; nothing is recomputed that a subsystem provides.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.orders import Order, OrderTransition
from caas.billing_database.payments import Payment
from caas.console.context import Console
from caas.console.payment_view import UNDER_WAY, PaymentView, last_of, view_of
from caas.rules.order_states import OrderState
from caas.rules.payment_types import PaymentType

WAY: Final = (
    OrderState.RESERVED,
    OrderState.FACTORY_ORDER_PLACED,
    OrderState.READY,
    OrderState.FULLY_PAID,
    OrderState.REGISTERED,
    OrderState.DELIVERY_SCHEDULED,
    OrderState.DELIVERED,
)
LOST: Final = frozenset(
    {OrderState.RESERVATION_LOST, OrderState.FACTORY_REFUSED, OrderState.WITHDRAWN}
)
AT_REST: Final = LOST | {OrderState.DELIVERED}
KINDS: Final = {
    OrderState.AWAITING_RESERVATION_PAYMENT: "busy",
    OrderState.RESERVATION_FAILED: "bad",
    OrderState.READY: "warn",
    OrderState.RESERVATION_LOST: "bad",
    OrderState.FACTORY_REFUSED: "bad",
    OrderState.WITHDRAWN: "",
    OrderState.DELIVERED: "good",
    OrderState.FULLY_PAID: "good",
    OrderState.REGISTERED: "good",
    OrderState.DELIVERY_SCHEDULED: "good",
}


class OrderStep(msgspec.Struct, frozen=True):
    """A step of the purchase: `done`, `now`, `lost` or still ahead."""

    name: str
    mark: str
    at: datetime | None


class OrderView(msgspec.Struct, frozen=True):
    """An order as pages show it."""

    order: Order
    payments: list[PaymentView]
    reservation: PaymentView | None
    final: PaymentView | None
    steps: list[OrderStep]

    @property
    def slug(self) -> str:
        """The key of the state's text."""
        return slug(self.order.state)

    @property
    def kind(self) -> str:
        """The colour of the badge."""
        return KINDS.get(self.order.state, "busy")

    @property
    def version(self) -> str:
        """A value that changes with everything the page shows."""
        return ".".join([str(self.order.version), *(one.version for one in self.payments)])

    @property
    def is_open(self) -> bool:
        """Whether it may change without an action of a person."""
        going_back = any(one.situation == "refunding" for one in self.payments)
        return self.order.state not in AT_REST or going_back

    @property
    def is_being_paid(self) -> bool:
        """Whether one of its payments is in progress."""
        return any(one.situation in UNDER_WAY for one in self.payments)


async def order_view(console: Console, order: Order) -> OrderView:
    """Return what pages show of an order."""
    payments = await payments_of(console, order.id)
    timeline = await console.platform.order_management.orders.timeline(order.id)
    return OrderView(
        order=order,
        payments=[view_of(payment) for payment in payments],
        reservation=last_of(payments, PaymentType.RESERVATION),
        final=last_of(payments, PaymentType.FINAL),
        steps=steps_of(order, timeline),
    )


async def payments_of(console: Console, subject: UUID) -> list[Payment]:
    """Return the payments of a subject, newest first."""
    return await console.platform.tables.payments.listed(subject=subject)


def steps_of(order: Order, timeline: list[OrderTransition]) -> list[OrderStep]:
    """Return the steps of an order, with the times of those done."""
    moved = [one for one in timeline if one.from_state != one.to_state]
    reached = {transitioned.to_state: transitioned.at for transitioned in moved}
    way = [state for state in WAY if state in reached or not _is_skipped(state, reached)]
    steps: list[OrderStep] = []
    for place, state in enumerate(way):
        done = state in reached
        begun = place == 0 or way[place - 1] in reached
        ahead = "now" if begun and order.state not in LOST else "ahead"
        steps.append(OrderStep(slug(state), "done" if done else ahead, reached.get(state)))
    if order.state in LOST:
        steps = [step for step in steps if step.mark == "done"]
        steps.append(OrderStep(slug(order.state), "lost", reached.get(order.state)))
    return steps


def slug(state: OrderState) -> str:
    """Return a state as a catalogue key."""
    return state.value.replace(" ", "_")


def _is_skipped(state: OrderState, reached: dict[str, datetime]) -> bool:
    """Return whether the step was skipped: a vehicle in stock was never ordered at the factory."""
    return state is OrderState.FACTORY_ORDER_PLACED and OrderState.READY in reached

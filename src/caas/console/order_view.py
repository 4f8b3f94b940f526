"""View model of a vehicle purchase: steps, current state, amount due.

The steps are the states of Diagrams 2 and 3 in the order in which a customer lives through them.

Rules a change must keep: every state of an order has its words for sales and for the customer; an
order that ended otherwise shows where it ended; nothing is computed that a room knows.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

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


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the way: `done`, `now`, `lost`, or still ahead."""

    name: str
    mark: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class OrderView:
    """An order as pages show it."""

    order: Order
    payments: list[PaymentView]
    reservation: PaymentView | None
    final: PaymentView | None
    steps: list[Step]

    @property
    def slug(self) -> str:
        """The key of the words for the order's state."""
        return slug(self.order.state)

    @property
    def kind(self) -> str:
        """Which colour the badge has."""
        return KINDS.get(self.order.state, "busy")

    @property
    def version(self) -> str:
        """What changes when anything of this changes."""
        return ".".join([str(self.order.version), *(one.version for one in self.payments)])

    @property
    def is_open(self) -> bool:
        """Whether anything can still happen to it by itself."""
        going_back = any(one.situation == "refunding" for one in self.payments)
        return self.order.state not in AT_REST or going_back

    @property
    def is_being_paid(self) -> bool:
        """Whether a payment of it is under way."""
        return any(one.situation in UNDER_WAY for one in self.payments)


async def order_view(console: Console, order: Order) -> OrderView:
    """Return everything a page shows of an order."""
    payments = await payments_of(console, order.id)
    timeline = await console.platform.order_management.order_timeline(order.id)
    return OrderView(
        order=order,
        payments=[view_of(payment) for payment in payments],
        reservation=last_of(payments, PaymentType.RESERVATION),
        final=last_of(payments, PaymentType.FINAL),
        steps=steps_of(order, timeline),
    )


async def payments_of(console: Console, subject: UUID) -> list[Payment]:
    """Return the payments for one thing, newest first."""
    return await console.platform.tables.payments.listed(subject=subject)


def steps_of(order: Order, timeline: list[OrderTransition]) -> list[Step]:
    """Return the way of an order, with the moments of what is done."""
    reached = {transitioned.to_state: transitioned.at for transitioned in timeline}
    way = [state for state in WAY if state in reached or not _is_skipped(state, reached)]
    steps: list[Step] = []
    for place, state in enumerate(way):
        done = state in reached
        begun = place == 0 or way[place - 1] in reached
        ahead = "now" if begun and order.state not in LOST else "ahead"
        steps.append(Step(slug(state), "done" if done else ahead, reached.get(state)))
    if order.state in LOST:
        steps = [step for step in steps if step.mark == "done"]
        steps.append(Step(slug(order.state), "lost", reached.get(order.state)))
    return steps


def slug(state: OrderState) -> str:
    """Return a state as a key of the catalogue of words."""
    return state.value.replace(" ", "_")


def _is_skipped(state: OrderState, reached: dict[str, datetime]) -> bool:
    """A vehicle that stands finished in stock was never ordered at the factory."""
    return state is OrderState.FACTORY_ORDER_PLACED and OrderState.READY in reached

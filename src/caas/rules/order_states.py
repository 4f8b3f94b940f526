"""Diagrams 2 and 3, seen from the order: from the reservation payment to the delivered vehicle.

Theory of operation
-------------------

An order begins awaiting its reservation payment. Paid, it holds a vehicle (or the promise of one);
the factory order is placed, the vehicle becomes ready, the final payment makes it fully paid, and
matriculation, transport and delivery follow. Four ends are not a delivered vehicle: no reservation
came about, the final payment was declined and the reservation is lost, the factory refused, the
customer withdrew (desistimiento).

`TRANSITIONS` are the arrows of the two diagrams, `BEYOND` those they do not draw, each event with
its decision in `DECISIONS`. A failed reservation payment ends an attempt and not the order: a new
payment may still reserve it (decision 12). After a lost reservation there is no arrow at all: the
final payment has no grace period and no second attempt.

Rules a change must keep:

1. Whatever moves an order is an arrow in one of the two literals.
2. A lost reservation, a withdrawn and a factory-refused order are ends: nothing leaves them.
3. An order that holds a vehicle and its vehicle walk together: `VEHICLE_OF` says where the one is
   when the other is there.
"""

from enum import StrEnum
from typing import Final

from caas.errors import ConflictError
from caas.rules.vehicle_states import VehicleState


class OrderState(StrEnum):
    """Where an order is on its way from the reservation payment to the customer's door."""

    AWAITING_RESERVATION_PAYMENT = "awaiting reservation payment"
    RESERVED = "reserved"
    FACTORY_ORDER_PLACED = "factory order placed"
    READY = "ready"
    FULLY_PAID = "fully paid"
    REGISTERED = "registered"
    DELIVERY_SCHEDULED = "delivery scheduled"
    DELIVERED = "delivered"
    RESERVATION_FAILED = "reservation failed"
    RESERVATION_LOST = "reservation lost"
    FACTORY_REFUSED = "factory refused"
    WITHDRAWN = "withdrawn"


class OrderEvent(StrEnum):
    """What happens to an order, in the words of Diagrams 2 and 3 and then beyond them."""

    MARK_VEHICLE_RESERVED = "Mark Vehicle Reserved"
    PAYMENT_FAILED = "Payment Failed"
    ORDER_CONFIRMATION = "Order Confirmation"
    VEHICLE_READY = "Vehicle Ready"
    MARK_FULLY_PAID = "Mark Fully Paid"
    REGISTRATION_COMPLETE = "Registration Complete"
    SCHEDULE_DELIVERY = "Schedule Delivery"
    MARK_PAYMENT_FAILED = "Mark Payment Failed"
    VEHICLE_TAKEN = "Vehicle taken"
    FACTORY_REFUSES_ORDER = "Factory refuses order"
    DELIVERY_COMPLETED = "Delivery completed"
    DESISTIMIENTO = "Desistimiento"


_S = OrderState
_E = OrderEvent

TRANSITIONS: Final[dict[OrderState, dict[OrderEvent, OrderState]]] = {
    _S.AWAITING_RESERVATION_PAYMENT: {
        _E.MARK_VEHICLE_RESERVED: _S.RESERVED,
        _E.PAYMENT_FAILED: _S.RESERVATION_FAILED,
    },
    _S.RESERVED: {_E.ORDER_CONFIRMATION: _S.FACTORY_ORDER_PLACED},
    _S.FACTORY_ORDER_PLACED: {_E.VEHICLE_READY: _S.READY},
    _S.READY: {_E.MARK_FULLY_PAID: _S.FULLY_PAID, _E.MARK_PAYMENT_FAILED: _S.RESERVATION_LOST},
    _S.FULLY_PAID: {_E.REGISTRATION_COMPLETE: _S.REGISTERED},
    _S.REGISTERED: {_E.SCHEDULE_DELIVERY: _S.DELIVERY_SCHEDULED},
    _S.DELIVERY_SCHEDULED: {},
    _S.DELIVERED: {},
    _S.RESERVATION_FAILED: {},
    _S.RESERVATION_LOST: {},
    _S.FACTORY_REFUSED: {},
    _S.WITHDRAWN: {},
}

BEYOND: Final[dict[OrderState, dict[OrderEvent, OrderState]]] = {
    _S.AWAITING_RESERVATION_PAYMENT: {
        _E.VEHICLE_TAKEN: _S.RESERVATION_FAILED,
        _E.DESISTIMIENTO: _S.WITHDRAWN,
    },
    _S.RESERVED: {
        _E.VEHICLE_READY: _S.READY,
        _E.FACTORY_REFUSES_ORDER: _S.FACTORY_REFUSED,
        _E.DESISTIMIENTO: _S.WITHDRAWN,
    },
    _S.FACTORY_ORDER_PLACED: {_E.DESISTIMIENTO: _S.WITHDRAWN},
    _S.READY: {_E.DESISTIMIENTO: _S.WITHDRAWN},
    _S.FULLY_PAID: {_E.DESISTIMIENTO: _S.WITHDRAWN},
    _S.REGISTERED: {_E.DESISTIMIENTO: _S.WITHDRAWN},
    _S.DELIVERY_SCHEDULED: {
        _E.DELIVERY_COMPLETED: _S.DELIVERED,
        _E.DESISTIMIENTO: _S.WITHDRAWN,
    },
    _S.DELIVERED: {_E.DESISTIMIENTO: _S.WITHDRAWN},
    _S.RESERVATION_FAILED: {
        _E.MARK_VEHICLE_RESERVED: _S.RESERVED,
        _E.PAYMENT_FAILED: _S.RESERVATION_FAILED,
        _E.VEHICLE_TAKEN: _S.RESERVATION_FAILED,
    },
}

DECISIONS: Final[dict[OrderEvent, tuple[int, ...]]] = {
    _E.MARK_VEHICLE_RESERVED: (12,),
    _E.PAYMENT_FAILED: (12,),
    _E.VEHICLE_TAKEN: (20,),
    _E.VEHICLE_READY: (19,),
    _E.FACTORY_REFUSES_ORDER: (22,),
    _E.DELIVERY_COMPLETED: (23,),
    _E.DESISTIMIENTO: (5,),
}

AWAITS_RESERVATION: Final = frozenset({_S.AWAITING_RESERVATION_PAYMENT, _S.RESERVATION_FAILED})
"""States in which a reservation payment is due."""

VEHICLE_OF: Final[dict[OrderState, VehicleState]] = {
    _S.RESERVED: VehicleState.RESERVED,
    _S.FACTORY_ORDER_PLACED: VehicleState.IN_PRODUCTION,
    _S.READY: VehicleState.READY,
    _S.FULLY_PAID: VehicleState.FULLY_PAID,
    _S.REGISTERED: VehicleState.REGISTERED,
    _S.DELIVERY_SCHEDULED: VehicleState.DELIVERY_SCHEDULED,
    _S.DELIVERED: VehicleState.DELIVERED,
}
"""Where the vehicle is that an order holds, if it has its vehicle already."""


class IllegalOrderTransitionError(ConflictError):
    """The order cannot make this move from the state it is in; nothing was changed."""

    code = "illegal_order_move"

    def __init__(self, state: OrderState, event: OrderEvent) -> None:
        """Keep the state and the event that do not go together."""
        self.state = state
        self.event = event
        sentence = f'An order that is {state} has no move "{event}"; nothing was changed.'
        super().__init__(sentence, state=state.value, event=event.value)


def next_state(state: OrderState, event: OrderEvent) -> OrderState:
    """Return the state this event leads to.

    Raises:
        IllegalOrderTransitionError: no arrow leaves this state with this event.
    """
    target = TRANSITIONS[state].get(event) or BEYOND.get(state, {}).get(event)
    if target is None:
        raise IllegalOrderTransitionError(state, event)
    return target


def can(state: OrderState, event: OrderEvent) -> bool:
    """Say whether an arrow with this event leaves this state."""
    return event in TRANSITIONS[state] or event in BEYOND.get(state, {})


def payment_transitions() -> list[tuple[OrderState, OrderEvent, OrderState]]:
    """List every move of both literals, the diagrams' own first."""
    return [
        (source, event, target)
        for table in (TRANSITIONS, BEYOND)
        for source, row in table.items()
        for event, target in row.items()
    ]


def mermaid() -> str:
    """Draw the order's way as a Mermaid state diagram."""
    ids = {state: state.value.title().replace(" ", "") for state in OrderState}
    lines = ["stateDiagram-v2", f"    [*] --> {ids[_S.AWAITING_RESERVATION_PAYMENT]}"]
    lines += [f'    state "{state}" as {ids[state]}' for state in OrderState]
    lines += [f'    {ids[a]} --> {ids[b]}: "{event}"' for a, event, b in payment_transitions()]
    return "\n".join(lines) + "\n"

"""The order state machine (Diagrams 2 and 3): from the reservation payment to delivery.

Theory of operation
-------------------

An order starts awaiting its reservation payment. Once that is paid, it holds a vehicle or a claim
on one; the factory order is placed, the vehicle becomes ready, the final payment makes it fully
paid, and registration, transport and delivery follow. Four terminal states are not a delivery: the
reservation failed, the final payment was declined and the reservation is lost, the factory refused,
or the customer withdrew (desistimiento).

A customer who withdraws while the outcome of the final payment is unknown has requested it: the
order stays ready until the outcome is known, and is withdrawn then.

`TRANSITIONS` holds the arrows of the two diagrams; `BEYOND` holds further arrows, each event with
its decision in `DECISIONS`. A failed reservation payment does not end the order: a new payment can
still reserve it (decision 12). A lost reservation is final: the final payment has no grace period
and no second attempt.

Rules a change must keep:

1. Every order transition is in one of the two literals.
2. Lost, withdrawn and factory-refused orders are terminal.
3. An order with a vehicle and that vehicle change state together, as `VEHICLE_OF` says.
"""

from enum import StrEnum
from typing import Final

from caas.errors import ConflictError
from caas.rules.vehicle_states import VehicleState


class OrderState(StrEnum):
    """The state of an order."""

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
    """Events of an order: first those of Diagrams 2 and 3, then the others."""

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
    WITHDRAWAL_REQUESTED = "Withdrawal requested"
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
    _S.READY: {_E.WITHDRAWAL_REQUESTED: _S.READY, _E.DESISTIMIENTO: _S.WITHDRAWN},
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
    _E.WITHDRAWAL_REQUESTED: (244,),
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
"""The state of the order's vehicle, by state of the order."""


class IllegalOrderTransitionError(ConflictError):
    """The order cannot make this transition from its current state. Nothing was changed."""

    code = "illegal_order_move"

    def __init__(self, state: OrderState, event: OrderEvent) -> None:
        """Record the state and the event."""
        self.state = state
        self.event = event
        sentence = f'An order that is {state} has no transition "{event}". Nothing was changed.'
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
    """Return whether an arrow with this event leaves this state."""
    return event in TRANSITIONS[state] or event in BEYOND.get(state, {})


def transitions() -> list[tuple[OrderState, OrderEvent, OrderState]]:
    """Return every transition of both literals, the diagrams' first."""
    return [
        (source, event, target)
        for table in (TRANSITIONS, BEYOND)
        for source, row in table.items()
        for event, target in row.items()
    ]


def mermaid() -> str:
    """Render the state machine as a Mermaid state diagram."""
    ids = {state: state.value.title().replace(" ", "") for state in OrderState}
    lines = ["stateDiagram-v2", f"    [*] --> {ids[_S.AWAITING_RESERVATION_PAYMENT]}"]
    lines += [f'    state "{state}" as {ids[state]}' for state in OrderState]
    lines += [f'    {ids[a]} --> {ids[b]}: "{event}"' for a, event, b in transitions()]
    return "\n".join(lines) + "\n"

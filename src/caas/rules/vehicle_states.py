"""The vehicle state machine (Diagrams 2 and 3): from stock to delivery, and back to stock.

Theory of operation
-------------------

A vehicle without an order is *sin asignar*: it is in stock and can be reserved. The reservation
payment marks it reserved, the factory confirms and builds it, it becomes ready, the final payment
marks it fully paid; registration, transport and delivery follow. A finished vehicle in stock goes
from reserved straight to ready.

Three events return it to stock: the final payment is declined and the reservation is lost (Diagram
3, "Mark Vehicle Sin Asignar"), the factory refuses the order (decision 22), or the customer
withdraws (desistimiento). Withdrawal alone does not move a delivered vehicle: it is in stock again
once it was returned.

`TRANSITIONS` holds the arrows of the two diagrams; `BEYOND` holds further arrows, each event with
its decision in `DECISIONS`. A ready vehicle without a reservation stays sin asignar: a factory
finishes what it began even when the reservation was lost meanwhile.

Rules a change must keep:

1. Every vehicle transition is in one of the two literals.
2. Only a decline or a withdrawal takes a vehicle away from a customer, never an unknown outcome
   (decision 19).
3. Once fully paid, a vehicle cannot be lost through a payment.
"""

from enum import StrEnum
from typing import Final

from caas.errors import ConflictError


class VehicleState(StrEnum):
    """The state of a vehicle."""

    SIN_ASIGNAR = "sin asignar"
    RESERVED = "reserved"
    IN_PRODUCTION = "in production"
    READY = "ready"
    FULLY_PAID = "fully paid"
    REGISTERED = "registered"
    DELIVERY_SCHEDULED = "delivery scheduled"
    DELIVERED = "delivered"


class VehicleEvent(StrEnum):
    """Events of a vehicle: first those of Diagrams 2 and 3, then the others."""

    MARK_VEHICLE_RESERVED = "Mark Vehicle Reserved"
    ORDER_CONFIRMATION = "Order Confirmation"
    VEHICLE_READY = "Vehicle Ready"
    MARK_FULLY_PAID = "Mark Fully Paid"
    REGISTRATION_COMPLETE = "Registration Complete"
    SCHEDULE_DELIVERY = "Schedule Delivery"
    MARK_VEHICLE_SIN_ASIGNAR = "Mark Vehicle Sin Asignar"
    FACTORY_REFUSES_ORDER = "Factory refuses order"
    DELIVERY_COMPLETED = "Delivery completed"
    DESISTIMIENTO = "Desistimiento"
    VEHICLE_RETURNED = "Vehicle returned"


_S = VehicleState
_E = VehicleEvent

TRANSITIONS: Final[dict[VehicleState, dict[VehicleEvent, VehicleState]]] = {
    _S.SIN_ASIGNAR: {_E.MARK_VEHICLE_RESERVED: _S.RESERVED},
    _S.RESERVED: {
        _E.ORDER_CONFIRMATION: _S.IN_PRODUCTION,
        _E.VEHICLE_READY: _S.READY,
        _E.MARK_VEHICLE_SIN_ASIGNAR: _S.SIN_ASIGNAR,
    },
    _S.IN_PRODUCTION: {
        _E.VEHICLE_READY: _S.READY,
        _E.MARK_VEHICLE_SIN_ASIGNAR: _S.SIN_ASIGNAR,
    },
    _S.READY: {_E.MARK_FULLY_PAID: _S.FULLY_PAID, _E.MARK_VEHICLE_SIN_ASIGNAR: _S.SIN_ASIGNAR},
    _S.FULLY_PAID: {_E.REGISTRATION_COMPLETE: _S.REGISTERED},
    _S.REGISTERED: {_E.SCHEDULE_DELIVERY: _S.DELIVERY_SCHEDULED},
    _S.DELIVERY_SCHEDULED: {},
    _S.DELIVERED: {},
}

BEYOND: Final[dict[VehicleState, dict[VehicleEvent, VehicleState]]] = {
    _S.SIN_ASIGNAR: {_E.VEHICLE_READY: _S.SIN_ASIGNAR},
    _S.RESERVED: {
        _E.FACTORY_REFUSES_ORDER: _S.SIN_ASIGNAR,
        _E.DESISTIMIENTO: _S.SIN_ASIGNAR,
    },
    _S.IN_PRODUCTION: {_E.DESISTIMIENTO: _S.SIN_ASIGNAR},
    _S.READY: {_E.DESISTIMIENTO: _S.SIN_ASIGNAR},
    _S.FULLY_PAID: {_E.DESISTIMIENTO: _S.SIN_ASIGNAR},
    _S.REGISTERED: {_E.DESISTIMIENTO: _S.SIN_ASIGNAR},
    _S.DELIVERY_SCHEDULED: {
        _E.DELIVERY_COMPLETED: _S.DELIVERED,
        _E.DESISTIMIENTO: _S.SIN_ASIGNAR,
    },
    _S.DELIVERED: {_E.VEHICLE_RETURNED: _S.SIN_ASIGNAR},
}

DECISIONS: Final[dict[VehicleEvent, tuple[int, ...]]] = {
    _E.VEHICLE_READY: (19,),
    _E.FACTORY_REFUSES_ORDER: (22,),
    _E.DELIVERY_COMPLETED: (23,),
    _E.DESISTIMIENTO: (5,),
    _E.VEHICLE_RETURNED: (5,),
}

ASSIGNED: Final = frozenset(VehicleState) - {_S.SIN_ASIGNAR}
"""States in which the vehicle has exactly one active assignment (decision 20, invariant 8)."""

RESERVATION_CAN_BE_LOST: Final = frozenset(
    state for state, row in TRANSITIONS.items() if _E.MARK_VEHICLE_SIN_ASIGNAR in row
)
"""States in which a declined final payment or a late reservation failure frees the vehicle."""


class IllegalVehicleTransitionError(ConflictError):
    """The vehicle cannot make this transition from its current state. Nothing was changed."""

    code = "illegal_vehicle_move"

    def __init__(self, state: VehicleState, event: VehicleEvent) -> None:
        """Record the state and the event."""
        self.state = state
        self.event = event
        sentence = f'A vehicle that is {state} has no transition "{event}". Nothing was changed.'
        super().__init__(sentence, state=state.value, event=event.value)


def next_state(state: VehicleState, event: VehicleEvent) -> VehicleState:
    """Return the state this event leads to.

    Raises:
        IllegalVehicleTransitionError: no arrow leaves this state with this event.
    """
    target = TRANSITIONS[state].get(event) or BEYOND[state].get(event)
    if target is None:
        raise IllegalVehicleTransitionError(state, event)
    return target


def transitions() -> list[tuple[VehicleState, VehicleEvent, VehicleState]]:
    """Return every transition of both literals, the diagrams' first."""
    return [
        (source, event, target)
        for table in (TRANSITIONS, BEYOND)
        for source, row in table.items()
        for event, target in row.items()
    ]


def mermaid() -> str:
    """Render the state machine as a Mermaid state diagram."""
    ids = {state: state.value.title().replace(" ", "") for state in VehicleState}
    lines = ["stateDiagram-v2", f"    [*] --> {ids[_S.SIN_ASIGNAR]}"]
    lines += [f'    state "{state}" as {ids[state]}' for state in VehicleState]
    lines += [f'    {ids[a]} --> {ids[b]}: "{event}"' for a, event, b in transitions()]
    return "\n".join(lines) + "\n"

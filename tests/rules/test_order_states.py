"""Diagrams 2 and 3 from the order's side, and in step with the vehicle's."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caas.rules import vehicle_states
from caas.rules.order_states import (
    AWAITS_RESERVATION,
    BEYOND,
    DECISIONS,
    TRANSITIONS,
    VEHICLE_OF,
    IllegalOrderTransitionError,
    OrderEvent,
    OrderState,
    can,
    mermaid,
    next_state,
    transitions,
)
from caas.rules.vehicle_states import VehicleEvent

S = OrderState
E = OrderEvent

SEED_WAY_TO_THE_CUSTOMER = [
    ("Mark Vehicle Reserved", S.RESERVED),
    ("Order Confirmation", S.FACTORY_ORDER_PLACED),
    ("Vehicle Ready", S.READY),
    ("Mark Fully Paid", S.FULLY_PAID),
    ("Registration Complete", S.REGISTERED),
    ("Schedule Delivery", S.DELIVERY_SCHEDULED),
    ("Delivery completed", S.DELIVERED),
]
ENDS = [S.RESERVATION_LOST, S.FACTORY_REFUSED, S.WITHDRAWN]

states = st.sampled_from(OrderState)
events = st.sampled_from(OrderEvent)


def test_an_order_goes_the_seeds_way_from_its_reservation_to_the_customer() -> None:
    state = S.AWAITING_RESERVATION_PAYMENT
    for event, expected in SEED_WAY_TO_THE_CUSTOMER:
        state = next_state(state, OrderEvent(event))
        assert state is expected


def test_a_declined_final_payment_loses_the_reservation_for_good() -> None:
    assert next_state(S.READY, E.MARK_PAYMENT_FAILED) is S.RESERVATION_LOST
    assert not any(can(S.RESERVATION_LOST, event) for event in OrderEvent)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("event", OrderEvent)
def test_nothing_leaves_an_end(end: OrderState, event: OrderEvent) -> None:
    with pytest.raises(IllegalOrderTransitionError) as refusal:
        next_state(end, event)

    assert (refusal.value.state, refusal.value.event) == (end, event)
    assert refusal.value.facts == {"state": end.value, "event": event.value}


@pytest.mark.parametrize("state", sorted(AWAITS_RESERVATION))
def test_a_failed_reservation_payment_may_be_followed_by_another(state: OrderState) -> None:
    assert next_state(state, E.PAYMENT_FAILED) is S.RESERVATION_FAILED
    assert next_state(state, E.MARK_VEHICLE_RESERVED) is S.RESERVED


@given(state=states, event=events)
def test_a_move_is_an_arrow_or_refused(state: OrderState, event: OrderEvent) -> None:
    arrows = {(source, name): target for source, name, target in transitions()}

    assert can(state, event) is ((state, event) in arrows)
    if can(state, event):
        assert next_state(state, event) is arrows[state, event]
    else:
        with pytest.raises(IllegalOrderTransitionError):
            next_state(state, event)


def test_an_order_and_the_vehicle_it_holds_walk_together() -> None:
    shared = {event.value for event in OrderEvent} & {event.value for event in VehicleEvent}

    for source, event, target in transitions():
        if source in VEHICLE_OF and target in VEHICLE_OF and source is not target:
            assert event.value in shared
            transitioned = vehicle_states.next_state(VEHICLE_OF[source], VehicleEvent(event.value))
            assert transitioned is VEHICLE_OF[target]


def test_every_state_has_its_row_and_every_event_beyond_the_seed_its_decision() -> None:
    beyond = {event for row in BEYOND.values() for event in row}

    assert set(TRANSITIONS) == set(OrderState)
    assert beyond == set(DECISIONS)
    assert {event for _, event, _ in transitions()} == set(OrderEvent)
    assert all(not TRANSITIONS[state].keys() & row.keys() for state, row in BEYOND.items())


def test_the_drawing_has_every_arrow() -> None:
    drawn = re.findall(r'    (\w+) --> (\w+): "(.*)"', mermaid())

    assert len(drawn) == len(set(drawn)) == len(transitions())
    assert "    [*] --> AwaitingReservationPayment" in mermaid()

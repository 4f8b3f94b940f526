"""Diagrams 2 and 3 from the vehicle's side."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caas.rules.vehicle_states import (
    ASSIGNED,
    BEYOND,
    DECISIONS,
    RESERVATION_CAN_BE_LOST,
    TRANSITIONS,
    IllegalVehicleTransitionError,
    VehicleEvent,
    VehicleState,
    mermaid,
    next_state,
    transitions,
)

S = VehicleState
E = VehicleEvent

SEED_WAY_TO_THE_CUSTOMER = [
    ("Mark Vehicle Reserved", "reserved"),
    ("Order Confirmation", "in production"),
    ("Vehicle Ready", "ready"),
    ("Mark Fully Paid", "fully paid"),
    ("Registration Complete", "registered"),
    ("Schedule Delivery", "delivery scheduled"),
    ("Delivery completed", "delivered"),
]

states = st.sampled_from(VehicleState)
events = st.sampled_from(VehicleEvent)


def test_a_vehicle_goes_the_seeds_way_from_stock_to_the_customer() -> None:
    state = S.SIN_ASIGNAR
    for event, expected in SEED_WAY_TO_THE_CUSTOMER:
        state = next_state(state, VehicleEvent(event))
        assert state == expected


def test_a_vehicle_that_stands_finished_in_stock_skips_the_factory() -> None:
    assert next_state(S.RESERVED, E.VEHICLE_READY) is S.READY


@pytest.mark.parametrize("state", [S.RESERVED, S.IN_PRODUCTION, S.READY])
def test_a_declined_final_payment_makes_the_vehicle_sin_asignar(state: VehicleState) -> None:
    assert next_state(state, E.MARK_VEHICLE_SIN_ASIGNAR) is S.SIN_ASIGNAR
    assert state in RESERVATION_CAN_BE_LOST


@pytest.mark.parametrize(
    "state", [S.FULLY_PAID, S.REGISTERED, S.DELIVERY_SCHEDULED, S.DELIVERED, S.SIN_ASIGNAR]
)
def test_a_vehicle_that_is_paid_for_cannot_be_lost_to_a_payment(state: VehicleState) -> None:
    assert state not in RESERVATION_CAN_BE_LOST
    with pytest.raises(IllegalVehicleTransitionError):
        next_state(state, E.MARK_VEHICLE_SIN_ASIGNAR)


def test_a_vehicle_lost_from_the_factory_stays_sin_asignar_when_it_is_ready() -> None:
    lost = next_state(S.IN_PRODUCTION, E.MARK_VEHICLE_SIN_ASIGNAR)

    assert next_state(lost, E.VEHICLE_READY) is S.SIN_ASIGNAR


@pytest.mark.parametrize("state", sorted(ASSIGNED - {S.DELIVERED}))
def test_desistimiento_before_delivery_brings_the_vehicle_back_to_stock(
    state: VehicleState,
) -> None:
    assert next_state(state, E.DESISTIMIENTO) is S.SIN_ASIGNAR


def test_a_delivered_vehicle_is_in_stock_only_when_it_has_been_returned() -> None:
    with pytest.raises(IllegalVehicleTransitionError):
        next_state(S.DELIVERED, E.DESISTIMIENTO)
    assert next_state(S.DELIVERED, E.VEHICLE_RETURNED) is S.SIN_ASIGNAR


def test_a_factory_refuses_only_what_it_has_not_confirmed() -> None:
    assert next_state(S.RESERVED, E.FACTORY_REFUSES_ORDER) is S.SIN_ASIGNAR
    with pytest.raises(IllegalVehicleTransitionError):
        next_state(S.IN_PRODUCTION, E.FACTORY_REFUSES_ORDER)


@pytest.mark.parametrize("state", sorted(ASSIGNED))
def test_a_vehicle_is_never_reserved_twice(state: VehicleState) -> None:
    with pytest.raises(IllegalVehicleTransitionError) as refusal:
        next_state(state, E.MARK_VEHICLE_RESERVED)

    assert (refusal.value.state, refusal.value.event) == (state, E.MARK_VEHICLE_RESERVED)
    assert refusal.value.facts == {"state": state.value, "event": "Mark Vehicle Reserved"}


@given(state=states, event=events)
def test_a_move_is_an_arrow_or_refused(state: VehicleState, event: VehicleEvent) -> None:
    arrows = {(source, name): target for source, name, target in transitions()}

    if (state, event) in arrows:
        assert next_state(state, event) is arrows[state, event]
    else:
        with pytest.raises(IllegalVehicleTransitionError):
            next_state(state, event)


def test_every_state_has_its_row_in_both_tables_and_no_arrow_stands_in_both() -> None:
    assert set(TRANSITIONS) == set(BEYOND) == set(VehicleState)
    assert all(not TRANSITIONS[state].keys() & BEYOND[state].keys() for state in VehicleState)


def test_every_arrow_beyond_the_seed_names_its_decision() -> None:
    assert {event for row in BEYOND.values() for event in row} == set(DECISIONS)


def test_every_event_is_used() -> None:
    assert {event for _, event, _ in transitions()} == set(VehicleEvent)


def test_the_drawing_has_every_arrow() -> None:
    drawn = re.findall(r'    (\w+) --> (\w+): "(.*)"', mermaid())

    assert len(drawn) == len(set(drawn)) == len(transitions())
    assert '    state "sin asignar" as SinAsignar' in mermaid()
    assert "    [*] --> SinAsignar" in mermaid()

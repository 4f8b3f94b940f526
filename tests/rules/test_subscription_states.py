"""Diagram 6 seen from the subscription: the table, and the database's copy of it."""

import pytest

from caas.billing_database.connection import Database
from caas.rules.subscription_states import (
    BEYOND,
    LIVE,
    TRANSITIONS,
    SubscriptionEvent,
    SubscriptionState,
    next_state,
    transitions,
)


def test_the_diagrams_arrows_are_these() -> None:
    drawn = {
        ("activating", "Service Active", "active"),
        ("active", "Continue Subscription", "active"),
        ("active", "Mark Subscription Cancelled", "cancelled"),
    }

    assert drawn == {
        (state.value, event.value, target.value)
        for state, row in TRANSITIONS.items()
        for event, target in row.items()
    }


def test_active_is_reached_by_the_vehicles_word_and_from_nothing_else() -> None:
    into_active = [
        (state, event)
        for state, event, target in transitions()
        if target is SubscriptionState.ACTIVE and state is not target
    ]

    assert into_active == [(SubscriptionState.ACTIVATING, SubscriptionEvent.SERVICE_ACTIVE)]


def test_what_has_ended_never_comes_back() -> None:
    ended = set(SubscriptionState) - LIVE

    assert not [arrow for arrow in transitions() if arrow[0] in ended and arrow[2] in LIVE]


@pytest.mark.parametrize("event", SubscriptionEvent)
def test_a_refused_payment_method_is_an_end(event: SubscriptionEvent) -> None:
    assert next_state(SubscriptionState.REFUSED, event) is None


def test_every_state_has_a_row() -> None:
    assert set(TRANSITIONS) | set(BEYOND) == set(SubscriptionState)


async def test_the_database_knows_the_same_arrows(database: Database) -> None:
    rows = await database.fetch("select from_state, event, to_state from subscription_transitions")

    assert {tuple(row) for row in rows} == {
        (state.value, event.value, target.value) for state, event, target in transitions()
    }

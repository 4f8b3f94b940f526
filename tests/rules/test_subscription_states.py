"""Diagram 6 from the subscription's side."""

import pytest

from caas.rules.subscription_states import (
    BEYOND,
    LIVE,
    MOVES,
    SubscriptionEvent,
    SubscriptionState,
    legal_arrows,
    next_state,
)

S = SubscriptionState
E = SubscriptionEvent


def test_a_subscription_goes_from_its_payment_method_to_paid_months_and_to_its_end() -> None:
    way = [
        (E.PAYMENT_METHOD_VERIFIED, S.ACTIVATING),
        (E.SERVICE_ACTIVE, S.ACTIVE),
        (E.CONTINUE_SUBSCRIPTION, S.ACTIVE),
        (E.MARK_SUBSCRIPTION_CANCELLED, S.CANCELLED),
    ]

    state: SubscriptionState | None = S.VERIFYING
    for event, expected in way:
        assert state is not None
        state = next_state(state, event)
        assert state is expected


def test_active_is_reached_from_the_vehicles_word_and_from_nothing_else() -> None:
    into_active = {
        (source, event)
        for source, event, target in legal_arrows()
        if target is S.ACTIVE and source is not S.ACTIVE
    }

    assert into_active == {(S.ACTIVATING, E.SERVICE_ACTIVE)}


@pytest.mark.parametrize("end", [S.REFUSED, S.NOT_ACTIVATED, S.CANCELLED])
@pytest.mark.parametrize("event", SubscriptionEvent)
def test_nothing_leaves_an_end(end: SubscriptionState, event: SubscriptionEvent) -> None:
    assert next_state(end, event) in {None, end}


@pytest.mark.parametrize("state", sorted(LIVE))
def test_a_customer_may_end_what_is_not_over(state: SubscriptionState) -> None:
    assert next_state(state, E.CUSTOMER_ENDS_SUBSCRIPTION) is S.CANCELLED


def test_a_month_cannot_be_continued_before_the_service_is_active() -> None:
    assert next_state(S.ACTIVATING, E.CONTINUE_SUBSCRIPTION) is None


def test_every_state_has_a_row_and_every_event_an_arrow_in_one_table_only() -> None:
    arrows = [(source, event) for source, event, _ in legal_arrows()]

    assert set(MOVES) | set(BEYOND) == set(SubscriptionState)
    assert {event for _, event in arrows} == set(SubscriptionEvent)
    assert len(arrows) == len(set(arrows))

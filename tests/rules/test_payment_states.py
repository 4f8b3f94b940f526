"""Diagram 9, held against the seed's arrows; what lies beyond it, against the decisions."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caas.rules.payment_states import (
    AT_REST,
    BEYOND_DIAGRAM_9,
    DECISIONS,
    DIAGRAM_9,
    LIVE,
    AnyEvent,
    BeyondEvent,
    BrokenHistoryError,
    IllegalTransitionError,
    PaymentEvent,
    PaymentState,
    Remark,
    fold,
    mermaid,
    next_state,
    payment_transitions,
)

S = PaymentState
E = PaymentEvent
B = BeyondEvent

SEED_DIAGRAM_9 = {
    ("[*]", "Customer submits payment", "Initiated"),
    ("Initiated", "Gateway processing", "Pending"),
    ("Pending", "Funds reserved", "Authorized"),
    ("Pending", "Gateway rejection", "Failed"),
    ("Authorized", "Initiate settlement", "Capturing"),
    ("Authorized", "Cancel before capture", "Voided"),
    ("Capturing", "Bank confirms", "Settled"),
    ("Capturing", "Bank rejects", "SettlementFailed"),
    ("Settled", "Complete", "[*]"),
    ("Failed", "Complete", "[*]"),
    ("Voided", "Complete", "[*]"),
    ("SettlementFailed", "Reverse transaction", "Refunding"),
    ("Refunding", "Refund complete", "Refunded"),
    ("Refunded", "Complete", "[*]"),
}

BEYOND_THE_SEED = {
    ("Initiated", "Never sent", "Failed", (3,)),
    ("Pending", "Never sent", "Failed", (3,)),
    ("Pending", "Customer abandons", "Failed", (24,)),
    ("Pending", "Operators decide not charged", "Failed", (3,)),
    ("Authorized", "Authorization expired", "Voided", (9,)),
    ("Capturing", "Capture refused", "SettlementFailed", (17,)),
    ("Settled", "Bank reverses", "SettlementFailed", (17, 37)),
    ("Settled", "Refund requested", "Refunding", (5,)),
    ("Refunding", "Refund failed", "Settled", (5,)),
    ("Refunding", "Refund leaves remainder", "Settled", (5,)),
    ("Settled", "Refund returned", "Settled", (290,)),
    ("SettlementFailed", "Refund returned", "SettlementFailed", (290,)),
    ("Refunding", "Refund returned", "Refunding", (290,)),
    ("Refunded", "Refund returned", "Settled", (290,)),
}

ALL_EVENTS: list[AnyEvent] = [*PaymentEvent, *BeyondEvent, *Remark]
ARROW_IN_MERMAID = re.compile(r'    (\S+) --> (\S+): "(.*)"')

states = st.sampled_from(PaymentState)
events = st.sampled_from(ALL_EVENTS)


def test_without_what_lies_beyond_the_drawing_is_the_seeds_diagram() -> None:
    drawn = {
        (source, label, target)
        for source, target, label in ARROW_IN_MERMAID.findall(mermaid(beyond=False))
    }

    assert drawn == SEED_DIAGRAM_9


def test_the_table_has_the_seeds_arrows_and_no_others() -> None:
    arrows = {(s.value, e.value, to.value) for s, row in DIAGRAM_9.items() for e, to in row.items()}

    inner = {arrow for arrow in SEED_DIAGRAM_9 if "[*]" not in arrow}
    assert arrows == inner


def test_every_state_has_its_row_even_when_nothing_leaves_it() -> None:
    assert set(DIAGRAM_9) == set(PaymentState)


def test_the_states_drawn_to_the_end_are_those_with_empty_rows() -> None:
    ended = {source for source, _, target in SEED_DIAGRAM_9 if target == "[*]"}

    assert {state.value for state, row in DIAGRAM_9.items() if not row} == ended


def test_what_lies_beyond_the_seed_is_what_the_decisions_allow() -> None:
    arrows = {
        (s.value, e.value, to.value, DECISIONS[e])
        for s, row in BEYOND_DIAGRAM_9.items()
        for e, to in row.items()
    }

    assert arrows == BEYOND_THE_SEED


def test_every_event_beyond_the_seed_names_its_decisions_and_is_used() -> None:
    used = {event for row in BEYOND_DIAGRAM_9.values() for event in row}

    assert used == set(BeyondEvent) == set(DECISIONS)


def test_no_name_stands_for_two_events() -> None:
    assert len({event.value for event in ALL_EVENTS}) == len(ALL_EVENTS)


def test_the_drawing_names_the_decisions_of_arrows_the_seed_does_not_have() -> None:
    assert '    Settled --> SettlementFailed: "Bank reverses (decision 17, 37)"' in mermaid()


def test_at_rest_are_the_ends_and_settlement_failed() -> None:
    assert {
        S.SETTLED, S.FAILED, S.VOIDED, S.SETTLEMENT_FAILED, S.REFUNDED,
    } == AT_REST  # fmt: skip


def test_only_failed_voided_and_refunded_payments_make_room_for_another() -> None:
    assert set(PaymentState) - LIVE == {S.FAILED, S.VOIDED, S.REFUNDED}


@given(state=states, event=events)
def test_a_move_is_an_arrow_or_a_remark_or_refused(state: PaymentState, event: AnyEvent) -> None:
    arrows = {(source, name): target for source, name, target in payment_transitions()}
    expected = state if isinstance(event, Remark) else arrows.get((state, event))

    if expected is None:
        with pytest.raises(IllegalTransitionError) as refusal:
            next_state(state, event)
        assert (refusal.value.state, refusal.value.event) == (state, event)
    else:
        assert next_state(state, event) is expected


@given(state=states)
def test_unknown_never_decays_into_failed(state: PaymentState) -> None:
    assert next_state(state, Remark.OUTCOME_UNKNOWN) is state


def test_a_refusal_says_which_move_was_refused() -> None:
    error = IllegalTransitionError(S.VOIDED, E.INITIATE_SETTLEMENT)

    assert error.sentence == (
        'A payment that is Voided has no transition "Initiate settlement". Nothing was changed.'
    )
    assert error.facts == {"state": "Voided", "event": "Initiate settlement"}
    assert error.http_status == 409


def test_nothing_is_captured_after_a_void_nor_voided_after_a_capture() -> None:
    reachable_from_voided = _reachable(S.VOIDED)
    reachable_from_capturing = _reachable(S.CAPTURING)

    assert reachable_from_voided == {S.VOIDED}
    assert S.VOIDED not in reachable_from_capturing


def test_every_state_can_be_reached_and_every_state_can_come_to_rest() -> None:
    assert _reachable(S.INITIATED) == set(PaymentState)
    for state in PaymentState:
        assert _reachable(state) & AT_REST


def test_the_seeds_service_payment_folds_to_settled() -> None:
    history = [
        "Customer submits payment", "Gateway called", "Gateway processing", "Funds reserved",
        "Delivery confirmed", "Initiate settlement", "Capture accepted", "Bank confirms",
    ]  # fmt: skip

    assert fold(history) is S.SETTLED


def test_a_partial_refund_and_then_the_rest_fold_to_refunded() -> None:
    history = [
        E.CUSTOMER_SUBMITS_PAYMENT, E.GATEWAY_PROCESSING, E.FUNDS_RESERVED, E.INITIATE_SETTLEMENT,
        E.BANK_CONFIRMS, B.REFUND_REQUESTED, B.REFUND_LEAVES_REMAINDER, B.REFUND_REQUESTED,
        E.REFUND_COMPLETE,
    ]  # fmt: skip

    assert fold(history) is S.REFUNDED


@given(st.lists(events, max_size=12))
def test_folding_is_following_one_move_after_the_other(tail: list[AnyEvent]) -> None:
    state = S.INITIATED
    history: list[str] = [E.CUSTOMER_SUBMITS_PAYMENT]
    for event in tail:
        try:
            state = next_state(state, event)
        except IllegalTransitionError:
            continue
        history.append(event.value)

    assert fold(history) is state


@pytest.mark.parametrize(
    ("history", "position", "event", "state"),
    [
        ([], 0, None, None),
        (["Gateway processing"], 0, "Gateway processing", None),
        (["Gateway called"], 0, "Gateway called", None),
        (["Customer submits payment", "Money rains"], 1, "Money rains", S.INITIATED),
        (["Customer submits payment", "Bank confirms"], 1, "Bank confirms", S.INITIATED),
        (["Customer submits payment"] * 2, 1, "Customer submits payment", S.INITIATED),
    ],
)
def test_a_broken_history_says_where_it_breaks(
    history: list[str], position: int, event: str | None, state: PaymentState | None
) -> None:
    with pytest.raises(BrokenHistoryError) as broken:
        fold(history)

    assert (broken.value.position, broken.value.event, broken.value.state) == (
        position,
        event,
        state,
    )


def _reachable(start: PaymentState) -> set[PaymentState]:
    """Return every state that moves from here lead to, itself included."""
    found = {start}
    while True:
        further = {to for s, _, to in payment_transitions() if s in found} - found
        if not further:
            return found
        found |= further

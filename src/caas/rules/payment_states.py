"""The payment state machine (Diagram 9).

Theory of operation
-------------------

A payment is in exactly one of the ten states of Diagram 9. An *event* is one of three kinds:

- A `PaymentEvent` is an arrow of the diagram, with the arrow's label. `DIAGRAM_9` is the table of
  those arrows, one row per state. A terminal state has the row `{}`.
- A `BeyondEvent` is an arrow that the seed needs but does not draw: a withdrawal (desistimiento)
  starts from Settled, an authorization expires, a bank reverses settled money. `BEYOND_DIAGRAM_9`
  is their table, and each event names the decision that allows it.
- A `Remark` is recorded and changes no state. After a time-out, "Outcome unknown" keeps the payment
  Pending until there is evidence; unknown never becomes Failed by itself (decision 3). Remarks are
  legal in every state, terminal ones too, so a late outcome is never dropped (decision 10).

The first event of every payment is "Customer submits payment". From there `next_state` is a lookup;
a failed lookup raises `IllegalTransitionError` and changes nothing. `fold` replays a history by the
same lookup; invariant 5 uses it to compare a payment's state with its events.

A partial refund returns Refunding to Settled ("Refund leaves remainder") and can be repeated; only
a full refund is "Refund complete". A refund that fails after it had succeeded ("Refund returned")
returns Refunded to Settled; in any other state only the refunded amount changes.

`AT_REST` are the states in which a payment can stay indefinitely without a job. `LIVE` are those
that block a second payment for the same subject and type (decision 12).

The tables do not express guards on amounts and rows: a refund needs received money (decision 6), a
capture needs evidence (decision 14), capture and void exclude each other (decision 7). The database
checks those in the statement that applies the transition.

Rules a change must keep:

1. Every payment transition is in one of the two literals.
2. `DIAGRAM_9` holds exactly the seed's arrows.
3. Names of states and events are stored: renaming one needs a migration.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, NamedTuple

from caas.errors import CaasError, ConflictError


class PaymentState(StrEnum):
    """The ten states of Diagram 9."""

    INITIATED = "Initiated"
    PENDING = "Pending"
    AUTHORIZED = "Authorized"
    CAPTURING = "Capturing"
    SETTLED = "Settled"
    SETTLEMENT_FAILED = "SettlementFailed"
    FAILED = "Failed"
    VOIDED = "Voided"
    REFUNDING = "Refunding"
    REFUNDED = "Refunded"


class PaymentEvent(StrEnum):
    """The labels of Diagram 9's arrows."""

    CUSTOMER_SUBMITS_PAYMENT = "Customer submits payment"
    GATEWAY_PROCESSING = "Gateway processing"
    FUNDS_RESERVED = "Funds reserved"
    GATEWAY_REJECTION = "Gateway rejection"
    INITIATE_SETTLEMENT = "Initiate settlement"
    CANCEL_BEFORE_CAPTURE = "Cancel before capture"
    BANK_CONFIRMS = "Bank confirms"
    BANK_REJECTS = "Bank rejects"
    REVERSE_TRANSACTION = "Reverse transaction"
    REFUND_COMPLETE = "Refund complete"


class BeyondEvent(StrEnum):
    """Arrows that the seed needs and does not draw; `DECISIONS` names the decision for each."""

    NEVER_SENT = "Never sent"
    CUSTOMER_ABANDONS = "Customer abandons"
    OPERATORS_DECIDE_NOT_CHARGED = "Operators decide not charged"
    AUTHORIZATION_EXPIRED = "Authorization expired"
    CAPTURE_REFUSED = "Capture refused"
    BANK_REVERSES = "Bank reverses"
    REFUND_REQUESTED = "Refund requested"
    REFUND_FAILED = "Refund failed"
    REFUND_LEAVES_REMAINDER = "Refund leaves remainder"
    REFUND_RETURNED = "Refund returned"


class Remark(StrEnum):
    """Events that are recorded and change no state."""

    GATEWAY_CALLED = "Gateway called"
    GATEWAY_CHANGED = "Gateway changed"
    OUTCOME_UNKNOWN = "Outcome unknown"
    CUSTOMER_ACTION_REQUIRED = "Customer action required"
    DELIVERY_CONFIRMED = "Delivery confirmed"
    DELIVERY_FAILED = "Delivery failed"
    EVIDENCE_REFUSED = "Evidence refused"
    VOID_REQUESTED = "Void requested"
    CAPTURE_ACCEPTED = "Capture accepted"
    PARTIALLY_SETTLED = "Partially settled"
    FEE_BOOKED = "Fee booked"
    REFUND_RECORDED = "Refund recorded"
    DISPUTE_OPENED = "Dispute opened"
    DISPUTE_WON = "Dispute won"
    DISPUTE_LOST = "Dispute lost"
    DISPUTE_REVERSED = "Dispute reversed"
    DISPUTE_COUNTED = "Dispute counted"
    LOSS_BOOKED = "Loss booked"
    LATE_OUTCOME = "Late outcome"
    DEPOSIT_HELD = "Deposit held"
    DEPOSIT_DECIDED = "Deposit decided"


AnyEvent = PaymentEvent | BeyondEvent | Remark
"""Every event that can appear in a payment's history."""

_S = PaymentState
_E = PaymentEvent
_B = BeyondEvent

START: Final = PaymentState.INITIATED
"""The state after "Customer submits payment"."""

DIAGRAM_9: Final[dict[PaymentState, dict[PaymentEvent, PaymentState]]] = {
    _S.INITIATED: {_E.GATEWAY_PROCESSING: _S.PENDING},
    _S.PENDING: {_E.FUNDS_RESERVED: _S.AUTHORIZED, _E.GATEWAY_REJECTION: _S.FAILED},
    _S.AUTHORIZED: {_E.INITIATE_SETTLEMENT: _S.CAPTURING, _E.CANCEL_BEFORE_CAPTURE: _S.VOIDED},
    _S.CAPTURING: {_E.BANK_CONFIRMS: _S.SETTLED, _E.BANK_REJECTS: _S.SETTLEMENT_FAILED},
    _S.SETTLED: {},
    _S.FAILED: {},
    _S.VOIDED: {},
    _S.SETTLEMENT_FAILED: {_E.REVERSE_TRANSACTION: _S.REFUNDING},
    _S.REFUNDING: {_E.REFUND_COMPLETE: _S.REFUNDED},
    _S.REFUNDED: {},
}

BEYOND_DIAGRAM_9: Final[dict[PaymentState, dict[BeyondEvent, PaymentState]]] = {
    _S.INITIATED: {_B.NEVER_SENT: _S.FAILED},
    _S.PENDING: {
        _B.NEVER_SENT: _S.FAILED,
        _B.CUSTOMER_ABANDONS: _S.FAILED,
        _B.OPERATORS_DECIDE_NOT_CHARGED: _S.FAILED,
    },
    _S.AUTHORIZED: {_B.AUTHORIZATION_EXPIRED: _S.VOIDED},
    _S.CAPTURING: {_B.CAPTURE_REFUSED: _S.SETTLEMENT_FAILED},
    _S.SETTLED: {
        _B.REFUND_REQUESTED: _S.REFUNDING,
        _B.BANK_REVERSES: _S.SETTLEMENT_FAILED,
        _B.REFUND_RETURNED: _S.SETTLED,
    },
    _S.SETTLEMENT_FAILED: {_B.REFUND_RETURNED: _S.SETTLEMENT_FAILED},
    _S.REFUNDING: {
        _B.REFUND_FAILED: _S.SETTLED,
        _B.REFUND_LEAVES_REMAINDER: _S.SETTLED,
        _B.REFUND_RETURNED: _S.REFUNDING,
    },
    _S.REFUNDED: {_B.REFUND_RETURNED: _S.SETTLED},
}

DECISIONS: Final[dict[BeyondEvent, tuple[int, ...]]] = {
    _B.NEVER_SENT: (3,),
    _B.CUSTOMER_ABANDONS: (24,),
    _B.OPERATORS_DECIDE_NOT_CHARGED: (3,),
    _B.AUTHORIZATION_EXPIRED: (9,),
    _B.CAPTURE_REFUSED: (17,),
    _B.BANK_REVERSES: (17, 37),
    _B.REFUND_REQUESTED: (5,),
    _B.REFUND_FAILED: (5,),
    _B.REFUND_LEAVES_REMAINDER: (5,),
    _B.REFUND_RETURNED: (290,),
}

AT_REST: Final = frozenset({
    _S.SETTLED, _S.FAILED, _S.VOIDED, _S.SETTLEMENT_FAILED, _S.REFUNDED,
})  # fmt: skip
"""States in which a payment needs no job (invariant 7)."""

LIVE: Final = frozenset(PaymentState) - {_S.FAILED, _S.VOIDED, _S.REFUNDED}
"""States that block a second payment for the same subject and type (decision 12, invariant 3)."""


class Arrow(NamedTuple):
    """One legal transition as (source, event, target)."""

    source: PaymentState
    event: PaymentEvent | BeyondEvent
    target: PaymentState


class IllegalTransitionError(ConflictError):
    """The payment cannot make this transition from its current state. Nothing was changed."""

    code = "illegal_transition"

    def __init__(self, state: PaymentState, event: AnyEvent) -> None:
        """Record the state and the event."""
        self.state = state
        self.event = event
        sentence = f'A payment that is {state} has no transition "{event}". Nothing was changed.'
        super().__init__(sentence, state=state.value, event=event.value)


class BrokenHistoryError(CaasError):
    """The payment's events are not a history that Diagram 9 allows."""

    code = "broken_history"

    def __init__(self, position: int, event: str | None, state: PaymentState | None) -> None:
        """Record the position of the first illegal event, counted from zero."""
        self.position = position
        self.event = event
        self.state = state
        came_from = "the start" if state is None else state.value
        what = "nothing" if event is None else f'"{event}"'
        sentence = f"The history breaks at event {position}: {what} cannot follow {came_from}."
        super().__init__(sentence, position=position, event=event, state=state)


def payment_transitions() -> list[Arrow]:
    """Return every transition of both literals, the diagram's first."""
    drawn = [Arrow(s, event, to) for s, row in DIAGRAM_9.items() for event, to in row.items()]
    beyond = [Arrow(s, e, to) for s, row in BEYOND_DIAGRAM_9.items() for e, to in row.items()]
    return drawn + beyond


_TRANSITIONS: Final[dict[tuple[str | None, str], PaymentState]] = {
    (None, PaymentEvent.CUSTOMER_SUBMITS_PAYMENT): START,
    **{(source, event): target for source, event, target in payment_transitions()},
}
_REMARKS: Final[frozenset[str]] = frozenset(Remark)


def next_state(state: PaymentState, event: AnyEvent) -> PaymentState:
    """Return the state this event leads to; a remark keeps the state.

    Raises:
        IllegalTransitionError: neither literal has an arrow for this state and event.
    """
    target = _target(state, event)
    if target is None:
        raise IllegalTransitionError(state, event)
    return target


def fold(events: Iterable[str]) -> PaymentState:
    """Replay a payment's event names, oldest first, and return the final state (invariant 5).

    Raises:
        BrokenHistoryError: the history is empty, does not begin with "Customer submits payment",
            contains an unknown name or an illegal transition.
    """
    state: PaymentState | None = None
    for position, event in enumerate(events):
        target = _target(state, event)
        if target is None:
            raise BrokenHistoryError(position, event, state)
        state = target
    if state is None:
        raise BrokenHistoryError(0, None, None)
    return state


def mermaid(*, beyond: bool = True) -> str:
    """Render the state machine in Mermaid; without `beyond`, only the seed's Diagram 9."""
    arrows = [
        arrow for arrow in payment_transitions() if beyond or isinstance(arrow.event, PaymentEvent)
    ]
    lines = [
        "stateDiagram-v2",
        f'    [*] --> {START}: "{PaymentEvent.CUSTOMER_SUBMITS_PAYMENT}"',
        *(f'    {source} --> {target}: "{_label(event)}"' for source, event, target in arrows),
        *(f'    {state} --> [*]: "Complete"' for state, row in DIAGRAM_9.items() if not row),
    ]
    return "\n".join(lines) + "\n"


def _target(state: PaymentState | None, event: str) -> PaymentState | None:
    """Look up the target; before the first event there is no state, and no remark is legal."""
    return state if event in _REMARKS else _TRANSITIONS.get((state, event))


def _label(event: PaymentEvent | BeyondEvent) -> str:
    """Label the arrow, with its decision when the seed does not draw it."""
    if isinstance(event, PaymentEvent):
        return event.value
    numbers = ", ".join(str(number) for number in DECISIONS[event])
    return f"{event.value} (decision {numbers})"

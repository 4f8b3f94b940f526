"""The one door through which a payment changes (Diagram 9).

A move is a guarded state change, its event, the claim and evidence behind it, its ledger entries,
the jobs it ends and the jobs it begins: all in one statement and one commit, together
with the moves of whoever else is writing at that moment.

Rules a change must keep: a move whose guard fails changes nothing and is told so; the same source
never moves a payment twice; nothing outside this module writes to payments or payment_events; the
event of a move states the amounts that the move adds, so that the amounts follow from the events.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec
from msgspec import structs

from caas.billing_database.batching import Batcher
from caas.billing_database.connection import Connection, Database
from caas.billing_database.ota_command import OtaCommand
from caas.rules.payment_states import BeyondEvent, PaymentEvent, PaymentState, Remark, next_state
from caas.rules.postings import Entry

if TYPE_CHECKING:
    from caas.billing_database.payments import Payment

AMOUNTS: Final = ("authorized", "captured", "settled", "refunded", "disputed")
"""What a move may add to, by the names of the payment's `<name>_amount` columns."""

STATED = ("gateway_transaction_id", "decline_code", "capture_before")
"""What of a payment its event states as well, because money or a reservation hangs on it."""

APPLY = "select * from apply_transitions($1) order by i"


class NewJob(msgspec.Struct, frozen=True):
    """Something that must still happen, `due_in` seconds from the commit of the move."""

    kind: str
    due_in: float = 0.0
    payload: dict[str, Any] | None = None


class Claim(msgspec.Struct, frozen=True):
    """The capture or void claim of an authorization (decision 7); a capture names its evidence."""

    kind: str
    reason: str
    evidence_id: UUID | None = None
    evidence_kind: str | None = None


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What proves a delivery; `signature` is base64, `at` the text the vehicle signed."""

    id: UUID
    kind: str
    status: str = "SUCCEEDED"
    status_reason: str | None = None
    command_id: UUID | None = None
    epoch: int | None = None
    vin: str | None = None
    service: str | None = None
    at: str | None = None
    signature: str | None = None


class Command(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A command for the vehicle, carrying the desired state that the move leaves (decision 82).

    Which action, for whom and until when is worked out in the commit. With `resend_in` a job sends
    it again until the vehicle has answered. Times in seconds from the commit.
    """

    command_id: UUID
    deadline_in: float
    resend_in: float | None = None


class Transition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One guarded step of one payment; amounts are added to the payment's own, in minor units."""

    payment_id: UUID
    event: str
    from_state: str
    to_state: str
    source: str
    if_version: int | None = None
    facts: dict[str, Any] | None = None
    outcome: str | None = None
    gateway_transaction_id: str | None = None
    hosted_page_url: str | None = None
    decline_code: str | None = None
    capture_before: datetime | None = None
    authorized: int | None = None
    captured: int | None = None
    settled: int | None = None
    refunded: int | None = None
    disputed: int | None = None
    claim: Claim | None = None
    evidence: Evidence | None = None
    command: Command | None = None
    entries: tuple[Entry, ...] | None = None
    done: tuple[str, ...] | None = None
    next: tuple[NewJob, ...] | None = None


class TransitionResult(msgspec.Struct, frozen=True):
    """What became of a move: whether it happened, and where the payment stands now.

    `command` is the vehicle command that was committed with it, if there is one.
    """

    transitioned: bool
    state: PaymentState
    version: int
    claim: str | None
    command: OtaCommand | None = None


def transition_of(
    payment: "Payment", event: PaymentEvent | BeyondEvent | Remark, *, source: str, **step: Any
) -> Transition:
    """Build the move that `event` makes from where the payment was last seen.

    Raises:
        IllegalTransitionError: no arrow with this event leaves the payment's state.
    """
    return Transition(
        payment_id=payment.id,
        event=event.value,
        from_state=payment.state.value,
        to_state=next_state(payment.state, event).value,
        source=source,
        **step,
    )


def _ignore(_command: OtaCommand) -> None:
    """Nobody sends commands from here."""


class PaymentTransitions:
    """Applies moves, joined into few statements."""

    def __init__(
        self, database: Database, *, commanded: Callable[[OtaCommand], None] = _ignore
    ) -> None:
        """Write through this database; `commanded` hears of each vehicle command once committed."""
        self._database = database
        self._commanded = commanded
        self._batcher = Batcher(self._apply_batch)

    async def apply(
        self, transition: Transition, *, within: Connection | None = None
    ) -> TransitionResult:
        """Apply one move; inside the caller's transaction when one is given."""
        if within is not None:
            return (await _apply(within, [transition]))[0]
        transitioned = await self._batcher.write(transition, keys=(transition.payment_id,))
        if transitioned.command is not None:
            self._commanded(transitioned.command)
        return transitioned

    async def apply_all(
        self, transitions: Sequence[Transition], *, within: Connection
    ) -> list[TransitionResult]:
        """Apply many moves in one statement of the caller's transaction (reconciliation)."""
        return await _apply(within, transitions) if transitions else []

    async def _apply_batch(self, transitions: Sequence[Transition]) -> list[TransitionResult]:
        return await self._database.in_statement(lambda connection: _apply(connection, transitions))


async def _apply(
    connection: Connection, transitions: Sequence[Transition]
) -> list[TransitionResult]:
    stated = [_stating(transition) for transition in transitions]
    rows = await connection.fetch(APPLY, msgspec.json.encode(stated).decode())
    assert len(rows) == len(transitions), "every move is answered"
    return [_transition_result(*row.values()) for row in rows]


def _transition_result(_i: int, transitioned: object, state: str, *rest: Any) -> TransitionResult:
    """Read a row of apply_transitions: its columns in their order, those of the command last."""
    version, claim, *command = rest
    sent = None if command[0] is None else OtaCommand(*command)
    return TransitionResult(bool(transitioned), PaymentState(state), version, claim, sent)


def _stating(transition: Transition) -> Transition:
    """State in the event's facts what the move adds to the payment's amounts, and writes once."""
    added = {name: amount for name in AMOUNTS if (amount := getattr(transition, name))}
    stated = {name: stated for name in STATED if (stated := getattr(transition, name)) is not None}
    if added:
        stated["amounts"] = added
    return (
        structs.replace(transition, facts=(transition.facts or {}) | stated)
        if stated
        else transition
    )

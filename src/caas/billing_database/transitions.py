"""Applies payment transitions (Diagram 9); the only module that writes payments and their events.

A transition is a guarded state change with its event, claim, evidence, ledger entries, finished
jobs and new jobs, in one statement and transaction, batched with concurrent ones.

Rules a change must keep: a transition whose guard fails changes nothing and reports that; one
source never applies twice; the event states the amounts that the transition adds, so that amounts
derive from events.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec
from msgspec import structs

from caas.billing_database.batching import Batcher
from caas.billing_database.connection import Connection, Database
from caas.billing_database.ota_commands import OtaCommand
from caas.rules.payment_states import BeyondEvent, PaymentEvent, PaymentState, Remark, next_state
from caas.rules.postings import Entry

if TYPE_CHECKING:
    from caas.billing_database.payments import Payment

AMOUNTS: Final = ("authorized", "captured", "settled", "refunded", "disputed")
"""The amounts a transition can add to: the payment's `<name>_amount` columns."""

STATED = ("gateway_transaction_id", "decline_code", "capture_before")
"""Payment columns repeated in the event, because money or a reservation depends on them."""

APPLY = "select * from apply_transitions($1) order by i"
APPLIED = "select 1 from payment_events where payment_id = $1 and source = $2"


class NewJob(msgspec.Struct, frozen=True):
    """A job to create, due `due_in` seconds after the commit."""

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
    """Evidence of delivery; `signature` is base64, `at` the text the vehicle signed."""

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
    """A vehicle command for the desired state after the transition (decision 82).

    Action and term are determined on commit. With `resend_in`, a job resends it until the vehicle
    responds. Times are in seconds from the commit.
    """

    command_id: UUID
    deadline_in: float
    resend_in: float | None = None


class Transition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A guarded transition of one payment; amounts are added, in minor units."""

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
    """The result: whether the transition was applied, and the payment's state.

    `command` is the vehicle command committed with it, if any.
    """

    transitioned: bool
    state: PaymentState
    version: int
    claim: str | None
    command: OtaCommand | None = None


def transition_of(
    payment: "Payment", event: PaymentEvent | BeyondEvent | Remark, *, source: str, **step: Any
) -> Transition:
    """Build the transition for `event` from the payment's last known state.

    Raises:
        IllegalTransitionError: the state does not allow this event.
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
    """Ignore committed commands."""


class PaymentTransitions:
    """Applies moves, joined into few statements."""

    def __init__(
        self, database: Database, *, commanded: Callable[[OtaCommand], None] = _ignore
    ) -> None:
        """Write through this database; call `commanded` with each committed vehicle command."""
        self._database = database
        self._commanded = commanded
        self._batcher = Batcher(self._apply_batch)

    async def apply(
        self, transition: Transition, *, within: Connection | None = None
    ) -> TransitionResult:
        """Apply one transition, in the caller's transaction if one is given."""
        if within is not None:
            return (await _apply(within, [transition]))[0]
        transitioned = await self._batcher.write(transition, keys=(transition.payment_id,))
        if transitioned.command is not None:
            self._commanded(transitioned.command)
        return transitioned

    async def is_applied(self, payment_id: UUID, source: str) -> bool:
        """Return whether a transition from this source was applied to the payment."""
        return await self._database.fetchrow(APPLIED, payment_id, source) is not None

    async def apply_all(
        self, transitions: Sequence[Transition], *, within: Connection
    ) -> list[TransitionResult]:
        """Apply many transitions in one statement of the caller's transaction (reconciliation)."""
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
    """Convert a row of apply_transitions; the command's columns come last."""
    version, claim, *command = rest
    sent = None if command[0] is None else OtaCommand(*command)
    return TransitionResult(bool(transitioned), PaymentState(state), version, claim, sent)


def _stating(transition: Transition) -> Transition:
    """Add the transition's amounts and first-time values to the event's facts."""
    added = {name: amount for name in AMOUNTS if (amount := getattr(transition, name))}
    stated = {name: stated for name in STATED if (stated := getattr(transition, name)) is not None}
    if added:
        stated["amounts"] = added
    return (
        structs.replace(transition, facts=(transition.facts or {}) | stated)
        if stated
        else transition
    )

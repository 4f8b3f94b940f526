"""The one door through which a payment changes (Diagram 9).

A move is a guarded state change, its event, the claim and evidence behind it, its ledger entries,
the open work it ends and the open work it begins: all in one statement and one commit, together
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

AMOUNTS: Final = ("authorised", "captured", "settled", "refunded", "disputed")
"""What a move may add to, by the names of the payment's `<name>_amount` columns."""

STATED = ("gateway_transaction_id", "decline_code", "capture_before")
"""What of a payment its event states as well, because money or a reservation hangs on it."""

MOVE = "select * from move_payments($1) order by i"


class Work(msgspec.Struct, frozen=True):
    """Something that must still happen, `due_in` seconds from the commit of the move."""

    kind: str
    due_in: float = 0.0
    payload: dict[str, Any] | None = None


class Claim(msgspec.Struct, frozen=True):
    """The capture or void claim of an authorisation (decision 7); a capture names its evidence."""

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


class Move(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
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
    authorised: int | None = None
    captured: int | None = None
    settled: int | None = None
    refunded: int | None = None
    disputed: int | None = None
    claim: Claim | None = None
    evidence: Evidence | None = None
    command: Command | None = None
    entries: tuple[Entry, ...] | None = None
    done: tuple[str, ...] | None = None
    next: tuple[Work, ...] | None = None


class Moved(msgspec.Struct, frozen=True):
    """What became of a move: whether it happened, and where the payment stands now.

    `command` is the vehicle command that was committed with it, if there is one.
    """

    moved: bool
    state: PaymentState
    version: int
    claim: str | None
    command: OtaCommand | None = None


def move_of(
    payment: "Payment", event: PaymentEvent | BeyondEvent | Remark, *, source: str, **step: Any
) -> Move:
    """Build the move that `event` makes from where the payment was last seen.

    Raises:
        IllegalTransitionError: no arrow with this event leaves the payment's state.
    """
    return Move(
        payment_id=payment.id,
        event=event.value,
        from_state=payment.state.value,
        to_state=next_state(payment.state, event).value,
        source=source,
        **step,
    )


def _heard_by_nobody(_command: OtaCommand) -> None:
    """Nobody sends commands from here."""


class Moves:
    """Applies moves, joined into few statements."""

    def __init__(
        self, database: Database, *, commanded: Callable[[OtaCommand], None] = _heard_by_nobody
    ) -> None:
        """Write through this database; `commanded` hears of each vehicle command once committed."""
        self._database = database
        self._commanded = commanded
        self._batcher = Batcher(self._apply_batch)

    async def apply(self, move: Move, *, within: Connection | None = None) -> Moved:
        """Apply one move; inside the caller's transaction when one is given."""
        if within is not None:
            return (await _apply(within, [move]))[0]
        moved = await self._batcher.write(move, keys=(move.payment_id,))
        if moved.command is not None:
            self._commanded(moved.command)
        return moved

    async def apply_all(self, moves: Sequence[Move], *, within: Connection) -> list[Moved]:
        """Apply many moves in one statement of the caller's transaction (reconciliation)."""
        return await _apply(within, moves) if moves else []

    async def _apply_batch(self, moves: Sequence[Move]) -> list[Moved]:
        return await self._database.in_statement(lambda connection: _apply(connection, moves))


async def _apply(connection: Connection, moves: Sequence[Move]) -> list[Moved]:
    stated = [_stating(move) for move in moves]
    rows = await connection.fetch(MOVE, msgspec.json.encode(stated).decode())
    assert len(rows) == len(moves), "every move is answered"
    return [_moved(*row.values()) for row in rows]


def _moved(_i: int, moved: object, state: str, *rest: Any) -> Moved:
    """Read a row of move_payments: its columns in their order, those of the command last."""
    version, claim, *command = rest
    sent = None if command[0] is None else OtaCommand(*command)
    return Moved(bool(moved), PaymentState(state), version, claim, sent)


def _stating(move: Move) -> Move:
    """State in the event's facts what the move adds to the payment's amounts, and writes once."""
    added = {name: amount for name in AMOUNTS if (amount := getattr(move, name))}
    stated = {name: said for name in STATED if (said := getattr(move, name)) is not None}
    if added:
        stated["amounts"] = added
    return structs.replace(move, facts=(move.facts or {}) | stated) if stated else move

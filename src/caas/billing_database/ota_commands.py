"""Commands to vehicles and what vehicles answered, as rows (OTA Activation Engine).

Rules a change must keep: both tables are append-only; an acknowledgement that does not prove
anything is kept with the reason; reads of the hot path are joined like its writes; what is
remembered of a command is what the database answered when it was committed, and is used once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Final
from uuid import UUID

from caas.billing_database.batching import Batcher, joined_reads
from caas.billing_database.connection import Connection, Database
from caas.billing_database.identifiers import new_id
from caas.billing_database.moves import Move, Moved

KEYS_KNOWN_MAX: Final = 50_000
COMMANDS_AT_HAND_MAX: Final = 10_000

COLUMNS: Final = """
select command_id, subject, vin, service, action, purpose, epoch, valid_until, deadline,
       created_at, deadline <= db_now() as overdue,
       exists (select from resolution_claims c where c.payment_id = k.subject) as resolved
  from ota_commands k
"""
BY_ID: Final = COLUMNS + " where command_id = any ($1)"
LAST_OF_SUBJECTS: Final = (
    COLUMNS
    + """
 where (subject, action, epoch) in (
   select k.subject, k.action, max(k.epoch) from ota_commands k
     join unnest($1::uuid[], $2::text[]) as w(subject, action)
       on w.subject = k.subject and w.action = k.action
    group by k.subject, k.action)
"""
)
ADD: Final = """
insert into ota_commands (command_id, subject, vin, service, action, purpose, valid_until,
    deadline, created_at)
values ($1, $2, $3, $4, $5, $6, db_now() + make_interval(secs => $7),
    db_now() + make_interval(secs => $8), db_now())
on conflict (command_id) do nothing
"""
RECORD: Final = """
insert into delivery_evidence (id, subject, kind, command_id, action, epoch, vin, service, status,
    status_reason, at, signature, verified, refused_because, recorded_at)
values ($1, $2, 'vehicle_acknowledgement', $3,
        (select action from ota_commands where command_id = $3), $4, $5, $6, $7, $8, $9, $10, $11,
        $12, db_now())
on conflict do nothing returning id
"""
ANSWERS: Final = """
select command_id, status, status_reason, at, signature, verified, refused_because, recorded_at
  from delivery_evidence where subject = $1 order by recorded_at limit 100
"""
PUBLIC_KEYS: Final = "select vin, public_key from vehicles where vin = any ($1)"


@dataclass(frozen=True, slots=True)
class OtaCommand:
    """A command for a vehicle, as it was recorded before it was sent."""

    command_id: UUID
    subject: UUID
    vin: str
    service: str
    action: str
    purpose: str
    epoch: int
    valid_until: datetime | None
    deadline: datetime
    created_at: datetime
    overdue: bool
    resolved: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VehicleAnswer:
    """What a vehicle said, verified or refused with the reason."""

    subject: UUID
    command_id: UUID | None
    epoch: int | None
    vin: str
    service: str
    status: str
    status_reason: str | None
    at: str
    signature: bytes
    refused_because: str | None = None


class OtaCommands:
    """The tables of commands and acknowledgements."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database
        self._commands: Batcher[UUID, OtaCommand | None] = joined_reads(
            database, BY_ID, lambda row: OtaCommand(**row), by="command_id"
        )
        self._last: Batcher[tuple[UUID, str], OtaCommand | None] = Batcher(self._read_last)
        self._keys: Batcher[str, bytes | None] = joined_reads(
            database, PUBLIC_KEYS, itemgetter("public_key"), by="vin"
        )
        self._known_keys: dict[str, bytes] = {}
        self._unsent: dict[tuple[UUID, str], OtaCommand] = {}
        self._unanswered: dict[UUID, OtaCommand] = {}

    def committed(self, move: Move, moved: Moved) -> None:
        """Keep the command of a move at hand until it is sent, and until it is answered."""
        command = _command_of(move, moved)
        for at_hand in (self._unsent, self._unanswered):
            if len(at_hand) >= COMMANDS_AT_HAND_MAX:
                at_hand.clear()
        self._unsent[command.subject, command.action] = command
        self._unanswered[command.command_id] = command

    async def command(self, command_id: UUID) -> OtaCommand | None:
        """Return a command, or None when we never made it; the second look is a fresh one."""
        at_hand = self._unanswered.pop(command_id, None)
        return at_hand or await self._commands.write(command_id)

    async def public_key(self, vin: str) -> bytes | None:
        """Return the vehicle's public key, or None when we know none; a known key never changes."""
        known = self._known_keys.get(vin)
        if known is not None:
            return known
        key = await self._keys.write(vin)
        if key is not None:
            if len(self._known_keys) >= KEYS_KNOWN_MAX:
                self._known_keys.clear()
            self._known_keys[vin] = key
        return key

    async def to_send(self, subject: UUID, action: str) -> OtaCommand | None:
        """Return the newest command of a subject; one that was just committed is at hand."""
        return self._unsent.pop((subject, action), None) or await self.last_of(subject, action)

    async def last_of(self, subject: UUID, action: str) -> OtaCommand | None:
        """Return the newest command of a subject."""
        return await self._last.write((subject, action))

    async def add(  # noqa: PLR0913  # the columns of a command
        self,
        *,
        command_id: UUID,
        subject: UUID,
        vin: str,
        service: str,
        action: str,
        purpose: str,
        deadline_in: float,
        valid_for: float | None = None,
        within: Connection | None = None,
    ) -> None:
        """Record a command before it is sent; the same command id is recorded once."""
        self._unsent.pop((subject, action), None)
        await (within or self._database).fetch(
            ADD, command_id, subject, vin, service, action, purpose, valid_for, deadline_in
        )

    async def record(
        self, answer: VehicleAnswer, *, within: Connection | None = None
    ) -> UUID | None:
        """Keep what a vehicle said; None when exactly this was kept already."""
        row = await (within or self._database).fetchrow(
            RECORD,
            new_id(),
            answer.subject,
            answer.command_id,
            answer.epoch,
            answer.vin,
            answer.service,
            answer.status,
            answer.status_reason,
            answer.at,
            answer.signature,
            answer.refused_because is None,
            answer.refused_because,
        )
        return None if row is None else row["id"]

    async def answers(self, subject: UUID) -> list[dict[str, object]]:
        """Return everything vehicles said about a subject, in order."""
        return [dict(row) for row in await self._database.fetch(ANSWERS, subject)]

    async def _read_last(self, wanted: Sequence[tuple[UUID, str]]) -> list[OtaCommand | None]:
        subjects, actions = zip(*wanted, strict=True)
        rows = await self._database.fetch(LAST_OF_SUBJECTS, list(subjects), list(actions))
        found = {(row["subject"], row["action"]): OtaCommand(**dict(row)) for row in rows}
        return [found.get(one) for one in wanted]


def _command_of(move: Move, moved: Moved) -> OtaCommand:
    command = move.command
    assert command is not None, "only a move with a command commits one"
    assert moved.epoch is not None, "the database numbers every command"
    assert moved.deadline is not None, "the database dates every command"
    return OtaCommand(
        command_id=command.command_id,
        subject=move.payment_id,
        vin=command.vin,
        service=command.service,
        action=command.action,
        purpose="service payment",
        epoch=moved.epoch,
        valid_until=moved.valid_until,
        deadline=moved.deadline,
        created_at=moved.deadline - timedelta(seconds=command.deadline_in),
        overdue=False,
        resolved=move.claim is not None,
    )

"""Vehicle commands and acknowledgements (OTA Activation Engine, Diagram 4).

Rules a change must keep: a command is recorded before it is sent; both tables are append-only; the
content of an invalid acknowledgement is not stored: it is counted by reason in a bounded number of
rows (decision 106); hot-path reads are batched like writes; a cached command is what the database
returned on commit, and is used once.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.batching import Batcher, joined_reads
from caas.billing_database.connection import Connection, Database
from caas.billing_database.identifiers import new_id, random_id
from caas.billing_database.rows import columns, read_one, row_as


class OtaCommand(msgspec.Struct, frozen=True):
    """A command and the state it requests."""

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
    attempt: int
    overdue: bool


KEYS_KNOWN_MAX: Final = 50_000
COMMANDS_AT_HAND_MAX: Final = 10_000
REFUSED_ROWS_PER_VEHICLE_AND_HOUR: Final = 20

COLUMNS: Final = f"""
select {columns(OtaCommand, "k", overdue="k.deadline <= db_now()")} from ota_commands k
"""
BY_ID: Final = COLUMNS + " where k.command_id = any ($1)"
LAST_OF_SUBJECTS: Final = (
    COLUMNS
    + """
 where (k.subject, k.action, k.epoch) in (
   select k.subject, k.action, max(k.epoch) from ota_commands k
     join unnest($1::uuid[], $2::text[]) as w(subject, action)
       on w.subject = k.subject and w.action = k.action
    group by k.subject, k.action)
"""
)
LAST_OF_ENTITLEMENTS: Final = (
    COLUMNS
    + """
  join entitlements e on e.last_command = k.command_id
  join unnest($1::text[], $2::text[]) as w(vin, service)
    on w.vin = e.vin and w.service = e.service
"""
)
COMMAND_DESIRED_STATE: Final = f"""
select {columns(OtaCommand, overdue="false")} from command_desired_state($1, $2, $3, $4, $5)
"""
RECORD: Final = """
insert into delivery_evidence (id, subject, kind, command_id, action, epoch, vin, service, status,
    status_reason, at, signature, verified, recorded_at)
values ($1, $2, 'vehicle_acknowledgement', $3,
        (select action from ota_commands where command_id = $3), $4, $5, $6, $7, $8, $9, $10, true,
        db_now())
on conflict do nothing returning id
"""
COUNT_REFUSED: Final = """
with known as (
  select coalesce((select vin from vehicles where vin = $1), '') as vin,
         date_trunc('hour', db_now()) as hour),
room as (
  select k.vin, k.hour,
         exists (select from refused_acknowledgements r
                  where r.vin = k.vin and r.hour = k.hour and r.reason = $2 and r.digest = $3)
         or (select count(*) from refused_acknowledgements r
              where r.vin = k.vin and r.hour = k.hour) < $6 as is_left
    from known k)
insert into refused_acknowledgements as r (vin, hour, reason, digest, command_id, subject, times,
    first_at, last_at)
select vin, hour, $2, case when is_left then $3 else ''::bytea end,
       case when is_left then $4::uuid end, case when is_left then $5::uuid end,
       1, db_now(), db_now() from room
on conflict (vin, hour, reason, digest) do update
   set times = r.times + 1, last_at = greatest(r.last_at, excluded.last_at)
"""
COUNT_UNUSABLE: Final = """
insert into refused_acknowledgements as r (vin, hour, reason, digest, times, first_at, last_at)
select coalesce(v.vin, ''), date_trunc('hour', db_now()), n.reason, ''::bytea, sum(n.times),
       db_now(), db_now()
  from unnest($1::text[], $2::text[], $3::bigint[]) as n (vin, reason, times)
  left join vehicles v on v.vin = n.vin
 group by 1, 3 order by 1, 3
on conflict (vin, hour, reason, digest) do update
   set times = r.times + excluded.times, last_at = greatest(r.last_at, excluded.last_at)
"""
REFUSED_BY_REASON: Final = """
select reason, sum(times)::bigint as times from refused_acknowledgements group by reason
"""
ANSWERS: Final = """
select command_id, status, status_reason, at, signature, recorded_at
  from delivery_evidence where subject = $1 order by recorded_at limit 100
"""
ACKNOWLEDGED: Final = (
    "select exists (select from delivery_evidence where verified and epoch is not null)"
)
PUBLIC_KEYS: Final = "select vin, public_key from vehicles where vin = any ($1)"


class CommandAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A signed message from a vehicle."""

    subject: UUID
    command_id: UUID
    epoch: int
    vin: str
    service: str
    status: str
    status_reason: str | None
    at: str
    signature: bytes


class RefusedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An invalid acknowledgement: its digest and no content.

    `vin` comes from the topic and is stored only for a known vehicle. The command is one of ours.
    """

    vin: str
    reason: str
    digest: bytes
    command_id: UUID | None
    subject: UUID | None


async def count_unusable(database: Database, counts: Mapping[tuple[str, str], int]) -> None:
    """Count unusable messages of a VIN by reason, in one row per vehicle and hour."""
    await database.fetch(
        COUNT_UNUSABLE,
        [vin for vin, _ in counts],
        [reason for _, reason in counts],
        list(counts.values()),
    )


async def has_acknowledgements(database: Database) -> bool:
    """Return whether any vehicle's signed acknowledgement is recorded."""
    row = await database.fetchrow(ACKNOWLEDGED)
    return row is not None and bool(row["exists"])


class OtaCommands:
    """The tables of commands and acknowledgements."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database
        self._commands: Batcher[UUID, OtaCommand | None] = joined_reads(
            database, BY_ID, lambda row: OtaCommand(**row), by="command_id"
        )
        self._last: Batcher[tuple[UUID, str], OtaCommand | None] = Batcher(self._read_last)
        self._newest: Batcher[tuple[str, str], OtaCommand | None] = Batcher(self._read_newest)
        self._keys: Batcher[str, bytes | None] = joined_reads(
            database, PUBLIC_KEYS, itemgetter("public_key"), by="vin"
        )
        self._known_keys: dict[str, bytes] = {}
        self._unsent: dict[tuple[str, str], OtaCommand] = {}
        self._no_answer: dict[UUID, OtaCommand] = {}

    def keep_at_hand(self, command: OtaCommand) -> None:
        """Cache a committed command until it is sent and answered."""
        for at_hand in (self._unsent, self._no_answer):
            if len(at_hand) >= COMMANDS_AT_HAND_MAX:
                at_hand.clear()
        self._unsent[command.vin, command.service] = command
        self._no_answer[command.command_id] = command

    async def command(self, command_id: UUID) -> OtaCommand | None:
        """Return a command, or None if it does not exist; a second lookup bypasses the cache."""
        at_hand = self._no_answer.pop(command_id, None)
        return at_hand or await self._commands.write(command_id)

    async def public_key(self, vin: str) -> bytes | None:
        """Return the vehicle's public key, or None; a known key never changes."""
        known = self._known_keys.get(vin)
        if known is not None:
            return known
        key = await self._keys.write(vin)
        if key is not None:
            if len(self._known_keys) >= KEYS_KNOWN_MAX:
                self._known_keys.clear()
            self._known_keys[vin] = key
        return key

    async def to_send(self, vin: str, service: str) -> OtaCommand | None:
        """Return the newest command for a service; a command just committed is cached."""
        return self._unsent.pop((vin, service), None) or await self._newest.write((vin, service))

    async def last_of(self, subject: UUID, action: str) -> OtaCommand | None:
        """Return the newest command of a subject."""
        return await self._last.write((subject, action))

    async def command_desired_state(
        self,
        entitlement: UUID,
        *,
        activate_within: float,
        deadline_in: float,
        resend_in: float,
        within: Connection | None = None,
    ) -> OtaCommand | None:
        """Record a command for the desired state and its job.

        None if the service was never sold. Times are in seconds from now; the first is the deadline
        while a purchase waits.
        """
        return await read_one(
            OtaCommand, within or self._database, COMMAND_DESIRED_STATE, entitlement,
            random_id(), activate_within, deadline_in, resend_in,
        )  # fmt: skip

    async def record(
        self, answer: CommandAnswer, *, within: Connection | None = None
    ) -> UUID | None:
        """Store a vehicle's message; None if it is already stored."""
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
        )
        return None if row is None else row["id"]

    async def count_refused(self, answer: RefusedAnswer) -> None:
        """Count an invalid acknowledgement."""
        await self._database.fetch(
            COUNT_REFUSED,
            answer.vin,
            answer.reason,
            answer.digest,
            answer.command_id,
            answer.subject,
            REFUSED_ROWS_PER_VEHICLE_AND_HOUR,
        )

    async def refused_by_reason(self) -> dict[str, int]:
        """Return the number of invalid acknowledgements by reason."""
        rows = await self._database.fetch(REFUSED_BY_REASON)
        return {row["reason"]: row["times"] for row in rows}

    async def answers(self, subject: UUID) -> list[dict[str, object]]:
        """Return all messages from vehicles about a subject, in order."""
        return [dict(row) for row in await self._database.fetch(ANSWERS, subject)]

    async def _read_last(self, wanted: Sequence[tuple[UUID, str]]) -> list[OtaCommand | None]:
        subjects, actions = zip(*wanted, strict=True)
        rows = await self._database.fetch(LAST_OF_SUBJECTS, list(subjects), list(actions))
        found = {(row["subject"], row["action"]): row_as(OtaCommand, row) for row in rows}
        return [found.get(one) for one in wanted]

    async def _read_newest(self, wanted: Sequence[tuple[str, str]]) -> list[OtaCommand | None]:
        vins, services = zip(*wanted, strict=True)
        rows = await self._database.fetch(LAST_OF_ENTITLEMENTS, list(vins), list(services))
        found = {(row["vin"], row["service"]): row_as(OtaCommand, row) for row in rows}
        return [found.get(one) for one in wanted]

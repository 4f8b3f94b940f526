"""Notifications: created once, sent by a job, read in an inbox.

Rules a change must keep: a notification and its job commit together; repeating it adds nothing;
reading and marking name the recipient; a link that opens an account is stored only until it was
sent.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from caas.billing_database.batching import Batcher, joined_reads
from caas.billing_database.connection import Connection, Database
from caas.billing_database.filters import composed
from caas.billing_database.rows import PAGE_ROWS_MAX, columns, read_all

NOTIFY: Final = """
with w as (
  select * from rows from (jsonb_to_recordset($1) as (
    id uuid, audience text, recipient text, template text, subject uuid, occasion text,
    facts jsonb, job_kind text, due_in double precision))
    with ordinality as r(id, audience, recipient, template, subject, occasion, facts,
                         job_kind, due_in, i)
), inserted as (
  insert into notifications as n (id, audience, recipient, template, subject, occasion, facts,
      created_at)
  select id, audience, recipient, template, subject, occasion, facts, db_now() from w
  on conflict do nothing returning n.id
), work as (
  insert into jobs (kind, subject, due_at, created_at)
  select w.job_kind, w.id, db_now() + make_interval(secs => w.due_in), db_now()
    from w join inserted on inserted.id = w.id
)
select inserted.id is not null from w left join inserted on inserted.id = w.id order by w.i
"""


class Notification(msgspec.Struct, frozen=True):
    """A notification; its text is rendered from `template` and `facts`."""

    id: UUID
    audience: str
    recipient: str
    template: str
    subject: UUID
    facts: dict[str, Any]
    created_at: datetime
    sent_at: datetime | None
    not_sent_because: str | None
    read_at: datetime | None


COLUMNS: Final = f"select {columns(Notification)} from notifications"
SEVERAL: Final = COLUMNS + " where id = any ($1)"
INBOX: Final = (
    COLUMNS
    + """
 where audience = $1 and recipient = $2 and {given} order by id desc limit $3
"""
)
UNREAD_COUNTED_MAX: Final = 100
UNREAD: Final = """
select count(*) from (select from notifications
  where audience = $1 and recipient = $2 and read_at is null limit $3) unread
"""
READ: Final = """
update notifications set read_at = db_now()
 where id in (select id from notifications
                where audience = $1 and recipient = $2 and read_at is null and {given}
                order by id desc limit $3)
returning id
"""
ENDED: Final = """
update notifications n set sent_at = case when w.because is null then db_now() end,
       not_sent_because = w.because,
       facts = case when n.facts ? 'access_url' then n.facts || '{"access_url": ""}'
                    else n.facts end
  from unnest($1::uuid[], $2::text[]) as w(id, because) where n.id = w.id and n.sent_at is null
"""


class NewNotification(msgspec.Struct, frozen=True, kw_only=True):
    """A notification to create, and the job that sends it."""

    id: UUID
    audience: str
    recipient: str
    template: str
    subject: UUID
    facts: dict[str, Any]
    job_kind: str
    occasion: str = ""
    due_in: float = 0.0


class NotificationRows:
    """The table of notifications."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database
        self._reported: Batcher[NewNotification, bool] = Batcher(self._notify_batch)
        self._ended: Batcher[tuple[UUID, str | None], bool] = Batcher(self._end_batch)
        self._reader: Batcher[UUID, Notification | None] = joined_reads(
            database, SEVERAL, lambda row: Notification(**row)
        )

    async def notify(self, new: NewNotification, *, within: Connection | None = None) -> bool:
        """Create a notification and its job; return False if it already exists."""
        if within is not None:
            return (await _notify(within, [new]))[0]
        key = (new.template, new.subject, new.recipient, new.occasion)
        return await self._reported.write(new, keys=(key,))

    async def get(self, notification_id: UUID) -> Notification | None:
        """Return a notification, or None."""
        return await self._reader.write(notification_id)

    async def inbox(
        self,
        *,
        audience: str,
        recipient: str,
        unread_only: bool = False,
        before: UUID | None = None,
        rows_max: int = PAGE_ROWS_MAX,
    ) -> list[Notification]:
        """Return a page of a recipient's notifications, newest first."""
        query, arguments = composed(
            INBOX, audience, recipient, min(rows_max, PAGE_ROWS_MAX),
            given={"read_at is null": unread_only, "id < $": before},
        )  # fmt: skip
        return await read_all(Notification, self._database, query, *arguments)

    async def unread(self, *, audience: str, recipient: str) -> int:
        """Count a recipient's unread notifications, up to `UNREAD_COUNTED_MAX`."""
        row = await self._database.fetchrow(UNREAD, audience, recipient, UNREAD_COUNTED_MAX)
        assert row is not None, "a count is one row"
        return int(row[0])

    async def mark_read(
        self, *, audience: str, recipient: str, notification_id: UUID | None = None
    ) -> int:
        """Mark one or the newest of a recipient's notifications as read; return their number."""
        query, arguments = composed(
            READ, audience, recipient, PAGE_ROWS_MAX, given={"id = $": notification_id}
        )
        return len(await self._database.fetch(query, *arguments))

    async def ended(self, notification_id: UUID, *, because: str | None = None) -> None:
        """Record that a notification was sent, or why it never will be."""
        await self._ended.write((notification_id, because), keys=(notification_id,))

    async def _notify_batch(self, new: Sequence[NewNotification]) -> list[bool]:
        async with self._database.connection() as connection:
            return await _notify(connection, new)

    async def _end_batch(self, ended: Sequence[tuple[UUID, str | None]]) -> list[bool]:
        ids, reasons = zip(*ended, strict=True)
        await self._database.fetch(ENDED, list(ids), list(reasons))
        return [True] * len(ended)


async def _notify(connection: Connection, new: Sequence[NewNotification]) -> list[bool]:
    rows = await connection.fetch(NOTIFY, msgspec.json.encode(new).decode())
    assert len(rows) == len(new), "everything to tell is answered"
    return [row[0] for row in rows]

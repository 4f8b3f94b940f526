"""The webhook inbox: webhooks are stored once, with their job, before the response.

A webhook and its job are durable before its sender gets 2xx (decision 31). Sender and event id
identify it, so repetitions change nothing; the same id with another body is quarantined with a case
and never applied.

Rules a change must keep: bodies contain no card numbers; the digest covers the signed bytes; a row
and its job commit together.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import asyncpg
import msgspec

from caas.billing_database.batching import Batcher, joined_reads
from caas.billing_database.cases import Cases
from caas.billing_database.connection import Connection, Database, Row
from caas.billing_database.identifiers import new_id
from caas.errors import NotFoundError, RefusedError

CONTRADICTION = "webhook_contradiction"
UNREADABLE = "webhook_unreadable"
AT_HAND_ROWS_MAX = 1000
REPORTED_ROWS_MAX = 1000

STORE = """
with w as materialized (
  select r.*, now_.at
    from unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::text[])
         with ordinality as r(id, gateway, event_id, body_hash, body, job_kind, i)
   cross join (select db_now() as at) now_
), stored as (
  insert into webhook_inbox as n (id, gateway, event_id, body_hash, body, received_at)
  select w.id, w.gateway, w.event_id, w.body_hash, w.body::jsonb, w.at from w
  on conflict (gateway, event_id) do nothing
  returning n.id, n.body::text as body, n.received_at
), work as (
  insert into jobs (kind, subject, due_at, created_at)
  select w.job_kind, w.id, w.at, w.at from w join stored s on s.id = w.id
)
select s.id is not null as fresh, coalesce(s.id, k.id) as id, k.body_hash = w.body_hash as same,
       s.body, s.received_at
  from w
  left join stored s on s.id = w.id
  left join webhook_inbox k on k.gateway = w.gateway and k.event_id = w.event_id
 order by w.i
"""
SEVERAL = """
select id, gateway, event_id, body::text as body, received_at from webhook_inbox
 where id = any ($1)
"""
OF_TRANSACTION = """
select body::text as body from webhook_inbox
 where gateway = $3
   and coalesce(body->'data'->>'transaction_id', body->'data'->'object'->>'payment_intent',
         body->'data'->'object'->>'id', body->'data'->>'id') = $1
 order by received_at, id limit $2
"""
OF_REFERENCE = """
select body::text as body from webhook_inbox
 where gateway = $3
   and coalesce(body->'data'->>'reference', body->'data'->'object'->'metadata'->>'reference') = $1
 order by received_at, id limit $2
"""
# Payments with a refund that waits, named by a webhook.
WAITING = """
select p.id from webhook_inbox n
  join payments p on p.id in (
       select payment_id from refunds where state = 'waiting'
        union select (payload->>'payment')::uuid from jobs where kind = 'promised_refund')
   and names_payment(n.body, p.id, p.gateway_transaction_id)
 where n.id = $1 and n.gateway = p.gateway
"""
QUARANTINE = """
insert into webhook_quarantine (id, gateway, event_id, contradicts, reason, body_hash, body,
    received_at)
values ($1, $2, $3, $4, $5, $6, $7, db_now())
on conflict (gateway, event_id, body_hash) do nothing returning id
"""


class WebhookNotFoundError(NotFoundError):
    """No stored webhook has this id."""

    code = "webhook_not_found"


class UnstorableWebhookError(RefusedError):
    """The webhook is JSON that PostgreSQL cannot store, such as an out-of-range number."""

    code = "webhook_unstorable"


class Storing(StrEnum):
    """The result of storing a webhook."""

    FRESH = "fresh"
    DUPLICATE = "duplicate"
    CONTRADICTION = "contradiction"


class Incoming(msgspec.Struct, frozen=True, kw_only=True):
    """A verified webhook: `body` is JSON without card numbers, `body_hash` covers the raw bytes."""

    gateway: str
    event_id: str
    body_hash: bytes
    body: str
    job_kind: str


class Stored(msgspec.Struct, frozen=True):
    """The result, and the id of the event's row."""

    storing: Storing
    id: UUID


class InboxRow(msgspec.Struct, frozen=True):
    """A stored webhook with its JSON body."""

    id: UUID
    gateway: str
    event_id: str
    body: bytes
    received_at: datetime


class WebhookInbox:
    """The table of received webhooks."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database
        self._cases = Cases(database)
        self._batcher = Batcher(self._store_batch)
        self._reader: Batcher[UUID, InboxRow | None] = joined_reads(database, SEVERAL, _inbox_row)
        self._at_hand: dict[UUID, InboxRow] = {}  # just stored here; a row never changes

    async def store(self, incoming: Incoming) -> Stored:
        """Store a webhook and its job once.

        Raises:
            UnstorableWebhookError: the database cannot store its body; nothing was stored.
        """
        try:
            return await self._batcher.write(incoming, keys=[(incoming.gateway, incoming.event_id)])
        except asyncpg.DataError as error:
            raise UnstorableWebhookError from error

    async def get(self, inbox_id: UUID) -> InboxRow:
        """Return a stored webhook.

        Raises:
            WebhookNotFoundError: no webhook has this id.
        """
        row = self._at_hand.pop(inbox_id, None) or await self._reader.write(inbox_id)
        if row is None:
            raise WebhookNotFoundError(f"No stored webhook has the id {inbox_id}.")
        return row

    async def quarantine(
        self, incoming: Incoming, *, reason: str, contradicts: UUID | None = None
    ) -> None:
        """Quarantine a webhook that must not be applied, and open a case."""
        kind = UNREADABLE if contradicts is None else CONTRADICTION
        which = f"{incoming.event_id} from {incoming.gateway}"
        sentence = f"The webhook {which} was quarantined: {reason}"

        async def together(connection: Connection) -> None:
            quarantined = new_id()
            row = await connection.fetchrow(
                QUARANTINE, quarantined, incoming.gateway, incoming.event_id, contradicts,
                reason, incoming.body_hash, incoming.body,
            )  # fmt: skip
            if row is not None:
                subject = contradicts or quarantined
                await self._cases.open(kind, subject, sentence, within=connection)

        await self._database.in_transaction(together)

    async def _store_batch(self, batch: Sequence[Incoming]) -> list[Stored]:
        answers = await self._store_rows(batch)
        unseen = [i for i, answer in enumerate(answers) if answer["id"] is None]
        if unseen:
            # Another process stored these while our statement ran; the next one sees them.
            again = await self._store_rows([batch[i] for i in unseen])
            for i, answer in zip(unseen, again, strict=True):
                answers[i] = answer
        return [self._stored(incoming, row) for incoming, row in zip(batch, answers, strict=True)]

    def _stored(self, incoming: Incoming, row: Row) -> Stored:
        inbox_id = row["id"]
        if not row["fresh"]:
            same = Storing.DUPLICATE if row["same"] else Storing.CONTRADICTION
            return Stored(same, inbox_id)
        if len(self._at_hand) >= AT_HAND_ROWS_MAX:
            del self._at_hand[next(iter(self._at_hand))]
        self._at_hand[inbox_id] = InboxRow(
            inbox_id, incoming.gateway, incoming.event_id, row["body"].encode(), row["received_at"]
        )
        return Stored(Storing.FRESH, inbox_id)

    async def _store_rows(self, batch: Sequence[Incoming]) -> list[Row]:
        rows = [(new_id(), w.gateway, w.event_id, w.body_hash, w.body, w.job_kind) for w in batch]
        columns = [list(column) for column in zip(*rows, strict=True)]
        return await self._database.fetch(STORE, *columns)


class ReportedByGateway:
    """What one gateway has reported by webhooks."""

    def __init__(self, database: Database, gateway: str) -> None:
        """Read the webhooks of this gateway."""
        self._database = database
        self._gateway = gateway

    async def of_transaction(self, transaction_id: str) -> tuple[bytes, ...]:
        """Return what the gateway reported of a transaction, the oldest first."""
        return await self._bodies(OF_TRANSACTION, transaction_id)

    async def of_reference(self, reference: str) -> tuple[bytes, ...]:
        """Return what the gateway reported under a reference of ours, the oldest first."""
        return await self._bodies(OF_REFERENCE, reference)

    async def _bodies(self, query: str, named: str) -> tuple[bytes, ...]:
        rows = await self._database.fetch(query, named, REPORTED_ROWS_MAX, self._gateway)
        return tuple(row["body"].encode() for row in rows)


async def payments_waiting(by: Connection, inbox_id: UUID) -> list[UUID]:
    """Return the payments that a webhook names and that have a waiting or promised refund."""
    return [row["id"] for row in await by.fetch(WAITING, inbox_id)]


def _inbox_row(row: Row) -> InboxRow:
    return InboxRow(**{**row, "body": row["body"].encode()})

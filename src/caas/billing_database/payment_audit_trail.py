"""The audit trail of a payment: its rows in every table.

Rule a change must keep: read-only; every query uses an index and has a limit.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from caas.billing_database.connection import Database, Row
from caas.billing_database.rows import row_as

ROWS_MAX: Final = 300

ENTRIES: Final = """
select seq, debit, credit, amount, currency, at from ledger_entries
 where payment_id = $1 order by id limit $2
"""
CLAIM: Final = """
select kind, reason, evidence_id, evidence_kind, claimed_at from resolution_claims
 where payment_id = $1
"""
COMMANDS: Final = """
select command_id, vin, service, action, epoch, valid_until, deadline, created_at
  from ota_commands where subject = $1 order by epoch limit $2
"""
ANSWERS: Final = """
select id, kind, command_id, epoch, vin, status, status_reason, at as vehicle_time,
       null as refused_because, recorded_at
  from delivery_evidence where subject = $1
union all
select null, 'vehicle_acknowledgement', command_id, null, vin, times || ' x', null, null, reason,
       first_at
  from refused_acknowledgements where subject = $1
 order by recorded_at limit $2
"""
WEBHOOKS: Final = """
select event_id, coalesce(body->>'type', '') as type,
       coalesce(body->'data'->>'status', body->'data'->'object'->>'status', '') as status,
       received_at
  from (select * from webhook_inbox where coalesce(body->'data'->>'reference',
          body->'data'->'object'->'metadata'->>'reference') = $1::uuid::text
        union select * from webhook_inbox
         where gateway = (select gateway from payments where id = $1)
           and coalesce(body->'data'->>'transaction_id',
          body->'data'->'object'->>'payment_intent', body->'data'->'object'->>'id',
          body->'data'->>'id') = $2) w
 order by received_at limit $3
"""
NOTIFICATIONS: Final = """
select template, audience, facts->>'kind' as kind, created_at, sent_at, not_sent_because
  from notifications where subject = any ($1) and created_at >= $2 order by created_at limit $3
"""
CASES: Final = """
select id, kind, sentence, owner, status, resolution, opened_at, resolved_at
  from (select * from cases where subject = any ($1) offset 0) c
 where resolved_at is null or resolved_at >= $2
 order by opened_at limit $3
"""
LINES: Final = """
select l.type, l.gross, l.fee, l.net, l.currency, l.class, l.value_date, l.at, r.day, r.report_ref
  from settlement_lines l join settlement_reports r on r.id = l.report_id
 where l.payment_id = $1 order by l.at limit $2
"""
DISCREPANCIES: Final = """
select e.seq, e.event, e.by, e.at, d.id, d.kind, d.status, d.amount, d.currency
  from discrepancies d join discrepancy_events e on e.discrepancy_id = d.id
 where d.payment_id = $1 order by e.at, e.seq limit $2
"""
CORRECTIONS: Final = """
select x.debit, x.credit, x.amount, x.currency, x.at
  from discrepancies d join discrepancy_entries x on x.discrepancy_id = d.id
 where d.payment_id = $1 order by x.id limit $2
"""
WORK: Final = """
select kind, subject, due_at, attempts, last_error, paused_at, created_at,
       extract(epoch from due_at - db_now())::float8 as due_in
  from jobs where subject = any ($1) order by due_at limit $2
"""


class WaitingJob(msgspec.Struct, frozen=True):
    """A job of a payment; `due_in` is in seconds, negative when overdue."""

    kind: str
    subject: UUID
    due_at: datetime
    attempts: int
    last_error: str | None
    paused_at: datetime | None
    created_at: datetime
    due_in: float


class PaymentAuditTrail(msgspec.Struct, frozen=True, kw_only=True):
    """The rows about a payment by table, with column names."""

    entries: list[dict[str, Any]]
    claim: dict[str, Any] | None
    commands: list[dict[str, Any]]
    answers: list[dict[str, Any]]
    webhooks: list[dict[str, Any]]
    notifications: list[dict[str, Any]]
    cases: list[dict[str, Any]]
    lines: list[dict[str, Any]]
    discrepancies: list[dict[str, Any]]
    corrections: list[dict[str, Any]]
    work: list[WaitingJob]


async def record_of(
    database: Database,
    payment_id: UUID,
    *,
    subjects: list[UUID],
    transaction_id: str | None,
    since: datetime,
) -> PaymentAuditTrail:
    """Read a payment's audit trail from one snapshot.

    `subjects` are the payment, its refunds and what it pays for; older records before `since`
    belong to something else.
    """
    async with (
        database.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):

        async def read(query: str, *arguments: object) -> list[dict[str, Any]]:
            return _plain(await connection.fetch(query, *arguments, ROWS_MAX))

        claim = await connection.fetchrow(CLAIM, payment_id)
        return PaymentAuditTrail(
            entries=await read(ENTRIES, payment_id),
            claim=dict(claim) if claim else None,
            commands=await read(COMMANDS, payment_id),
            answers=await read(ANSWERS, payment_id),
            webhooks=await read(WEBHOOKS, payment_id, transaction_id),
            notifications=await read(NOTIFICATIONS, subjects, since),
            cases=await read(CASES, subjects, since),
            lines=await read(LINES, payment_id),
            discrepancies=await read(DISCREPANCIES, payment_id),
            corrections=await read(CORRECTIONS, payment_id),
            work=[row_as(WaitingJob, row) for row in await read(WORK, subjects)],
        )


def _plain(rows: list[Row]) -> list[dict[str, Any]]:
    return [dict(row) for row in rows]

"""Counts of items that need attention: cases, unknown outcomes, jobs, discrepancies.

Rule a change must keep: read-only; each count uses an index on open items, so that a page can
refresh it every few seconds.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from caas.billing_database.connection import Database
from caas.billing_database.payments import Payment, columns_of_payment, payment_of
from caas.billing_database.rows import read_all

OVERDUE_SECONDS: Final = 60.0
"""A job that has not started within a minute of its due time is overdue."""

ROWS_MAX: Final = 200

CASES: Final = """
select kind, count(*) as cases, min(opened_at) as oldest from cases
 where status = 'open' group by kind order by 2 desc, 1
"""
WORK: Final = """
select kind, count(*) as pieces, count(*) filter (where paused_at is not null) as parked,
       count(*) filter (where paused_at is null and lease_until is null
                          and due_at < db_now() - make_interval(secs => $1)) as overdue,
       min(due_at) filter (where paused_at is null) as next_due, min(created_at) as oldest
  from jobs group by kind order by 1
"""
PIECES: Final = """
select kind, subject, due_at, attempts, last_error, paused_at, created_at,
       extract(epoch from due_at - db_now())::float8 as due_in,
       lease_until > db_now() as under_way
  from jobs
 where ($1::text is null or kind = $1) and (not $2 or paused_at is not null)
   and (not $3 or paused_at is null and lease_until is null
                  and due_at < db_now() - make_interval(secs => $4))
 order by (paused_at is null), due_at limit $5
"""
UNKNOWN: Final = f"""
select {columns_of_payment("p")},
       o.due_at, o.attempts, o.last_error, o.payload->>'operation' as operation,
       exists (select from outcome_decisions d where d.payment_id = p.id
                and d.state = 'proposed') as proposed
  from jobs o join payments p on p.id = o.subject
 where o.kind = 'probe' and p.outcome = 'unknown'
 order by p.id limit $1
"""
DISCREPANCIES: Final = """
select case when a.age <= 1 then 1 when a.age <= 3 then 3 when a.age <= 7 then 7
            when a.age <= 30 then 30 else 31 end as days,
       d.currency, count(*) as discrepancies, sum(d.amount)::bigint as amount,
       count(*) filter (where d.due_on < (db_now() at time zone $1)::date) as overdue
  from discrepancies d
 cross join lateral (select extract(day from db_now() - d.opened_at) as age) a
 where d.status <> 'resolved' group by 1, 2 order by 1, 2
"""


@dataclass(frozen=True, slots=True)
class OpenCases:
    """The number of open cases of a kind, and the oldest."""

    kind: str
    cases: int
    oldest: datetime


@dataclass(frozen=True, slots=True)
class JobsOfKind:
    """The number of jobs of a kind, and how many are paused."""

    kind: str
    pieces: int
    paused: int
    overdue: int
    next_due: datetime | None
    oldest: datetime


@dataclass(frozen=True, slots=True)
class Piece:
    """A job; `due_in` is in seconds, negative when overdue."""

    kind: str
    subject: UUID
    due_at: datetime
    attempts: int
    last_error: str | None
    paused_at: datetime | None
    created_at: datetime
    due_in: float
    under_way: bool | None


@dataclass(frozen=True, slots=True)
class UnknownOutcome:
    """A payment with an unknown outcome, and when it is queried next."""

    payment: Payment
    next_probe: datetime
    probes: int
    last_answer: str | None
    operation: str | None
    proposed: bool


@dataclass(frozen=True, slots=True)
class AgedDiscrepancies:
    """Unresolved discrepancies up to this age in days (31: older), in one currency."""

    days: int
    currency: str
    discrepancies: int
    amount: int
    overdue: int


async def now(database: Database) -> datetime:
    """Return the database's time."""
    row = await database.fetchrow("select db_now()")
    assert row is not None, "there is always a now"
    at: datetime = row[0]
    return at


async def open_cases(database: Database) -> list[OpenCases]:
    """Count open cases by kind, most first."""
    return [OpenCases(*row) for row in await database.fetch(CASES)]


async def jobs(database: Database) -> list[JobsOfKind]:
    """Count jobs by kind."""
    return [JobsOfKind(*row) for row in await database.fetch(WORK, OVERDUE_SECONDS)]


async def pieces(
    database: Database, *, kind: str | None = None, paused: bool = False, overdue: bool = False
) -> list[Piece]:
    """Return jobs: paused ones first, then by due time."""
    return await read_all(Piece, database, PIECES, kind, paused, overdue, OVERDUE_SECONDS, ROWS_MAX)


async def unknown_outcomes(database: Database) -> list[UnknownOutcome]:
    """Return payments with an unknown outcome, oldest first."""
    return [_unknown(dict(row)) for row in await database.fetch(UNKNOWN, ROWS_MAX)]


async def aged_discrepancies(database: Database, zone: ZoneInfo) -> list[AgedDiscrepancies]:
    """Count unresolved discrepancies by age and currency."""
    return [AgedDiscrepancies(*row) for row in await database.fetch(DISCREPANCIES, zone.key)]


def _unknown(row: dict[str, Any]) -> UnknownOutcome:
    due_at, attempts, last_error, operation, proposed = (
        row.pop(name) for name in ("due_at", "attempts", "last_error", "operation", "proposed")
    )
    return UnknownOutcome(payment_of(row), due_at, attempts, last_error, operation, proposed)

"""Counts and metrics of open items, for operations, dealerships and monitoring.

Operations see cases, unknown outcomes, jobs and discrepancies; a dealership its orders by state and
the vehicles in stock; the metrics also exposure, losses and heads.

Rules a change must keep: read-only; each figure covers open items or the last day and uses a
matching index, whatever the history's size, so that a page can refresh it every few seconds; a
dealership's counts cover only its own orders, the stock is shared; all metrics together are limited
to `FIGURES_SECONDS_MAX` by a statement timeout.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from caas.billing_database.connection import Connection, Database
from caas.billing_database.filters import composed
from caas.billing_database.invariants import ONCE_A_ROW, ONLY_AS_A_WHOLE
from caas.billing_database.payments import Payment, columns_of_payment, payment_of
from caas.billing_database.removals import REMOVED
from caas.billing_database.rows import read_all
from caas.rules.order_states import OrderState

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
 where {given} order by (paused_at is null), due_at limit $1
"""
OVERDUE: Final = (
    "paused_at is null and lease_until is null and due_at < db_now() - make_interval(secs => $)"
)
UNKNOWN: Final = f"""
select {columns_of_payment("p")},
       o.due_at, o.attempts, o.last_error, o.payload->>'operation' as operation,
       exists (select from outcome_decisions d where d.payment_id = p.id
                and d.state = 'proposed') as proposed
  from jobs o cross join lateral (select * from payments where id = o.subject limit 1) p
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


class OpenCases(msgspec.Struct, frozen=True):
    """The number of open cases of a kind, and the oldest."""

    kind: str
    cases: int
    oldest: datetime


class JobsOfKind(msgspec.Struct, frozen=True):
    """The number of jobs of a kind, and how many are paused."""

    kind: str
    pieces: int
    paused: int
    overdue: int
    next_due: datetime | None
    oldest: datetime


class Piece(msgspec.Struct, frozen=True):
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


class UnknownOutcome(msgspec.Struct, frozen=True):
    """A payment with an unknown outcome, and when it is queried next."""

    payment: Payment
    next_probe: datetime
    probes: int
    last_answer: str | None
    operation: str | None
    proposed: bool


class AgedDiscrepancies(msgspec.Struct, frozen=True):
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
    given = {
        "kind = $": kind,
        "paused_at is not null": paused,
        OVERDUE: OVERDUE_SECONDS if overdue else None,
    }
    query, arguments = composed(PIECES, ROWS_MAX, given=given)
    return await read_all(Piece, database, query, *arguments)


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


# In the order of their indexes: where one state is common, the planner reads a whole table for it.
COUNTS: Final = """
select s.state, c.orders from unnest($2::text[]) as s(state)
 cross join lateral (select count(*) as orders from (
   select from orders o where o.dealership = $1 and o.state = s.state
    order by o.id limit $3) counted) c
"""
SIN_ASIGNAR: Final = """
select count(*) from (
  select from vehicles where state = 'sin asignar' order by vin limit $1) counted
"""
COUNTED_MAX: Final = 10_000
"""What is counted up to; a dealership with more sees this number."""


class DealershipCounts(msgspec.Struct, frozen=True):
    """The number of orders by state, and of vehicles that can be reserved."""

    orders: dict[OrderState, int]
    sin_asignar: int


async def counts_of(database: Database, dealership: str) -> DealershipCounts:
    """Count a dealership's orders and the stock."""
    rows = await database.fetch(COUNTS, dealership, list(OrderState), COUNTED_MAX)
    stock = await database.fetchrow(SIN_ASIGNAR, COUNTED_MAX)
    assert stock is not None, "a count is one row"
    return DealershipCounts(
        dict.fromkeys(OrderState, 0) | {OrderState(row["state"]): row["orders"] for row in rows},
        stock[0],
    )


FIGURES_SECONDS_MAX: Final = 3
LIMIT: Final = f"set local statement_timeout = '{FIGURES_SECONDS_MAX}s'"

# A refund's outcome is unknown since it was sent, regardless of later attempts.
UNKNOWN_BY_TYPE: Final = """
select p.type, count(*), extract(epoch from db_now() - min(p.updated_at))::float8
  from jobs o cross join lateral (select * from payments where id = o.subject limit 1) p
 where o.kind = 'probe' and p.outcome = 'unknown' group by p.type
 union all
select 'refund', count(*), extract(epoch from db_now() - min(e.at))::float8
  from jobs o join refunds r on r.id = o.subject
  join payment_events e on e.payment_id = r.payment_id and e.source = 'refund:' || r.id
 where o.kind = 'refund' and r.outcome = 'unknown' having count(*) > 0
"""
JOBS: Final = """
select kind, case when paused_at is not null then 'parked'
                  when lease_until > db_now() then 'running'
                  when due_at <= db_now() then 'due' else 'later' end as state, count(*),
       extract(epoch from db_now() - min(due_at))::float8
  from jobs group by 1, 2
"""
CASES_BY_KIND: Final = "select kind, count(*) from cases where status = 'open' group by kind"
DISCREPANCIES_BY_KIND: Final = """
select kind, currency, count(*), sum(amount)::float8 from discrepancies
 where status <> 'resolved' group by 1, 2
"""
IN_FLIGHT: Final = """
select p.type, p.state, p.currency, count(*),
       sum(case when p.state = 'Capturing'
                then greatest(p.captured_amount - p.settled_amount, 0) else 0 end)::float8
  from (select subject from jobs union select subject from cases where status = 'open') o
 cross join lateral (select * from payments where id = o.subject limit 1) p group by 1, 2, 3
"""
LOSSES: Final = """
select cause, currency, sum(amount)::float8
  from (select split_part(debit, ':', 2) as cause, currency, amount from ledger_entries
         where at >= db_now() - interval '1 day' and debit like 'risk\\_loss:%'
        union all
        select split_part(debit, ':', 2), currency, amount from discrepancy_entries
         where at >= db_now() - interval '1 day' and debit like 'risk\\_loss:%'
        union all
        select split_part(debit, ':', 2), currency, amount from gateway_claim_entries
         where at >= db_now() - interval '1 day' and debit like 'risk\\_loss:%') l
 group by 1, 2
"""
WEBHOOKS: Final = """
select coalesce(extract(epoch from db_now() - min(created_at)), 0)::float8 from jobs
 where kind in ('apply_webhook', 'apply_partner_webhook')
"""
# An age counts from when the invariant became known until it is first checked.
INVARIANTS: Final = "select invariant, broken from invariant_checks"
INVARIANTS_FULLY: Final = f"""
select invariant, extract(epoch from db_now() - coalesce(fully_checked_at, since))::float8
  from invariant_checks where invariant not in {tuple(sorted(ONCE_A_ROW))}
"""
INVARIANTS_OFTEN: Final = f"""
select invariant, extract(epoch from db_now() - coalesce(checked_at, since))::float8
  from invariant_checks where invariant not in {tuple(sorted(ONLY_AS_A_WHOLE))}
"""
# Without a head, the age counts from the first signing key.
HEADS: Final = """
select extract(epoch from db_now() - coalesce(
         (select made_at from history_heads order by head desc limit 1), created_at))::float8
  from jobs where kind = 'make_head'
"""
QUERIES: Final[Mapping[str, str]] = {
    "unknown": UNKNOWN_BY_TYPE,
    "jobs": JOBS,
    "cases": CASES_BY_KIND,
    "discrepancies": DISCREPANCIES_BY_KIND,
    "in_flight": IN_FLIGHT,
    "losses": LOSSES,
    "webhooks": WEBHOOKS,
    "invariants": INVARIANTS,
    "invariants_fully": INVARIANTS_FULLY,
    "removals": REMOVED,
    "invariants_often": INVARIANTS_OFTEN,
    "heads": HEADS,
}

Figures = Mapping[str, list[tuple[object, ...]]]


async def metric_queries(database: Database) -> Figures:
    """Return all figures from one snapshot.

    Raises:
        DatabaseUnavailableError: the database is unavailable or too slow.
    """

    async def read(connection: Connection) -> Figures:
        await connection.execute(f"set transaction isolation level repeatable read; {LIMIT}")
        return {
            name: [tuple(row) for row in await connection.fetch(query)]
            for name, query in QUERIES.items()
        }

    return await database.in_transaction(read)

"""Figures of the reconciliation report: matches, differences, exposure and losses.

Rules a change must keep: read-only; every sum is per currency; exposure (delivered and not settled)
is found through the jobs and cases of payments (invariant `obligations_have_a_job`), so that it
never scans the ledger.
"""

from datetime import date, datetime
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.connection import Database

LINES: Final = """
select l.class, l.currency, count(*) as lines, sum(l.gross)::bigint as gross,
       sum(l.fee)::bigint as fee, sum(l.net)::bigint as net
  from settlement_lines l join settlement_reports r on r.id = l.report_id
 where r.gateway = $1 and r.day = $2 group by 1, 2 order by 1, 2
"""
REPORTS: Final = """
select l.report_id, l.currency, count(*) as lines, sum(l.gross)::bigint as gross,
       sum(l.net)::bigint as net
  from settlement_lines l join settlement_reports r on r.id = l.report_id
 where r.gateway = $1 and r.day = $2 group by 1, 2 order by 1, 2
"""
AGEING: Final = """
select d.kind, d.currency,
       case when a.age <= 1 then '0-1' when a.age <= 3 then '2-3' when a.age <= 7 then '4-7'
            when a.age <= 30 then '8-30' else 'over 30' end as days,
       count(*) as discrepancies, sum(d.amount)::bigint as amount,
       count(*) filter (where d.due_on < t.today) as overdue
  from discrepancies d
 cross join (select (db_now() at time zone $1)::date as today) t
 cross join lateral (select t.today - (d.opened_at at time zone $1)::date as age) a
 where d.status <> 'resolved' group by 1, 2, 3 order by 1, 2, 3
"""
OF_DAY: Final = """
select kind, status, currency, count(*) as discrepancies, sum(amount)::bigint as amount
  from discrepancies where gateway = $1 and day = $2 group by 1, 2, 3 order by 1, 2, 3
"""
EXPOSURE: Final = """
select p.type, p.currency, count(*) as payments,
       sum(p.captured_amount - p.settled_amount)::bigint as amount
  from (select subject from jobs union select subject from cases where status = 'open') o
 cross join lateral (select * from payments where id = o.subject limit 1) p
 where p.state = 'Capturing' and p.captured_amount > p.settled_amount
 group by 1, 2 order by 1, 2
"""
LOSSES: Final = """
select cause, currency, sum(amount)::bigint as amount
  from (select split_part(debit, ':', 2) as cause, currency, amount, payment_id as payment,
               null::uuid as discrepancy
          from ledger_entries where at >= $1 and at < $2 and debit like 'risk\\_loss:%'
        union all
        select split_part(credit, ':', 2), currency, -amount, payment_id, null
          from ledger_entries where at >= $1 and at < $2 and credit like 'risk\\_loss:%'
        union all
        select split_part(debit, ':', 2), currency, amount, null, discrepancy_id
          from discrepancy_entries where at >= $1 and at < $2 and debit like 'risk\\_loss:%'
        union all
        select split_part(credit, ':', 2), currency, -amount, null, discrepancy_id
          from discrepancy_entries where at >= $1 and at < $2 and credit like 'risk\\_loss:%'
        union all
        select split_part(debit, ':', 2), currency, amount, null, discrepancy_id
          from gateway_claim_entries where at >= $1 and at < $2 and debit like 'risk\\_loss:%'
        union all
        select split_part(credit, ':', 2), currency, -amount, null, discrepancy_id
          from gateway_claim_entries where at >= $1 and at < $2 and credit like 'risk\\_loss:%') l
 where $3::text is null or $3 in (
       (select p.gateway from payments p where p.id = l.payment),
       (select d.gateway from discrepancies d where d.id = l.discrepancy))
 group by 1, 2 having sum(amount) <> 0 order by 1, 2
"""
UNALLOCATED: Final = """
select e.currency, sum(case when 'unallocated_income' = e.credit then e.amount
                            else -e.amount end)::bigint as amount
  from discrepancy_entries e join discrepancies d on d.id = e.discrepancy_id
 where e.at >= $1 and e.at < $2 and 'unallocated_income' in (e.debit, e.credit)
   and ($3::text is null or d.gateway = $3)
 group by 1 having sum(case when 'unallocated_income' = e.credit then e.amount
                            else -e.amount end) <> 0 order by 1
"""
DISPUTES: Final = """
select state, currency, count(*) as disputes, sum(amount)::bigint as amount
  from disputes where updated_at >= $1 and updated_at < $2 group by 1, 2 order by 1, 2
"""


class ClassFigure(msgspec.Struct, frozen=True):
    """The lines of one class and currency, and their totals."""

    line_class: str
    currency: str
    lines: int
    gross: int
    fee: int
    net: int


class ReportFigure(msgspec.Struct, frozen=True):
    """The stored lines of one report and currency, and their totals."""

    report_id: UUID
    currency: str
    lines: int
    gross: int
    net: int


class AgeFigure(msgspec.Struct, frozen=True):
    """Unresolved discrepancies of one kind, currency and age in days."""

    kind: str
    currency: str
    days: str
    discrepancies: int
    amount: int
    overdue: int


class DayFigure(msgspec.Struct, frozen=True):
    """A day's discrepancies of one kind, status and currency."""

    kind: str
    status: str
    currency: str
    discrepancies: int
    amount: int


class ExposureFigure(msgspec.Struct, frozen=True):
    """Delivered and unsettled amounts, by payment type and currency."""

    payment_type: str
    currency: str
    payments: int
    amount: int


class LossFigure(msgspec.Struct, frozen=True):
    """Losses in a period, by cause and currency."""

    cause: str
    currency: str
    amount: int


class IncomeFigure(msgspec.Struct, frozen=True):
    """Money kept in a period that nobody is owed, by currency."""

    currency: str
    amount: int


class DisputeFigure(msgspec.Struct, frozen=True):
    """Disputes that entered a state in a period, by currency."""

    state: str
    currency: str
    disputes: int
    amount: int


class Position(msgspec.Struct, frozen=True):
    """Current exposure, and losses, disputes and unallocated income in a period."""

    exposure: list[ExposureFigure]
    ageing: list[AgeFigure]
    losses: list[LossFigure]
    disputes: list[DisputeFigure]
    unallocated_income: list[IncomeFigure]


class Figures(msgspec.Struct, frozen=True):
    """All figures of the report."""

    lines: list[ClassFigure]
    of_day: list[DayFigure]
    losses: list[LossFigure]
    reports: list[ReportFigure]
    unallocated_income: list[IncomeFigure]


async def figures(
    database: Database, gateway: str, day: date, *, span: tuple[datetime, datetime]
) -> Figures:
    """Return a day's figures from one snapshot."""
    async with (
        database.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        return Figures(
            [ClassFigure(*row) for row in await connection.fetch(LINES, gateway, day)],
            [DayFigure(*row) for row in await connection.fetch(OF_DAY, gateway, day)],
            [LossFigure(*row) for row in await connection.fetch(LOSSES, *span, gateway)],
            [ReportFigure(*row) for row in await connection.fetch(REPORTS, gateway, day)],
            [IncomeFigure(*row) for row in await connection.fetch(UNALLOCATED, *span, gateway)],
        )


async def exposure(database: Database) -> list[ExposureFigure]:
    """Return what is delivered and not settled now."""
    return [ExposureFigure(*row) for row in await database.fetch(EXPOSURE)]


async def position(database: Database, *, span: tuple[datetime, datetime], zone: str) -> Position:
    """Return exposure, ages, losses and disputes of all gateways from one snapshot."""
    async with (
        database.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        return Position(
            [ExposureFigure(*row) for row in await connection.fetch(EXPOSURE)],
            [AgeFigure(*row) for row in await connection.fetch(AGEING, zone)],
            [LossFigure(*row) for row in await connection.fetch(LOSSES, *span, None)],
            [DisputeFigure(*row) for row in await connection.fetch(DISPUTES, *span)],
            [IncomeFigure(*row) for row in await connection.fetch(UNALLOCATED, *span, None)],
        )


async def losses(database: Database, *, since: datetime, until: datetime) -> list[LossFigure]:
    """Return the losses in a period, by cause."""
    return [LossFigure(*row) for row in await database.fetch(LOSSES, since, until, None)]

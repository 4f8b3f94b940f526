"""Metrics from the database: unknown outcomes, jobs, cases, exposure, losses, heads.

Rules a change must keep: read-only; each figure covers open items or the last day and uses a
matching index, whatever the history's size; all together are limited to `FIGURES_SECONDS_MAX` by a
statement timeout.
"""

from collections.abc import Mapping
from typing import Final

from caas.billing_database.connection import Connection, Database

FIGURES_SECONDS_MAX: Final = 3
LIMIT: Final = f"set local statement_timeout = '{FIGURES_SECONDS_MAX}s'"

# A refund's outcome is unknown since it was sent, regardless of later attempts.
UNKNOWN: Final = """
select p.type, count(*), extract(epoch from db_now() - min(p.updated_at))::float8
  from jobs o join payments p on p.id = o.subject
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
CASES: Final = "select kind, count(*) from cases where status = 'open' group by kind"
DISCREPANCIES: Final = """
select kind, currency, count(*), sum(amount)::float8 from discrepancies
 where status <> 'resolved' group by 1, 2
"""
IN_FLIGHT: Final = """
select p.type, p.state, p.currency, count(*),
       sum(case when p.state = 'Capturing'
                then greatest(p.captured_amount - p.settled_amount, 0) else 0 end)::float8
  from (select subject from jobs union select subject from cases where status = 'open') o
  join payments p on p.id = o.subject group by 1, 2, 3
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
INVARIANTS: Final = """
select invariant, broken, extract(epoch from db_now() - checked_at)::float8 from invariant_checks
"""
# Without a head, the age counts from the first signing key.
HEADS: Final = """
select extract(epoch from db_now() - coalesce(
         (select made_at from history_heads order by head desc limit 1), created_at))::float8
  from jobs where kind = 'make_head'
"""
QUERIES: Final[Mapping[str, str]] = {
    "unknown": UNKNOWN,
    "jobs": JOBS,
    "cases": CASES,
    "discrepancies": DISCREPANCIES,
    "in_flight": IN_FLIGHT,
    "losses": LOSSES,
    "webhooks": WEBHOOKS,
    "invariants": INVARIANTS,
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

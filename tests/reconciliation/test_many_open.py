"""Where many discrepancies are open, a run judges those again to which something happened.

Above five thousand, two statements of their own find them; below, all are judged again.
"""

from datetime import timedelta
from typing import Final

import asyncpg

from caas.billing_database.payments import Payment
from caas.billing_database.reconciliation_snapshot import AGAIN_ALL_MAX, SINCE_MARGIN
from caas.billing_database.simulated_calendar import SimulatedCalendar
from tests.reconciliation.crowd import crowd
from tests.reconciliation.office import Office

OPEN: Final = AGAIN_ALL_MAX + 200
PLANT: Final = """
with run as (
  insert into reconciliation_runs (id, gateway, day, mode, state, rule_version, started_at)
  values (gen_random_uuid(), $1, $2::date - 3, 'incremental', 'done', 'planted', db_now())
  returning id
), day as (
  insert into reconciliation_days (gateway, day) values ($1, $2::date - 3)
  on conflict do nothing returning 1
), report as (
  insert into settlement_reports (id, gateway, day, part, report_ref, origin, format, status,
      lines_stored, gross_stored, net_stored, received_at, updated_at)
  select gen_random_uuid(), $1, $2::date - 3, 'planted', 'planted', 'file', 'canonical', 'open',
         $3::bigint, $3::bigint * 1000, $3::bigint * 1000, db_now(), db_now()
  returning id, day
), lines as (
  insert into settlement_lines (report_id, line_no, batch_id, transaction_id, reference, type,
      gross, fee, net, currency, booked_at, value_date, payment_id, class, at_stake, run_id, at)
  select r.id, n, 'planted', case n when 1 then $4 when 2 then $5 else 'txn_' || n end,
         case n when 2 then $6::uuid::text end, 'settlement', 1000, 0, 1000, 'EUR', db_now(), r.day,
         case n when 2 then $6::uuid end, case n when 2 then 'amount' else 'missing_in_book' end,
         1000, run.id, db_now()
    from report r, run, generate_series(1, $3::bigint) n
  returning report_id, line_no, payment_id, class
), found as (
  insert into discrepancies (id, gateway, day, kind, status, version, amount, currency, payment_id,
      report_id, line_no, due_on, opened_at, updated_at)
  select gen_random_uuid(), $1, $2::date - 3, class, 'open', 1, 1000, 'EUR', payment_id, report_id,
         line_no, $2::date + 5, db_now(), db_now() from lines
  returning id
)
insert into discrepancy_events (discrepancy_id, seq, event, status, by, at)
select id, 1, 'opened', 'open', 'reconciliation', db_now() from found
"""


async def planted(dsn: str, office: Office, transitioned: Payment, reported: Payment) -> None:
    """Open many discrepancies about strangers, one about each of these payments."""
    owner = await asyncpg.connect(dsn, server_settings={"search_path": "caas, public"})
    await owner.execute(
        PLANT,
        office.reconciliation.of().gateway,
        office.today,
        OPEN,
        transitioned.gateway_transaction_id,
        reported.gateway_transaction_id,
        reported.id,
    )
    await owner.execute("analyze settlement_lines; analyze discrepancies")
    await owner.close()


async def test_among_many_those_to_which_something_happened_are_judged_again(
    office: Office, database_dsn: str
) -> None:
    """One speaks of a payment that moved since the last run, one of a payment with a new line."""
    calendar, tables = SimulatedCalendar(database_dsn), office.installation.platform.tables
    [reported] = await crowd(tables, 1, first_amount=1001)
    later = await calendar.now() + SINCE_MARGIN + timedelta(minutes=1)
    await calendar.transition_to(later)
    await office.reconciliation.reconcile(office.today)
    [transitioned] = await crowd(tables, 1, first_amount=1000)
    await planted(database_dsn, office, transitioned, reported)
    await office.line(reported, gross=1, fee=0)

    await office.reconciliation.reconcile(office.today)

    rows = await office.installation.database.fetch(
        "select d.line_no, d.resolution from discrepancies d where d.status = 'resolved'"
    )
    left = await office.installation.database.fetchrow(
        "select count(*) as open from discrepancies where status <> 'resolved' and line_no > 2"
    )
    assert sorted((row["line_no"], row["resolution"]) for row in rows) == [
        (1, "itself"), (2, "itself"),
    ]  # fmt: skip
    assert left is not None
    assert left["open"] == OPEN - 2

"""A ledger of millions and a day's settlement report on it, to measure reconciliation.

The ledger is loaded with the guards off, as only the owner of the tables can; what is measured on
it goes through every guard.

Rules a change must keep: today's payments, yesterday's and older ones differ in when they were
captured, as in operation; the same report is reconciled against every ledger.
"""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import asyncpg

from caas.billing_database import migrations
from caas_lab.bench.stub_gateway import STUB_NAME, StubGateway

DAY: Final = date(2026, 11, 19)
"""A Thursday: what was captured on Monday was expected on Wednesday, and would be late today."""
HEADER: Final = (
    "line_no,batch_id,transaction_id,reference,type,gross,fee,net,currency,booked_at,value_date"
)
LOAD_SECONDS_MAX: Final = 3600
ID: Final = "('01936d5e-0000-7000-8000-' || lpad(to_hex({i}), 12, '0'))::uuid"
AMOUNT: Final = "1000 + {i} % 5000"

LOADED: Final = (
    "payments, ledger_entries, settlement_reports, settlement_lines, reconciliation_runs,"
    " reconciliation_days"
)
UNGUARDED: Final = "".join(
    f"alter table caas.{table} disable trigger all;" for table in LOADED.split(", ")
)
PAYMENTS: Final = f"""
insert into payments (id, type, subject, customer, amount, currency, gateway, state, version,
    event_hash,
    gateway_transaction_id, authorized_amount, captured_amount, settled_amount, created_at,
    updated_at)
select {ID.format(i="i")}, 'reservation', {ID.format(i="i")}, {ID.format(i="i")},
       {AMOUNT.format(i="i")}, 'EUR', '{STUB_NAME}', 'Settled', 4, '\\x00', 'txn_' || to_hex(i),
       {AMOUNT.format(i="i")}, {AMOUNT.format(i="i")}, {AMOUNT.format(i="i")}, now(), now()
  from generate_series($1::bigint, $2::bigint) i
"""  # noqa: S608 - the texts put in are this file's
ENTRIES: Final = f"""
insert into ledger_entries (payment_id, seq, debit, credit, amount, currency, at)
select {ID.format(i="i")}, 4, 'gateway_receivable', 'customer_deposits', {AMOUNT.format(i="i")},
       'EUR', $3::timestamptz
  from generate_series($1::bigint, $2::bigint) i
"""  # noqa: S608 - the texts put in are this file's
YESTERDAY: Final = f"""
insert into settlement_reports (id, gateway, day, report_ref, origin, format, status, line_count,
    lines_stored, received_at, updated_at)
values ('00000000-0000-0000-0000-000000000001', '{{gateway}}', '{{day}}', 'yesterday', 'gateway',
    'canonical', 'closed', {{count}}, {{count}}, now(), now());
insert into settlement_lines (report_id, line_no, batch_id, transaction_id, reference, type, gross,
    fee, net, currency, booked_at, value_date, payment_id, class, at_stake, run_id, at)
select '00000000-0000-0000-0000-000000000001', i, 'bat_0', 'txn_' || to_hex(i), p.id::text,
       'settlement', p.amount, 0, p.amount, 'EUR', now(), now(), p.id, 'matched', 0, p.id, now()
  from generate_series(1, {{count}}) i
 cross join lateral (select {ID.format(i="i")} as id, {AMOUNT.format(i="i")} as amount) p;
insert into reconciliation_runs (id, gateway, day, mode, state, rule_version, as_of, started_at)
values ('00000000-0000-0000-0000-000000000002', '{{gateway}}', '{{day}}', 'close', 'done', '1',
    '{{day}}T23:00:00Z', now());
insert into reconciliation_days (gateway, day, closed_by_run, closed_at)
values ('{{gateway}}', '{{day}}', '00000000-0000-0000-0000-000000000002', now());
"""  # noqa: S608 - the texts put in are this file's


async def load(dsn: str, lines: int, payments: int) -> None:
    """Load payments: as many as lines of yesterday and of today each, and older ones."""
    owner = await asyncpg.connect(dsn, command_timeout=LOAD_SECONDS_MAX)
    try:
        await owner.execute("set search_path = caas, public; set synchronous_commit = off")
        await owner.execute(UNGUARDED)
        for first, last, captured_on in (
            (2 * lines + 1, payments, datetime(2026, 10, 1, 9, tzinfo=UTC)),
            (1, lines, datetime(2026, 11, 16, 9, tzinfo=UTC)),
            (lines + 1, 2 * lines, datetime(2026, 11, 17, 9, tzinfo=UTC)),
        ):
            await owner.execute(PAYMENTS, first, last)
            await owner.execute(ENTRIES, first, last, captured_on)
        yesterday = DAY - timedelta(days=1)
        await owner.execute(
            YESTERDAY.format(gateway=StubGateway().name, day=yesterday, count=lines)
        )
        await owner.execute(migrations.STAND_GUARD)
        await owner.execute("vacuum analyze")
        await owner.execute("checkpoint")
    finally:
        await owner.close()


def write_report(path: Path, lines: int) -> Path:
    """Write a day's canonical report: a settlement line for each of the day's payments."""
    with path.open("w") as file:
        file.write(f"{HEADER}\n")
        for number in range(1, lines + 1):
            i = number + lines
            gross = 1000 + i % 5000
            fee = 25 + (gross * 14 + 500) // 1000
            file.write(
                f"{number},bat_1,txn_{i:x},01936d5e-0000-7000-8000-{i:012x},settlement,{gross},"
                f"{fee},{gross - fee},EUR,2026-11-19T10:00:00Z,2026-11-20\n"
            )
    return path

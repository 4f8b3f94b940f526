"""How fast a day is reconciled: `python -m bench.reconciliation --lines 1000000 --ledger 10`.

P7 is lines a second from the report's file to the last durable commit, over lines a second of
DuckDB's bare classification of the same relations. P8 is the time against a ledger of so many
times the lines, over the time against the smallest ledger: the day's payments and those of the
day before.

The ledger is loaded with the guards off, as only the owner of the tables can; the run itself goes
through every guard. Rules a change must keep: the same day is measured on both ledgers, on one
server, one after the other; what is printed is what was measured.
"""

import argparse
import asyncio
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg

from caas.billing_database import books as billing_books
from caas.billing_database import connection, migrations
from caas.billing_database.classification import classification
from caas.billing_database.embedded_postgresql import EmbeddedPostgresql
from caas.external_systems.reconciliation_workbench import Workbench
from caas.payment_processing.reconciliation.runs import ReconciliationSettings, Runs
from caas.rules.compared_relations import RELATIONS

DAY = date(2026, 11, 19)
"""A Thursday: what was captured on Monday was expected on Wednesday, and would be late today."""

HEADER = (
    "line_no,batch_id,transaction_id,reference,type,gross,fee,net,currency,booked_at,value_date"
)
GATEWAY = "gateway_at_hand"
WORTH_TELLING_SECONDS = 0.05

LOAD = """
set session_replication_role = replica;
set synchronous_commit = off;
insert into payments (id, type, subject, customer, amount, currency, state, version, event_hash,
    gateway_transaction_id, authorised_amount, captured_amount, settled_amount, created_at,
    updated_at)
select p.id, 'reservation', p.id, p.id, p.amount, 'EUR', {state}, 4, '\\x00', 'txn_' || to_hex(i),
       p.amount, p.amount, {settled}, now(), now()
  from generate_series({first}::bigint, {last}::bigint) i
 cross join lateral (select ('01936d5e-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid as id,
                            1000 + i % 5000 as amount) p;
insert into ledger_entries (payment_id, seq, debit, credit, amount, currency, at)
select ('01936d5e-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, 4, 'gateway_receivable',
       'customer_deposits', 1000 + i % 5000, 'EUR', {at}
  from generate_series({first}::bigint, {last}::bigint) i;
"""
LINES_OF_YESTERDAY = """
set session_replication_role = replica;
insert into settlement_reports (id, gateway, day, report_ref, origin, format, status, line_count,
    lines_stored, received_at, updated_at)
values ('00000000-0000-0000-0000-000000000001', '{gateway}', '{day}', 'yesterday', 'gateway',
    'canonical', 'closed', {count}, {count}, now(), now());
insert into settlement_lines (report_id, line_no, batch_id, transaction_id, reference, type, gross,
    fee, net, currency, booked_at, value_date, payment_id, class, at_stake, run_id, at)
select '00000000-0000-0000-0000-000000000001', n, 'bat_0', 'txn_' || to_hex(i), p.id::text,
       'settlement', p.amount, 0, p.amount, 'EUR', now(), now(), p.id, 'matched', 0, p.id, now()
  from generate_series(1, {count}) n
 cross join lateral (select n + {first} - 1 as i) i
 cross join lateral (select ('01936d5e-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid as id,
                            1000 + i % 5000 as amount) p;
insert into reconciliation_runs (id, gateway, day, mode, state, rule_version, as_of, started_at)
values ('00000000-0000-0000-0000-000000000002', '{gateway}', '{day}', 'close', 'done', '1',
    '{day}T23:00:00Z', now());
insert into reconciliation_days (gateway, day, closed_by_run, closed_at, verdict)
values ('{gateway}', '{day}', '00000000-0000-0000-0000-000000000002', now(), 'closed');
"""


@dataclass(slots=True)
class GatewayAtHand:
    """A gateway of which only the name is needed."""

    name: str = GATEWAY


@dataclass(slots=True)
class Laps:
    """What took how long."""

    seconds: dict[str, float] = field(default_factory=dict)
    last: float = field(default_factory=time.perf_counter)

    def lap(self, phase: str) -> None:
        """Add the time since the last lap to a phase."""
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self.last
        self.last = now


def main() -> None:
    """Measure and print."""
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("--lines", type=int, default=100_000)
    told.add_argument("--ledger", type=int, default=10, help="so many times the lines")
    told.add_argument("--rounds", type=int, default=1)
    told.add_argument("--capturing", action="store_true", help="no webhook settled anything yet")
    asyncio.run(measure(told.parse_args()))


async def measure(told: argparse.Namespace) -> None:
    """Reconcile the same day against a small and a large ledger."""
    small, large = [], []
    with tempfile.TemporaryDirectory(prefix="caas-bench-", ignore_cleanup_errors=True) as folder:
        path = write_report(Path(folder) / "day.csv", told.lines)
        server = EmbeddedPostgresql(settings={"max_wal_size": "4GB"})
        dsn = await server.start(Path(folder) / "postgresql")
        try:
            for number in range(told.rounds):
                for times, seconds in ((2, small), (told.ledger, large)):
                    name = f"ledger_{times}_{number}"
                    ours = await database_of(dsn, name, told, times)
                    seconds.append(await reconcile(ours, path, told.lines))
                    await drop(dsn, name)
            bare = await asyncio.to_thread(bare_classification, Path(folder), told.lines)
        finally:
            await server.stop()
    lines = told.lines
    durable = lines / statistics.median(small)
    say(f"bare classification  {lines / bare:>12,.0f} lines/s")
    say(f"durable apply        {durable:>12,.0f} lines/s")
    say(f"P7                   {durable * bare / lines:>12.3f}   (goal 0.10)")
    say(
        f"P8                   {statistics.median(large) / statistics.median(small):>12.2f}"
        f"   (goal 1.2; {2 * lines:,} and {told.ledger * lines:,} payments)"
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    say(f"peak memory          {peak:>12,.0f} MB")


def write_report(path: Path, lines: int) -> Path:
    """Write a day's canonical report: a settlement line for each of the last payments."""
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


async def database_of(dsn: str, name: str, told: argparse.Namespace, times: int) -> str:
    """Load a ledger of so many times the lines: yesterday's payments, today's, and older ones."""
    admin = await asyncpg.connect(dsn)
    await admin.execute(f"create database {name}")
    await admin.close()
    ours = dsn.replace("/postgres?", f"/{name}?")
    await migrations.migrate(ours)
    owner = await asyncpg.connect(ours, command_timeout=3600)
    await owner.execute("set search_path = caas, public")
    lines = told.lines
    spans = [
        (2 * lines + 1, times * lines, "2026-10-01", False),
        (1, lines, "2026-11-16", False),
        (lines + 1, 2 * lines, "2026-11-17", told.capturing),
    ]
    for first, last, captured_on, capturing in spans:
        if last >= first:
            await owner.execute(load(first, last, captured_on, capturing=capturing))
    await owner.execute(
        LINES_OF_YESTERDAY.format(
            gateway=GATEWAY, day=DAY - timedelta(days=1), count=lines, first=1
        )
    )
    await owner.execute("vacuum analyze")
    await owner.execute("checkpoint")
    await owner.close()
    return ours


def load(first: int, last: int, captured_on: str, *, capturing: bool) -> str:
    """Return the statements that load a span of payments."""
    return LOAD.format(
        first=first,
        last=last,
        at=f"'{captured_on}T09:00:00Z'::timestamptz",
        state="'Capturing'" if capturing else "'Settled'",
        settled="0" if capturing else "p.amount",
    )


async def drop(dsn: str, name: str) -> None:
    """Drop a ledger."""
    admin = await asyncpg.connect(dsn)
    await admin.execute(f"drop database {name} with (force)")
    await admin.close()


async def reconcile(dsn: str, path: Path, lines: int) -> float:
    """Reconcile the day and return how long it took, from the file to the last commit."""
    database = await connection.connect(dsn)
    with tempfile.TemporaryDirectory(prefix="caas-bench-") as folder:
        runs = Runs(
            books=billing_books.opened(database),
            gateway=GatewayAtHand(),  # type: ignore[arg-type]
            alert=_alert,
            settings=ReconciliationSettings(zone=ZoneInfo("Europe/Madrid"), folder=Path(folder)),
        )
        laps = Laps()
        with told_apart(laps):
            started = time.perf_counter()
            done = await runs.reconcile(DAY, file=path, progress=lambda *_: None)
            seconds = time.perf_counter() - started
    await database.close()
    assert done.run.counts == {"matched": lines}, done.run.counts
    parts = ", ".join(
        f"{name} {took:.1f}" for name, took in laps.seconds.items() if took > WORTH_TELLING_SECONDS
    )
    say(f"{dsn.rpartition('/')[2].partition('?')[0]}: {seconds:.1f} s ({parts})")
    return seconds


@contextmanager
def told_apart(laps: Laps) -> Iterator[None]:
    """Tell apart what the workbench, the exports and the commits take."""
    from caas.billing_database.book_snapshot import BookSnapshot  # noqa: PLC0415
    from caas.payment_processing.reconciliation.updating import Updating  # noqa: PLC0415

    watched: list[tuple[type, str]] = [
        (Workbench, name)
        for name in (
            "read",
            "gaps",
            "take_fresh",
            "take_book",
            "take_seen",
            "classify",
            "keep_compared",
            "write_outcome",
            "keys",
            "chunks",
            "set_apart",
            "apart",
        )
    ] + [(BookSnapshot, name) for name in ("take_keys", "late", "book", "lines_seen")]
    watched.append((Updating, "_one_chunk"))
    before = [(owner, name, getattr(owner, name)) for owner, name in watched]
    for owner, name, method in before:
        setattr(owner, name, _timed(laps, name, method))
    try:
        yield
    finally:
        for owner, name, method in before:
            setattr(owner, name, method)


def _timed(laps: Laps, name: str, method: Any) -> Any:
    def blocking(*arguments: Any, **more: Any) -> Any:
        started = time.perf_counter()
        try:
            return method(*arguments, **more)
        finally:
            laps.seconds[name] = laps.seconds.get(name, 0) + time.perf_counter() - started

    async def waiting(*arguments: Any, **more: Any) -> Any:
        started = time.perf_counter()
        try:
            return await method(*arguments, **more)
        finally:
            laps.seconds[name] = laps.seconds.get(name, 0) + time.perf_counter() - started

    return waiting if asyncio.iscoroutinefunction(method) else blocking


def bare_classification(folder: Path, lines: int) -> float:
    """Return how long DuckDB takes for the classification alone, its relations at hand."""
    where = folder / "bare"
    where.mkdir()
    bench = Workbench(where)
    duckdb = bench._connection  # noqa: SLF001 - measured without anything around it
    duckdb.execute(
        f"""
insert into book_payments by name from range(1, {lines} + 1) t(n) select
  '01936d5e-0000-7000-8000-' || lpad(lower(hex(n)), 12, '0') as payment_id,
  'txn_' || lower(hex(n)) as transaction_id, 'Settled' as state, 4 as version, 'EUR' as currency,
  1000 + n % 5000 as captured, 1000 + n % 5000 as settled, 0 as refunds_known, 0 as refunds_done,
  0 as disputes_known, 0 as disputes_count, 0 as disputes_back;
insert into report_lines by name from range(1, {lines} + 1) t(n) select n as rank,
  'new' as standing, 1 as counts, 'r' as report, n as line_no, 'bat_1' as batch_id,
  'txn_' || lower(hex(n)) as transaction_id,
  '01936d5e-0000-7000-8000-' || lpad(lower(hex(n)), 12, '0') as reference, 'settlement' as type,
  1000 + n % 5000 as gross, 0 as fee, 1000 + n % 5000 as net, 'EUR' as currency,
  '2026-11-19T10:00:00Z' as booked_at, '2026-11-20' as value_date;
insert into run_terms values ('2026-11-19', null, null, null)
"""  # noqa: S608 - the number of lines is ours
    )
    started = time.perf_counter()
    bench.classify(classification())
    seconds = time.perf_counter() - started
    assert bench.count("outcome") == lines
    assert set(RELATIONS) == {"report_lines", "book_payments", "run_terms"}
    bench.close()
    return seconds


def say(sentence: str) -> None:
    """Say what was measured."""
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


async def _alert(kind: str, _subject: object, sentence: str) -> None:
    say(f"{kind}: {sentence}")


if __name__ == "__main__":
    main()

"""P7 and P8: the reconciliation of a day with a million lines.

P7: lines a second from the report file to the last durable commit, over lines a second of DuckDB's
bare classification of the same relations. P7-memory: peak memory of the reconciling process, over
its limit. P7-beside: the 99th percentile of accepts over HTTP at a steady rate while a run goes on
in another process, over the same without a run. P8: the time against ten times as many payments as
lines, over the time against twice as many.

Rules a change must keep: every round reconciles the same report on a fresh copy of the ledger; the
run passes every guard, and every commit is on disk; a difference ends the measurement.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg

from caas.billing_database.classification import classification
from caas.external_systems.reconciliation_workbench import Workbench
from caas_lab.bench import ledger_data, load_generator
from caas_lab.bench.goals import BenchServer, Goal, Measure, Measurement
from caas_lab.bench.served_api import ACCEPTED, ServedApi, served_api

LINES: Final = 1_000_000
LINES_QUICKLY: Final = 20_000
SMALL, LARGE = 2, 10
MEGABYTES_MAX: Final = 500.0
MICROSECONDS: Final = 1e6
COPY: Final = 'create database "{copy}" template "{of}" strategy file_copy'
A_SECOND: Final = 100
MILLISECONDS: Final = 1000
TURNS_ALONE: Final = 12
"""At five seconds per run, enough samples for rare delays."""

BARE: Final = """
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
"""


class ReportDay:
    """One day's report, reconciled against ledgers of several sizes."""

    def __init__(self, server: BenchServer, folder: Path) -> None:
        """Write the report to this folder."""
        self.lines = LINES_QUICKLY if server.quick else LINES
        self._server = server
        self._folder = folder
        self._report = ledger_data.write_report(folder / "day.csv", self.lines)
        self._copies = 0

    async def load(self, times: int) -> None:
        """Load a ledger of this many times the lines, once."""
        async with self._admin() as admin:
            known = await admin.fetchval(
                "select count(*) from pg_database where datname = $1", self._name(times)
            )
        if not known:
            dsn = await self._server.database(self._name(times))
            await ledger_data.load(dsn, self.lines, times * self.lines)

    async def reconcile(self, times: int) -> dict[str, Any]:
        """Reconcile the day on a copy of a ledger; return the figures."""
        async with self.copy_of(times) as dsn:
            return await self.run(dsn)

    @asynccontextmanager
    async def copy_of(self, times: int) -> AsyncIterator[str]:
        """Yield a copy of a ledger."""
        self._copies += 1
        copy = f"{self._name(times)}_{self._copies}"
        async with self._admin() as admin:
            await admin.execute(COPY.format(copy=copy, of=self._name(times)))
            await admin.execute("checkpoint")
        try:
            yield self._server.dsn.replace("/postgres?", f"/{copy}?")
        finally:
            async with self._admin() as admin:
                await admin.execute(f'drop database "{copy}" with (force)')

    async def run(self, dsn: str) -> dict[str, Any]:
        """Reconcile the day in a process of its own; return the figures."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "caas_lab.bench.reconciliation_process", dsn, str(self._report),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        printed, _ = await process.communicate()
        assert process.returncode == 0, "the run ended in order"
        figures: dict[str, Any] = json.loads(printed.splitlines()[-1])
        assert figures["lines"] == self.lines
        return figures

    def bare(self) -> float:
        """Return the seconds that DuckDB takes for the classification alone."""
        with tempfile.TemporaryDirectory(dir=self._folder) as where:
            bench = Workbench(Path(where))
            bench._connection.execute(f"set threads = {os.cpu_count()}")  # noqa: SLF001 - nothing else runs meanwhile
            bench._connection.execute(BARE.format(lines=self.lines))  # noqa: SLF001 - nothing around it
            began = time.perf_counter()
            bench.classify(classification())
            seconds = time.perf_counter() - began
            assert bench.count("outcome") == self.lines
            bench.close()
        return seconds

    def each(self, figures: dict[str, Any]) -> dict[str, float]:
        """Return the microseconds of each phase for one line."""
        phases = ("reading", "comparing", "applying")
        return {it: figures["seconds"][it] / self.lines * MICROSECONDS for it in phases}

    def _name(self, times: int) -> str:
        return f"ledger_{times}"

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[asyncpg.Connection]:
        admin = await asyncpg.connect(
            self._server.dsn, command_timeout=ledger_data.LOAD_SECONDS_MAX
        )
        try:
            yield admin
        finally:
            await admin.close()


@asynccontextmanager
async def durable(server: BenchServer) -> AsyncIterator[Measure]:
    """Prepare P7."""
    async with report_day(server, SMALL) as day:

        async def measured(_seconds: int) -> Measurement:
            bare = day.lines / await asyncio.to_thread(day.bare)
            figures = await day.reconcile(SMALL)
            return Measurement(bare, day.lines / figures["seconds"]["all"], day.each(figures))

        yield measured


@asynccontextmanager
async def memory(server: BenchServer) -> AsyncIterator[Measure]:
    """Prepare P7-memory."""
    async with report_day(server, SMALL) as day:

        async def measured(_seconds: int) -> Measurement:
            figures = await day.reconcile(SMALL)
            return Measurement(MEGABYTES_MAX, figures["peak_megabytes"], day.each(figures))

        yield measured


@asynccontextmanager
async def growing(server: BenchServer) -> AsyncIterator[Measure]:
    """Prepare P8."""
    async with report_day(server, SMALL, LARGE) as day:

        async def measured(_seconds: int) -> Measurement:
            small, large = [(await day.reconcile(times)) for times in (SMALL, LARGE)]
            return Measurement(small["seconds"]["all"], large["seconds"]["all"], day.each(large))

        yield measured


@asynccontextmanager
async def report_day(server: BenchServer, *ledgers: int) -> AsyncIterator[ReportDay]:
    """Prepare a day's report and the ledgers it is reconciled against."""
    with tempfile.TemporaryDirectory(prefix="caas-bench-") as folder:
        day = ReportDay(server, Path(folder))
        for times in ledgers:
            await day.load(times)
        yield day


@asynccontextmanager
async def beside(server: BenchServer) -> AsyncIterator[Measure]:
    """Prepare P7-beside: serve a platform on the ledger of a day."""
    async with report_day(server, SMALL) as day:

        async def measured(seconds: int) -> Measurement:
            async with (
                day.copy_of(SMALL) as dsn,
                served_api(dsn, quick=server.quick) as served,
            ):
                await _accept(served, seconds)  # until the caches of the copy are warm
                alone, beside = [], []
                for _ in range(1 if server.quick else TURNS_ALONE):
                    alone += await _accept(served, seconds)
                run = asyncio.create_task(day.run(dsn))
                while not run.done():
                    beside += await _accept(served, seconds)
                figures = await run
            theirs, ours = load_generator.p99(alone), load_generator.p99(beside)
            return Measurement(theirs * MILLISECONDS, ours * MILLISECONDS, day.each(figures))

        yield measured


async def _accept(served: ServedApi, seconds: int) -> list[float]:
    """Accept payments at a steady rate; return the seconds that each took."""
    purchases = await served.purchases(A_SECOND * seconds)
    calls = await load_generator.send(
        purchases, status=ACCEPTED, seconds=seconds, a_second=A_SECOND
    )
    return calls.took


P7: Final = Goal(
    what="a day's lines reconciled, every commit durable",
    theirs="DuckDB lines/s",
    ours="lines/s",
    aim=0.12,
    ready=durable,
)
P7_MEMORY: Final = Goal(
    what="the most memory the reconciling process holds",
    theirs="limit MB",
    ours="peak MB",
    aim=1.0,
    ready=memory,
    at_most=True,
)
P8: Final = Goal(
    what="a day reconciled against ten times as many payments as lines, and against twice",
    theirs="s of twice",
    ours="s of ten times",
    aim=1.2,
    ready=growing,
    at_most=True,
)
P7_BESIDE: Final = Goal(
    what=f"99th percentile of an accept, {A_SECOND} a second, while a day is reconciled beside",
    theirs="alone, ms",
    ours="beside, ms",
    aim=1.5,
    ready=beside,
    at_most=True,
)

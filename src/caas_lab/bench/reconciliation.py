"""P7, P8: a day of a million lines reconciled, against DuckDB alone and against a larger ledger.

P7 is lines a second from the report's file to the last durable commit, over lines a second of
DuckDB's bare classification of the same relations. P8 is the time against ten times as many
payments as lines, over the time against twice as many (yesterday's and the day's own). P7-memory
is the most memory the reconciling process held, over its limit.

Rules a change must keep: every round reconciles the same report on a fresh copy of the ledger; the
run goes through every guard and every commit is on disk.
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
from caas_lab.bench import ledger
from caas_lab.bench.ground import Goal, Ground, Round, Turn

LINES: Final = 1_000_000
LINES_QUICKLY: Final = 20_000
SMALL, LARGE = 2, 10
MEGABYTES_MAX: Final = 500.0
MICROSECONDS: Final = 1e6
COPY: Final = 'create database "{copy}" template "{of}" strategy file_copy'

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


class Days:
    """The same day, to be reconciled against ledgers of several sizes."""

    def __init__(self, ground: Ground, folder: Path) -> None:
        """Keep the report in this folder."""
        self.lines = LINES_QUICKLY if ground.quick else LINES
        self._ground = ground
        self._folder = folder
        self._report = ledger.write_report(folder / "day.csv", self.lines)
        self._copies = 0

    async def load(self, times: int) -> None:
        """Load the ledger of so many times the lines, once."""
        async with self._admin() as admin:
            known = await admin.fetchval(
                "select count(*) from pg_database where datname = $1", self._name(times)
            )
        if not known:
            dsn = await self._ground.database(self._name(times))
            await ledger.load(dsn, self.lines, times * self.lines)

    async def reconciled(self, times: int) -> dict[str, Any]:
        """Reconcile the day on a copy of a ledger; return what it took."""
        async with self.copied(times) as dsn:
            return await self.run(dsn)

    @asynccontextmanager
    async def copied(self, times: int) -> AsyncIterator[str]:
        """Lend a copy of a ledger."""
        self._copies += 1
        copy = f"{self._name(times)}_{self._copies}"
        async with self._admin() as admin:
            await admin.execute(COPY.format(copy=copy, of=self._name(times)))
            await admin.execute("checkpoint")
        try:
            yield self._ground.dsn.replace("/postgres?", f"/{copy}?")
        finally:
            async with self._admin() as admin:
                await admin.execute(f'drop database "{copy}" with (force)')

    async def run(self, dsn: str) -> dict[str, Any]:
        """Reconcile the day in a process of its own; return what it took."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "caas_lab.bench.reconciled_apart", dsn, str(self._report),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        printed, _ = await process.communicate()
        assert process.returncode == 0, "the run ended in order"
        told: dict[str, Any] = json.loads(printed.splitlines()[-1])
        assert told["lines"] == self.lines
        return told

    def bare(self) -> float:
        """Return how many seconds DuckDB takes for the classification alone."""
        with tempfile.TemporaryDirectory(dir=self._folder) as where:
            bench = Workbench(Path(where))
            bench._connection.execute(f"set threads = {os.cpu_count()}")  # noqa: SLF001 - it has the machine for itself
            bench._connection.execute(BARE.format(lines=self.lines))  # noqa: SLF001 - nothing around it
            began = time.perf_counter()
            bench.classify(classification())
            seconds = time.perf_counter() - began
            assert bench.count("outcome") == self.lines
            bench.close()
        return seconds

    def each(self, told: dict[str, Any]) -> dict[str, float]:
        """Return the microseconds of each phase for one line."""
        phases = ("reading", "comparing", "applying")
        return {it: told["seconds"][it] / self.lines * MICROSECONDS for it in phases}

    def _name(self, times: int) -> str:
        return f"ledger_{times}"

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[asyncpg.Connection]:
        admin = await asyncpg.connect(self._ground.dsn, command_timeout=ledger.LOAD_SECONDS_MAX)
        try:
            yield admin
        finally:
            await admin.close()


@asynccontextmanager
async def durable(ground: Ground) -> AsyncIterator[Round]:
    """Make ready for P7."""
    async with days_of(ground, SMALL) as days:

        async def measured(_seconds: int) -> Turn:
            bare = days.lines / await asyncio.to_thread(days.bare)
            told = await days.reconciled(SMALL)
            return Turn(bare, days.lines / told["seconds"]["all"], days.each(told))

        yield measured


@asynccontextmanager
async def memory(ground: Ground) -> AsyncIterator[Round]:
    """Make ready for the memory of P7."""
    async with days_of(ground, SMALL) as days:

        async def measured(_seconds: int) -> Turn:
            told = await days.reconciled(SMALL)
            return Turn(MEGABYTES_MAX, told["peak_megabytes"], days.each(told))

        yield measured


@asynccontextmanager
async def growing(ground: Ground) -> AsyncIterator[Round]:
    """Make ready for P8."""
    async with days_of(ground, SMALL, LARGE) as days:

        async def measured(_seconds: int) -> Turn:
            small, large = [(await days.reconciled(times)) for times in (SMALL, LARGE)]
            return Turn(small["seconds"]["all"], large["seconds"]["all"], days.each(large))

        yield measured


@asynccontextmanager
async def days_of(ground: Ground, *ledgers: int) -> AsyncIterator[Days]:
    """Make a day ready, and the ledgers it is reconciled against."""
    with tempfile.TemporaryDirectory(prefix="caas-bench-") as folder:
        days = Days(ground, Path(folder))
        for times in ledgers:
            await days.load(times)
        yield days


P7: Final = Goal(
    what="a day's lines reconciled, every commit durable",
    theirs="DuckDB lines/s",
    ours="lines/s",
    aim=0.10,
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

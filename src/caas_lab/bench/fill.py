"""`./caas bench --fill N`: a data folder with N finished payments, and how much they take.

A stored world is multiplied with statements over ranges of its copies, with triggers off in these
sessions and indexes on; afterwards the checksums of the tables are summed, the statistics taken.

Rule a change must keep: every invariant holds on the result.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import asyncpg
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from caas import app
from caas.billing_database import migrations
from caas.billing_database.embedded_postgresql import EmbeddedPostgresql
from caas.errors import CaasError
from caas_lab.bench import stored_world
from caas_lab.bench.copied_ids import LATEST, Calendar
from caas_lab.bench.multiplied_rows import Multiplication
from caas_lab.bench.stored_world import StoredWorld

WRITERS: Final = 2
FILL_SECONDS_MAX: Final = 6 * 3600
SETTINGS: Final = {"max_wal_size": "4GB", "autovacuum": "off"}
"""While it is filled; the tables are vacuumed at the end."""
TRIGGERS: Final = """
do $$
declare of_table regclass;
begin
  for of_table in select c.oid from pg_class c
                   where c.relnamespace = 'caas'::regnamespace and c.relkind in ('r', 'p') loop
    execute format('alter table %s {} trigger all', of_table);
  end loop;
end $$
"""
SEALED: Final = "alter table caas.invoices enable always trigger is_sealed"
SUMMED: Final = """
select caas.sum_anew(t.relname) from pg_class t
  join pg_trigger g on g.tgrelid = t.oid and g.tgname = 'checksum_of_inserted'
"""
EARLIER: Final = """
update caas.tax_settings set since = least(since, (select min(created_at) from caas.customers));
update caas.migrations set ran_at = least(ran_at, (select min(created_at) from caas.customers))
"""
"""The installation is older than what it has stored."""
AHEAD: Final = "update caas.clock set moved = moved + $1"
SIZES: Final = """
select c.relname as name, c.reltuples::bigint as rows, pg_table_size(c.oid) as heap,
       pg_indexes_size(c.oid) as indexes
  from pg_class c
 where c.relnamespace = 'caas'::regnamespace and c.relkind in ('r', 'p') and c.reltuples > 0
 order by pg_total_relation_size(c.oid) desc
"""


class FilledFolderError(CaasError):
    """The folder has a database with payments."""


async def fill_folder(folder: Path, payments: int) -> None:
    """Make a data folder whose database has at least this many finished payments.

    Raises:
        FilledFolderError: it has payments already.
    """
    console, postgresql = Console(), EmbeddedPostgresql(settings=SETTINGS)
    dsn = await postgresql.start(folder)
    try:
        await migrations.migrate(dsn)
        async with _session(dsn) as owner:
            if await owner.fetchval("select exists (select from payments)"):
                raise FilledFolderError(f"The database in {folder} has payments. Name another one.")
        await multiply(dsn, await stored_world.lived(console.print), payments, console)
    finally:
        await postgresql.stop()
    console.print(f"Serve it with: CAAS_DATA_DIR={folder} ./caas up")


async def multiply(dsn: str, world: StoredWorld, payments: int, console: Console) -> None:
    """Fill an empty Billing Database with at least this many payments of a stored world."""
    began = time.monotonic()
    copies = -(-payments // len(world.tables["payments"].rows))
    multiplication = Multiplication(world, Calendar.until(app.now(), copies=copies, world=world))
    async with _session(dsn) as owner:
        await owner.execute(TRIGGERS.format("disable"))
        await owner.execute(SEALED)
        for statement in multiplication.once():
            await owner.execute(statement)
        for statement in multiplication.days():
            await owner.execute(statement, 0, multiplication.calendar.days - 1)
    with Progress(console=console) as progress:
        report = partial(progress.advance, progress.add_task("copies", total=2 * copies))
        for of_month in (False, True):
            statements = list(multiplication.copies(of_month=of_month))
            ranges = multiplication.calendar.ranges()
            await asyncio.gather(
                *(_write(dsn, multiplication, statements, ranges, report) for _ in range(WRITERS))
            )
    async with _session(dsn) as owner:
        await owner.execute(EARLIER)
        await owner.execute(AHEAD, world.moved + LATEST)
        await owner.execute(SUMMED)
        await owner.execute(TRIGGERS.format("enable"))
        await owner.execute(migrations.STAND_GUARD)
        await owner.execute("vacuum (analyze)")
        await _print_sizes(owner, console)
    console.print(f"{time.monotonic() - began:,.0f} s")


async def _write(
    dsn: str,
    multiplication: Multiplication,
    texts: Sequence[str],
    ranges: Iterator[tuple[int, int]],
    report: Callable[[float], None],
) -> None:
    """Write ranges of copies, each in a transaction, until there are no more."""
    async with _session(dsn) as session:
        statements = [await session.prepare(text) for text in texts]
        for first, last in ranges:
            signed = await asyncio.to_thread(multiplication.signatures, first, last)
            async with session.transaction():
                for statement in statements:
                    taken = len(statement.get_parameters())
                    await statement.fetch(*(first, last, signed)[:taken])
            report(last - first + 1)


@asynccontextmanager
async def _session(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Open a session of the owner in which no commit is waited for."""
    settings = {
        "search_path": "caas,public",
        "synchronous_commit": "off",
        "timezone": "UTC",
    }
    session = await asyncpg.connect(dsn, command_timeout=FILL_SECONDS_MAX, server_settings=settings)
    try:
        yield session
    finally:
        await session.close()


async def _print_sizes(owner: asyncpg.Connection, console: Console) -> None:
    """Print rows and bytes of each table, and what one payment takes."""
    found = await owner.fetch(SIZES)
    payments = next(row["rows"] for row in found if row["name"] == "payments")
    table = Table(title=f"{payments:,} payments", title_justify="left")
    for column in ("table", "rows", "rows/payment", "heap MB", "indexes MB", "bytes/payment"):
        table.add_column(column, justify="left" if column == "table" else "right")
    for row in found:
        taken = row["heap"] + row["indexes"]
        table.add_row(
            row["name"], f"{row['rows']:,}", f"{row['rows'] / payments:.2f}",
            f"{row['heap'] / 1e6:,.1f}", f"{row['indexes'] / 1e6:,.1f}",
            f"{taken / payments:,.0f}",
        )  # fmt: skip
    heap, indexes = (sum(row[one] for row in found) for one in ("heap", "indexes"))
    table.add_section()
    table.add_row(
        "all", f"{sum(row['rows'] for row in found):,}", "", f"{heap / 1e6:,.1f}",
        f"{indexes / 1e6:,.1f}", f"{(heap + indexes) / payments:,.0f}",
    )  # fmt: skip
    console.print(table)

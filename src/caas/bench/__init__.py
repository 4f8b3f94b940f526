"""The goals of docs/performance, measured: ours and the yardstick in turns, on one machine.

Rules: nothing is asserted, everything is printed; a figure is a ratio to the yardstick of the same
minute on the same server with the same settings; nothing durable is made less so to look faster.
"""

import platform
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import asyncpg
import structlog
from rich.console import Console
from rich.table import Table

from caas.bench import accepts, cpu, lifecycles, stage
from caas.bench.gateway_at_hand import GatewayAtHand
from caas.bench.yardstick import Yardstick
from caas.billing_database import migrations
from caas.billing_database.embedded_postgresql import EmbeddedPostgresql
from caas.errors import StartupError

SHOWN: Final = ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size")
ERRORS_ONLY: Final = 40
MICROSECONDS: Final = 1_000_000

GOALS: Final = {
    "P1": "five-commit lifecycles of a one-time service, 64 in flight",
    "P2": "durable accepts over HTTP, 64 connections",
}


async def measure(*, only: Sequence[str], rounds: int, seconds: int) -> None:
    """Measure the named goals, or all, and print each round, the median and the worst.

    Raises:
        StartupError: there is no such goal.
    """
    wanted = tuple(only) or tuple(GOALS)
    unknown = [name for name in wanted if name not in GOALS]
    if unknown:
        raise StartupError(f"There is no goal {unknown[0]}; there are: {', '.join(GOALS)}.")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(ERRORS_ONLY))
    with tempfile.TemporaryDirectory(prefix="caas-bench-") as folder:
        server = EmbeddedPostgresql()
        dsn = await server.start(Path(folder))
        try:
            await _measure_on(dsn, cpu.postmaster_of(Path(folder)), wanted, rounds, seconds)
        finally:
            await server.stop()


async def _measure_on(
    dsn: str, postmaster: int, wanted: Sequence[str], rounds: int, seconds: int
) -> None:
    console = Console()
    yard, ours = await _databases(dsn)
    console.print(await _conditions(ours))
    yardstick = Yardstick(yard)
    await yardstick.prepare()
    gateway = GatewayAtHand()
    async with stage.standing(ours, gateway) as standing:
        measures = {
            "P1": lifecycles.Lifecycles(standing).rate,
            "P2": accepts.Accepts(standing).rate,
        }
        for name in wanted:
            rows: list[tuple[float, float, float, float]] = []
            for _ in range(rounds):
                await standing.add_orders()
                theirs = await yardstick.rate(seconds)
                before = cpu.of_server(postmaster), cpu.of_ourselves()
                rate = await measures[name](seconds)
                spent = cpu.of_server(postmaster) - before[0], cpu.of_ourselves() - before[1]
                done = rate * seconds
                server, own = (one / done * MICROSECONDS for one in spent)
                rows.append((theirs, rate, server, own))
            console.print(_table(name, rows))


async def _databases(dsn: str) -> tuple[str, str]:
    """Make a database for the yardstick and one for ours, on the one server."""
    admin = await asyncpg.connect(dsn)
    try:
        for name in ("yardstick", "ours"):
            await admin.execute(f"create database {name}")
    finally:
        await admin.close()
    yard, ours = (dsn.replace("/postgres?", f"/{name}?") for name in ("yardstick", "ours"))
    await migrations.migrate(ours)
    return yard, ours


async def _conditions(dsn: str) -> str:
    admin = await asyncpg.connect(dsn)
    try:
        settings = [f"{name} {await admin.fetchval(f'show {name}')}" for name in SHOWN]
        version = await admin.fetchval("show server_version")
    finally:
        await admin.close()
    return (
        f"{platform.machine()}, {cpu.cores()} cores, Python {platform.python_version()}, "
        f"PostgreSQL {version}; {', '.join(settings)}"
    )


def _table(name: str, rows: Sequence[tuple[float, float, float, float]]) -> Table:
    table = Table(title=f"{name}: {GOALS[name]}", title_justify="left")
    for column in ("round", "TPC-B /s", "ours /s", "ratio", "PostgreSQL us", "our us"):
        table.add_column(column, justify="right")
    for number, (theirs, rate, server, own) in enumerate(rows, start=1):
        table.add_row(
            str(number), f"{theirs:.0f}", f"{rate:.0f}", f"{rate / theirs:.2f}",
            f"{server:.0f}", f"{own:.0f}",
        )  # fmt: skip
    ratios = [rate / theirs for theirs, rate, *_ in rows]
    table.add_section()
    table.add_row("median", "", "", f"{statistics.median(ratios):.2f}", "", "")
    table.add_row("worst", "", "", f"{min(ratios):.2f}", "", "")
    return table

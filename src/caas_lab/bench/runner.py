"""Measures goals in rounds and prints each round.

Rule a change must keep: results are printed, never asserted.
"""

import platform
import statistics
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import asyncpg
import structlog
from rich.console import Console
from rich.table import Table

from caas.billing_database.embedded_postgresql import EmbeddedPostgresql
from caas_lab.bench import (
    cpu,
    history,
    http_goals,
    lifecycles,
    over_the_wire,
    purchases,
    reconciliation,
)
from caas_lab.bench.goals import BenchServer, Goal, Measurement, Yardstick, create_database

SHOWN: Final = ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size")
ERRORS_ONLY: Final = 40

GOALS: Final = {
    "U1": purchases.ALONE,
    "U2": purchases.RATE,
    "U3": purchases.FIRST_ANSWER,
    "P1": lifecycles.GOAL,
    "P2": http_goals.ACCEPTS,
    "P3": http_goals.LATENCY,
    "P4": http_goals.WEBHOOKS,
    "P5": over_the_wire.GOAL,
    "P7": reconciliation.P7,
    "P7-memory": reconciliation.P7_MEMORY,
    "P7-beside": reconciliation.P7_BESIDE,
    "P8": reconciliation.P8,
}


async def measure(
    *,
    only: Sequence[str] = (),
    rounds: int,
    seconds: int,
    quick: bool = False,
    kept_in: Path | None = None,
) -> None:
    """Measure the named goals, or all; print each round, the median and the worst.

    Results are appended to the file `kept_in`.
    """
    wanted = tuple(only) or tuple(GOALS)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(ERRORS_ONLY))
    with tempfile.TemporaryDirectory(prefix="caas-bench-") as folder:
        postgresql = EmbeddedPostgresql()
        dsn = await postgresql.start(Path(folder))
        try:
            yardstick = Yardstick(await create_database(dsn, "yardstick"), quick=quick)
            server = BenchServer(dsn, cpu.postmaster_of(Path(folder)), yardstick, quick)
            await _measure_on(server, wanted, rounds, seconds, kept_in)
        finally:
            await postgresql.stop()


async def _measure_on(
    server: BenchServer, wanted: Sequence[str], rounds: int, seconds: int, kept_in: Path | None
) -> None:
    console = Console()
    conditions = await _conditions(server.dsn)
    console.print(conditions)
    await server.yardstick.prepare()
    for name in wanted:
        async with GOALS[name].ready(server) as measured:
            measurements = [await measured(seconds) for _ in range(rounds)]
        console.print(_table(name, GOALS[name], measurements))
        if kept_in is not None:
            at = await _now(server.dsn)
            measured_now = history.result(
                name, GOALS[name], measurements, conditions=conditions, at=at
            )
            history.append(kept_in, measured_now)


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


async def _now(dsn: str) -> datetime:
    admin = await asyncpg.connect(dsn)
    try:
        now: datetime = await admin.fetchval("select date_trunc('second', now())")
    finally:
        await admin.close()
    return now


def _table(name: str, goal: Goal, measurements: Sequence[Measurement]) -> Table:
    bound = "at most" if goal.at_most else "at least"
    title = f"{name}: {goal.what}; aim {bound} {goal.aim}"
    table = Table(title=title, title_justify="left")
    who = tuple(measurements[0].cpu)
    for column in ("round", goal.theirs, goal.ours, "ratio", *(f"{one} us" for one in who)):
        table.add_column(column, justify="right")
    for number, it in enumerate(measurements, start=1):
        table.add_row(
            str(number), f"{it.theirs:,.4g}", f"{it.ours:,.4g}", f"{it.ratio:.2f}",
            *(f"{it.cpu[one]:.0f}" for one in who),
        )  # fmt: skip
    ratios = [measurement.ratio for measurement in measurements]
    table.add_section()
    for word, ratio in (
        ("median", statistics.median(ratios)),
        ("worst", (max if goal.at_most else min)(ratios)),
    ):
        table.add_row(word, "", "", f"{ratio:.2f}", *("" for _ in who))
    return table

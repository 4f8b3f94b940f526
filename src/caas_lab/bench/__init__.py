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

from caas.billing_database.embedded_postgresql import EmbeddedPostgresql
from caas_lab.bench import accepts, beside, cpu, lifecycles, over_the_wire, reconciliation, webhooks
from caas_lab.bench.ground import Goal, Ground, Turn, made_database
from caas_lab.bench.yardstick import Yardstick

SHOWN: Final = ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size")
ERRORS_ONLY: Final = 40

GOALS: Final = {
    "P1": lifecycles.GOAL,
    "P2": accepts.GOAL,
    "P3": accepts.LATENCY,
    "P4": webhooks.GOAL,
    "P5": over_the_wire.GOAL,
    "P7": reconciliation.P7,
    "P7-memory": reconciliation.P7_MEMORY,
    "P7-beside": beside.GOAL,
    "P8": reconciliation.P8,
}


async def measure(
    *, only: Sequence[str] = (), rounds: int, seconds: int, quick: bool = False
) -> None:
    """Measure the named goals, or all; print each round, the median and the worst."""
    wanted = tuple(only) or tuple(GOALS)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(ERRORS_ONLY))
    with tempfile.TemporaryDirectory(prefix="caas-bench-") as folder:
        server = EmbeddedPostgresql()
        dsn = await server.start(Path(folder))
        try:
            yardstick = Yardstick(await made_database(dsn, "yardstick"), quick=quick)
            ground = Ground(dsn, cpu.postmaster_of(Path(folder)), yardstick, quick)
            await _measure_on(ground, wanted, rounds, seconds)
        finally:
            await server.stop()


async def _measure_on(ground: Ground, wanted: Sequence[str], rounds: int, seconds: int) -> None:
    console = Console()
    console.print(await _conditions(ground.dsn))
    await ground.yardstick.prepare()
    for name in wanted:
        async with GOALS[name].ready(ground) as measured:
            turns = [await measured(seconds) for _ in range(rounds)]
        console.print(_table(name, GOALS[name], turns))


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


def _table(name: str, goal: Goal, turns: Sequence[Turn]) -> Table:
    bound = "at most" if goal.at_most else "at least"
    title = f"{name}: {goal.what}; aim {bound} {goal.aim}"
    table = Table(title=title, title_justify="left")
    who = tuple(turns[0].spent)
    for column in ("round", goal.theirs, goal.ours, "ratio", *(f"{one} us" for one in who)):
        table.add_column(column, justify="right")
    for number, turn in enumerate(turns, start=1):
        table.add_row(
            str(number), f"{turn.theirs:,.4g}", f"{turn.ours:,.4g}", f"{turn.ratio:.2f}",
            *(f"{turn.spent[one]:.0f}" for one in who),
        )  # fmt: skip
    ratios = [turn.ratio for turn in turns]
    table.add_section()
    for word, ratio in (
        ("median", statistics.median(ratios)),
        ("worst", (max if goal.at_most else min)(ratios)),
    ):
        table.add_row(word, "", "", f"{ratio:.2f}", *("" for _ in who))
    return table

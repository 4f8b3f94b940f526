"""`./caas walk`: how long everything that can be read takes on a filled database.

Rule a change must keep: a route's figures are those of each visitor, because their lists differ.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import aiohttp
import structlog
from rich.console import Console
from rich.table import Table

from caas.billing_database.embedded_postgresql import EmbeddedPostgresql
from caas_lab.bench import walked_site
from caas_lab.bench.walk import Walk, WalkStep

CRITICAL: Final = 50  # errors are counted, not printed
FAILED: Final = 500
PERCENT: Final = 100


async def walk_folder(folder: Path, *, rounds: int) -> None:
    """Serve the database of a data folder, walk it, and print each route, slowest first."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(CRITICAL))
    postgresql, steps = EmbeddedPostgresql(), list[WalkStep]()
    dsn = await postgresql.start(folder)
    try:
        async with walked_site.served(dsn) as site, aiohttp.ClientSession() as session:
            for _ in range(rounds):
                steps += await Walk(site, session).everywhere()
    finally:
        await postgresql.stop()
    Console().print(_table(steps))


def _table(steps: Sequence[WalkStep]) -> Table:
    table = Table(title=f"{len(steps):,} steps", title_justify="left")
    for column in ("who", "route", "steps", "failed", "p50 ms", "p99 ms", "slowest"):
        table.add_column(column, justify="left" if column in ("who", "route") else "right")
    of_route: dict[tuple[str, str], list[WalkStep]] = {}
    for step in steps:
        of_route.setdefault((step.visitor.partition(" ")[0], step.route), []).append(step)
    for (who, route), made in sorted(of_route.items(), key=lambda it: -_p99(it[1])):
        slowest = max(made, key=lambda step: step.seconds)
        median = statistics.median(step.seconds for step in made)
        failed = sum(step.status >= FAILED for step in made)
        table.add_row(
            who, route, str(len(made)), str(failed), f"{median * 1000:.1f}",
            f"{_p99(made) * 1000:.1f}", "&".join(slowest.filters),
        )  # fmt: skip
    return table


def _p99(steps: Sequence[WalkStep]) -> float:
    seconds = sorted(step.seconds for step in steps)
    return seconds[(len(seconds) * (PERCENT - 1)) // PERCENT]

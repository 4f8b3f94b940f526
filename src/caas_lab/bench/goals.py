"""What every goal shares: the server it is measured on, the yardstick, and one measurement.

The yardstick is `pgbench -M prepared` TPC-B on the server that the platform runs on.

Rules a change must keep: yardstick and platform are measured in the same minute on the same server
with the same settings; every goal has a database of its own.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final

import asyncpg
import msgspec

from caas.billing_database import migrations
from caas.billing_database.embedded_postgresql import program

SCALE: Final = 50
QUICK_SCALE: Final = 1
CLIENTS: Final = (8, 16)
_RATE: Final = re.compile(r"tps = ([0-9.]+)")


class Yardstick(msgspec.Struct, frozen=True):
    """TPC-B on one database."""

    dsn: str
    quick: bool = False

    async def prepare(self) -> None:
        """Create pgbench's tables."""
        scale = QUICK_SCALE if self.quick else SCALE
        await self._pgbench("--initialize", f"--scale={scale}", "--quiet")

    async def rate(self, seconds: int) -> float:
        """Return transactions a second, the best of the numbers of clients."""
        each = max(seconds // len(CLIENTS), 1)
        rates = []
        for clients in CLIENTS:
            printed = await self._pgbench(
                "--protocol=prepared", f"--client={clients}", "--jobs=2", f"--time={each}",
                "--no-vacuum",
            )  # fmt: skip
            found = _RATE.search(printed)
            assert found is not None, printed
            rates.append(float(found[1]))
        return max(rates)

    async def _pgbench(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            str(program("pgbench")), *arguments, self.dsn,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        printed, _ = await process.communicate()
        text = printed.decode(errors="replace")
        assert process.returncode == 0, text
        return text


class BenchServer(msgspec.Struct, frozen=True):
    """A PostgreSQL server with the yardstick prepared; `quick` asks for small sizes."""

    dsn: str
    postmaster: int
    yardstick: Yardstick
    quick: bool = False

    async def database(self, name: str) -> str:
        """Create a database with our schema and return its DSN."""
        ours = await create_database(self.dsn, name)
        await migrations.migrate(ours)
        return ours


class Measurement(msgspec.Struct, frozen=True):
    """One round: their figure, ours, and CPU microseconds for each piece by process."""

    theirs: float
    ours: float
    cpu: Mapping[str, float] = msgspec.field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Return our figure divided by the yardstick's."""
        return self.ours / self.theirs


Measure = Callable[[int], Awaitable[Measurement]]
"""Measures both figures once, each for this many seconds."""


class Goal(msgspec.Struct, frozen=True):
    """What is measured, against what, and the ratio to reach."""

    what: str
    theirs: str
    ours: str
    aim: float
    ready: Callable[[BenchServer], AbstractAsyncContextManager[Measure]]
    at_most: bool = False


async def create_database(dsn: str, name: str) -> str:
    """Create an empty database and return its DSN."""
    admin = await asyncpg.connect(dsn)
    try:
        await admin.execute(f'create database "{name}"')
    finally:
        await admin.close()
    return dsn.replace("/postgres?", f"/{name}?")

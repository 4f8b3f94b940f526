"""What every goal is measured on: one server, the yardstick on it, and what a round tells.

Rules a change must keep: a round measures theirs and ours in the same minute on the same server;
every goal has a database of its own, so that none is slowed by what another left behind.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import asyncpg

from caas.billing_database import migrations
from caas_lab.bench.yardstick import Yardstick


@dataclass(frozen=True, slots=True)
class Ground:
    """A server of our own, with the yardstick ready; `quick` asks for small sizes."""

    dsn: str
    postmaster: int
    yardstick: Yardstick
    quick: bool = False

    async def database(self, name: str) -> str:
        """Make a database with our schema and return where it is."""
        ours = await made_database(self.dsn, name)
        await migrations.migrate(ours)
        return ours


@dataclass(frozen=True, slots=True)
class Turn:
    """What one round found: their figure, ours, and CPU microseconds a piece by who spent them."""

    theirs: float
    ours: float
    spent: Mapping[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Ours to theirs."""
        return self.ours / self.theirs


Round = Callable[[int], Awaitable[Turn]]
"""Measures both once, each for so many seconds where it is a matter of time."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What is measured, against what, and the ratio that is aimed at."""

    what: str
    theirs: str
    ours: str
    aim: float
    ready: Callable[[Ground], AbstractAsyncContextManager[Round]]
    at_most: bool = False


async def made_database(dsn: str, name: str) -> str:
    """Make an empty database on the server and return where it is."""
    admin = await asyncpg.connect(dsn)
    try:
        await admin.execute(f'create database "{name}"')
    finally:
        await admin.close()
    return dsn.replace("/postgres?", f"/{name}?")

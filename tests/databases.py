"""The PostgreSQL of a test session, and a fresh copy of the empty Billing Database for each test.

The session's server does not flush to disk: a test may kill processes, the server's own included,
but no test cuts the power. Copies are made and dropped by the hundred, and each would otherwise
wait for a checkpoint; where memory can hold them, they are kept there. What durability is worth is
tested on servers with their own settings (tests/billing_database/test_embedded_postgresql.py).
"""

import itertools
import os
import shutil
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from caas.billing_database import connection, embedded_postgresql, migrations, self_check
from caas.billing_database.connection import Database
from caas.billing_database.invariant_scopes import EVERYTHING, scoped

IN_MEMORY: Final = Path("/dev/shm")  # noqa: S108  # only where there is one with room enough
ROOM_IN_MEMORY: Final = 8 << 30
SERVER_SETTINGS: Final = {"max_connections": "100", "fsync": "off", "full_page_writes": "off"}
TEMPLATE: Final = "caas_template"
COPY: Final = f"caas_{os.getpid()}_"
_numbers = itertools.count(1)
_types: dict[tuple[int, ...], Any] = {}
_introspect = asyncpg.Connection._introspect_types


def folder_in_memory() -> Path | None:
    """Say where a session should keep its files; None for the system's own place."""
    try:
        has_room = shutil.disk_usage(IN_MEMORY).free >= ROOM_IN_MEMORY
        runs_programs = not os.statvfs(IN_MEMORY).f_flag & os.ST_NOEXEC
    except OSError:
        return None
    return IN_MEMORY if has_room and runs_programs else None


def named(dsn: str, database: str) -> str:
    """Return the same server's DSN for another of its databases."""
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(path=f"/{database}"))


def as_service(dsn: str) -> str:
    """Return the DSN with which `serve` and `work` use this database."""
    parts = urlsplit(dsn)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{embedded_postgresql.SERVICE_LOGIN}@{host}"))


async def make_template(server_dsn: str) -> None:
    """Make the empty Billing Database that every test copies."""
    admin = await asyncpg.connect(server_dsn)
    await admin.execute(f"create database {TEMPLATE}")
    await admin.close()
    await embedded_postgresql.made(server_dsn)
    await migrations.migrate(named(server_dsn, TEMPLATE))


def describe_types_once() -> None:
    """Let asyncpg ask for our types once: their numbers are the same in every copy.

    It asks on each connection, for milliseconds, and a test opens many.
    """

    async def introspect(
        session: asyncpg.Connection, types: Iterable[int], seconds_max: float | None
    ) -> Any:
        if not session._params.database.startswith(COPY):
            return await _introspect(session, types, seconds_max)
        key = tuple(sorted(types))
        if key not in _types:
            _types[key] = await _introspect(session, key, seconds_max)
        return _types[key]

    asyncpg.Connection._introspect_types = introspect


@asynccontextmanager
async def fresh_database(server_dsn: str) -> AsyncIterator[str]:
    """Lend the DSN of an empty Billing Database, and drop it afterwards."""
    name = f"{COPY}{next(_numbers)}"
    admin = await asyncpg.connect(server_dsn)
    try:
        await admin.execute(f"create database {name} template {TEMPLATE} strategy file_copy")
        yield named(server_dsn, name)
        await admin.execute(f"drop database {name} with (force)")
    finally:
        await admin.close()


async def jobs_left(database: Database, *kinds: str) -> bool:
    """Say whether a job of these kinds is left that nobody paused."""
    query = "select from jobs where kind = any ($1) and paused_at is null limit 1"
    return await database.fetchrow(query, list(kinds)) is not None


def over_everything(query: str) -> str:
    """Return the query of an invariant over all rows."""
    return scoped(query, EVERYTHING)[0]


async def broken_invariants(dsn: str) -> list[str]:
    """Check every invariant over a whole database; return those that do not hold."""
    database = await connection.connect(dsn)
    try:
        findings = await self_check.self_check(database)
    finally:
        await database.close()
    return [
        f"{found.invariant.name}: {found.unfinished_because or found.examples}"
        for found in findings
        if found.broken or found.unfinished_because
    ]

"""What every test may ask for: a real PostgreSQL, a fresh Billing Database, the laws afterwards."""

import itertools
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from caas.billing_database import connection, migrations, self_check
from caas.billing_database.connection import Database
from caas.billing_database.embedded_postgresql import EmbeddedPostgresql

_numbers = itertools.count(1)


def named(dsn: str, database: str) -> str:
    """Return the same server's DSN for another of its databases."""
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(path=f"/{database}"))


@pytest.fixture(scope="session")
async def server_dsn() -> AsyncIterator[str]:
    """Start the embedded PostgreSQL for the session and make the template every test copies."""
    with tempfile.TemporaryDirectory(prefix="caas-test-", ignore_cleanup_errors=True) as folder:
        server = EmbeddedPostgresql(settings={"max_connections": "100"})
        dsn = await server.start(Path(folder))
        admin = await asyncpg.connect(dsn)
        await admin.execute("create database caas_template")
        await admin.close()
        await migrations.migrate(named(dsn, "caas_template"))
        yield dsn
        await server.stop()


@pytest.fixture
async def database_dsn(server_dsn: str) -> AsyncIterator[str]:
    """Make an empty Billing Database for one test, and drop it afterwards."""
    name = f"caas_{os.getpid()}_{next(_numbers)}"
    admin = await asyncpg.connect(server_dsn)
    await admin.execute(f"create database {name} template caas_template")
    yield named(server_dsn, name)
    await admin.execute(f"drop database {name} with (force)")
    await admin.close()


@pytest.fixture
async def database(database_dsn: str) -> AsyncIterator[Database]:
    """Open the test's database as the application, and check every law when the test is over."""
    opened = await connection.connect(database_dsn)
    yield opened
    findings = await self_check.self_check(opened)
    await opened.close()
    broken = [f"{found.law.name}: {found.examples}" for found in findings if found.broken]
    assert not broken, f"laws broken: {broken}"

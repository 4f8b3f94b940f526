"""What every test may ask for: a real PostgreSQL, an empty Billing Database, checked afterwards."""

import compileall
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import hypothesis
import pytest

from caas.billing_database import connection
from caas.billing_database.connection import Database
from caas.billing_database.embedded_postgresql import EmbeddedPostgresql
from caas.cli.commands import freeze_long_lived_objects
from tests import empty_tables
from tests.databases import (
    SERVER_SETTINGS,
    describe_types_once,
    folder_in_memory,
    fresh_database,
    make_template,
)
from tests.long_first import long_first, rank, shared_by

SOURCES = Path(__file__).parents[1] / "src"
SLOW = [hypothesis.HealthCheck.too_slow]
"""What says that the machine is busy, and nothing about what is tested."""


def pytest_configure(config: pytest.Config) -> None:
    """Let the programs under test hear Ctrl-C, even where a shell started us in the background.

    A generated example may take as long as a busy machine takes.

    Clones and databases of tests are kept in memory, where there is room: disks of build machines
    are slow when four write at once. The sources are compiled once, and packages and tests by who
    imports them first, even where an environment keeps Python from writing what it has compiled:
    each worker and each of hundreds of programs under test would compile them again.
    """
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    hypothesis.settings.register_profile("no times", deadline=None, suppress_health_check=SLOW)
    hypothesis.settings.load_profile("no times")
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(SOURCES, quiet=2)
    if in_memory := folder_in_memory():
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(in_memory))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long where several workers share the tests."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers > 1:
        items[:] = long_first(
            items,
            workers=workers,
            rank_of=lambda item: rank(item.nodeid),
            shared_by_of=lambda item: shared_by(item.nodeid),
        )


def pytest_collection_finish() -> None:
    """Thousands of tests are there to the end; no collection needs to look at them."""
    freeze_long_lived_objects()


@pytest.fixture(scope="session")
async def server_dsn() -> AsyncIterator[str]:
    """Start the embedded PostgreSQL for the session and make the template every test copies."""
    with tempfile.TemporaryDirectory(
        prefix="caas-test-", dir=folder_in_memory(), ignore_cleanup_errors=True
    ) as folder:
        server = EmbeddedPostgresql(settings=SERVER_SETTINGS)
        dsn = await server.start(Path(folder))
        await make_template(dsn)
        describe_types_once()
        yield dsn
        await server.stop()


@pytest.fixture
async def database_dsn(server_dsn: str) -> AsyncIterator[str]:
    """Make an empty Billing Database for one test, and drop it afterwards."""
    async with fresh_database(server_dsn) as dsn:
        yield dsn


@pytest.fixture
async def database(database_dsn: str) -> AsyncIterator[Database]:
    """Open the test's database as the application; check every invariant after the test."""
    opened = await connection.connect(database_dsn)
    yield opened
    findings = await empty_tables.findings(opened)
    await opened.close()
    broken = [
        f"{found.invariant.name}: {found.unfinished_because or found.examples}"
        for found in findings
        if found.broken or found.unfinished_because
    ]
    assert not broken, f"broken invariants: {broken}"

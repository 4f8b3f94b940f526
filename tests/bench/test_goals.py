"""Every goal that `./caas bench` measures, in its short form: what is never run rots.

No time is asserted. What is asserted is that nothing was made less durable to look faster.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from caas.billing_database import connection
from caas.billing_database.embedded_postgresql import EmbeddedPostgresql
from caas_lab.bench import cpu, fixtures
from caas_lab.bench.goals import BenchServer, Yardstick, create_database
from caas_lab.bench.lifecycles import Lifecycles
from caas_lab.bench.runner import GOALS, SHOWN
from caas_lab.bench.stub_gateway import StubGateway

SECONDS = 1
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[BenchServer]:
    """Start a server as `./caas bench` starts it, with a small yardstick."""
    with tempfile.TemporaryDirectory(prefix="caas-bench-", ignore_cleanup_errors=True) as folder:
        postgresql = EmbeddedPostgresql()
        dsn = await postgresql.start(Path(folder))
        yardstick = Yardstick(await create_database(dsn, "yardstick"), quick=True)
        await yardstick.prepare()
        yield BenchServer(dsn, cpu.postmaster_of(Path(folder)), yardstick, quick=True)
        await postgresql.stop()


@pytest.mark.parametrize("name", GOALS)
async def test_a_goal_is_measured_against_its_yardstick(server: BenchServer, name: str) -> None:
    async with GOALS[name].ready(server) as measured:
        measurement = await measured(SECONDS)

    assert measurement.theirs > 0
    assert measurement.ours > 0 or name == "U2", "a loaded machine may answer no rate in time"
    assert all(cpu >= 0 for cpu in measurement.cpu.values())


async def test_lifecycles_end_when_everything_is_bought(
    server: BenchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fast second bought more than was made ready, and the measurement ended with an error."""
    monkeypatch.setattr(fixtures, "QUICK_PIECES", 100)
    dsn = await server.database("few_orders")
    async with fixtures.started(dsn, StubGateway(), quick=True) as fixture:
        ours = Lifecycles(fixture)
        await ours.make_ready()

        async with asyncio.timeout(60):
            rate = await ours.rate(600)

    assert rate > 0


async def test_what_is_measured_is_flushed_to_disk_before_it_is_answered(
    server: BenchServer,
) -> None:
    """The same settings hold for the yardstick and for every session of the platform."""
    yardstick = await asyncpg.connect(server.yardstick.dsn)
    ours = await connection.connect(await server.database("durable"))
    async with ours.connection() as platform:
        for session in (yardstick, platform):
            settings = {name: await session.fetchval(f"show {name}") for name in SHOWN}
            assert settings | DURABLE == settings
    await ours.close()
    await yardstick.close()


async def test_no_function_role_or_database_has_a_setting_that_loses_commits(
    server: BenchServer,
) -> None:
    ours = await asyncpg.connect(await server.database("settings"))

    weakened = await ours.fetch(
        """
        select setting from (
          select unnest(proconfig) as setting from pg_proc
          union all select unnest(setconfig) from pg_db_role_setting) s
         where setting ~ '^(fsync|synchronous_commit|full_page_writes|wal_level|commit_)'
        """
    )

    await ours.close()
    assert weakened == []

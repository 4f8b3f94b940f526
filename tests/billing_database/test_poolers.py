"""A real PgBouncer in front of the database: fine as long as a client's session is its own."""

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from caas.billing_database import connection
from caas.billing_database.database_sessions import SETTINGS, SharedSessionsError
from caas.billing_database.embedded_postgresql_files import SOCKET_NAME
from caas.billing_database.job_rows import Processes
from caas.rules.payment_states import PaymentState
from tests.billing_database.test_processes import until_silent
from tests.billing_database.test_unreachable import Wire
from tests.installation import standing

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
START_SECONDS_MAX = 120.0

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is not installed")


@contextlib.asynccontextmanager
async def pooled(dsn: str, mode: str) -> AsyncIterator[str]:
    """Run a PgBouncer in this mode, which refuses to be root, in front of the database."""
    assert PROGRAM is not None
    parts = urlsplit(dsn)
    wire = Wire(str(Path(parse_qs(parts.query)["host"][0]) / SOCKET_NAME))
    relay = await asyncio.start_server(wire.carry, "127.0.0.1", 0)
    number = relay.sockets[0].getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    stack = contextlib.ExitStack()
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="caas-pooler-")))
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n* = host=127.0.0.1 port={number} user={parts.username}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\n"
        f"pool_mode = {mode}\nunix_socket_dir =\ndefault_pool_size = 20\n"
    )
    folder.chmod(0o755)
    settings.chmod(0o644)
    as_user = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        "-q",
        *as_user,
        str(settings),
    )
    try:
        await until_it_listens(port, process)
        yield f"postgresql://{parts.username}@127.0.0.1:{port}{parts.path}?sslmode=disable"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        relay.close()
        await wire.ended()
        stack.close()


async def until_it_listens(port: int, process: asyncio.subprocess.Process) -> None:
    """Wait until somebody takes connections there."""
    async with asyncio.timeout(START_SECONDS_MAX):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            assert process.returncode is None, "PgBouncer has ended"
            await asyncio.sleep(0.05)


async def test_a_pooler_that_shares_sessions_is_refused_by_name(database_dsn: str) -> None:
    """Seventy-one of seventy-two purchases failed: a prepared statement was somebody else's."""
    async with pooled(database_dsn, "transaction") as dsn:
        with pytest.raises(SharedSessionsError) as refused:
            await connection.connect(dsn)

    assert "pool_mode = session" in refused.value.sentence


async def test_statement_pooling_is_refused_too(database_dsn: str) -> None:
    async with pooled(database_dsn, "statement") as dsn:
        with pytest.raises(SharedSessionsError):
            await connection.connect(dsn)


async def test_a_purchase_goes_through_a_pooler_with_sessions_of_ones_own(
    database_dsn: str,
) -> None:
    async with pooled(database_dsn, "session") as dsn:
        database = await connection.connect(dsn)
        async with standing(database) as installation:
            await installation.car()
            await installation.offer_heated_seats()
            payment = await installation.buys()
            await installation.until(payment.id, lambda it: it.state is PaymentState.CAPTURING)
        settings = await database.fetch("select name, setting from pg_settings")
        role = await database.fetchrow("select current_user")
        await database.close()

    reported = {row["name"]: row["setting"] for row in settings}
    assert reported["jit"] == "off"
    assert reported["search_path"] == "caas,public"
    assert role is not None
    assert role[0] == "caas_app"


async def test_a_process_behind_a_pooler_is_dead_once_its_client_is_gone(
    database_dsn: str,
) -> None:
    """PgBouncer keeps the server's session for the next client, and frees what it held."""
    watching = await connection.connect(database_dsn)
    async with pooled(database_dsn, "session") as dsn:
        process = await connection.connect(dsn, connections_max=2)
        before = await Processes(watching).silent()
        await process.close()

        dead = await until_silent(watching)
    await watching.close()

    assert (before, len(dead)) == (frozenset(), 1)


async def test_every_session_has_the_settings_its_statements_rely_on(database_dsn: str) -> None:
    """They stood in the embedded server's configuration alone; elsewhere its JIT cost the CPU."""
    admin = await asyncpg.connect(database_dsn)
    name = await admin.fetchval("select quote_ident(current_database())")
    for setting in ("jit = on", "synchronous_commit = off", "bytea_output = escape",
                    "default_transaction_isolation = serializable"):  # fmt: skip
        await admin.execute(f"alter database {name} set {setting}")
    await admin.close()

    database = await connection.connect(database_dsn)
    rows = await database.fetch(
        "select name, setting from pg_settings where name = any ($1)",
        [*SETTINGS, "synchronous_commit"],
    )
    await database.close()

    reported = {row["name"]: row["setting"].lower() for row in rows}
    assert reported["jit"] == "off"
    assert reported["synchronous_commit"] == "on"
    assert reported["bytea_output"] == "hex"
    assert reported["default_transaction_isolation"] == "read committed"
    assert reported["idle_in_transaction_session_timeout"] == "60000"


async def test_a_login_that_could_undo_the_guards_is_told_of(database_dsn: str) -> None:
    strong = await connection.connect(database_dsn)
    await strong.close()

    assert "superuser" in (strong.login_too_strong or "")


async def test_with_a_login_of_its_own_reset_role_gives_nothing(database_dsn: str) -> None:
    admin = await asyncpg.connect(database_dsn)
    await admin.execute(
        "do $$ begin create role caas_serve login;"
        " exception when duplicate_object then null; end $$"
    )
    await admin.execute("grant caas_app to caas_serve")
    await admin.close()
    parts = urlsplit(database_dsn)
    netloc = parts.netloc.replace(f"{parts.username}", "caas_serve", 1)
    dsn = parts._replace(netloc=netloc).geturl()
    database = await connection.connect(dsn)

    async with standing(database) as installation:
        await installation.car()
        await installation.offer_heated_seats()
        payment = await installation.buys()
        await installation.until(payment.id, lambda it: it.state is PaymentState.CAPTURING)
        for forbidden in (
            "alter table payment_events disable trigger all",
            "update payment_events set seq = 99",
            "delete from ledger_entries",
            "set role postgres",
        ):
            async with database.connection() as session:
                await session.execute("reset role")
                with pytest.raises(asyncpg.PostgresError):
                    await session.execute(forbidden)
                await session.execute("set role caas_app")
    await database.close()

    assert database.login_too_strong is None

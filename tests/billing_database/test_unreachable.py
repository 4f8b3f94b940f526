"""F-T2, a database that dies or falls silent: whoever asks is told so, and asks again."""

import asyncio
import contextlib
import math
import os
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit, urlunsplit

import asyncpg
import pytest

from caas.billing_database import connection
from caas.billing_database.connection import Database, DatabaseUnavailableError
from caas.billing_database.embedded_postgresql_files import SOCKET_NAME
from caas.billing_database.heartbeat import DISK_FULL, Heartbeat, HeartbeatMonitor, in_words
from caas.billing_database.readiness import PROBES, Readiness

CRASH = b"SFATAL\0VFATAL\0C57P02\0Mterminating connection because of crash of another process\0\0"
LAST_WORDS = b"E" + (len(CRASH) + 4).to_bytes(4) + CRASH
PATIENCE_SECONDS = 120.0
HEARD_SECONDS = 0.1


class Wire:
    """What lies between sessions and their server; it can say what the server says when it dies."""

    def __init__(self, socket: str) -> None:
        """Lead to the server that listens there."""
        self._socket = socket
        self._sessions: list[asyncio.StreamWriter] = []
        self._ends: list[asyncio.StreamWriter] = []
        self._carrying: set[asyncio.Task[None]] = set()
        self._free = asyncio.Event()
        self._free.set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry what both sides of one session say."""
        self._sessions.append(writer)
        up_reader, up_writer = await asyncio.open_unix_connection(self._socket)
        self._ends += [writer, up_writer]
        for source, sink in ((reader, up_writer), (up_reader, writer)):
            self._carrying.add(asyncio.create_task(self._pump(source, sink)))

    def hold(self) -> None:
        """Let nothing through for a while, from sessions to come neither, as if frozen."""
        self._free.clear()

    def let_go(self) -> None:
        """Let through what was held."""
        self._free.set()

    def hush(self) -> None:
        """Let nothing through any more, and hang up on nobody."""
        for carrying in self._carrying:
            carrying.cancel()

    async def last_words(self) -> None:
        """Let the server say to idle sessions that it crashed, and no more; hang up later."""
        self.hush()
        for session in self._sessions:
            with contextlib.suppress(OSError):  # a session that is over hears nothing
                session.write(LAST_WORDS)
                await session.drain()
        await asyncio.sleep(HEARD_SECONDS)  # nothing tells when a session has heard it

    def hang_up(self) -> None:
        """Close every session."""
        for session in self._sessions:
            session.close()
        self._sessions.clear()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await source.read(65536):
                await self._free.wait()
                sink.write(piece)
        sink.close()

    async def ended(self) -> None:
        """Carry nothing any more."""
        self.hush()
        for end in self._ends:
            end.close()
        await asyncio.gather(
            *self._carrying, *(end.wait_closed() for end in self._ends), return_exceptions=True
        )


@contextlib.asynccontextmanager
async def through_a_wire(dsn: str) -> AsyncIterator[tuple[Database, Wire]]:
    """Open the database behind a wire."""
    parts = urlsplit(dsn)
    wire = Wire(os.path.join(parse_qs(parts.query)["host"][0], SOCKET_NAME))  # noqa: PTH118 - text
    server = await asyncio.start_server(wire.carry, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    netloc = f"{parts.username}@127.0.0.1:{port}"
    opened = await connection.connect(
        urlunsplit(parts._replace(netloc=netloc, query="sslmode=disable")), connections_max=1
    )
    try:
        yield opened, wire
    finally:
        server.close()
        await wire.ended()
        opened._pool.terminate()


async def test_a_session_that_heard_of_a_crash_says_that_the_database_is_away(
    database_dsn: str,
) -> None:
    """Callers were told of a failure of ours, and jobs counted it as one of its attempts.

    Between the server's last words and the end of the connection the driver refuses every
    statement in a way of its own, which nobody took for an absent database.
    """
    async with through_a_wire(database_dsn) as (database, wire):
        await database.fetch("select 1")
        await wire.last_words()

        refused = await answer_other_than(database, [(1,)])
        wire.hang_up()
        again = await answer_other_than(database, refused)

    assert refused is DatabaseUnavailableError
    assert again == [(1,)]


async def answer_other_than(database: Database, answer: object) -> object:
    """Ask until something else is answered."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                now: object = [tuple(row) for row in await database.fetch("select 1")]
            except Exception as error:  # noqa: BLE001 - which one is what is asked
                now = type(error)
            if now != answer:
                return now
            await asyncio.sleep(0.005)


async def test_a_connection_that_breaks_says_so_too(database_dsn: str) -> None:
    async with through_a_wire(database_dsn) as (database, wire):
        await database.fetch("select 1")

        async def broken_off(session: connection.Connection) -> None:
            wire.hang_up()
            await session.fetch("select 1")

        with pytest.raises(DatabaseUnavailableError):
            await database.in_transaction(broken_off)
        assert await answer_other_than(database, DatabaseUnavailableError) == [(1,)]


async def test_a_connection_that_ends_between_the_two_steps_of_a_statement_says_so_too(
    database_dsn: str,
) -> None:
    """The driver has prepared it, and then finds no protocol to run it with."""
    opened = await connection.connect(database_dsn)
    driver = asyncpg.Connection
    prepare = driver._get_statement

    async def prepared_too_late(self: asyncpg.Connection, *words: object, **more: object) -> object:
        statement = await prepare(self, *words, **more)
        self.terminate()
        return statement

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(driver, "_get_statement", prepared_too_late)
        with pytest.raises(DatabaseUnavailableError):
            await opened.fetch("select 1")

    assert await opened.fetch("select 1") == [(1,)]
    await opened.close()


async def test_what_only_reads_is_not_interrupted_for_its_own_slowness(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check of low priority was: on a busy machine its heartbeats came too late as well."""
    monkeypatch.setattr(connection, "SILENCE_SECONDS", 0.0)
    monkeypatch.setattr(connection, "WATCH_SECONDS", 0.01)

    async def unheard(_: HeartbeatMonitor) -> Heartbeat:
        return Heartbeat(answers=False, because="it does not respond")

    monkeypatch.setattr(HeartbeatMonitor, "take", unheard)
    reader = await connection.connect(database_dsn, read_only=True)

    rows = await reader.fetch("select 1 from pg_sleep(0.5)")

    assert rows == [(1,)]
    await reader.close()


async def test_whoever_waits_for_a_silent_database_is_told_so_and_served_when_it_speaks(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen server hangs up on nobody: calls waited forty seconds, one behind the other."""
    monkeypatch.setattr(connection, "SILENCE_SECONDS", 0.1)
    async with through_a_wire(database_dsn) as (database, wire):
        await database.fetch("select 1")
        wire.hold()

        async with asyncio.timeout(PATIENCE_SECONDS):
            reported = await asyncio.gather(
                *(database.fetch("select 1") for _ in range(3)), return_exceptions=True
            )
            with pytest.raises(DatabaseUnavailableError):
                await database.fetch("select 1")
            assert not (await database.heartbeat.take()).answers

        wire.let_go()
        again = await answer_other_than(database, DatabaseUnavailableError)
        assert (await database.heartbeat.take()).answers
        await database.close()

    assert [type(error) for error in reported] == [DatabaseUnavailableError] * 3
    assert again == [(1,)]


async def test_whoever_gives_up_waiting_for_a_silent_database_is_let_go_at_once(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Metrics that wait two seconds waited seven: the connection was given back first."""
    monkeypatch.setattr(connection, "SILENCE_SECONDS", math.inf)
    monkeypatch.setattr(connection, "RELEASE_TIMEOUT_SECONDS", 2 * PATIENCE_SECONDS)
    async with through_a_wire(database_dsn) as (database, wire):
        await database.fetch("select 1")
        wire.hold()
        asking = asyncio.create_task(database.fetch("select 2"))
        await asyncio.sleep(HEARD_SECONDS)
        asking.cancel()

        done, _ = await asyncio.wait({asking}, timeout=PATIENCE_SECONDS)

        wire.let_go()
        assert done == {asking}
        assert [tuple(row) for row in await database.fetch("select 1")] == [(1,)]


async def test_a_long_statement_of_a_database_that_lives_is_let_end(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SILENCE_SECONDS", 0.1)
    database = await connection.connect(database_dsn)

    rows = await database.fetch("select 1 from pg_sleep(3)")

    await database.close()
    assert len(rows) == 1


async def test_a_database_that_takes_no_writes_says_so(database_dsn: str) -> None:
    database = await connection.connect(database_dsn)
    async with database.connection() as session:
        await session.execute("reset role")
        name = await session.fetchval("select quote_ident(current_database())")
        await session.execute(f"alter database {name} set default_transaction_read_only = on")

    heartbeat = await database.heartbeat.take()

    await database.close()
    assert heartbeat.answers
    assert "read-only" in (heartbeat.because or "")


async def test_readiness_says_in_plain_words_that_writes_are_refused_and_at_once_when_they_are_not(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal was remembered for ten seconds, in the words of the driver."""
    monkeypatch.setattr(connection, "REFUSED_WRITES_SECONDS", math.inf)
    database = await connection.connect(database_dsn)
    readiness = Readiness(database)
    before = await readiness.why_not()
    owner = await asyncpg.connect(database_dsn)
    name = await owner.fetchval("select quote_ident(current_database())")

    await owner.execute(f"alter database {name} set default_transaction_read_only = on")
    await database.fetch("set default_transaction_read_only = on")  # the session at hand
    with pytest.raises(DatabaseUnavailableError):
        await database.fetch("update processes set name = name")
    while_read_only = await readiness.why_not()
    await owner.execute("set default_transaction_read_only = off")
    await owner.execute(f"alter database {name} set default_transaction_read_only = off")
    after = await readiness.why_not()
    await owner.close()
    await database.close()

    assert (before, after) == (None, None)
    assert while_read_only == (
        "The Billing Database is unavailable: it is read-only: a standby, or "
        "default_transaction_read_only is on."
    )


IS_FULL = "do $$ begin raise exception 'could not extend file' using errcode = '53100'; end $$"


async def test_readiness_lasts_as_long_as_a_disk_is_full_and_no_longer(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not ready for ten seconds after the disk had room, and ready on a full one that
    nobody had tried to write to for ten seconds.
    """
    monkeypatch.setattr(connection, "REFUSED_WRITES_SECONDS", -1.0)
    database = await connection.connect(database_dsn)
    ready = Readiness(database)
    with pytest.raises(DatabaseUnavailableError):
        await database.fetch(IS_FULL)

    with monkeypatch.context() as still:
        still.setitem(PROBES, DISK_FULL, (IS_FULL,))
        while_full = await ready.why_not()
    after = await ready.why_not()
    again = database.refused_because
    await database.close()

    assert while_full == "The Billing Database is unavailable: its disk is full."
    assert (after, again) == (None, None)


async def test_what_is_wrong_with_the_database_is_told_in_words_of_ours() -> None:
    nowhere = await HeartbeatMonitor("postgresql://caas@127.0.0.1:1/caas").take()
    errors: tuple[Exception, ...] = (
        asyncpg.DiskFullError("could not extend file"), asyncpg.InternalClientError("got result"),
        asyncpg.ReadOnlySQLTransactionError("cannot execute UPDATE"), OSError(111, "Connect call"),
    )  # fmt: skip

    assert nowhere == Heartbeat(answers=False, because="the connection was refused")
    for error in errors:
        assert str(error) not in in_words(error)


async def test_a_session_that_never_answers_does_not_keep_a_program_from_ending(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing waited for whoever held a connection, for ever if the server said nothing more."""
    monkeypatch.setattr(connection, "CLOSE_TIMEOUT_SECONDS", 0.1)
    async with through_a_wire(database_dsn) as (database, wire):
        async with database.connection() as session:
            wire.hush()
            waiting = asyncio.create_task(session.fetch("select 1"))
            await asyncio.sleep(0)

            async with asyncio.timeout(PATIENCE_SECONDS):
                await database.close()

        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await waiting

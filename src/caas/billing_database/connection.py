"""The Billing Database (Diagram 1): connections, transactions and nothing else.

PostgreSQL 15 or newer, embedded or elsewhere; one dialect. Few connections, prepared statements.

A server that is frozen hangs up on nobody. So while somebody waits and nobody is answered, it is
asked apart whether it lives (`caas.billing_database.heartbeat`); when it does not, everybody who
waits is told so at once, and so is whoever comes, until it answers again.

Rules a change must keep: no network but the database's inside a transaction; a statement or a
transaction that fails with a deadlock or a serialisation failure is run again as a whole, a bounded
number of times; a database that cannot serve now (gone, full, read-only, too slow) is one error;
nobody who holds a connection waits for a second one, or a full pool waits for itself.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from contextvars import ContextVar
from functools import partial
from time import monotonic as _clock
from typing import TypeAlias, TypeVar

import asyncpg

from caas.billing_database.database_sessions import (
    PROCESS,
    check_server,
    new_process_id,
    prepared,
    register,
)
from caas.billing_database.heartbeat import HeartbeatMonitor, in_words
from caas.errors import StartupError, UnavailableError
from caas.rules.durations import Durations

CONNECTIONS_MAX = 8
STATEMENT_TIMEOUT_SECONDS = 30
ACQUIRE_TIMEOUT_SECONDS = 10
CLOSE_TIMEOUT_SECONDS = 10
RELEASE_TIMEOUT_SECONDS = 5
SILENCE_SECONDS = 4.0
WATCH_SECONDS = 0.5
HEARTBEATS_MISSED_MAX = 2
WAIT_BUCKETS_SECONDS = (0.001, 0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0)
REFUSED_WRITES_SECONDS = 10.0
TRANSACTION_ATTEMPTS_MAX = 5
COMMITTED = "select xact_commit from pg_stat_database where datname = current_database()"

Connection: TypeAlias = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
Row: TypeAlias = asyncpg.Record
Result = TypeVar("Result")

RETRIED = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
UNREACHABLE = (
    OSError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a server said its last words and has not hung up yet
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)


REFUSED_WRITES = (
    asyncpg.DiskFullError,
    asyncpg.OutOfMemoryError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.PostgresSystemError,
)

_LENT: ContextVar[tuple["Database", ...]] = ContextVar("lent", default=())


class DatabaseUnavailableError(UnavailableError):
    """The Billing Database cannot serve now."""

    code = "database_unavailable"


class Database:
    """A pool of connections to one Billing Database."""

    def __init__(
        self, pool: asyncpg.Pool, dsn: str, *, login_too_strong: str | None = None
    ) -> None:
        """Wrap an open pool; use `connect` to make one."""
        self._pool = pool
        self._at_hand: list[Connection] = []
        self._lent: dict[Connection, float] = {}
        self._waits: dict[asyncio.Timeout, float] = {}
        self._answered = 0.0
        self._away: str | None = None
        self._refused: tuple[float, str] | None = None
        self._closing = False
        self._watching: asyncio.Task[None] | None = None
        self._releasing: set[asyncio.Task[None]] = set()
        self.heartbeat = HeartbeatMonitor(dsn)
        self.waits = Durations(WAIT_BUCKETS_SECONDS)
        self.dsn = dsn
        self.login_too_strong = login_too_strong

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection.

        Raises:
            DatabaseUnavailableError: the database cannot be reached in time.
        """
        before = _LENT.get()
        assert self not in before, "whoever holds a connection never waits for another one"
        _LENT.set((*before, self))
        try:
            connection = await self._taken()
            self._lent[connection] = _clock()
            try:
                yield connection
            except BaseException as error:
                if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
                    connection.terminate()  # a new session may write again
                if isinstance(error, asyncio.CancelledError):
                    self._release_apart(connection)
                else:
                    await self._released(connection)
                raise
            await self._given_back(connection)
        except (TimeoutError, *UNREACHABLE) as error:
            self._note_refusal(error)
            raise DatabaseUnavailableError(reason=self._away or str(error)) from error
        finally:
            _LENT.set(before)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a connection inside one transaction, committed at the end of the block."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def in_transaction(self, work: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Run work in one transaction, again from its start after a deadlock.

        Raises:
            DatabaseUnavailableError: the database cannot serve now.
        """
        return await self._call_with_retry(self.transaction, work)

    async def in_statement(self, work: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Run work, which is one statement, on a connection; again after a deadlock.

        Raises:
            DatabaseUnavailableError: the database cannot serve now.
        """
        return await self._call_with_retry(self.connection, work)

    async def fetch(self, query: str, *arguments: object) -> list[Row]:
        """Run one query and return its rows."""

        async def fetched(connection: Connection) -> list[Row]:
            rows: list[Row] = await connection.fetch(query, *arguments)
            return rows

        return await self.in_statement(fetched)

    async def fetchrow(self, query: str, *arguments: object) -> Row | None:
        """Run one query and return its first row."""

        async def fetched(connection: Connection) -> Row | None:
            return await connection.fetchrow(query, *arguments)

        return await self.in_statement(fetched)

    async def committed(self) -> int:
        """Return how many transactions were ever committed here, as the server knows by now."""
        row = await self.fetchrow(COMMITTED)
        assert row is not None, "a database has its statistics"
        return int(row["xact_commit"])

    async def _call_with_retry(
        self,
        lend: Callable[[], AbstractAsyncContextManager[Connection]],
        work: Callable[[Connection], Awaitable[Result]],
    ) -> Result:
        error: Exception | None = None
        for _ in range(TRANSACTION_ATTEMPTS_MAX):
            try:
                async with lend() as connection:
                    return await work(connection)
            except RETRIED as again:
                error = again
        raise DatabaseUnavailableError(reason=str(error)) from error

    def begin_watch(self) -> None:
        """Notice from now on when the database falls silent, until it is closed."""
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    @property
    def is_away(self) -> bool:
        """Whether the database has fallen silent, or left."""
        return self._away is not None

    @property
    def is_closed(self) -> bool:
        """Whether it was closed, or is being closed."""
        return self._closing

    @property
    def refused_because(self) -> str | None:
        """Why the database refused to write a moment ago (a full disk, read-only), if it did."""
        if self._refused is None or _clock() - self._refused[0] > REFUSED_WRITES_SECONDS:
            return None
        return self._refused[1]

    def forget_refusal(self) -> None:
        """Take note that the database takes writes again."""
        self._refused = None

    async def close(self) -> None:
        """Close every connection, waiting a while for what is under way; then hang up."""
        self._closing = True  # nothing stays at hand any more
        if self._watching is not None:
            self._watching.cancel()
        await self.heartbeat.close()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                while self._at_hand:
                    await self._pool.release(self._at_hand.pop())
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def _taken(self) -> Connection:
        while self._at_hand:
            connection = self._at_hand.pop()
            if not connection.is_closed():
                return connection
            await self._pool.release(connection)
        if self._away is not None:
            raise TimeoutError(self._away)
        async with asyncio.timeout(ACQUIRE_TIMEOUT_SECONDS) as wait:
            began = self._waits[wait] = _clock()
            try:
                return await self._pool.acquire()
            finally:
                del self._waits[wait]
                self.waits.add(_clock() - began)

    async def _given_back(self, connection: Connection) -> None:
        """Keep a sound connection at hand for whoever comes next, unless somebody waits for it.

        The pool makes a task to lend a connection and another to take it back.
        """
        self._answered = _clock()
        if self._waits or self._closing or connection.is_closed():
            await self._released(connection)
        else:
            del self._lent[connection]
            self._at_hand.append(connection)

    async def _released(self, connection: Connection) -> None:
        """Give a connection back; one whose server does not say that it is free is hung up on."""
        try:
            with suppress(TimeoutError):
                await self._pool.release(connection, timeout=RELEASE_TIMEOUT_SECONDS)
        finally:
            self._lent.pop(connection, None)

    def _release_apart(self, connection: Connection) -> None:
        """Give a connection back for whoever gave up waiting, and waits for nothing more here."""
        releasing = asyncio.get_running_loop().create_task(self._released_quietly(connection))
        self._releasing.add(releasing)
        releasing.add_done_callback(self._releasing.discard)

    async def _released_quietly(self, connection: Connection) -> None:
        with suppress(*UNREACHABLE):  # nobody is left to be told
            await self._released(connection)

    async def _watch(self) -> None:
        """Notice that the database has fallen silent, and that it speaks again."""
        missed = 0
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self._away is None and not self._is_silent():
                continue
            heartbeat = await self.heartbeat.take()
            missed = 0 if heartbeat.answers else missed + 1
            self._away = heartbeat.because if missed >= HEARTBEATS_MISSED_MAX else None
            if self._away is not None:
                self._send_away()

    def _is_silent(self) -> bool:
        """Say whether somebody has waited for long and nobody was answered meanwhile."""
        since = min((*self._lent.values(), *self._waits.values()), default=None)
        return since is not None and _clock() - max(since, self._answered) > SILENCE_SECONDS

    def _send_away(self) -> None:
        """End every wait for a database that does not answer."""
        for connection in list(self._lent):
            with suppress(asyncpg.InterfaceError):  # its borrower has hung up by itself
                connection.terminate()
        for wait in list(self._waits):
            wait.reschedule(asyncio.get_running_loop().time())

    def _note_refusal(self, error: Exception) -> None:
        if isinstance(error, REFUSED_WRITES):
            self._refused = (_clock(), in_words(error))


async def connect(
    dsn: str, *, connections_max: int = CONNECTIONS_MAX, read_only: bool = False
) -> Database:
    """Open the Billing Database as the application's role; `read_only` refuses every write.

    Raises:
        StartupError: no database answers at this address, or it is none that can be used.
    """
    try:
        settings, login_too_strong = await check_server(dsn)
        if read_only:
            settings["default_transaction_read_only"] = "on"
        else:
            settings[PROCESS] = str(new_process_id())
        pool = await asyncpg.create_pool(
            dsn,
            min_size=1,
            max_size=connections_max,
            timeout=ACQUIRE_TIMEOUT_SECONDS,
            command_timeout=STATEMENT_TIMEOUT_SECONDS,
            init=partial(prepared, settings=settings),
            reset=_keep_session,
        )
        if PROCESS in settings:
            await register(pool, int(settings[PROCESS]))
    except (TimeoutError, ValueError, asyncpg.PostgresError, *UNREACHABLE) as error:
        raise cannot_open(dsn, error) from error
    database = Database(pool, dsn, login_too_strong=login_too_strong)
    database.begin_watch()
    return database


def cannot_open(dsn: str, error: Exception) -> StartupError:
    """Return what to say when no database answers there; its password is not repeated."""
    where = dsn.rpartition("@")[2].partition("?")[0]
    because = " ".join(str(error).split()) or type(error).__name__
    return StartupError(
        f"The Billing Database at {where} cannot be opened ({because}). "
        "Check CAAS_DATABASE_URL and that the server is running."
    )


async def _keep_session(_connection: Connection) -> None:
    """Sessions hold no state of their own, so nothing needs resetting between two uses."""

"""The Billing Database (Diagram 1): connections and transactions.

PostgreSQL 15 or newer, embedded or external, through a small pool with prepared statements.

A frozen server does not close its connections. While callers wait and none is served, a separate
probe checks the server (`caas.billing_database.heartbeat`); if it does not respond, all waiting and
new callers fail at once until it responds again.

Rules a change must keep: no network I/O except the database's inside a transaction; after a
deadlock or serialization failure the whole statement or transaction is retried, a bounded number of
times; a database that cannot serve (down, full, read-only, too slow) is one error; a caller that
holds a connection never waits for a second one, or the pool would deadlock.
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
from caas.billing_database.heartbeat import DISK_FULL, READ_ONLY, HeartbeatMonitor, in_words
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
CHECKABLE = (DISK_FULL, READ_ONLY)
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
    asyncpg.InternalClientError,  # the server failed but has not closed the connection
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
    """The Billing Database is unavailable. Retry shortly."""

    code = "database_unavailable"


class Database:
    """A connection pool for one Billing Database."""

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
        """Acquire a connection.

        Raises:
            DatabaseUnavailableError: no connection was available in time.
        """
        before = _LENT.get()
        assert self not in before, "a holder of a connection must not wait for a second one"
        _LENT.set((*before, self))
        try:
            connection = await self._taken()
            self._lent[connection] = _clock()
            try:
                yield connection
            except BaseException as error:
                was_lost = isinstance(error, AttributeError) and connection.is_closed()
                if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
                    connection.terminate()  # a new session may be writable again
                if isinstance(error, asyncio.CancelledError):
                    self._release_apart(connection)
                else:
                    await self._released(connection)
                if was_lost:  # asyncpg, for one that ends between the two steps of a statement
                    raise asyncpg.InterfaceError("the connection was closed") from error
                raise
            await self._given_back(connection)
        except (TimeoutError, *UNREACHABLE) as error:
            self._note_refusal(error)
            raise DatabaseUnavailableError(reason=self._away or str(error)) from error
        finally:
            _LENT.set(before)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Acquire a connection in a transaction that commits at the end of the block."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def in_transaction(self, work: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Run an operation in one transaction, and again after a deadlock.

        Raises:
            DatabaseUnavailableError: the database is unavailable.
        """
        return await self._call_with_retry(self.transaction, work)

    async def in_statement(self, work: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Run a single-statement operation on a connection, and again after a deadlock.

        Raises:
            DatabaseUnavailableError: the database is unavailable.
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
        """Return the number of committed transactions in the server's statistics."""
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
        """Start watching for an unresponsive database, until `close`."""
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    @property
    def is_away(self) -> bool:
        """Whether the database is unresponsive or gone."""
        return self._away is not None

    @property
    def is_closed(self) -> bool:
        """Whether the pool is closed or closing."""
        return self._closing

    @property
    def refused_because(self) -> str | None:
        """Why the database rejected a write (full disk, read-only), if it did.

        Reasons that readiness can check last until it does; any other one lasts ten seconds.
        """
        if self._refused is None:
            return None
        at, reason = self._refused
        if reason not in CHECKABLE and _clock() - at > REFUSED_WRITES_SECONDS:
            return None
        return reason

    def forget_refusal(self) -> None:
        """Record that the database accepts writes again."""
        self._refused = None

    async def close(self) -> None:
        """Close all connections; wait for running statements for a while, then terminate them."""
        self._closing = True  # returned connections are closed
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
        """Keep a healthy connection ready for the next caller, unless one is waiting.

        The pool creates a task for each acquire and release.
        """
        self._answered = _clock()
        if self._waits or self._closing or connection.is_closed():
            await self._released(connection)
        else:
            del self._lent[connection]
            self._at_hand.append(connection)

    async def _released(self, connection: Connection) -> None:
        """Release a connection; terminate it if the server does not report it as idle."""
        try:
            with suppress(TimeoutError):
                await self._pool.release(connection, timeout=RELEASE_TIMEOUT_SECONDS)
        finally:
            self._lent.pop(connection, None)

    def _release_apart(self, connection: Connection) -> None:
        """Release a connection in the background for a caller that was cancelled."""
        releasing = asyncio.get_running_loop().create_task(self._released_quietly(connection))
        self._releasing.add(releasing)
        releasing.add_done_callback(self._releasing.discard)

    async def _released_quietly(self, connection: Connection) -> None:
        with suppress(*UNREACHABLE):  # the caller is gone
            await self._released(connection)

    async def _watch(self) -> None:
        """Detect that the database became unresponsive, and that it responds again."""
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
        """Return whether a caller has waited long and none was served in the meantime."""
        since = min((*self._lent.values(), *self._waits.values()), default=None)
        return since is not None and _clock() - max(since, self._answered) > SILENCE_SECONDS

    def _send_away(self) -> None:
        """Fail all callers that wait for an unresponsive database."""
        for connection in list(self._lent):
            with suppress(asyncpg.InterfaceError):  # its caller has already closed it
                connection.terminate()
        for wait in list(self._waits):
            wait.reschedule(asyncio.get_running_loop().time())

    def _note_refusal(self, error: Exception) -> None:
        if isinstance(error, REFUSED_WRITES):
            self._refused = (_clock(), in_words(error))


async def connect(
    dsn: str, *, connections_max: int = CONNECTIONS_MAX, read_only: bool = False
) -> Database:
    """Connect with the application's role; `read_only` rejects writes.

    A read-only pool is not watched: reports and checks may wait long for one statement, and each
    has its own limit.

    Raises:
        StartupError: no usable database responds at this address.
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
    if not read_only:
        database.begin_watch()
    return database


def cannot_open(dsn: str, error: Exception) -> StartupError:
    """Return the error message for an unreachable database, without its password."""
    where = dsn.rpartition("@")[2].partition("?")[0]
    because = " ".join(str(error).split()) or type(error).__name__
    return StartupError(
        f"The Billing Database at {where} cannot be opened ({because}). "
        "Check CAAS_DATABASE_URL and that the server is running."
    )


async def _keep_session(_connection: Connection) -> None:
    """Skip the reset between uses, because sessions hold no state."""

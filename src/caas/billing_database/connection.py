"""The Billing Database (Diagram 1): connections, transactions and nothing else.

PostgreSQL 15 or newer, embedded or elsewhere; one dialect. Few connections, prepared statements.

Rules a change must keep: no network but the database's inside a transaction; a statement or a
transaction that fails with a deadlock or a serialisation failure is run again as a whole, a bounded
number of times; a database that cannot serve now (gone, full, read-only, too slow) is one error;
nobody who holds a connection waits for a second one, or a full pool waits for itself.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from typing import TypeAlias, TypeVar

import asyncpg
import msgspec

from caas.errors import StartupError, UnavailableError

CONNECTIONS_MAX = 8
STATEMENT_TIMEOUT_SECONDS = 30
ACQUIRE_TIMEOUT_SECONDS = 10
CLOSE_TIMEOUT_SECONDS = 10
TRANSACTION_ATTEMPTS_MAX = 5
SERVER_VERSION_MIN = 15
APPLICATION_ROLE = "caas_app"
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


_LENT: ContextVar[tuple["Database", ...]] = ContextVar("lent", default=())


class DatabaseUnavailableError(UnavailableError):
    """The Billing Database does not answer; nothing was recorded, try again shortly."""

    code = "database_unavailable"


class Database:
    """A pool of connections to one Billing Database."""

    def __init__(self, pool: asyncpg.Pool, dsn: str) -> None:
        """Wrap an open pool; use `connect` to make one."""
        self._pool = pool
        self._at_hand: list[Connection] = []
        self._waiting = 0
        self.dsn = dsn

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
            try:
                yield connection
            except BaseException:
                await self._pool.release(connection)
                raise
            await self._given_back(connection)
        except (TimeoutError, *UNREACHABLE) as error:
            raise DatabaseUnavailableError(reason=str(error)) from error
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
            DatabaseUnavailableError: the database cannot serve now; nothing was recorded.
        """
        return await self._persistently(self.transaction, work)

    async def in_statement(self, work: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Run work, which is one statement, on a connection; again after a deadlock.

        Raises:
            DatabaseUnavailableError: the database cannot serve now; nothing was recorded.
        """
        return await self._persistently(self.connection, work)

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

    async def _persistently(
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

    async def close(self) -> None:
        """Close every connection, waiting a while for what is under way; then hang up."""
        self._waiting += 1  # nothing stays at hand any more
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
        self._waiting += 1
        try:
            return await self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS)
        finally:
            self._waiting -= 1

    async def _given_back(self, connection: Connection) -> None:
        """Keep a sound connection at hand for whoever comes next, unless somebody waits for it.

        The pool makes a task to lend a connection and another to take it back.
        """
        if self._waiting or connection.is_closed():
            await self._pool.release(connection)
        else:
            self._at_hand.append(connection)


async def connect(
    dsn: str, *, connections_max: int = CONNECTIONS_MAX, read_only: bool = False
) -> Database:
    """Open the Billing Database as the application's role; `read_only` refuses every write.

    Raises:
        StartupError: no database answers at this address, or it is too old.
    """
    settings = {"search_path": "caas,public", "application_name": "caas", "timezone": "UTC"}
    if read_only:
        settings["default_transaction_read_only"] = "on"
    try:
        first = await asyncpg.connect(dsn, timeout=ACQUIRE_TIMEOUT_SECONDS)
        try:
            settings |= await _role_and_version(first)
        finally:
            await first.close()
        pool = await asyncpg.create_pool(
            dsn,
            min_size=1,
            max_size=connections_max,
            timeout=ACQUIRE_TIMEOUT_SECONDS,
            command_timeout=STATEMENT_TIMEOUT_SECONDS,
            init=_understand_json,
            reset=_keep_session,
            server_settings=settings,
        )
    except (TimeoutError, ValueError, asyncpg.PostgresError, *UNREACHABLE) as error:
        raise cannot_open(dsn, error) from error
    return Database(pool, dsn)


def cannot_open(dsn: str, error: Exception) -> StartupError:
    """Return what to say when no database answers there; its password is not repeated."""
    where = dsn.rpartition("@")[2].partition("?")[0]
    because = " ".join(str(error).split()) or type(error).__name__
    return StartupError(
        f"The Billing Database at {where} cannot be opened ({because}). "
        "Check CAAS_DATABASE_URL and that the server is running."
    )


async def _role_and_version(connection: Connection) -> dict[str, str]:
    version = connection.get_server_version().major
    if version < SERVER_VERSION_MIN:
        raise StartupError(
            f"The Billing Database is PostgreSQL {version}; "
            f"version {SERVER_VERSION_MIN} or newer is needed."
        )
    known = await connection.fetchval(
        "select pg_has_role(current_user, oid, 'member') from pg_roles where rolname = $1",
        APPLICATION_ROLE,
    )
    return {"role": APPLICATION_ROLE} if known else {}


async def _understand_json(connection: Connection) -> None:
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=_to_json, decoder=msgspec.json.decode
    )


async def _keep_session(_connection: Connection) -> None:
    """Sessions hold no state of their own, so nothing needs resetting between two uses."""


def _to_json(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()

"""Health check of the Billing Database on a separate connection.

A frozen server or a network that drops packets neither answers nor disconnects, so callers would
wait for minutes. The check is separate and short.

Rules a change must keep: a check takes at most `HEARTBEAT_SECONDS_MAX`; concurrent callers share
it; a server without free connections counts as present; reasons are reported in our words and the
server's messages are logged; read-only sessions are closed, because a new one may be writable.
"""

import asyncio
from typing import Final

import asyncpg
import msgspec
import structlog

HEARTBEAT_SECONDS_MAX: Final = 1.5
SILENCE: Final = "it does not respond"
READ_ONLY: Final = "it is read-only: a standby, or default_transaction_read_only is on"
DISK_FULL: Final = "its disk is full"
WORDS: Final[tuple[tuple[tuple[type[BaseException], ...], str], ...]] = (
    ((asyncpg.ReadOnlySQLTransactionError,), READ_ONLY),
    ((asyncpg.DiskFullError,), DISK_FULL),
    ((asyncpg.OutOfMemoryError,), "it is out of memory"),
    ((asyncpg.TooManyConnectionsError,), "it has no free connections"),
    ((asyncpg.CannotConnectNowError,), "it is starting up or shutting down"),
    ((asyncpg.AdminShutdownError, asyncpg.CrashShutdownError), "it is shutting down"),
    ((asyncpg.InvalidAuthorizationSpecificationError,), "it rejects the login of this platform"),
    ((asyncpg.InvalidCatalogNameError,), "there is no database of this name"),
    ((asyncpg.PostgresSystemError,), "it cannot read or write its files"),
    ((TimeoutError,), SILENCE),
    ((ConnectionRefusedError,), "the connection was refused"),
    ((OSError,), "the connection failed or was lost"),
    ((asyncpg.InterfaceError, asyncpg.PostgresConnectionError), "the connection to it was lost"),
)
"""Reasons by error; the first match counts."""
LOOK: Final = "select current_setting('transaction_read_only')::boolean"
FULL: Final = (asyncpg.TooManyConnectionsError, asyncpg.QueryCanceledError)

_log = structlog.get_logger()


def in_words(error: BaseException) -> str:
    """Return the reason why the database cannot serve."""
    for kinds, words in WORDS:
        if isinstance(error, kinds):
            return words
    return "it reports an error; see the log"


class Heartbeat(msgspec.Struct, frozen=True):
    """The result of a check: `because` is the reason, None if healthy."""

    answers: bool
    because: str | None = None


class HeartbeatMonitor:
    """Checks the health of the database."""

    def __init__(self, dsn: str) -> None:
        """Check the database at this address."""
        self._dsn = dsn
        self._connection: asyncpg.Connection | None = None
        self._asking: asyncio.Task[Heartbeat] | None = None

    async def take(self) -> Heartbeat:
        """Run a check, or wait for the one in progress."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(self._ask())
        return await asyncio.shield(self._asking)

    async def close(self) -> None:
        """Close the connection."""
        if self._asking is not None:
            await self._asking
        self._hang_up()

    async def _ask(self) -> Heartbeat:
        try:
            async with asyncio.timeout(HEARTBEAT_SECONDS_MAX):
                if self._connection is None or self._connection.is_closed():
                    self._connection = await asyncpg.connect(
                        self._dsn, timeout=HEARTBEAT_SECONDS_MAX
                    )
                read_only = await self._connection.fetchval(LOOK)
        except FULL:
            return Heartbeat(answers=True)
        except TimeoutError:
            self._hang_up()
            return Heartbeat(answers=False, because=SILENCE)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            self._hang_up()
            _log.debug("database.no_pulse", because=str(error))
            return Heartbeat(answers=False, because=in_words(error))
        if read_only:
            self._hang_up()
        return Heartbeat(answers=True, because=READ_ONLY if read_only else None)

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

"""Whether the Billing Database answers, and takes writes: asked on a connection of its own.

A server that is frozen, or a network that swallows everything, answers nothing and hangs up on
nobody: whoever waits for it waits until a time limit of minutes. So it is asked apart, briefly.

Rules a change must keep: an answer comes within `HEARTBEAT_SECONDS_MAX`, whatever the server does;
whoever asks while somebody is asking gets that answer; a server that says it has no room is there;
what is wrong is said in words of ours, and the server's own are logged; a session that takes no
writes is hung up on, since a new one may.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

import asyncpg
import structlog

HEARTBEAT_SECONDS_MAX: Final = 1.5
SILENCE: Final = "it does not answer"
READ_ONLY: Final = "it takes no writes: it is a standby, or default_transaction_read_only is on"
WORDS: Final[tuple[tuple[tuple[type[BaseException], ...], str], ...]] = (
    ((asyncpg.ReadOnlySQLTransactionError,), READ_ONLY),
    ((asyncpg.DiskFullError,), "its disk is full"),
    ((asyncpg.OutOfMemoryError,), "it has no memory left"),
    ((asyncpg.TooManyConnectionsError,), "all its connections are taken"),
    ((asyncpg.CannotConnectNowError,), "it is starting up or shutting down"),
    ((asyncpg.AdminShutdownError, asyncpg.CrashShutdownError), "it is being stopped"),
    ((asyncpg.InvalidAuthorizationSpecificationError,), "it refuses the login of this platform"),
    ((asyncpg.InvalidCatalogNameError,), "there is no database of this name"),
    ((asyncpg.PostgresSystemError,), "its machine cannot read or write its files"),
    ((TimeoutError,), SILENCE),
    ((ConnectionRefusedError,), "nothing listens at its address"),
    ((OSError,), "the connection to it cannot be made, or was lost"),
    ((asyncpg.InterfaceError, asyncpg.PostgresConnectionError), "the connection to it was lost"),
)
"""How errors are told; the first that fits counts."""
LOOK: Final = "select current_setting('transaction_read_only')::boolean"
FULL: Final = (asyncpg.TooManyConnectionsError, asyncpg.QueryCanceledError)

_log = structlog.get_logger()


def in_words(error: BaseException) -> str:
    """Return in plain words what keeps the database from serving."""
    for kinds, words in WORDS:
        if isinstance(error, kinds):
            return words
    return "it answers with an error that the log names"


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """How the database is: `because` says what is wrong, None when nothing is."""

    answers: bool
    because: str | None = None


class HeartbeatMonitor:
    """Asks the database how it is."""

    def __init__(self, dsn: str) -> None:
        """Ask the one that is there."""
        self._dsn = dsn
        self._connection: asyncpg.Connection | None = None
        self._asking: asyncio.Task[Heartbeat] | None = None

    async def take(self) -> Heartbeat:
        """Ask, or wait for the answer to whoever is asking."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(self._ask())
        return await asyncio.shield(self._asking)

    async def close(self) -> None:
        """Hang up."""
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

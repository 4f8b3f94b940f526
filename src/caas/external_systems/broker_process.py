"""Process and lock handling of the local MQTT broker.

Rules a change must keep: only a process whose command line names our configuration is terminated,
because process ids are reused; the broker runs in its own session, so that Ctrl-C does not reach
it; every wait has a limit.
"""

import asyncio
import fcntl
import os
import signal
from pathlib import Path
from typing import Final

from caas.errors import StartupError
from caas.external_systems.mosquitto_program import Program

LOCK_SECONDS_MAX: Final = 180.0  # Another process may be downloading the program.
STOP_SECONDS_MAX: Final = 5.0
POLL_SECONDS: Final = 0.02


def configuration(folder: Path) -> Path:
    """Return the path of the broker's configuration, which also identifies our broker."""
    return folder / "mosquitto.conf"


def spawn(program: Program, folder: Path) -> int:
    """Start the broker in its own session, so that Ctrl-C does not reach it."""
    return os.posix_spawn(
        program.path,
        [str(program.path), "-c", str(configuration(folder))],
        program.environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ],
        setsid=True,
    )


async def end(pid: int, folder: Path) -> None:
    """Terminate our broker, gracefully at first so that it stores its sessions."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = asyncio.get_running_loop().time() + STOP_SECONDS_MAX
        if is_ours(pid, folder):
            os.kill(pid, number)
        while alive(pid) and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(POLL_SECONDS)


def is_ours(pid: int, folder: Path) -> bool:
    """Return whether this process id runs our configuration."""
    if not alive(pid):
        return False
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return not Path("/proc").exists()  # A machine without /proc: the number must do.
    return os.fsencode(configuration(folder)) in command.split(b"\0")


def alive(pid: int) -> bool:
    """Return whether a process with this id runs; reap it if it is our own child."""
    try:
        ended, _ = os.waitpid(pid, os.WNOHANG)
        if ended:
            return False
    except ChildProcessError:
        pass  # Another process started it.
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def locked(path: Path, kind: int) -> int:
    """Hold a lock on the file.

    Raises:
        StartupError: another process holds it for too long.
    """
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = asyncio.get_running_loop().time() + LOCK_SECONDS_MAX
    try:
        while not lock_now(lock, kind):
            if asyncio.get_running_loop().time() > deadline:
                raise StartupError(f"Another process has kept {path} for too long.")
            await asyncio.sleep(POLL_SECONDS)
    except BaseException:
        os.close(lock)
        raise
    return lock


def lock_now(lock: int, kind: int) -> bool:
    """Try to take or change the lock without waiting; return whether it succeeded."""
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

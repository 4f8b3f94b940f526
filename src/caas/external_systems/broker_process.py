"""The operating system's side of our own broker: its process, and the locks of its folder.

Seed: the IoT Gateway of Diagram 1; `local_broker` is what others use.

Rules a change must keep:
- Only a process whose command line names our own configuration is ever ended: the number of a
  process that is gone may be another's by now.
- The broker is started in a session of its own, so that Ctrl-C reaches only the platform.
- Every wait has a limit.
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
    """Return where the broker's configuration stands; it also tells our broker from others."""
    return folder / "mosquitto.conf"


def spawn(program: Program, folder: Path) -> int:
    """Start it in a session of its own, so that Ctrl-C reaches only the platform."""
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
    """End our broker: in order first, so that it stores its sessions."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = asyncio.get_running_loop().time() + STOP_SECONDS_MAX
        if is_ours(pid, folder):
            os.kill(pid, number)
        while alive(pid) and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(POLL_SECONDS)


def is_ours(pid: int, folder: Path) -> bool:
    """Return whether this process runs our configuration; a number may have been used again."""
    if not alive(pid):
        return False
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return not Path("/proc").exists()  # A machine without /proc: the number must do.
    return os.fsencode(configuration(folder)) in command.split(b"\0")


def alive(pid: int) -> bool:
    """Return whether a process with this number runs; our own child that ended is reaped."""
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
    """Take or change the lock without waiting; tell whether that could be."""
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

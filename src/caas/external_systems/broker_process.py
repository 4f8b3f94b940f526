"""The local MQTT broker's process, lock files, accounts and access rules.

The broker stands for the IoT Gateway of Diagram 1 (decision 105). Only the platform publishes
requests; a vehicle reads its own requests and publishes its own responses. The simulated vehicles
share one gateway account that reads all requests and publishes all responses.

Rules a change must keep:

- Only a process whose command line names our configuration is terminated, because process ids are
  reused. The broker runs in its own session, so that Ctrl-C does not reach it. Every wait has a
  limit.
- No anonymous access; files are readable by their owner only; a vehicle's account name is its VIN,
  which the %u of the pattern stands for.
"""

import asyncio
import base64
import fcntl
import hashlib
import os
import re
import secrets
import signal
from pathlib import Path
from typing import Final

import msgspec

from caas.errors import RefusedError, StartupError
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


PLATFORM: Final = "caas"
FLEET: Final = "caas-fleet"
PASSWORD_ROUNDS: Final = 101  # mosquitto's own number; the password itself is 128 random bits.
ACCESS: Final = f"""\
user {PLATFORM}
topic readwrite caas/v1/vehicles/+/commands/+/request
topic read caas/v1/vehicles/+/commands/+/response

user {FLEET}
topic read caas/v1/vehicles/+/commands/+/request
topic write caas/v1/vehicles/+/commands/+/response

pattern read caas/v1/vehicles/%u/commands/+/request
pattern write caas/v1/vehicles/%u/commands/+/response
"""
_VIN: Final = re.compile(r"[A-Z0-9-]{3,32}")


class NoVehicleNameError(RefusedError):
    """The name is not a VIN, so no broker account can be created for it."""

    code = "no_vehicle_name"


def password_of(folder: Path, account: str) -> str:
    """Return an account's password; create the account if it is new.

    Passwords survive a restart, so that clients can reconnect.
    """
    kept = _kept(folder)
    if account not in kept:
        kept[account] = secrets.token_urlsafe(16)
        write_privately(folder / "accounts.json", msgspec.json.encode(kept))
    return kept[account]


def password_of_vehicle(folder: Path, vin: str) -> str:
    """Return the password of a vehicle's account; create the account if it is new.

    Raises:
        NoVehicleNameError: the name is not a VIN.
    """
    if _VIN.fullmatch(vin) is None:
        raise NoVehicleNameError("A VIN is 3 to 32 capital letters, digits and -.")
    return password_of(folder, vin)


def write_for_mosquitto(folder: Path) -> None:
    """Write the password hashes and the access control list in mosquitto's format."""
    hashed = "".join(f"{name}:{_hashed(password)}\n" for name, password in _kept(folder).items())
    write_privately(folder / "passwords", hashed.encode())
    write_privately(folder / "access", ACCESS.encode())


def write_privately(path: Path, content: bytes) -> None:
    """Write a file readable by its owner only."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _kept(folder: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode((folder / "accounts.json").read_bytes(), type=dict[str, str])
    except (FileNotFoundError, msgspec.DecodeError):
        return {}


def _hashed(password: str) -> str:
    salt = secrets.token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, PASSWORD_ROUNDS, 64)
    salt_text, digest_text = (base64.b64encode(part).decode() for part in (salt, digest))
    return f"$7${PASSWORD_ROUNDS}${salt_text}${digest_text}"

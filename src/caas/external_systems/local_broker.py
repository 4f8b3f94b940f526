"""The MQTT broker of a machine that has none: mosquitto as our own process.

Seed: the IoT Gateway of Diagram 1, so that a laptop speaks to its vehicles the way a cluster does.
Operation at scale names a broker of its own by `CAAS_MQTT_URL` and never comes here.

The broker of a folder is shared: the first process that needs it starts it, later ones join, and
the last one to leave stops it. When all of them were killed it stays, and the next one joins it.

Inside `data_dir/mosquitto`: `mosquitto.conf`, `passwords`, `mosquitto.log`, `broker.json` (address
and process), the broker's stored sessions, two lock files, and `program/` when it was fetched.

Rules a change must keep:
- It listens on 127.0.0.1 only, and only to who knows the password kept in that folder (mode 0700).
- Only a process whose command line names our own configuration is ever ended.
- mosquitto started by root becomes the user `mosquitto` or `nobody`, who could not read our folder:
  as root it is told to stay root. Only a container or a test machine runs this as root.
- A broker that cannot be had is not an error: the caller goes on with the in-process link.
"""

import asyncio
import base64
import fcntl
import hashlib
import os
import secrets
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from caas.errors import StartupError, UnavailableError
from caas.external_systems import mqtt_connection
from caas.external_systems.mosquitto_program import NoBroker, Program, find_or_fetch

__all__ = ["LocalBroker", "NoBroker", "PortInUseError", "start_local_broker"]

ANY_FREE_PORT: Final = 0
LOCK_SECONDS_MAX: Final = 180.0  # Another process may be downloading the program.
START_SECONDS_MAX: Final = 10.0
STOP_SECONDS_MAX: Final = 5.0
POLL_SECONDS: Final = 0.02
USERNAME: Final = "caas"
PASSWORD_ROUNDS: Final = 101  # mosquitto's own number; the password itself is 128 random bits.
CONFIGURATION: Final = """\
listener {port} 127.0.0.1
allow_anonymous false
password_file {folder}/passwords
user {user}
persistence true
persistence_location {folder}/
autosave_interval 60
max_queued_messages 200000
max_inflight_messages 1000
max_packet_size 65536
persistent_client_expiration 1d
set_tcp_nodelay true
log_dest file {folder}/mosquitto.log
log_type error
log_type warning
log_type notice
"""


class PortInUseError(StartupError):
    """The port asked for the MQTT broker is in use by another program."""

    code = "port_in_use"


class _Running(msgspec.Struct):
    """What is known of the broker of a folder."""

    url: str
    pid: int


@dataclass(slots=True)
class LocalBroker:
    """Our use of the folder's broker; `url` holds the password."""

    url: str
    folder: Path
    pid: int
    users_lock: int

    async def stop(self) -> None:
        """Leave the broker, and stop it when nobody else uses it; its sessions are stored."""
        if self.users_lock < 0:
            return
        if _lock_now(self.users_lock, fcntl.LOCK_EX):
            await _end(self.pid, self.folder)
            (self.folder / "broker.json").unlink(missing_ok=True)
        os.close(self.users_lock)
        self.users_lock = -1


async def start_local_broker(
    data_dir: Path, *, port: int = ANY_FREE_PORT
) -> LocalBroker | NoBroker:
    """Join the folder's broker, or start it on 127.0.0.1.

    Raises:
        PortInUseError: the port that was asked for is taken.
    """
    folder = (data_dir / "mosquitto").absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    starting = await _locked(folder / "starting.lock", fcntl.LOCK_EX)
    users = await _locked(folder / "users.lock", fcntl.LOCK_SH)
    running: _Running | NoBroker | None = None
    try:
        running = await _joined(folder) or await _started(folder, port)
    finally:
        os.close(starting)
        if not isinstance(running, _Running):
            os.close(users)
    if isinstance(running, NoBroker):
        return running
    return LocalBroker(running.url, folder, running.pid, users)


async def _joined(folder: Path) -> _Running | None:
    try:
        running = msgspec.json.decode((folder / "broker.json").read_bytes(), type=_Running)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    if not _is_ours(running.pid, folder):
        return None
    if await _answers(running.url):
        return running
    await _end(running.pid, folder)
    return None


async def _started(folder: Path, port: int) -> _Running | NoBroker:
    program = await find_or_fetch(folder)
    if isinstance(program, NoBroker):
        return program
    taken = _free_port(port)
    url = _configure(folder, taken)
    running = _Running(url, _spawn(program, folder))
    _write_privately(folder / "broker.json", msgspec.json.encode(running))
    deadline = asyncio.get_running_loop().time() + START_SECONDS_MAX
    while _alive(running.pid) and asyncio.get_running_loop().time() < deadline:
        if await _answers(url):
            return running
        await asyncio.sleep(POLL_SECONDS)
    await _end(running.pid, folder)
    return NoBroker(f"mosquitto did not start; {folder / 'mosquitto.log'} says why.")


def _spawn(program: Program, folder: Path) -> int:
    """Start it in a session of its own, so that Ctrl-C reaches only the platform."""
    return os.posix_spawn(
        program.path,
        [str(program.path), "-c", str(_configuration(folder))],
        program.environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ],
        setsid=True,
    )


def _configuration(folder: Path) -> Path:
    return folder / "mosquitto.conf"


def _configure(folder: Path, port: int) -> str:
    """Write the configuration with a new password; return the address that holds it."""
    password = secrets.token_urlsafe(16)
    salt = secrets.token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, PASSWORD_ROUNDS, 64)
    salt_text, digest_text = (base64.b64encode(part).decode() for part in (salt, digest))
    hashed = f"{USERNAME}:$7${PASSWORD_ROUNDS}${salt_text}${digest_text}\n"
    _write_privately(folder / "passwords", hashed.encode())
    user = "root" if os.geteuid() == 0 else "nobody"  # Only root may change it: else no effect.
    text = CONFIGURATION.format(port=port, folder=folder, user=user)
    _write_privately(_configuration(folder), text.encode())
    return f"mqtt://{USERNAME}:{password}@127.0.0.1:{port}"


def _write_privately(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _free_port(port: int) -> int:
    """Return the port, or any free one; between here and the broker's own bind it may be taken.

    Raises:
        PortInUseError: another program listens there.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            sentence = f"Port {port} for the MQTT broker is in use: name another, or 0 for any."
            raise PortInUseError(sentence, port=port) from error
        return int(probe.getsockname()[1])


async def _answers(url: str) -> bool:
    """Tell whether the broker lets us in with our password."""
    address = mqtt_connection.BrokerAddress.from_url(url)
    session = mqtt_connection.Session(
        client_id=f"caas-probe-{secrets.token_hex(4)}", expiry_seconds=0, unhandled_max=1
    )
    try:
        connection = await mqtt_connection.connect(address, session, lambda *_: None)
    except UnavailableError:
        return False
    await connection.close()
    return True


async def _end(pid: int, folder: Path) -> None:
    """End our broker: in order first, so that it stores its sessions."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = asyncio.get_running_loop().time() + STOP_SECONDS_MAX
        if _is_ours(pid, folder):
            os.kill(pid, number)
        while _alive(pid) and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(POLL_SECONDS)


def _is_ours(pid: int, folder: Path) -> bool:
    """Tell whether this process runs our configuration; a number may have been used again."""
    if not _alive(pid):
        return False
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return not Path("/proc").exists()  # A machine without /proc: the number must do.
    return os.fsencode(_configuration(folder)) in command.split(b"\0")


def _alive(pid: int) -> bool:
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


async def _locked(path: Path, kind: int) -> int:
    """Hold a lock on the file.

    Raises:
        StartupError: another process holds it for too long.
    """
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = asyncio.get_running_loop().time() + LOCK_SECONDS_MAX
    while not _lock_now(lock, kind):
        if asyncio.get_running_loop().time() > deadline:
            os.close(lock)
            raise StartupError(f"Another process has kept {path} for too long.")
        await asyncio.sleep(POLL_SECONDS)
    return lock


def _lock_now(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

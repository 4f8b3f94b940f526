"""The MQTT broker of a single machine: mosquitto as a process of ours.

It is the IoT Gateway of Diagram 1 where no broker is configured, so that one machine uses the same
protocol as a cluster. Where `CAAS_MQTT_URL` names a broker, this module is not used.

All processes of a data folder share its broker: the first one starts it, later ones join, and the
last one to leave stops it. If all of them are killed, it keeps running and the next process joins
it.

`data_dir/mosquitto` contains `mosquitto.conf`, the accounts in `accounts.json`, the `passwords` and
`access` files that the broker reads, `mosquitto.log`, `broker.json` (address and process), the
broker's stored sessions, lock files, and `program/` if mosquitto was downloaded.

Rules a change must keep:

- It listens on 127.0.0.1 only, and only for the accounts in that folder (mode 0700), with the
  access that `broker_process` defines.
- Only a process whose command line names our configuration is terminated.
- Started by root, mosquitto would switch to a user who cannot read the folder; it is configured to
  stay root. Only containers and test machines run it as root.
- A missing broker is not an error: the caller uses the in-process link.
"""

import asyncio
import os
import secrets
import signal
import socket
from fcntl import LOCK_EX, LOCK_SH
from pathlib import Path
from typing import Final

import msgspec

from caas.errors import StartupError, UnavailableError
from caas.external_systems import broker_process, mqtt_connection
from caas.external_systems.broker_process import FLEET, PLATFORM, password_of, write_privately
from caas.external_systems.mosquitto_program import NoBroker, Program, find_or_fetch
from caas.external_systems.mqtt_packets import BrokerAddress, MqttSession

__all__ = ["LocalBroker", "NoBroker", "PortInUseError", "start_local_broker", "vehicle_account"]

ANY_FREE_PORT: Final = 0
START_SECONDS_MAX: Final = 10.0
SESSIONS: Final = "mosquitto.db"
CONFIGURATION: Final = """\
listener {port} 127.0.0.1
allow_anonymous false
password_file {folder}/passwords
acl_file {folder}/access
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
    """The stored facts about a folder's broker."""

    url: str
    pid: int


class LocalBroker(msgspec.Struct):
    """Our use of the folder's broker; `url` holds the platform's password."""

    url: str
    folder: Path
    pid: int
    users_lock: int

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        return BrokerAddress.from_url(self.url).port

    @property
    def fleet_url(self) -> str:
        """The address for the simulated vehicles' telecom gateway, including its password."""
        return _address(self.folder, FLEET, self.port)

    def lives(self) -> bool:
        """Whether the broker's process exists, even if stopped or busy."""
        return broker_process.is_ours(self.pid, self.folder)

    async def start_again(self) -> None:
        """Restart a dead broker on its port with its stored sessions.

        Raises:
            StartupError: it does not start.
        """
        again = await start_local_broker(self.folder.parent, port=self.port)
        if isinstance(again, NoBroker):
            raise StartupError(again.sentence)
        os.close(self.users_lock)
        self.pid, self.users_lock, self.url = again.pid, again.users_lock, again.url

    async def stop(self) -> None:
        """Leave the broker, and stop it after its last user; its sessions are stored."""
        if self.users_lock < 0:
            return
        if broker_process.lock_now(self.users_lock, LOCK_EX):
            await broker_process.end(self.pid, self.folder)
            (self.folder / "broker.json").unlink(missing_ok=True)
        os.close(self.users_lock)
        self.users_lock = -1


async def start_local_broker(
    data_dir: Path, *, port: int = ANY_FREE_PORT, programs: Path | None = None
) -> LocalBroker | NoBroker:
    """Join the folder's broker, or start it; a missing program is downloaded to `programs`.

    Raises:
        PortInUseError: the requested port is in use.
    """
    folder = (data_dir / "mosquitto").absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    starting = await broker_process.locked(folder / "starting.lock", LOCK_EX)
    users = -1
    running: _Running | NoBroker | None = None
    try:
        users = await broker_process.locked(folder / "users.lock", LOCK_SH)
        running = await _joined(folder)
        if running is None:
            program = await _program(programs or folder)
            running = await _started(folder, port, program)
    finally:
        os.close(starting)
        if users >= 0 and not isinstance(running, _Running):
            os.close(users)
    if isinstance(running, NoBroker):
        return running
    return LocalBroker(running.url, folder, running.pid, users)


async def vehicle_account(data_dir: Path, vin: str) -> str:
    """Create a vehicle's account at the folder's broker; return its address with the password.

    Raises:
        NoVehicleNameError: it is not a VIN.
        StartupError: no broker runs on this folder, or it does not accept the account.
    """
    folder = (data_dir / "mosquitto").absolute()
    running = _record(folder)
    if running is None:
        raise StartupError(f"No broker runs on {data_dir}: './caas up' starts one.")
    starting = await broker_process.locked(folder / "starting.lock", LOCK_EX)
    try:
        password = broker_process.password_of_vehicle(folder, vin)
        broker_process.write_for_mosquitto(folder)
        os.kill(running.pid, signal.SIGHUP)
    finally:
        os.close(starting)
    url = f"mqtt://{vin}:{password}@127.0.0.1:{BrokerAddress.from_url(running.url).port}"
    if not await _lets_in_soon(url):
        raise StartupError(f"The broker on {data_dir} does not take the account in.")
    return url


async def _lets_in_soon(url: str) -> bool:
    deadline = asyncio.get_running_loop().time() + START_SECONDS_MAX
    while asyncio.get_running_loop().time() < deadline:
        if await _answers(url):
            return True
        await asyncio.sleep(broker_process.POLL_SECONDS)
    return False


def _record(folder: Path) -> _Running | None:
    try:
        running = msgspec.json.decode((folder / "broker.json").read_bytes(), type=_Running)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return running if broker_process.is_ours(running.pid, folder) else None


async def _joined(folder: Path) -> _Running | None:
    running = _record(folder)
    if running is None:
        return None
    fleet_url = _address(folder, FLEET, BrokerAddress.from_url(running.url).port)
    if await _answers(running.url) and await _answers(fleet_url):
        return running
    await broker_process.end(running.pid, folder)
    return None


async def _program(folder: Path) -> Program | NoBroker:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fetching = await broker_process.locked(folder / "fetching.lock", LOCK_EX)
    try:
        return await find_or_fetch(folder)
    finally:
        os.close(fetching)


async def _started(folder: Path, port: int, program: Program | NoBroker) -> _Running | NoBroker:
    if isinstance(program, NoBroker):
        return program
    url = _configure(folder, _free_port(port))
    running = await _launched(folder, url, program)
    if running is None and (folder / SESSIONS).exists():
        # Unreadable sessions may go: unanswered commands are in the database and are sent again.
        (folder / SESSIONS).replace(folder / f"{SESSIONS}.unreadable")
        running = await _launched(folder, url, program)
    log = folder / "mosquitto.log"
    return running or NoBroker(f"mosquitto did not start; {log} says why.")


async def _launched(folder: Path, url: str, program: Program) -> _Running | None:
    running = _Running(url, broker_process.spawn(program, folder))
    write_privately(folder / "broker.json", msgspec.json.encode(running))
    deadline = asyncio.get_running_loop().time() + START_SECONDS_MAX
    try:
        while broker_process.alive(running.pid) and asyncio.get_running_loop().time() < deadline:
            if await _answers(url):
                return running
            await asyncio.sleep(broker_process.POLL_SECONDS)
    except asyncio.CancelledError:
        await broker_process.end(running.pid, folder)
        raise
    await broker_process.end(running.pid, folder)
    return None


def _configure(folder: Path, port: int) -> str:
    """Write the configuration; return the platform's address, including its password."""
    url, _ = (_address(folder, name, port) for name in (PLATFORM, FLEET))
    broker_process.write_for_mosquitto(folder)
    user = "root" if os.geteuid() == 0 else "nobody"  # Only root may change it: else no effect.
    text = CONFIGURATION.format(port=port, folder=folder, user=user)
    write_privately(broker_process.configuration(folder), text.encode())
    return url


def _address(folder: Path, account: str, port: int) -> str:
    return f"mqtt://{account}:{password_of(folder, account)}@127.0.0.1:{port}"


def _free_port(port: int) -> int:
    """Return the port, or any free one; another program may take it before the broker does.

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
    """Return whether the broker accepts our password."""
    address = BrokerAddress.from_url(url)
    session = MqttSession(
        client_id=f"caas-probe-{secrets.token_hex(4)}", expiry_seconds=0, unhandled_max=1
    )
    try:
        connection = await mqtt_connection.connect(address, session, lambda *_: None)
    except UnavailableError:
        return False
    await connection.close()
    return True

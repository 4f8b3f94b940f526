"""The broker of a machine that has none: found, fetched, shared, stopped, or told why not."""

import asyncio
import fcntl
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from caas.errors import StartupError
from caas.external_systems import broker_process, mosquitto_program, mqtt_connection
from caas.external_systems.local_broker import (
    LocalBroker,
    NoBroker,
    PortInUseError,
    start_local_broker,
)
from caas.external_systems.mosquitto_program import Program, find_or_fetch
from caas.external_systems.mqtt_packets import BrokerAddress, BrokerUnavailableError, MqttSession
from tests.mqtt_broker import PROGRAMS

USER_WHO_DIES = """
import asyncio, pathlib, sys
from caas.external_systems.local_broker import start_local_broker

async def main():
    broker = await start_local_broker(pathlib.Path(sys.argv[1]), programs=pathlib.Path(sys.argv[2]))
    print(broker.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


_STARTED: list[LocalBroker] = []


@pytest.fixture(autouse=True)
async def _nothing_left_running() -> AsyncIterator[None]:
    """Stop what a failed test left running; to stop twice does no harm."""
    yield
    while _STARTED:
        await _STARTED.pop().stop()


async def started(folder: Path, port: int = 0) -> LocalBroker:
    broker = await start_local_broker(folder, port=port, programs=PROGRAMS)
    assert isinstance(broker, LocalBroker)
    _STARTED.append(broker)
    return broker


async def lets_in(url: str) -> bool:
    session = MqttSession(client_id="guest", expiry_seconds=0, unhandled_max=1)
    try:
        connection = await mqtt_connection.connect(
            BrokerAddress.from_url(url), session, lambda *_: None
        )
    except BrokerUnavailableError:
        return False
    await connection.close()
    return True


def runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand on a machine whose only programs are those put into the folder returned."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(mosquitto_program, "PROGRAM_FOLDERS", ())
    return folder


async def test_it_answers_on_this_machine_only_and_to_the_password_only(tmp_path: Path) -> None:
    broker = await started(tmp_path)

    assert await lets_in(broker.url)
    assert not await lets_in(f"mqtt://127.0.0.1:{broker.port}")
    assert not await lets_in(f"mqtt://caas:guess@127.0.0.1:{broker.port}")
    listening = Path("/proc/net/tcp").read_text()
    assert f"0100007F:{broker.port:04X}" in listening
    assert f"00000000:{broker.port:04X}" not in listening
    await broker.stop()


async def test_its_folder_and_its_secrets_are_for_its_owner_alone(tmp_path: Path) -> None:
    broker = await started(tmp_path)

    folder = tmp_path / "mosquitto"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("accounts.json", "passwords", "access", "broker.json", "mosquitto.conf"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    await broker.stop()


async def test_stopping_ends_the_process_and_a_new_start_has_the_same_password(
    tmp_path: Path,
) -> None:
    first = await started(tmp_path)
    await first.stop()
    assert not runs(first.pid)
    assert not await lets_in(first.url)

    second = await started(tmp_path, port=first.port)

    assert second.url == first.url
    assert await lets_in(second.url)
    await second.stop()
    await second.stop()


async def test_a_second_user_joins_and_the_last_one_to_leave_stops_it(tmp_path: Path) -> None:
    first = await started(tmp_path)
    second = await started(tmp_path)
    assert (second.url, second.pid) == (first.url, first.pid)

    await first.stop()
    assert await lets_in(second.url)

    await second.stop()
    assert not runs(first.pid)


async def test_two_users_at_once_start_one_broker(tmp_path: Path) -> None:
    first, second = await asyncio.gather(started(tmp_path), started(tmp_path))

    assert first.pid == second.pid
    await first.stop()
    await second.stop()


async def test_a_broker_whose_user_was_killed_is_joined_by_the_next_and_stopped(
    tmp_path: Path,
) -> None:
    user = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        USER_WHO_DIES,
        str(tmp_path),
        str(PROGRAMS),
        stdout=asyncio.subprocess.PIPE,
    )
    assert user.stdout is not None
    pid = int(await user.stdout.readline())
    user.send_signal(signal.SIGKILL)
    await user.wait()
    assert runs(pid)

    heir = await started(tmp_path)

    assert heir.pid == pid
    await heir.stop()
    assert not runs(pid)


async def test_a_leftover_record_of_another_process_is_not_believed(tmp_path: Path) -> None:
    folder = tmp_path / "mosquitto"
    folder.mkdir(mode=0o700)
    stranger = subprocess.Popen(["sleep", "60"])
    record = {"url": "mqtt://caas:old@127.0.0.1:1", "pid": stranger.pid}
    (folder / "broker.json").write_text(json.dumps(record))
    (folder / "mosquitto.pid").write_text(str(stranger.pid))

    broker = await started(tmp_path)

    assert broker.pid != stranger.pid
    assert stranger.poll() is None
    await broker.stop()
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


@pytest.mark.parametrize("leftover", ["", "not json", '{"url": 1}'])
async def test_a_damaged_record_is_no_obstacle(tmp_path: Path, leftover: str) -> None:
    (tmp_path / "mosquitto").mkdir(mode=0o700)
    (tmp_path / "mosquitto" / "broker.json").write_text(leftover)

    broker = await started(tmp_path)

    assert await lets_in(broker.url)
    await broker.stop()


async def test_sessions_that_cannot_be_read_are_put_aside(tmp_path: Path) -> None:
    (tmp_path / "mosquitto").mkdir(mode=0o700)
    (tmp_path / "mosquitto" / "mosquitto.db").write_bytes(b"not a database" * 100)

    broker = await started(tmp_path)

    assert await lets_in(broker.url)
    assert (tmp_path / "mosquitto" / "mosquitto.db.unreadable").exists()
    await broker.stop()


async def test_a_broker_that_was_killed_is_started_anew(tmp_path: Path) -> None:
    dead = await started(tmp_path)
    os.kill(dead.pid, signal.SIGKILL)
    await asyncio.to_thread(os.waitpid, dead.pid, 0)

    fresh = await started(tmp_path)

    assert fresh.pid != dead.pid
    assert await lets_in(fresh.url)
    await dead.stop()
    await fresh.stop()


async def test_a_port_in_use_is_one_clear_sentence(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        with pytest.raises(PortInUseError) as raised:
            await start_local_broker(tmp_path, port=port, programs=PROGRAMS)

    expected = f"Port {port} for the MQTT broker is in use: name another, or 0 for any."
    assert raised.value.sentence == expected
    assert isinstance(raised.value, StartupError)
    broker = await started(tmp_path)
    await broker.stop()


async def test_without_mosquitto_and_without_apt_it_says_so(
    tmp_path: Path, bare_machine: Path
) -> None:
    del bare_machine

    answer = await start_local_broker(tmp_path)

    assert answer == NoBroker("There is no mosquitto here, and no apt to fetch it with.")


@pytest.mark.parametrize("apt", ["exit 100", "exec /bin/sleep 60"])
async def test_an_apt_that_fails_or_hangs_is_given_up_in_time(
    tmp_path: Path, bare_machine: Path, monkeypatch: pytest.MonkeyPatch, apt: str
) -> None:
    script(bare_machine / "apt-get", apt)
    script(bare_machine / "dpkg-deb", "exit 0")
    monkeypatch.setattr(mosquitto_program, "DOWNLOAD_SECONDS_MAX", 0.2)
    monkeypatch.setattr(mosquitto_program, "UPDATE_SECONDS_MAX", 0.2)

    async with asyncio.timeout(120):
        answer = await start_local_broker(tmp_path)

    assert answer == NoBroker("mosquitto is not installed, and apt could not download it.")


async def test_a_package_that_does_not_unpack_is_named(tmp_path: Path, bare_machine: Path) -> None:
    package = tmp_path / "data/mosquitto/apt/archives/mosquitto_2.deb"
    script(bare_machine / "apt-get", f": > {package}")
    script(bare_machine / "dpkg-deb", "exit 2")

    answer = await start_local_broker(tmp_path / "data")

    assert answer == NoBroker("dpkg could not unpack mosquitto_2.deb.")


@pytest.mark.parametrize(
    "program", ["echo mosquitto version 1.6.9", "exit 127", "exec /bin/sleep 60"]
)
async def test_a_mosquitto_too_old_or_broken_is_not_used(
    tmp_path: Path, bare_machine: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setattr(mosquitto_program, "CHECK_SECONDS_MAX", 0.5)
    script(bare_machine / "mosquitto", program)

    answer = await find_or_fetch(tmp_path / "programs")

    assert isinstance(answer, NoBroker)


async def test_a_mosquitto_on_the_path_is_used(tmp_path: Path, bare_machine: Path) -> None:
    script(bare_machine / "mosquitto", "echo mosquitto version 2.0.18")

    answer = await find_or_fetch(tmp_path / "programs")

    assert isinstance(answer, Program)
    assert answer.path == bare_machine / "mosquitto"


async def test_a_mosquitto_that_ends_at_once_is_no_broker_and_the_log_is_named(
    tmp_path: Path, bare_machine: Path
) -> None:
    script(bare_machine / "mosquitto", 'test "$1" = -h && echo mosquitto version 2.0.18')

    answer = await start_local_broker(tmp_path)

    assert isinstance(answer, NoBroker)
    assert str(tmp_path / "mosquitto" / "mosquitto.log") in answer.sentence


async def test_what_was_fetched_once_is_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    if (PROGRAMS / "program").exists():
        shutil.copytree(PROGRAMS / "program", programs / "program", symlinks=True)
    monkeypatch.setattr(mosquitto_program, "PROGRAM_FOLDERS", ())
    first = await find_or_fetch(programs)
    assert isinstance(first, Program)

    async def no_download(folder: Path) -> list[Path]:
        raise AssertionError(folder)

    monkeypatch.setattr(mosquitto_program, "_download", no_download)
    assert await find_or_fetch(programs) == first


async def test_a_lock_that_is_never_released_is_an_error_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_process, "LOCK_SECONDS_MAX", 0.1)
    broker = await started(tmp_path)
    held = os.open(tmp_path / "mosquitto" / "starting.lock", os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)

    with pytest.raises(StartupError, match=r"starting\.lock"):
        await start_local_broker(tmp_path, programs=PROGRAMS)

    os.close(held)
    await broker.stop()

"""`caas up` where it cannot, or is stopped half-way: one sentence, and nothing left running."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.start_up.conftest import Machine, Program, answering

NOT_EVEN_FOR_ROOT = Path("/sys/caas")
IS_UP = "The platform is running"


async def is_up(machine: Machine, **settings: str) -> Program:
    """Start the whole platform and wait until it is up."""
    program = await machine.starts("up", "--port", str(free_port()), **settings)
    await program.stated(IS_UP)
    return program


def secrets_of(folder: Path) -> list[str]:
    """Every secret that stands in a data folder."""
    kept = json.loads((folder / "secrets.json").read_text())
    broker = folder / "mosquitto" / "accounts.json"
    found = [kept["gateway_api_key"], kept["gateway_webhook_secret"]]
    found += [kept["partner_webhook_secret"], *kept["api_keys"].values()]
    found.append(kept["vehicle_command_key"])
    return found + ([*json.loads(broker.read_text()).values()] if broker.exists() else [])


@dataclass(frozen=True, slots=True)
class Running:
    """A platform that is up, and whether it could be called when it said so."""

    machine: Machine
    program: Program
    was_called: bool


@pytest.fixture(scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """Start one platform for those who only look at it; nothing of it stays."""
    machine = Machine(tmp_path_factory.mktemp("up") / "data")
    port = free_port()
    program = await machine.starts("up", "--port", str(port))
    await program.stated(IS_UP)
    was_called = True
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
    except OSError:
        was_called = False

    yield Running(machine, program, was_called)

    program.process.send_signal(signal.SIGINT)
    ended = await program.ended()
    assert not ended.left


async def test_no_secret_stands_in_the_process_list_nor_in_a_file_of_others(
    running: Running,
) -> None:
    """The simulators had keys, webhook secrets and the broker's password as arguments."""
    folder = running.machine.folder
    commands = running.program.running()
    secrets = secrets_of(folder)
    logged = (folder / "caas.log").read_text()
    readable = [
        path for path in folder.glob("**/*")
        if path.is_file() and path.stat().st_mode & 0o077 and contains(path, secrets)
    ]  # fmt: skip

    assert len(commands) > 3, "the platform, its simulators and its database run"
    assert [secret for secret in secrets for line in commands if secret in line] == []
    assert [secret for secret in secrets if secret in logged] == []
    assert readable == []


def contains(path: Path, secrets: list[str]) -> bool:
    """Say whether a secret stands in the file."""
    content = path.read_bytes()
    return any(secret.encode() in content for secret in secrets)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_when_the_platform_ends_all_it_started_ends(
    machine: Machine, number: signal.Signals
) -> None:
    """SIGTERM and SIGKILL left every simulator running, on ports nobody knew."""
    program = await is_up(machine)

    program.process.send_signal(number)
    ended = await program.ended(stays="mosquitto" if number == signal.SIGKILL else None)

    stop_broker(machine.folder)
    assert "Traceback" not in ended.stated
    assert not ended.left


def stop_broker(folder: Path) -> None:
    """End the broker, which a killed platform leaves for the next one to join."""
    running = folder / "mosquitto" / "broker.json"
    if running.exists():
        os.kill(json.loads(running.read_text())["pid"], signal.SIGTERM)


@pytest.mark.parametrize("after_seconds", [0.8, 1.6, 2.4, 3.2])
async def test_stopped_while_it_starts_nothing_stays(
    machine: Machine, after_seconds: float
) -> None:
    program = await machine.starts("up", "--port", str(free_port()))

    await asyncio.sleep(after_seconds)  # any moment of the start, not an event of it
    program.process.send_signal(signal.SIGTERM)
    ended = await program.ended()

    assert "Traceback" not in ended.stated
    assert not ended.left


async def test_a_second_platform_on_the_same_folder_is_refused_and_the_first_goes_on(
    running: Running,
) -> None:
    second = await running.machine.starts("up", "--port", str(free_port()))
    out, err = await second.process.communicate()

    assert (second.process.returncode, out) == (3, b"")
    assert b"already running" in err
    assert b"CAAS_DATA_DIR" in err
    assert err.count(b"\n") == 1
    assert running.program.process.returncode is None


async def test_a_port_in_use_is_found_before_anything_starts(machine: Machine) -> None:
    async with answering() as port:
        ended = await machine.runs("up", "--port", str(port))

    ended.refused(f"Port {port}", "--port")
    assert not (machine.folder / "postgresql").exists()


@pytest.mark.parametrize("place", ["a file", "below a file"])
async def test_a_data_folder_that_is_none_is_named(
    machine: Machine, tmp_path: Path, place: str
) -> None:
    file = tmp_path / "file"
    file.touch()
    folder = file if place == "a file" else file / "data"

    ended = await machine.runs("up", "--port", str(free_port()), CAAS_DATA_DIR=str(folder))

    ended.refused(str(folder), "CAAS_DATA_DIR")


async def test_a_read_only_data_folder_is_named(machine: Machine) -> None:
    machine.folder.mkdir()
    machine.folder.chmod(0o555)
    folder = NOT_EVEN_FOR_ROOT if os.geteuid() == 0 else machine.folder

    ended = await machine.runs("up", "--port", str(free_port()), CAAS_DATA_DIR=str(folder))

    ended.refused(str(folder), "CAAS_DATA_DIR")


async def test_secrets_that_were_damaged_are_named(machine: Machine) -> None:
    """A secrets.json that was cut short ended in a traceback."""
    machine.folder.mkdir()
    (machine.folder / "secrets.json").write_text('{"gateway_api_key": "sk_')

    ended = await machine.runs("up", "--port", str(free_port()))

    ended.refused("secrets.json")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CAAS_TIME_SCALE", "nan"),
        ("CAAS_MARKET", "Europe/Madrid"),
        ("CAAS_DATABASE_URL", "mysql://host/db"),
        ("CAAS_MQTT_URL", "mqtt://host:port"),
        ("CAAS_GATEWAY_URL", "gateway"),
        ("CAAS_FACTORY_URL", "factory"),
        ("CAAS_API_KEYS", "nothing"),
    ],
)
async def test_a_malformed_setting_leaves_nothing_running(
    machine: Machine, name: str, value: str
) -> None:
    ended = await machine.runs("up", "--port", str(free_port()), **{name: value})

    ended.refused(name)


async def test_with_a_gateway_of_its_own_that_is_away_it_stops_what_it_started(
    machine: Machine,
) -> None:
    gateway = f"http://127.0.0.1:{free_port()}"
    more = {"CAAS_GATEWAY_URL": gateway, "CAAS_GATEWAY_API_KEY": "sk_of_their_gateway"}

    ended = await machine.runs("up", "--port", str(free_port()), **more)

    ended.refused("payment gateway", "CAAS_GATEWAY_URL")


async def test_two_platforms_on_one_machine_do_not_meet(machine: Machine, tmp_path: Path) -> None:
    other = Machine(tmp_path / "other")

    first, second = await asyncio.gather(is_up(machine), is_up(other))
    first.process.send_signal(signal.SIGTERM)
    one = await first.ended()
    second_runs = second.process.returncode is None and len(second.running()) > 3
    second.process.send_signal(signal.SIGTERM)
    two = await second.ended()

    assert second_runs
    assert (one.left, two.left) == ([], [])


def test_when_it_says_that_it_is_up_it_can_be_called(running: Running) -> None:
    """It said so before it listened, and a script's first call was refused."""
    assert running.was_called

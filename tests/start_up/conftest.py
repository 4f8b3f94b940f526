"""Programs of the platform, started with surroundings of their own, and what they leave behind."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from caas.external_systems.local_broker import LocalBroker
from caas_simulators import payment_gateway
from caas_simulators.gateway_world import GatewaySettings
from tests.cars import COMMAND_KEY
from tests.databases import as_service
from tests.mqtt_broker import broker as broker  # noqa: PLC0414  # A fixture.
from tests.ways_in import SETTINGS as WAYS_IN

ROOT = Path(__file__).resolve().parents[2]
END_SECONDS_MAX = 300.0
AFTER_SECONDS_MAX = 120.0
MARK = "CAAS_TEST_MARK"
API_KEY = "sk_of_the_tests_of_the_start"
WEBHOOK_SECRET = "whsec_" + "c2VjcmV0LW9mLXRoZS1zdGFydC11cC10ZXN0cw=="
OUR_KEY = "caas_key_of_the_tests_of_the_start_000000"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended, and what it said."""

    status: int
    out: str
    err: str
    left: list[str]

    @property
    def stated(self) -> str:
        """Everything it said."""
        return self.out + self.err

    def refused(self, *words: str) -> None:
        """Check that it said one sentence that holds these words, and left nothing running."""
        lines = [line for line in self.err.splitlines() if not line.startswith("{")]
        assert self.status == 3, self.stated
        assert "Traceback" not in self.stated
        assert len(lines) == 1, self.stated
        assert lines[0].startswith("caas: ")
        assert lines[0].endswith(".")
        for word in words:
            assert word in lines[0], lines[0]
        assert not self.left, f"left running: {self.left}"


@dataclass(slots=True)
class Program:
    """A program under way."""

    process: asyncio.subprocess.Process
    mark: str
    folder: Path

    async def stated(self, wanted: str) -> str:
        """Wait until a line on stdout holds this, and return what was said up to there."""
        assert self.process.stdout is not None
        text = ""
        async with asyncio.timeout(END_SECONDS_MAX):
            while wanted not in text:
                line = await self.process.stdout.readline()
                assert line, f"it ended: {text}{await self.ended()}"
                text += line.decode()
        return text

    async def ended(self, *, stays: str | None = None) -> Ended:
        """Wait until it has ended, and until what it started has, but for a program that stays."""
        async with asyncio.timeout(END_SECONDS_MAX):
            out, err = await self.process.communicate()
        status = self.process.returncode
        assert status is not None
        return Ended(status, out.decode(), err.decode(), await self.left(stays))

    def running(self) -> list[str]:
        """Return the command lines of what runs with our mark, or on our folder."""
        return list(_running_with(f"{MARK}={self.mark}".encode(), os.fsencode(self.folder)))

    async def left(self, stays: str | None = None) -> list[str]:
        """Return what still runs when it has had the time to end, but for a program that stays."""

        def running() -> list[str]:
            return [line for line in self.running() if stays is None or stays not in line]

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AFTER_SECONDS_MAX):
                while running():
                    await asyncio.sleep(0.05)
        return running()


def _running_with(mark: bytes, folder: bytes) -> Iterator[str]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            if mark in (process / "environ").read_bytes() or folder in command:
                yield command.replace(b"\0", b" ").decode()
        except OSError:
            continue


class Machine:
    """Where programs of the platform are started, with no setting but those given."""

    def __init__(self, folder: Path) -> None:
        """Keep the data folder of all of them."""
        self.folder = folder

    async def starts(self, *words: str, **settings: str) -> Program:
        """Start `caas <words>`."""
        mark = uuid4().hex
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder.parent),
            "CAAS_DATA_DIR": str(self.folder),
            "PYTHONPATH": str(ROOT / "src"),
            MARK: mark,
            **settings,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "caas.cli", *words,
            env=environment, cwd=self.folder.parent,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        return Program(process, mark, self.folder)

    async def runs(self, *words: str, **settings: str) -> Ended:
        """Run `caas <words>` to its end."""
        return await (await self.starts(*words, **settings)).ended()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine of the test's own, on which nothing was ever started."""
    return Machine(tmp_path / "data")


@pytest.fixture
async def gateway_url() -> AsyncIterator[str]:
    """A payment gateway that takes the key of the tests."""
    settings = GatewaySettings(seed=1, api_keys=frozenset({API_KEY}))
    async with payment_gateway.running(settings) as (server, _):
        yield server.url


@pytest.fixture
def settings(database_dsn: str, broker: LocalBroker, gateway_url: str) -> dict[str, str]:
    """Every setting that `caas serve` needs, all of them right."""
    nobody = "http://127.0.0.1:9"
    return {
        "CAAS_DATABASE_URL": as_service(database_dsn),
        "CAAS_GATEWAY_URL": gateway_url,
        "CAAS_GATEWAY_API_KEY": API_KEY,
        "CAAS_GATEWAY_WEBHOOK_SECRETS": WEBHOOK_SECRET,
        "CAAS_PARTNER_WEBHOOK_SECRETS": WEBHOOK_SECRET,
        "CAAS_VEHICLE_COMMAND_KEYS": COMMAND_KEY,
        **WAYS_IN,
        "CAAS_MQTT_URL": broker.url,
        "CAAS_FACTORY_URL": nobody,
        "CAAS_REGISTRATION_URL": nobody,
        "CAAS_TRANSPORT_URL": nobody,
        "CAAS_PUBLIC_URL": "http://127.0.0.1:8080",
        "CAAS_API_KEYS": f"operators:operations:{OUR_KEY}",
    }


@contextlib.asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[int]:
    """Listen, and answer each time something comes with the next of these; then keep silent."""
    connections: set[asyncio.StreamWriter] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(writer)
        for answer in answers:
            if not await reader.read(4096):
                break
            writer.write(answer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in connections:
            writer.close()
        await server.wait_closed()

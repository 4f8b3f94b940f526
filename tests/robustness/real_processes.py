"""The platform as operations run it: processes of its own that can be killed with -9 or frozen.

The world outside them lives on: the gateway and the order partners behind sockets, the cars behind
a broker, and a PostgreSQL that can be killed too. Nothing of a process is touched but by signals.

Rules: whoever is killed is started again as operations would start it, with the same words; what
they say goes to files, since a pipe that nobody reads would stop them.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from caas.billing_database import connection, embedded_postgresql, migrations, self_check
from caas.billing_database import embedded_postgresql_files as files
from caas.billing_database.embedded_postgresql import EmbeddedPostgresql
from caas.external_systems.local_broker import LocalBroker, start_local_broker
from caas_simulators import order_partners, payment_gateway, vehicles
from caas_simulators.gateway_world import GatewaySettings
from caas_simulators.partner_world import PartnerSettings
from caas_simulators.vehicle_fleet import Fleet
from caas_simulators.webhook_sender import Target
from tests.cars import COMMAND_KEY, KNOWN_TO_VEHICLES
from tests.databases import SERVER_SETTINGS, as_service
from tests.mqtt_broker import PROGRAMS
from tests.ports import free_port
from tests.ways_in import SETTINGS as WAYS_IN

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS_MAX = 300.0
TIME_SCALE = 60.0
API_KEY = "sk_of_real_processes"
OUR_KEY = "r" * 43
WEBHOOK_SECRET = "whsec_" + "c2VjcmV0LW9mLXJlYWwtcHJvY2Vzc2VzLWhlcmU="
NEXT_DUE = """
select extract(epoch from min(greatest(due_at, coalesce(lease_until, due_at))) - caas.db_now())
  from caas.jobs where paused_at is null and kind <> 'issue_documents'
"""
"""When anything is due but what runs every second; time leaps to it."""
COMPARES_TIMES = "terms_are_reserved_when_they_are_sold"
"""The invariant that cannot hold where a test put the database's clock back between two writes."""


class PostgresqlServer:
    """A server of the test's own; killed, it is started again on the same folder."""

    def __init__(self, folder: Path) -> None:
        """Keep its data in this folder."""
        self._folder = folder
        self._in_use: EmbeddedPostgresql | None = None

    async def start(self) -> str:
        """Start it and return its DSN."""
        self._in_use = EmbeddedPostgresql(settings=SERVER_SETTINGS)
        return await self._in_use.start(self._folder)

    async def kill(self) -> None:
        """Kill the postmaster, and start the server again, which recovers."""
        killed = files.postmaster(self._folder / "postgresql").pid
        os.kill(killed, signal.SIGKILL)
        async with asyncio.timeout(START_SECONDS_MAX):
            while Path(f"/proc/{killed}").exists():
                await asyncio.sleep(0.01)
        await self.stop()
        await self.start()

    async def stop(self) -> None:
        """Stop it, if it still runs."""
        if self._in_use is not None:
            await self._in_use.stop()
            self._in_use = None


@dataclass(slots=True, kw_only=True)
class RealProcess:
    """One `caas <words>`, started again whenever it was killed."""

    words: Sequence[str]
    environment: dict[str, str]
    said_to: Path
    port: int | None
    process: asyncio.subprocess.Process | None = None
    deaths: int = 0

    @property
    def url(self) -> str:
        """Where it can be called."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it and wait until it works."""
        before = self.said_to.stat().st_size if self.said_to.exists() else 0
        with self.said_to.open("ab") as file:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "caas.cli", *self.words,
                env=self.environment, cwd=self.said_to.parent,
                stdin=asyncio.subprocess.DEVNULL, stdout=file, stderr=file,
            )  # fmt: skip
        async with asyncio.timeout(START_SECONDS_MAX):
            while not await self._works(before):
                stated = self.said_to.read_text()[before:]
                assert self.process.returncode is None, f"{self.words} ended: {stated}"
                await asyncio.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    async def kill(self) -> None:
        """Kill it with -9 and wait until it is gone.

        It may have ended by itself: whoever starts while the database dies says so and ends.
        """
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        self.deaths += 1

    async def stop(self) -> None:
        """End it politely."""
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
                self.process.terminate()
            async with asyncio.timeout(START_SECONDS_MAX):
                await self.process.wait()

    async def _works(self, before: int) -> bool:
        if self.port is None:
            return "vehicle_link.connected" in self.said_to.read_text()[before:]
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True


@dataclass(slots=True, kw_only=True)
class RealWorld:
    """Everything that lives on while processes of the platform die."""

    folder: Path
    server: PostgresqlServer
    dsn: str
    owner: asyncpg.Pool
    gateway_url: str
    partners_url: str
    fleet: Fleet
    broker: LocalBroker
    http: aiohttp.ClientSession
    webhooks: Target
    processes: list[RealProcess] = field(default_factory=list)
    went_back: bool = False

    async def starts(self, *words: str, listens: bool = False, **more: str) -> RealProcess:
        """Start a process of the platform."""
        port = free_port() if listens else None
        more_words = () if port is None else ("--port", str(port))
        number = len(self.processes)
        started = RealProcess(
            words=(*words, *more_words),
            environment=self._environment() | more,
            said_to=self.folder / f"{number}-{words[0]}.txt",
            port=port,
        )
        self.processes.append(started)
        await started.start()
        if port is not None:
            self.webhooks.url = f"{started.url}/webhooks/gateway"
        return started

    async def gateway(self, method: str, what: str, body: object = None) -> Any:
        """Say something to the gateway's control plane."""
        return await self._control(self.gateway_url, method, what, body)

    async def gateway_fault(self, match: dict[str, object], **action: object) -> None:
        """Script a fault of the gateway."""
        await self.gateway("POST", "faults", {"match": match, "action": action})

    async def partners(self, method: str, what: str, body: object = None) -> Any:
        """Say something to the order partners' control plane."""
        return await self._control(self.partners_url, method, what, body)

    async def pass_time(self, seconds: float) -> None:
        """Move the database's clock for everybody."""
        self.went_back |= seconds < 0
        await self.owner.execute(
            "update caas.clock set moved = moved + make_interval(secs => $1)", seconds
        )

    async def until_next_due(self) -> float | None:
        """Return how long until some jobs is due; None when there is none."""
        wait = await self.owner.fetchval(NEXT_DUE)
        return None if wait is None else float(wait)

    async def violated_invariants(self) -> list[str]:
        """Check every law."""
        database = await connection.connect(self.dsn, connections_max=2)
        try:
            findings = await self_check.self_check(database)
        finally:
            await database.close()
        return [
            f"{one.invariant.name}: {one.examples}"
            for one in findings
            if one.broken and not (self.went_back and one.invariant.name == COMPARES_TIMES)
        ]

    async def _control(self, url: str, method: str, what: str, body: object) -> Any:
        async with self.http.request(method, f"{url}/_control/{what}", json=body) as answer:
            assert answer.ok, await answer.text()
            return await answer.json()

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT / "src"),
            "CAAS_DATA_DIR": str(self.folder / "data"),
            "CAAS_DATABASE_URL": as_service(self.dsn),
            "CAAS_GATEWAY_URL": self.gateway_url,
            "CAAS_GATEWAY_API_KEY": API_KEY,
            "CAAS_GATEWAY_WEBHOOK_SECRETS": WEBHOOK_SECRET,
            "CAAS_PARTNER_WEBHOOK_SECRETS": WEBHOOK_SECRET,
            "CAAS_MQTT_URL": self.broker.url,
            "CAAS_FACTORY_URL": self.partners_url,
            "CAAS_REGISTRATION_URL": self.partners_url,
            "CAAS_TRANSPORT_URL": self.partners_url,
            "CAAS_VEHICLE_COMMAND_KEYS": COMMAND_KEY,
            **WAYS_IN,
            "CAAS_PUBLIC_URL": "http://127.0.0.1:8080",
            "CAAS_API_KEYS": f"admin:any:{OUR_KEY}",
            "CAAS_TIME_SCALE": str(TIME_SCALE),
        }


@asynccontextmanager
async def real_world(folder: Path) -> AsyncIterator[RealWorld]:
    """Build the world over a database server of its own; its processes end with it."""
    webhooks = Target(secrets=[WEBHOOK_SECRET])
    async with AsyncExitStack() as stack:
        server = PostgresqlServer(folder / "server")
        dsn = await server.start()
        stack.push_async_callback(server.stop)
        await embedded_postgresql.made(dsn)
        await migrations.migrate(dsn)
        broker = await start_local_broker(folder, programs=PROGRAMS)
        assert isinstance(broker, LocalBroker), broker.sentence
        stack.push_async_callback(broker.stop)
        gateway, _ = await stack.enter_async_context(
            payment_gateway.running(
                GatewaySettings(
                    seed=1, time_scale=TIME_SCALE, api_keys=frozenset({API_KEY}), webhooks=webhooks
                )
            )
        )
        partners, _ = await stack.enter_async_context(
            order_partners.running(PartnerSettings(seed=1, time_scale=TIME_SCALE))
        )
        cars = await stack.enter_async_context(
            vehicles.serving(
                vehicles.VehicleSettings(
                    mqtt_url=broker.fleet_url, command_keys=KNOWN_TO_VEHICLES, time_scale=TIME_SCALE
                )
            )
        )
        pool = await asyncpg.create_pool(dsn, min_size=0, max_size=2)
        stack.push_async_callback(pool.close)
        world = RealWorld(
            folder=folder,
            server=server,
            dsn=dsn,
            owner=pool,
            gateway_url=gateway.url,
            partners_url=partners.url,
            fleet=cars.fleet,
            broker=broker,
            http=await stack.enter_async_context(aiohttp.ClientSession()),
            webhooks=webhooks,
        )
        try:
            yield world
        finally:
            await asyncio.gather(*(process.stop() for process in world.processes))

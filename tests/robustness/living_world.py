"""The world around mortal processes: gateway, order partners and cars live on when one dies.

They run in the test's own event loop, behind sockets; the cars stand behind `Road`, which hands
what they say to whichever process is alive. The database's clock is moved by the world, so that
leases and deadlines pass without waiting.

Rules: the world keeps its own books, and they are what ours are compared with.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
import asyncpg

from caas.billing_database import connection, self_check
from caas.billing_database.connection import Database
from caas.external_systems.admin_registration import AdminRegistration
from caas.external_systems.factory import Factory
from caas.external_systems.http import HttpClient, HttpLimits, Secret
from caas.external_systems.in_process_vehicle_link import InProcessVehicleLink
from caas.external_systems.payment_gateway import PaymentGateway
from caas.external_systems.seed_contract_gateway import SeedContractGateway
from caas.external_systems.transport_system import TransportSystem
from caas.order_management import OrderPartners
from caas.platform import Platform, build_platform
from caas.platform_inputs import Partners, PlatformTerms
from caas.rules.market import Market
from caas.rules.time_scale import TimeScale
from caas_simulators import order_partners, payment_gateway
from caas_simulators.gateway_world import GatewaySettings
from caas_simulators.partner_world import PartnerSettings
from caas_simulators.simulated_time import Clock
from caas_simulators.vehicle_fleet import Fleet
from tests.cars import COMMAND_KEYS, KNOWN_TO_VEHICLES
from tests.databases import fresh_database
from tests.installation import Letterbox
from tests.robustness.mortal_process import MortalProcess
from tests.ways_in import SIGN_IN_KEYS

TIME_SCALE = 20.0
MADRID = ZoneInfo("Europe/Madrid")
CONNECTIONS_OF_A_PROCESS = 4
NEXT_DUE = """
select extract(epoch from min(greatest(due_at, coalesce(lease_until, due_at))) - caas.db_now())
  from caas.jobs where paused_at is null
"""

Process = MortalProcess[Platform]
WrapGateway = Callable[[PaymentGateway], PaymentGateway]


class Road:
    """What lies between the cars and any number of processes."""

    def __init__(self, fleet: Fleet) -> None:
        """Carry what this fleet says."""
        self._fleet = fleet
        self._loop = asyncio.get_running_loop()
        self._hearing: list[tuple[asyncio.AbstractEventLoop, Callable[[str, bytes], None]]] = []
        self.lost = 0
        fleet.attach(self._summary)

    def lane(self) -> "Lane":
        """Return the road as one process sees it."""
        return Lane(self)

    def hear(self, publish: Callable[[str, bytes], None]) -> None:
        """Let a process hear the cars, before those who heard them until now."""
        self._hearing.insert(0, (asyncio.get_running_loop(), publish))

    def command(self, topic: str, payload: bytes, expiry_seconds: float | None) -> None:
        """Carry a command to its car."""
        self._loop.call_soon_threadsafe(self._fleet.receive, topic, payload, expiry_seconds)

    def _summary(self, topic: str, payload: bytes) -> None:
        for loop, publish in self._hearing:
            if loop.is_running():
                loop.call_soon_threadsafe(publish, topic, payload)
                return
        self.lost += 1


@dataclass(frozen=True, slots=True)
class Lane:
    """The cars at hand of one process."""

    road: Road

    def attach(self, publish: Callable[[str, bytes], None]) -> None:
        """Answer through `publish` from now on."""
        self.road.hear(publish)

    def receive(self, topic: str, payload: bytes, expiry_seconds: float | None) -> None:
        """Take a request."""
        self.road.command(topic, payload, expiry_seconds)


@dataclass(slots=True, kw_only=True)
class LivingWorld:
    """Everything that does not die."""

    dsn: str
    folder: Path
    database: Database
    owner: asyncpg.Connection
    gateway_url: str
    partners_url: str
    fleet: Fleet
    road: Road
    http: aiohttp.ClientSession
    letterbox: Letterbox = field(default_factory=Letterbox)
    transitioned: timedelta = timedelta()
    time_scale: float = TIME_SCALE
    wrap_gateway: WrapGateway = lambda gateway: gateway
    limits: HttpLimits = field(
        default_factory=lambda: HttpLimits(total_seconds=2.0, connect_seconds=1.0)
    )
    processes: list[Process] = field(default_factory=list)

    async def process(self) -> Process:
        """Start a process of the platform over this world."""
        process = MortalProcess(self._platform)
        self.processes.append(process)
        return await process.start()

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
        """Move the database's clock, and what the vehicle link goes by."""
        self.transitioned += timedelta(seconds=seconds)
        await self.owner.execute("update caas.clock set moved = $1", self.transitioned)

    async def until_next_due(self) -> float | None:
        """Return how long until some jobs is due; None when there is none."""
        wait = await self.owner.fetchval(NEXT_DUE)
        return None if wait is None else float(wait)

    def public_key(self, vin: str) -> bytes:
        """Put a car on the road and return its key."""
        return base64.b64decode(self.fleet.public_key(self.fleet.add(vin)))

    async def violated_invariants(self) -> list[str]:
        """Check every law."""
        findings = await self_check.self_check(self.database)
        return [f"{one.invariant.name}: {one.examples}" for one in findings if one.broken]

    def now(self) -> datetime:
        """The time by the database's clock."""
        return datetime.now(UTC) + self.transitioned

    async def _control(self, url: str, method: str, what: str, body: object) -> Any:
        async with self.http.request(method, f"{url}/_control/{what}", json=body) as answer:
            assert answer.ok, await answer.text()
            return await answer.json()

    async def _platform(self, stack: AsyncExitStack) -> Platform:
        """Build what a process is; runs inside the process."""
        database = await connection.connect(self.dsn, connections_max=CONNECTIONS_OF_A_PROCESS)
        stack.push_async_callback(database.close)
        link = InProcessVehicleLink(
            self.road.lane(), now=self.now, command_keys=COMMAND_KEYS, on_refused=lambda *_: None
        )
        clients = [
            HttpClient(url, partner=partner, api_key=Secret("sk_simulated"), limits=self.limits)
            for url, partner in (
                (self.gateway_url, "The payment gateway"),
                (self.partners_url, "The order partners"),
            )
        ]
        for client in clients:
            stack.push_async_callback(client.close)
        platform = build_platform(
            database,
            Partners(
                gateway=self.wrap_gateway(SeedContractGateway(clients[0])),
                vehicles=link,
                order_partners=OrderPartners(
                    factory=Factory(clients[1]),
                    admin_registration=AdminRegistration(clients[1]),
                    transport_system=TransportSystem(clients[1]),
                ),
                channel=self.letterbox,
            ),
            PlatformTerms(
                market=Market(zone=MADRID, currency="EUR", language="es"),
                time_scale=TimeScale(self.time_scale),
                public_url="http://caas.example",
                folder=self.folder,
                event_secrets=SIGN_IN_KEYS.event_secrets,
            ),
        )
        await platform.vehicle_responses.start(platform.jobs)
        stack.push_async_callback(link.close)
        return platform


@asynccontextmanager
async def living_world(
    server_dsn: str, *, gateway_settings: GatewaySettings | None = None
) -> AsyncIterator[LivingWorld]:
    """Build a world over a fresh database; its processes end with it."""
    fleet = Fleet(1, command_keys=KNOWN_TO_VEHICLES, clock=Clock(TIME_SCALE))
    async with AsyncExitStack() as stack:
        dsn = await stack.enter_async_context(fresh_database(server_dsn))
        gateway, _ = await stack.enter_async_context(
            payment_gateway.running(
                gateway_settings or GatewaySettings(seed=1, time_scale=TIME_SCALE)
            )
        )
        partners, _ = await stack.enter_async_context(
            order_partners.running(PartnerSettings(seed=1, time_scale=TIME_SCALE))
        )
        database = await connection.connect(dsn, connections_max=2)
        stack.push_async_callback(database.close)
        owner = await asyncpg.connect(dsn)
        stack.push_async_callback(owner.close)
        world = LivingWorld(
            dsn=dsn,
            folder=Path(stack.enter_context(TemporaryDirectory())),
            database=database,
            owner=owner,
            gateway_url=gateway.url,
            partners_url=partners.url,
            fleet=fleet,
            road=Road(fleet),
            http=await stack.enter_async_context(aiohttp.ClientSession()),
        )
        try:
            yield world
        finally:
            for process in world.processes:
                await process.stop()

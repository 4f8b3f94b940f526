"""The platform's two programs with a simulated Adyen, an order's partners and a strange fleet."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
import asyncpg
import pytest

from caas_simulators.adyen.server import AdyenServer
from caas_simulators.adyen.server import running as adyen_running
from caas_simulators.adyen.world import AdyenSettings
from tests.databases import as_service, broken_invariants, fresh_database
from tests.external_systems.conformance.simulated import HMAC_KEY
from tests.mqtt_broker import broker_in
from tests.ports import free_port
from tests.start_up.conftest import Machine
from tests.strangers import fleet, partners
from tests.strangers.conftest import COMMAND_KEYS, PARTNER_SECRET, SCOPES, running
from tests.strangers.manners import TERSE
from tests.strangers.world import World, key_of
from tests.ways_in import SETTINGS as WAYS_IN

LOOKS_MAX: Final = 600
T = TypeVar("T")

KEY = "AQE-tests"
REPORT_USER, REPORT_PASSWORD = "report@Company.Tests", "report-tests"
PARTNERS = ("CAAS_FACTORY_URL", "CAAS_REGISTRATION_URL", "CAAS_TRANSPORT_URL")
GOOD, CHALLENGED = "4111111111111111", "4212345678901237"


@dataclass
class AtAdyen:
    """The platform's world, and the account where its customers pay."""

    world: World
    url: str
    adyen: AdyenServer
    reports: Path
    dsn: str

    async def page_of(self, payment: str) -> str:
        """Return the page of a payment that waits for its customer."""
        path = f"/v1/payments/{payment}"
        _, reported = await self.world.call("operations", "GET", path)
        return str(reported["hosted_page_url"])

    async def until(self, payment: str, **wanted: object) -> Any:
        """Wait until a payment says this."""
        return await self.world.until("operations", f"/v1/payments/{payment}", **wanted)

    async def posts(self, url: str, **fields: str) -> int:
        """Send a page's form."""
        async with self.world.http.post(url, data=fields, allow_redirects=False) as answer:
            return answer.status

    async def control(self, what: str, **order: object) -> Any:
        """Say something to the control plane."""
        async with self.world.http.post(f"{self.url}/_control/{what}", json=order) as answer:
            assert answer.status < 300, await answer.text()
            return await answer.json()

    async def time_passes(self, until: datetime) -> None:
        """Move the clocks of the platform and of Adyen to an instant."""
        admin = await asyncpg.connect(self.dsn)
        await admin.execute("update caas.clock set moved = $1 - clock_timestamp()", until)
        await admin.close()
        await self.control("advance", until=until.isoformat())

    async def now(self) -> datetime:
        """Return the platform's time."""
        admin = await asyncpg.connect(self.dsn)
        found: datetime = await admin.fetchval("select caas.db_now()")
        await admin.close()
        return found

    async def payments(self) -> list[Any]:
        """Return the platform's payments, the newest first."""
        _, listed = await self.world.call("operations", "GET", "/v1/payments?limit=100")
        return list(listed["data"])

    def token_of(self, payment: str) -> Any:
        """Return the only token that Adyen has of the shopper of a payment."""
        shopper = self.adyen.world.store.get("payment", self.psp_of(payment))["shopper"]
        [token] = self.adyen.world.store.some("token", shopper=shopper)
        return token

    def psp_of(self, payment: str) -> str:
        """Return the authorised payment with this reference at Adyen."""
        held = self.adyen.world.store.some("payment", reference=payment)
        return str(next(one["id"] for one in held if one["state"] != "refused"))


@asynccontextmanager
async def at_adyen(server_dsn: str, folder: Path) -> AsyncIterator[AtAdyen]:
    """Run both programs with Adyen, and a fleet of strangers; the invariants hold afterwards."""
    api, reports = f"http://127.0.0.1:{free_port()}", folder / "reports"
    reports.mkdir()
    account = AdyenSettings(
        api_keys=(KEY,), seed=1, webhook_url=f"{api}/webhooks/gateway", hmac_keys=[HMAC_KEY],
        modification_seconds=0.2, report_user=REPORT_USER, report_password=REPORT_PASSWORD,
    )  # fmt: skip
    makers = partners.StrangePartners(
        manners=TERSE, webhook_secret=PARTNER_SECRET, platform_url=api
    )
    async with (
        fresh_database(server_dsn) as dsn,
        broker_in(folder) as broker,
        adyen_running(account) as (server, adyen),
        partners.open_for_business(makers),
        aiohttp.ClientSession() as http,
        fleet.on_the_road(fleet.StrangeFleet(TERSE), broker.fleet_url) as cars,
    ):
        settings = {
            "CAAS_DATABASE_URL": as_service(dsn),
            "CAAS_GATEWAY": "adyen",
            "CAAS_GATEWAY_API_KEY": KEY,
            "CAAS_GATEWAY_WEBHOOK_SECRETS": HMAC_KEY,
            "CAAS_ADYEN_MERCHANT_ACCOUNT": account.merchant_account,
            "CAAS_PARTNER_WEBHOOK_SECRETS": PARTNER_SECRET,
            "CAAS_MQTT_URL": broker.url,
            "CAAS_VEHICLE_COMMAND_KEYS": COMMAND_KEYS,
            **WAYS_IN,
            "CAAS_PUBLIC_URL": api,
            "CAAS_API_KEYS": ",".join(f"{scope}:{scope}:{key_of(scope)}" for scope in SCOPES),
            "CAAS_TIME_SCALE": "200",
            "CAAS_REPORTS_FOLDER": str(reports),
            "CAAS_ADYEN_REPORT_USER": REPORT_USER,
            "CAAS_ADYEN_REPORT_PASSWORD": REPORT_PASSWORD,
        }
        settings |= dict.fromkeys(("CAAS_GATEWAY_URL", "CAAS_ADYEN_REPORT_URL"), server.url)
        settings |= dict.fromkeys(PARTNERS, makers.url)
        async with running(Machine(folder / "data"), api, http, settings):
            world = World(api=api, http=http, fleet=cars, partners=makers)
            await world.publishes_its_keys()
            yield AtAdyen(world, server.url, adyen, reports, dsn)


@pytest.fixture(scope="module")
async def shared(
    server_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[AtAdyen]:
    """Run one platform for the tests of a module that change nothing for others."""
    async with at_adyen(server_dsn, tmp_path_factory.mktemp("adyen")) as found:
        yield found


@pytest.fixture
async def at(shared: AtAdyen) -> AsyncIterator[AtAdyen]:
    """Lend the shared platform; the invariants hold after each test."""
    yield shared
    assert await broken_invariants(shared.dsn) == []


@pytest.fixture
async def alone(server_dsn: str, tmp_path: Path) -> AsyncIterator[AtAdyen]:
    """Run a platform of the test's own, whose time and months it may move."""
    async with at_adyen(server_dsn, tmp_path) as found:
        yield found


async def eventually(look: Callable[[], Awaitable[T]], holds: Callable[[T], bool]) -> None:
    """Wait until what is seen is as wanted."""
    looks = 0
    while not holds(found := await look()):
        looks += 1
        assert looks < LOOKS_MAX, f"never as wanted: {found}"
        await asyncio.sleep(0.05)

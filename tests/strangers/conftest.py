"""The platform as two programs, `caas serve` and `caas work`, among strangers met by settings."""

import asyncio
import signal
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from caas.external_systems.local_broker import LocalBroker
from tests.databases import as_service, broken_invariants
from tests.mqtt_broker import broker as broker  # noqa: PLC0414  # A fixture.
from tests.ports import free_port
from tests.start_up.conftest import Ended, Machine, Program
from tests.strangers import fleet, gateway, partners
from tests.strangers.manners import CHATTY, TERSE, Manners
from tests.strangers.world import WAIT_SECONDS_MAX, World, key_of
from tests.ways_in import SETTINGS as WAYS_IN

COMMAND_KEYS = ",".join(
    b64encode(words).decode()
    for words in (b"signs commands to strange cars..", b"signed before, still published..")
)
GATEWAY_KEY = "key-at-the-strangers"
GATEWAY_SECRET = "whsec_" + "c3RyYW5nZS1nYXRld2F5LXNlY3JldC1vZi0zMi1ieXRlcw=="
PARTNER_SECRET = "whsec_" + "c3RyYW5nZS1wYXJ0bmVyLXNlY3JldC1vZi0zMi1ieXRlcw=="
SCOPES = ("order-management", "service-catalog", "fleet", "billing", "ota-engine", "operations")
PATIENCE = aiohttp.ClientTimeout(total=WAIT_SECONDS_MAX)


@pytest.fixture(params=[TERSE, CHATTY], ids=lambda manners: manners.name)
async def world(
    request: pytest.FixtureRequest, database_dsn: str, broker: LocalBroker, tmp_path: Path
) -> AsyncIterator[World]:
    """Both programs among strangers of one kind; the laws hold afterwards."""
    manners: Manners = request.param
    api = f"http://127.0.0.1:{free_port()}"
    async with AsyncExitStack() as stack:
        bank = gateway.StrangeGateway(
            manners=manners, api_key=GATEWAY_KEY, webhook_secret=GATEWAY_SECRET,
            webhook_url=f"{api}/webhooks/gateway",
        )  # fmt: skip
        makers = partners.StrangePartners(
            manners=manners, webhook_secret=PARTNER_SECRET, platform_url=api
        )
        cars = fleet.StrangeFleet(manners)
        await stack.enter_async_context(gateway.open_for_business(bank))
        await stack.enter_async_context(partners.open_for_business(makers))
        await stack.enter_async_context(fleet.on_the_road(cars, broker.fleet_url))
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=PATIENCE))
        settings = {
            "CAAS_DATABASE_URL": as_service(database_dsn),
            "CAAS_GATEWAY_URL": bank.url,
            "CAAS_GATEWAY_API_KEY": GATEWAY_KEY,
            "CAAS_GATEWAY_WEBHOOK_SECRETS": GATEWAY_SECRET,
            "CAAS_PARTNER_WEBHOOK_SECRETS": PARTNER_SECRET,
            "CAAS_MQTT_URL": broker.url,
            "CAAS_VEHICLE_COMMAND_KEYS": COMMAND_KEYS,
            **WAYS_IN,
            "CAAS_FACTORY_URL": makers.url,
            "CAAS_REGISTRATION_URL": makers.url,
            "CAAS_TRANSPORT_URL": makers.url,
            "CAAS_PUBLIC_URL": api,
            "CAAS_API_KEYS": ",".join(f"{scope}:{scope}:{key_of(scope)}" for scope in SCOPES),
            "CAAS_TIME_SCALE": "10",
        }
        machine = Machine(tmp_path / "data")

        async def command(*words: str) -> Ended:
            return await (await machine.starts(*words, **settings)).ended()

        found = World(
            api=api, http=http, gateway=bank, partners=makers, fleet=cars, command=command
        )
        async with running(machine, api, http, settings):
            await found.publishes_its_keys()
            yield found


@asynccontextmanager
async def running(
    machine: Machine, api: str, http: aiohttp.ClientSession, settings: dict[str, str]
) -> AsyncIterator[None]:
    """Run both programs with these settings, until the test is over; the laws hold then."""
    programs = [
        await machine.starts("serve", "--port", api.rpartition(":")[2], **settings),
        await machine.starts("work", **settings),
    ]
    try:
        await _answers(api, http, programs[0])
        working = programs[1].process.stderr
        assert working is not None
        await working.readuntil(b"vehicle_link.connected")
        yield
        assert await broken_invariants(settings["CAAS_DATABASE_URL"]) == []
    finally:
        for program in programs:
            with suppress(ProcessLookupError):
                program.process.send_signal(signal.SIGINT)
        ended = [await program.ended() for program in programs]
    assert not any("Traceback" in end.stated for end in ended), ended


async def _answers(api: str, http: aiohttp.ClientSession, program: Program) -> None:
    """Wait until the platform is ready; say why if it ended instead."""
    ends = time.monotonic() + WAIT_SECONDS_MAX
    while time.monotonic() < ends:
        assert program.process.returncode is None, (await program.ended()).stated
        with suppress(aiohttp.ClientError):
            async with http.get(f"{api}/ready") as answer:
                if answer.status == 200:
                    return
        await asyncio.sleep(0.1)
    raise AssertionError("it never listened")

"""Stripe instead of the seed's contract, by one setting: localstripe in its own process.

Before, the adapter was there and nobody could choose it.
"""

import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import aiohttp
import pytest
from aiohttp import web

from caas.external_systems.local_broker import LocalBroker
from tests.databases import as_service
from tests.external_systems.test_localstripe import url as url  # noqa: PLC0414  # A fixture.
from tests.ports import free_port
from tests.start_up.conftest import Machine
from tests.strangers import fleet
from tests.strangers.conftest import COMMAND_KEYS, GATEWAY_SECRET, PARTNER_SECRET, SCOPES, running
from tests.strangers.manners import TERSE
from tests.strangers.stories import CATALOG, buys
from tests.strangers.world import CREATED, World, key_of
from tests.ways_in import SETTINGS as WAYS_IN

STRIPE_KEY = "sk_test_1234"
UNKNOWN_THERE = frozenset({"description", "return_url"})
FORM = {"content-type": "application/x-www-form-urlencoded"}
ENDPOINT_SECRET = "whsec_not-base64-at-all"


@asynccontextmanager
async def older_than_stripe(url: str, http: aiohttp.ClientSession) -> AsyncIterator[str]:
    """Stand before localstripe, which does not know every field that Stripe does."""

    async def forward(request: web.Request) -> web.Response:
        form = [pair for pair in parse_qsl(await request.text()) if pair[0] not in UNKNOWN_THERE]
        headers = {"authorization": request.headers["authorization"]}
        async with http.request(
            request.method, url + request.path_qs, data=urlencode(form), headers=headers | FORM
        ) as answer:
            body = await answer.read()
            return web.Response(body=body, status=answer.status, content_type=answer.content_type)

    application = web.Application()
    application.add_routes([web.route("*", "/{path:.*}", forward)])
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def world(
    url: str, database_dsn: str, broker: LocalBroker, tmp_path: Path
) -> AsyncIterator[World]:
    """Both programs with Stripe, and a fleet of strangers."""
    api, nobody = f"http://127.0.0.1:{free_port()}", "http://127.0.0.1:9"
    settings = {
        "CAAS_DATABASE_URL": as_service(database_dsn),
        "CAAS_GATEWAY": "stripe",
        "CAAS_GATEWAY_API_KEY": STRIPE_KEY,
        "CAAS_GATEWAY_WEBHOOK_SECRETS": ENDPOINT_SECRET,
        "CAAS_PARTNER_WEBHOOK_SECRETS": PARTNER_SECRET,
        "CAAS_MQTT_URL": broker.url,
        "CAAS_VEHICLE_COMMAND_KEYS": COMMAND_KEYS,
        **WAYS_IN,
        "CAAS_FACTORY_URL": nobody,
        "CAAS_REGISTRATION_URL": nobody,
        "CAAS_TRANSPORT_URL": nobody,
        "CAAS_PUBLIC_URL": api,
        "CAAS_API_KEYS": ",".join(f"{scope}:{scope}:{key_of(scope)}" for scope in SCOPES),
        "CAAS_TIME_SCALE": "200",
    }
    async with (
        aiohttp.ClientSession() as http,
        older_than_stripe(url, http) as settings["CAAS_GATEWAY_URL"],
        fleet.on_the_road(fleet.StrangeFleet(TERSE), broker.fleet_url) as cars,
        running(Machine(tmp_path / "data"), api, http, settings),
    ):
        hook = {"url": f"{api}/webhooks/gateway", "secret": ENDPOINT_SECRET, "events": EVENTS}
        async with http.post(f"{url}/_config/webhooks/ours", json=hook) as answer:
            assert answer.ok
        world = World(api=api, http=http, fleet=cars)
        await world.publishes_its_keys()
        yield world


EVENTS = [
    "payment_intent.succeeded", "payment_intent.canceled",
    "payment_intent.amount_capturable_updated",
]  # fmt: skip


async def test_a_service_is_paid_through_stripe(world: World) -> None:
    car = await world.car()

    status, bought = await buys(world, car.vin, "pm_card_visa")
    assert status == CREATED, bought
    paid = await world.until(CATALOG, f"/v1/payments/{bought['payment']}", state="Settled")

    assert car.on == {"seats"}
    assert paid["gateway_transaction_id"].startswith("pi_")


async def test_a_car_that_refuses_cancels_the_intent(world: World) -> None:
    car = await world.car()
    car.refuses = True

    _, bought = await buys(world, car.vin, "pm_card_visa")

    await world.until(CATALOG, f"/v1/payments/{bought['payment']}", state="Voided")


async def test_webhooks_are_believed_as_stripe_signs_them_and_in_no_other_way(
    world: World,
) -> None:
    body = json.dumps(
        {"id": "evt_1", "type": "customer.created", "created": 1, "data": {"object": {}}}
    ).encode()
    at = str(int(time.time()))

    def signed(secret: str) -> dict[str, str]:
        mac = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256)
        return {"stripe-signature": f"t={at},v1={mac.hexdigest()}"}

    answers = []
    for secret in (ENDPOINT_SECRET, ENDPOINT_SECRET, GATEWAY_SECRET):
        headers = {"content-type": "application/json", **signed(secret)}
        address = f"{world.api}/webhooks/gateway"
        async with world.http.post(address, data=body, headers=headers) as answer:
            answers.append(answer.status)

    assert answers == [204, 200, 401]

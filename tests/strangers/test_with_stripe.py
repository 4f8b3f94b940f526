"""Stripe instead of the seed's contract, by one setting: both programs, and a Stripe that refuses.

Every way a customer pays is lived through: with a card that is known, on a page, monthly.
"""

import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from caas_simulators.stripe.world import StripeSettings
from tests.databases import as_service, broken_invariants, fresh_database
from tests.mqtt_broker import broker_in
from tests.ports import free_port
from tests.simulators.stripe.stripe_client import KEY, Stripe, stripe_running
from tests.start_up.conftest import Machine
from tests.strangers import fleet
from tests.strangers.conftest import COMMAND_KEYS, GATEWAY_SECRET, PARTNER_SECRET, SCOPES, running
from tests.strangers.manners import TERSE
from tests.strangers.stories import CATALOG, CONNECTED, ORDERS, PRICE, buys
from tests.strangers.world import ACCEPTED, CREATED, World, key_of
from tests.ways_in import SETTINGS as WAYS_IN

ENDPOINT_SECRET = "whsec_not-base64-at-all"
GOOD, BAD = "4242424242424242", "4000000000000002"


@dataclass
class AtStripe:
    """The platform's world, and the account where its customers pay."""

    world: World
    stripe: Stripe
    dsn: str

    async def page_of(self, payment: str) -> str:
        """Return the page of a payment that waits for its customer."""
        path = f"/v1/payments/{payment}"
        _, reported = await self.world.call("operations", "GET", path)
        return str(reported["hosted_page_url"])

    async def until(self, payment: str, **wanted: object) -> Any:
        """Wait until a payment says this."""
        return await self.world.until("operations", f"/v1/payments/{payment}", **wanted)

    async def listed(self, path: str) -> list[Any]:
        """Return what Stripe lists there, at most a hundred."""
        listed = (await self.stripe.get(f"{path}?limit=100")).body
        assert not listed["has_more"]
        return list(listed["data"])


@asynccontextmanager
async def at_stripe(server_dsn: str, folder: Path) -> AsyncIterator[AtStripe]:
    """Run both programs with Stripe, and a fleet of strangers; the invariants hold afterwards."""
    api, nobody = f"http://127.0.0.1:{free_port()}", "http://127.0.0.1:9"
    account = StripeSettings(
        seed=1, webhook_url=f"{api}/webhooks/gateway", webhook_secrets=[ENDPOINT_SECRET]
    )
    async with (
        fresh_database(server_dsn) as dsn,
        broker_in(folder) as broker,
        stripe_running(account) as stripe,
        aiohttp.ClientSession() as http,
        fleet.on_the_road(fleet.StrangeFleet(TERSE), broker.fleet_url) as cars,
    ):
        settings = {
            "CAAS_DATABASE_URL": as_service(dsn),
            "CAAS_GATEWAY": "stripe",
            "CAAS_GATEWAY_URL": stripe.url,
            "CAAS_GATEWAY_API_KEY": KEY,
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
        async with running(Machine(folder / "data"), api, http, settings):
            world = World(api=api, http=http, fleet=cars)
            await world.publishes_its_keys()
            yield AtStripe(world, stripe, dsn)


@pytest.fixture(scope="module")
async def shared(
    server_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[AtStripe]:
    """Run one platform for the tests that change nothing for others."""
    async with at_stripe(server_dsn, tmp_path_factory.mktemp("stripe")) as found:
        yield found


@pytest.fixture
async def at(shared: AtStripe) -> AsyncIterator[AtStripe]:
    """Lend the shared platform; the invariants hold after each test."""
    yield shared
    assert await broken_invariants(shared.dsn) == []


@pytest.fixture
async def alone(server_dsn: str, tmp_path: Path) -> AsyncIterator[AtStripe]:
    """Run a platform of the test's own, whose Stripe may be at another time."""
    async with at_stripe(server_dsn, tmp_path) as found:
        yield found


async def test_a_service_is_paid_through_stripe(at: AtStripe) -> None:
    car = await at.world.car()

    status, bought = await buys(at.world, car.vin, "pm_card_visa")
    assert status == CREATED, bought
    await at.until(bought["payment"], state="Capturing")
    await at.stripe.control("settle")
    paid = await at.until(bought["payment"], state="Settled")

    assert car.on == {"seats"}
    assert paid["gateway_transaction_id"].startswith("pi_")


async def test_a_car_that_refuses_cancels_the_intent(at: AtStripe) -> None:
    car = await at.world.car()
    car.refuses = True

    _, bought = await buys(at.world, car.vin, "pm_card_visa")

    await at.until(bought["payment"], state="Voided")


@pytest.mark.parametrize(
    "token",
    ["pm_card_visa_chargeDeclined", "pm_card_chargeDeclinedProcessingError", "pm_card_radarBlock"],
)
async def test_a_declined_card_fails_at_once(at: AtStripe, token: str) -> None:
    car = await at.world.car()

    status, refused = await buys(at.world, car.vin, token)

    assert status == 402, refused
    assert car.on == set()


async def test_a_customer_pays_on_the_page_at_the_second_try(at: AtStripe) -> None:
    car = await at.world.car()
    status, bought = await buys(at.world, car.vin, None)
    assert status == ACCEPTED, bought
    page = await at.page_of(bought["payment"])

    await at.stripe.page(page, number=BAD, action="pay")
    _, leads, _ = await at.stripe.page(page, number=GOOD, action="pay")
    paid = await at.until(bought["payment"], state="Capturing")

    assert leads == "https://shop.example/thanks"
    assert car.on == {"seats"}
    assert paid["amounts"]["captured"] == PRICE


async def test_a_page_that_expires_charges_nobody(alone: AtStripe) -> None:
    car = await alone.world.car()
    _, bought = await buys(alone.world, car.vin, None)

    await alone.stripe.control("advance", seconds=86_401)
    failed = await alone.until(bought["payment"], state="Failed")

    assert failed["decline_code"] == "abandoned"
    assert car.on == set()


async def subscribes(at: AtStripe, method: str) -> tuple[int, Any]:
    """Subscribe a car to a service with this card."""
    car = await at.world.car()
    assert (await at.world.call(CATALOG, "PUT", "/v1/services/connected", CONNECTED))[0] == 200
    body = {
        "customer": await at.world.customer(), "vin": car.vin, "service": "connected",
        "payment_method": method,
    }  # fmt: skip
    return await at.world.call("fleet", "POST", "/v1/subscriptions", body)


async def test_a_subscription_saves_the_card_and_holds_nothing(at: AtStripe) -> None:
    charged, saved = await at.listed("/v1/charges"), await at.listed("/v1/setup_intents")

    status, made = await subscribes(at, "pm_card_visa")
    assert status in (CREATED, ACCEPTED), made
    await at.world.until(CATALOG, f"/v1/subscriptions/{made['id']}", state="active")
    charges = await at.listed("/v1/charges")
    setups = [one for one in await at.listed("/v1/setup_intents") if one not in saved]

    assert [one["id"] for one in charges] == [one["id"] for one in charged]
    assert [one["status"] for one in setups] == ["succeeded"]


async def test_a_card_that_cannot_be_saved_subscribes_nobody(at: AtStripe) -> None:
    status, refused = await subscribes(at, "pm_card_chargeDeclinedExpiredCard")

    assert (status, refused["code"]) == (402, "payment_method_refused")


async def test_payments_of_another_program_change_nothing(at: AtStripe) -> None:
    async def payments() -> list[str]:
        _, listed = await at.world.call(ORDERS, "GET", "/v1/payments?limit=100")
        return [one["id"] for one in listed["data"]]

    known = await payments()

    await at.stripe.control("foreign")

    assert await payments() == known


async def test_webhooks_are_believed_as_stripe_signs_them_and_in_no_other_way(
    at: AtStripe,
) -> None:
    body = json.dumps(
        {"id": "evt_1", "type": "customer.created", "created": 1, "data": {"object": {}}}
    ).encode()
    now = str(int(time.time()))

    def signed(secret: str) -> dict[str, str]:
        mac = hmac.new(secret.encode(), f"{now}.".encode() + body, hashlib.sha256)
        return {"stripe-signature": f"t={now},v1={mac.hexdigest()}"}

    answers = []
    for secret in (ENDPOINT_SECRET, ENDPOINT_SECRET, GATEWAY_SECRET):
        headers = {"content-type": "application/json", **signed(secret)}
        address = f"{at.world.api}/webhooks/gateway"
        async with at.world.http.post(address, data=body, headers=headers) as answer:
            answers.append(answer.status)

    assert answers == [204, 200, 401]

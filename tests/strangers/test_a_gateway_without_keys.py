"""A gateway that ignores keys holds and takes money twice; each payment keeps one transaction.

The gateway's own ledger judges: no hold beside the chosen one, nothing charged twice, and no
payment failed whose own transaction lives (fault F-H1). The suite lives a short part;
`make keyless` lives many seeds (`CAAS_KEYLESS=all`).

Before, 13 of 55 payments stayed held twice, and one failed by the void of its own second hold.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from caas.external_systems.local_broker import LocalBroker
from tests.databases import as_service
from tests.ports import free_port
from tests.start_up.conftest import Machine
from tests.strangers import fleet, partners
from tests.strangers.conftest import (
    COMMAND_KEYS,
    GATEWAY_KEY,
    GATEWAY_SECRET,
    PARTNER_SECRET,
    PATIENCE,
    SCOPES,
    running,
)
from tests.strangers.hostile_gateway import ALIVE, HostileGateway, open_for_business
from tests.strangers.manners import TERSE
from tests.strangers.stories import CATALOG, CONNECTED, FLEET, ORDERS, buys
from tests.strangers.world import World, key_of
from tests.ways_in import SETTINGS as WAYS_IN

LONG = os.environ.get("CAAS_KEYLESS") == "all"
SEEDS = range(1, 13) if LONG else (2,)
BUYERS = 55 if LONG else 24
AT_ONCE = 8
HEALING_SECONDS_MAX = 180.0
METHODS = ("card-good", "card-good", "card-good", "card-without-money")
REST = frozenset({"Settled", "Failed", "Voided", "SettlementFailed", "Refunded"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """What the settings say of its keys, which it ignores in any case, and when it captures."""

    settings: dict[str, str] = field(default_factory=dict)
    captures_at_once: bool = False


KEYED = Manner()
WITHOUT_KEYS = Manner(settings={"CAAS_GATEWAY_KEY_LIFETIME": "none"})
AT_ONCE_CAPTURED = Manner(captures_at_once=True)


@pytest.fixture(
    params=[KEYED, WITHOUT_KEYS, AT_ONCE_CAPTURED],
    ids=["keys promised", "no keys declared", "captures at once"],
)
def manner(request: pytest.FixtureRequest) -> Manner:
    """One way of ignoring keys."""
    given: Manner = request.param
    return given


@pytest.fixture(params=SEEDS)
async def world(
    request: pytest.FixtureRequest,
    manner: Manner,
    database_dsn: str,
    broker: LocalBroker,
    tmp_path: Path,
) -> AsyncIterator[World]:
    """Both programs with a gateway that ignores keys; the laws hold afterwards."""
    api = f"http://127.0.0.1:{free_port()}"
    bank = HostileGateway(
        seed=request.param, api_key=GATEWAY_KEY, webhook_secret=GATEWAY_SECRET,
        webhook_url=f"{api}/webhooks/gateway", trouble=0.0,
        captures_at_once=manner.captures_at_once,
    )  # fmt: skip
    makers = partners.StrangePartners(
        manners=TERSE, webhook_secret=PARTNER_SECRET, platform_url=api
    )
    cars = fleet.StrangeFleet(TERSE)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(open_for_business(bank))
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
            "CAAS_TIME_SCALE": "40",
            **manner.settings,
        }
        found = World(api=api, http=http, gateway=bank, partners=makers, fleet=cars)  # type: ignore[arg-type]
        async with running(Machine(tmp_path / "data"), api, http, settings):
            await found.publishes_its_keys()
            yield found


async def test_each_payment_keeps_one_transaction_and_lets_the_others_go(
    world: World, manner: Manner
) -> None:
    bank: HostileGateway = world.gateway  # type: ignore[assignment]
    bank.trouble = 0.3
    bound = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with bound:
            await BUYING[number % len(BUYING)](world, number)

    await asyncio.gather(*(one(number) for number in range(BUYERS)))
    several = {ref for ref in bank.posts if bank.posts.count(ref) > 1}
    await bank.heals()

    if manner is not WITHOUT_KEYS:
        assert several, "no payment was done twice: the gateway was too kind to show anything"
    assert await differences_once_healed(world) == []


async def buys_seats(world: World, number: int) -> None:
    """Buy for a car that may refuse, by a card that may be declined."""
    car = await world.car()
    car.refuses = number % 5 == 4
    status, reported = await buys(world, car.vin, METHODS[number % len(METHODS)])
    assert status in {201, 202, 402}, reported


async def subscribes(world: World, _: int) -> None:
    """Subscribe; a small hold verifies the card, and is let go."""
    car = await world.car()
    assert (await world.call(CATALOG, "PUT", "/v1/services/connected", CONNECTED))[0] == 200
    body = {
        "customer": await world.customer(), "vin": car.vin, "service": "connected",
        "payment_method": "card-good",
    }  # fmt: skip
    status, reported = await world.call(FLEET, "POST", "/v1/subscriptions", body)
    assert status in {201, 202, 402}, reported


async def orders_a_vehicle(world: World, _: int) -> None:
    """Reserve a vehicle, and pay the rest when it is ready."""
    car = await world.car()
    body = {
        "customer": await world.customer(), "vin": car.vin, "dealership": "Madrid Norte",
        "deposit": {"amount": 50_000, "currency": "EUR"}, "payment_method": "card-good",
    }  # fmt: skip
    status, ordered = await world.call(ORDERS, "POST", "/v1/orders", body)
    assert status in {201, 202, 402}, ordered
    path = f"/v1/orders/{ordered['id'] if 'id' in ordered else ordered['order']['id']}"
    placed = await reaches(world, path, "factory order placed", "reservation failed")
    if placed["state"] == "reservation failed":
        return
    await world.partners.vehicle_is_ready(placed["factory_order_id"], car.vin)
    await reaches(world, path, "ready")
    card = {"payment_method": "card-good"}
    status, reported = await world.call(ORDERS, "POST", f"{path}/final-payment", card)
    assert status in {201, 202}, reported


async def reaches(world: World, path: str, *states: str) -> Any:
    """Wait until an order is in one of these states, and return it."""
    ends, reported = time.monotonic() + HEALING_SECONDS_MAX, None
    while time.monotonic() < ends:
        _, reported = await world.call(ORDERS, "GET", path)
        if reported["state"] in states:
            return reported
        await asyncio.sleep(0.1)
    raise AssertionError(f"never {states}: {reported}")


BUYING = (buys_seats, buys_seats, subscribes, buys_seats, orders_a_vehicle)


async def differences_once_healed(world: World) -> list[str]:
    """Wait until the gateway's ledger and our payments agree; return what still differs."""
    bank: HostileGateway = world.gateway  # type: ignore[assignment]
    ends = time.monotonic() + HEALING_SECONDS_MAX
    while True:
        bank.bank_settles()
        found = differences(bank, await payments(world))
        if not found or time.monotonic() > ends:
            return found
        await asyncio.sleep(0.5)


async def payments(world: World) -> dict[str, Any]:
    """Read every payment there is."""
    found: dict[str, Any] = {}
    cursor = ""
    while True:
        _, page = await world.call("operations", "GET", f"/v1/payments?limit=100{cursor}")
        found |= {payment["id"]: payment for payment in page["data"]}
        if not page.get("next_cursor"):
            return found
        cursor = f"&cursor={page['next_cursor']}"


def differences(bank: HostileGateway, known: dict[str, Any]) -> list[str]:
    """Hold the gateway's ledger against our payments: the invariant that had been missing."""
    found = [f"{ref}: we know nothing of it" for ref in set(bank.posts) - known.keys()]
    for payment_id, payment in known.items():
        state, chosen = payment["state"], payment["gateway_transaction_id"]
        alive = [t for t in bank.of(payment_id) if keeps(t)]
        if state not in REST:
            found.append(f"{payment_id}: {state}, {payment['outcome']}")
        if [t["id"] for t in alive] != ([chosen] if state == "Settled" else []):
            kept = [(t["id"], t["status"]) for t in alive]
            found.append(f"{payment_id}: {state} by {chosen}, and the gateway keeps {kept}")
        charged = [t["id"] for t in bank.of(payment_id) if t["captured_amount"]]
        if charged not in ([], [chosen]) and not bank.captures_at_once:
            found.append(f"{payment_id}: charged {charged}, not by {chosen} alone")
    return found


def keeps(transaction: dict[str, Any]) -> bool:
    """Say whether the gateway holds or has money of a customer by it."""
    taken = transaction["captured_amount"] - transaction["refunded_amount"]
    return transaction["status"] in ALIVE or taken > 0

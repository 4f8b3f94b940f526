"""Adyen instead of the seed's contract, by one setting: both programs, and an Adyen that refuses.

Nothing of a payment can be read there: what became of it is what Adyen has reported.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
import pytest

from caas.external_systems.local_broker import LocalBroker
from caas_simulators.adyen.server import AdyenServer
from caas_simulators.adyen.server import running as adyen_running
from caas_simulators.adyen.webhooks import notification
from caas_simulators.adyen.world import AdyenSettings
from tests.databases import as_service
from tests.external_systems.conformance.simulated import HMAC_KEY
from tests.external_systems.test_adyen_webhooks import STOPPED, TECHNICAL
from tests.ports import free_port
from tests.start_up.conftest import Machine
from tests.strangers import fleet
from tests.strangers.conftest import COMMAND_KEYS, PARTNER_SECRET, SCOPES, running
from tests.strangers.manners import TERSE
from tests.strangers.stories import CATALOG, CONNECTED, ORDERS, PRICE, buys
from tests.strangers.world import ACCEPTED, CREATED, World, key_of
from tests.ways_in import SETTINGS as WAYS_IN

LOOKS_MAX: Final = 600
T = TypeVar("T")

KEY = "AQE-tests"
GOOD, CHALLENGED = "4111111111111111", "4212345678901237"


@dataclass
class AtAdyen:
    """The platform's world, and the account where its customers pay."""

    world: World
    url: str
    adyen: AdyenServer

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

    def psp_of(self, payment: str) -> str:
        """Return the authorised payment with this reference at Adyen."""
        held = self.adyen.world.store.some("payment", reference=payment)
        return str(next(one["id"] for one in held if one["state"] != "refused"))


@pytest.fixture
async def at(database_dsn: str, broker: LocalBroker, tmp_path: Path) -> AsyncIterator[AtAdyen]:
    """Both programs with Adyen, and a fleet of strangers; the invariants hold afterwards."""
    api, nobody = f"http://127.0.0.1:{free_port()}", "http://127.0.0.1:9"
    account = AdyenSettings(
        api_keys=(KEY,), seed=1, webhook_url=f"{api}/webhooks/gateway", hmac_keys=[HMAC_KEY],
        modification_seconds=0.2,
    )  # fmt: skip
    settings = {
        "CAAS_DATABASE_URL": as_service(database_dsn),
        "CAAS_GATEWAY": "adyen",
        "CAAS_GATEWAY_API_KEY": KEY,
        "CAAS_GATEWAY_WEBHOOK_SECRETS": HMAC_KEY,
        "CAAS_ADYEN_MERCHANT_ACCOUNT": account.merchant_account,
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
        adyen_running(account) as (server, adyen),
        aiohttp.ClientSession() as http,
        fleet.on_the_road(fleet.StrangeFleet(TERSE), broker.fleet_url) as cars,
    ):
        settings["CAAS_GATEWAY_URL"] = server.url
        async with running(Machine(tmp_path / "data"), api, http, settings):
            world = World(api=api, http=http, fleet=cars)
            await world.publishes_its_keys()
            yield AtAdyen(world, server.url, adyen)


async def eventually(look: Callable[[], Awaitable[T]], holds: Callable[[T], bool]) -> None:
    """Wait until what is seen is as wanted."""
    looks = 0
    while not holds(found := await look()):
        looks += 1
        assert looks < LOOKS_MAX, f"never as wanted: {found}"
        await asyncio.sleep(0.05)


async def paid_on_page(at: AtAdyen) -> tuple[Any, str]:
    """Buy a service, and pay on Adyen's page; return the car and the payment."""
    car = await at.world.car()
    status, bought = await buys(at.world, car.vin, None)
    assert status == ACCEPTED, bought
    payment = str(bought["payment"])
    page = await at.page_of(payment)
    await at.posts(page, action="pay", number=GOOD, holder="DECLINED")
    assert await at.posts(page, action="pay", number=GOOD, holder="Ana") == 303
    return car, payment


async def captured(at: AtAdyen, payment: str) -> Any:
    """Wait until Adyen has reported the capture."""
    path = f"/v1/payments/{payment}"
    return await at.world.until("operations", path, state="Capturing", outcome="known")


async def test_a_service_is_paid_on_a_page_and_captured_when_the_car_has_confirmed(
    at: AtAdyen,
) -> None:
    car, payment = await paid_on_page(at)

    paid = await captured(at, payment)
    while at.adyen.world.store.get("payment", at.psp_of(payment))["state"] != "captured":
        await asyncio.sleep(0.05)

    assert car.on == {"seats"}
    assert paid["amounts"]["captured"] == PRICE
    assert paid["gateway_transaction_id"] == at.psp_of(payment)


async def test_a_car_that_refuses_cancels_the_payment(at: AtAdyen) -> None:
    car = await at.world.car()
    car.refuses = True
    _, bought = await buys(at.world, car.vin, None)
    await at.posts(await at.page_of(bought["payment"]), action="pay", number=GOOD, holder="Ana")

    voided = await at.until(bought["payment"], state="Voided")

    assert voided["amounts"]["captured"] == 0
    assert at.adyen.world.store.get("payment", at.psp_of(bought["payment"]))["state"] == "cancelled"


async def test_a_customer_confirms_at_the_bank(at: AtAdyen) -> None:
    car = await at.world.car()
    _, bought = await buys(at.world, car.vin, None)
    page = await at.page_of(bought["payment"])
    await at.posts(page, action="pay", number=CHALLENGED, holder="Ana")
    await at.posts(page, action="confirm")

    await captured(at, bought["payment"])

    assert car.on == {"seats"}


async def test_a_page_that_expires_charges_nobody(at: AtAdyen) -> None:
    car = await at.world.car()
    _, bought = await buys(at.world, car.vin, None)

    await at.control("advance", seconds=86_401)
    failed = await at.until(bought["payment"], state="Failed")

    assert failed["decline_code"] == "abandoned"
    assert car.on == set()


async def test_a_declined_card_on_the_page_leaves_it_open(at: AtAdyen) -> None:
    car = await at.world.car()
    _, bought = await buys(at.world, car.vin, None)
    page = await at.page_of(bought["payment"])

    assert await at.posts(page, action="pay", number=GOOD, holder="NOT_ENOUGH_BALANCE") == 200
    pending = await at.until(bought["payment"], state="Pending")

    assert pending["hosted_page_url"] == page
    assert car.on == set()


async def test_a_chargeback_is_counted_and_its_reversal_too(at: AtAdyen) -> None:
    _, payment = await paid_on_page(at)
    await captured(at, payment)
    psp = at.psp_of(payment)
    opened = await at.control("report", payment=psp, code="NOTIFICATION_OF_CHARGEBACK")
    subject = opened["pspReference"]
    path = f"/v1/payments/{payment}"

    async def events() -> list[str]:
        _, reported = await at.world.call("operations", "GET", path)
        return [one["event"] for one in reported["events"]]

    await at.control("report", payment=psp, code="REQUEST_FOR_INFORMATION")
    while "Dispute opened" not in await events():
        await asyncio.sleep(0.05)
    await at.control("report", payment=psp, code="CHARGEBACK_REVERSED", subject=subject)
    while "Dispute won" not in await events():
        await asyncio.sleep(0.05)

    assert (await events()).count("Dispute opened") == 1


async def test_a_capture_that_failed_for_a_technical_reason_is_no_loss_yet(at: AtAdyen) -> None:
    _, payment = await paid_on_page(at)
    await captured(at, payment)
    psp = at.psp_of(payment)

    await at.control("report", payment=psp, code="CAPTURE_FAILED", reason=TECHNICAL)
    await at.control("report", payment=psp, code="CAPTURE", reason="Transaction Recaptured")
    still = await captured(at, payment)
    await at.control("report", payment=psp, code="CAPTURE_FAILED", reason=STOPPED)
    lost = await at.until(payment, state="SettlementFailed")

    assert (still["state"], lost["amounts"]["settled"]) == ("Capturing", 0)


async def test_payments_of_another_program_change_nothing(at: AtAdyen) -> None:
    await at.control("foreign")

    _, listed = await at.world.call(ORDERS, "GET", "/v1/payments")

    assert listed["data"] == []


async def test_a_subscription_verifies_the_token_of_an_earlier_page(at: AtAdyen) -> None:
    _, payment = await paid_on_page(at)
    await captured(at, payment)
    [token] = list(at.adyen.world.store.some("token"))
    car = await at.world.car()
    assert (await at.world.call(CATALOG, "PUT", "/v1/services/connected", CONNECTED))[0] == 200
    body = {
        "customer": token["shopper"], "vin": car.vin, "service": "connected",
        "payment_method": token["id"],
    }  # fmt: skip

    status, made = await at.world.call("fleet", "POST", "/v1/subscriptions", body)
    assert status in (CREATED, ACCEPTED), made
    await at.world.until(CATALOG, f"/v1/subscriptions/{made['id']}", state="active")

    async def states() -> list[str]:
        _, listed = await at.world.call(ORDERS, "GET", "/v1/payments")
        return sorted(one["state"] for one in listed["data"])

    await eventually(states, lambda found: found == ["Capturing", "Voided"])


async def test_a_token_of_another_customer_charges_nobody(at: AtAdyen) -> None:
    _, payment = await paid_on_page(at)
    await captured(at, payment)
    [token] = list(at.adyen.world.store.some("token"))
    car = await at.world.car()
    assert (await at.world.call(CATALOG, "PUT", "/v1/services/connected", CONNECTED))[0] == 200
    body = {
        "customer": await at.world.customer(), "vin": car.vin, "service": "connected",
        "payment_method": token["id"],
    }  # fmt: skip

    status, made = await at.world.call("fleet", "POST", "/v1/subscriptions", body)
    assert status in (CREATED, ACCEPTED), made

    async def pages() -> list[str]:
        _, listed = await at.world.call(ORDERS, "GET", "/v1/payments")
        pending = [one["id"] for one in listed["data"] if one["state"] == "Pending"]
        return [await at.page_of(one) for one in pending]

    await eventually(pages, lambda found: len(found) == 1 and found[0].startswith(at.url))
    held = [one for one in at.adyen.world.store.some("payment") if one["state"] != "refused"]
    assert len(held) == 1
    assert car.on == set()


async def test_webhooks_are_believed_as_adyen_signs_them_and_in_no_other_way(at: AtAdyen) -> None:
    item = {
        "additionalData": {}, "amount": {"value": 0, "currency": "EUR"},
        "eventCode": "REPORT_AVAILABLE", "eventDate": "2026-11-29T10:00:00+01:00",
        "merchantAccountCode": "CaaSSimulatedECOM", "merchantReference": "",
        "pspReference": "settlement_detail_report_batch_12.csv", "reason": "https://ca-test.adyen.com/report",
        "success": "true",
    }  # fmt: skip
    other = item | {"pspReference": "settlement_detail_report_batch_13.csv"}
    right = notification([item], HMAC_KEY)
    both = notification([item, other], HMAC_KEY)
    forged = notification([item, other], "00" * 32)
    half = {**both, "notificationItems": [both["notificationItems"][0],
                                          forged["notificationItems"][1]]}  # fmt: skip

    answers = []
    for body in (right, right, forged, half, both, both):
        address = f"{at.world.api}/webhooks/gateway"
        headers = {"content-type": "application/json"}
        async with at.world.http.post(address, data=json.dumps(body), headers=headers) as answer:
            answers.append(answer.status)

    assert answers == [204, 200, 401, 401, 204, 200]

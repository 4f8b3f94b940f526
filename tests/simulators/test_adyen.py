"""The simulated Adyen is spoken to by Adyen's own client, and refuses what Adyen refuses."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import Adyen
import aiohttp
import pytest

from caas_simulators.adyen.server import AdyenServer, running
from caas_simulators.adyen.world import AdyenSettings

KEY, ACCOUNT = "AQE-simulated", "CaaSSimulatedECOM"
CARD = {
    "type": "scheme", "encryptedCardNumber": "test_4111111111111111",
    "encryptedExpiryMonth": "test_03", "encryptedExpiryYear": "test_2030",
    "encryptedSecurityCode": "test_737",
}  # fmt: skip
Json = dict[str, Any]


@pytest.fixture
async def adyen() -> AsyncIterator[tuple[str, AdyenServer]]:
    """An account whose modifications are decided when its clock is moved."""
    async with running(AdyenSettings(seed=1, modification_seconds=3_600)) as (server, account):
        yield server.url, account


def client_of(url: str, key: str = KEY) -> Adyen.Adyen:
    """Adyen's own client, speaking to this address."""
    client = Adyen.Adyen(xapikey=key, platform="test")
    client.client.api_checkout_version = "v71"
    client.checkout.payments_api.baseUrl = f"{url}/v71"
    for part in ("payments_api", "modifications_api", "payment_links_api"):
        getattr(client.checkout, part).baseUrl = f"{url}/v71"
    return client


def payment(**more: object) -> Json:
    asked: Json = {
        "amount": {"value": 1000, "currency": "EUR"}, "merchantAccount": ACCOUNT,
        "paymentMethod": CARD, "reference": "pay-1", "returnUrl": "https://shop.example/back",
        "additionalData": {"manualCapture": "true"},
    }  # fmt: skip
    return asked | more


async def sent(url: str, method: str, path: str, body: object, **headers: str) -> tuple[int, Json]:
    """Send any request."""
    given = {"x-api-key": KEY, **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url + path, json=body, headers=given) as answer,
    ):
        return answer.status, await answer.json()


async def test_adyens_own_client_reads_the_answers(adyen: tuple[str, AdyenServer]) -> None:
    url, account = adyen
    checkout = client_of(url).checkout

    paid = await asyncio.to_thread(checkout.payments_api.payments, payment())
    psp = paid.message["pspReference"]
    amount = {"amount": {"value": 1000, "currency": "EUR"}, "merchantAccount": ACCOUNT}
    modifications = checkout.modifications_api
    received = await asyncio.to_thread(modifications.capture_authorised_payment, amount, psp)
    link = await asyncio.to_thread(
        checkout.payment_links_api.payment_links, {**amount, "reference": "pay-2"}
    )
    shown = await asyncio.to_thread(checkout.payment_links_api.get_payment_link, link.message["id"])

    assert (paid.status_code, paid.message["resultCode"]) == (200, "Authorised")
    assert (received.status_code, received.message["status"]) == (201, "received")
    assert received.message["paymentPspReference"] == psp
    assert (link.status_code, shown.message["status"]) == (201, "active")
    assert account.world.store.get("payment", psp)["state"] == "authorised"


async def test_adyens_own_client_reads_the_refusals(adyen: tuple[str, AdyenServer]) -> None:
    url, _ = adyen
    payments = client_of(url).checkout.payments_api
    stranger = client_of(url, "another").checkout.payments_api

    with pytest.raises(Adyen.AdyenAPIUnprocessableEntity) as unprocessable:
        await asyncio.to_thread(payments.payments, payment(unknown=1))
    with pytest.raises(Adyen.AdyenAPIInvalidPermission):
        await asyncio.to_thread(payments.payments, payment(merchantAccount="Other"))
    with pytest.raises(Adyen.AdyenAPIAuthenticationError):
        await asyncio.to_thread(stranger.payments, payment())

    assert unprocessable.value.error_code == "702"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"amount": {"value": -1, "currency": "EUR"}}, "137"),
        ({"amount": {"value": 1, "currency": "euro"}}, "138"),
        ({"reference": ""}, "130"),
        ({"reference": "x" * 81}, "130"),
        ({"returnUrl": "javascript:alert(1)"}, "702"),
        ({"paymentMethod": {"type": "scheme", "encryptedCardNumber": "4111111111111111"}}, "174"),
        ({"paymentMethod": {"type": "scheme", "storedPaymentMethodId": "X"},
          "shopperReference": "ana"}, "803"),
        ({"shopperInteraction": "ContAuth", "shopperReference": "ana"}, "800"),
        ({"shopperInteraction": "Telepathy"}, "702"),
    ],
)  # fmt: skip
async def test_what_adyen_does_not_take_is_refused(
    adyen: tuple[str, AdyenServer], more: Json, code: str
) -> None:
    status, told = await sent(adyen[0], "POST", "/v71/payments", payment(**more))

    assert (status, told["errorCode"]) == (422, code)


async def test_a_payment_cannot_be_read(adyen: tuple[str, AdyenServer]) -> None:
    url, _ = adyen
    _, paid = await sent(url, "POST", "/v71/payments", payment())

    status, _ = await sent(url, "GET", f"/v71/payments/{paid['pspReference']}", None)

    assert status == 404


async def test_a_key_answers_as_before_and_stands_for_one_request(
    adyen: tuple[str, AdyenServer],
) -> None:
    url, account = adyen

    first = await sent(url, "POST", "/v71/payments", payment(), idempotency_key="k")
    again = await sent(url, "POST", "/v71/payments", payment(), idempotency_key="k")
    other = await sent(url, "POST", "/v71/payments", payment(reference="p"), idempotency_key="k")
    long_ = await sent(url, "POST", "/v71/payments", payment(), idempotency_key="k" * 65)

    assert first == again
    assert (other[0], other[1]["errorCode"]) == (422, "704")
    assert long_[0] == 422
    assert len(list(account.world.store.some("payment"))) == 1


async def test_a_token_is_its_shoppers_own(adyen: tuple[str, AdyenServer]) -> None:
    url, _ = adyen
    stores = payment(storePaymentMethod=True, shopperReference="ana-1")
    _, paid = await sent(url, "POST", "/v71/payments", stores)
    token = paid["additionalData"]["tokenization.storedPaymentMethodId"]
    method = {"type": "scheme", "storedPaymentMethodId": token}
    later = {"shopperInteraction": "ContAuth", "recurringProcessingModel": "Subscription"}

    own = await sent(
        url,
        "POST",
        "/v71/payments",
        payment(paymentMethod=method, shopperReference="ana-1", **later),
    )
    others = await sent(
        url,
        "POST",
        "/v71/payments",
        payment(paymentMethod=method, shopperReference="eva-1", **later),
    )

    assert (own[0], own[1]["resultCode"]) == (200, "Authorised")
    assert (others[0], others[1]["errorCode"]) == (422, "803")


async def test_what_was_received_is_decided_after_a_restart(tmp_path: Path) -> None:
    settings = AdyenSettings(seed=1, folder=tmp_path, modification_seconds=3_600)
    async with running(settings) as (server, _):
        _, paid = await sent(server.url, "POST", "/v71/payments", payment())
        psp = paid["pspReference"]
        amount = {"amount": {"value": 1000, "currency": "EUR"}, "merchantAccount": ACCOUNT}
        await sent(server.url, "POST", f"/v71/payments/{psp}/captures", amount)

    async with running(settings) as (server, account):
        before = account.world.store.get("payment", psp)["state"]
        await sent(server.url, "POST", "/_control/advance", {"seconds": 3_601})
        after = account.world.store.get("payment", psp)

    assert (before, after["state"], after["captured"]) == ("authorised", "captured", 1000)


async def test_a_fault_of_a_call_that_does_not_exist_is_refused(
    adyen: tuple[str, AdyenServer],
) -> None:
    """It ended in an internal error, and so did one fault too many."""
    url, _ = adyen
    fault = {"match": {"operation": "guess"}, "action": {"status": 503}}

    status, answer = await sent(url, "POST", "/_control/faults", fault)
    listed = await sent(url, "GET", "/_control/faults", None)

    assert (status, answer["code"]) == (422, "unknown_operation")
    assert listed == (200, {"data": []})

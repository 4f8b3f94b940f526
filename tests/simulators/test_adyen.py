"""The simulated Adyen is spoken to by Adyen's own client, and refuses what Adyen refuses."""

import asyncio
import typing
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import Adyen
import aiohttp
import pytest

from caas_simulators.adyen import page_texts
from caas_simulators.adyen.control import Code
from caas_simulators.adyen.server import AdyenServer, running
from caas_simulators.adyen.webhooks import notification
from caas_simulators.adyen.world import AdyenSettings
from tests.external_systems.adyen_published import (
    ANSWERS,
    ERROR,
    operation_of,
    problems_of_webhook,
)

KEY, ACCOUNT = "AQE-simulated", "CaaSSimulatedECOM"
CARD = {
    "type": "scheme", "encryptedCardNumber": "test_4111111111111111",
    "encryptedExpiryMonth": "test_03", "encryptedExpiryYear": "test_2030",
    "encryptedSecurityCode": "test_737",
}  # fmt: skip
STORED = {"type": "scheme", "storedPaymentMethodId": "X"}
MONTH = {
    "shopperInteraction": "ContAuth", "recurringProcessingModel": "Subscription",
    "shopperReference": "ana",
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
    given = {
        "x-api-key": KEY, "idempotency-key": uuid4().hex,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }  # fmt: skip
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url + path, json=body, headers=given) as answer,
    ):
        return answer.status, await answer.json()


async def test_adyens_own_client_reads_the_answers(adyen: tuple[str, AdyenServer]) -> None:
    url, account = adyen
    checkout = client_of(url).checkout

    paid = await asyncio.to_thread(checkout.payments_api.payments, payment(), "pay-1")
    psp = paid.message["pspReference"]
    amount = {"amount": {"value": 1000, "currency": "EUR"}, "merchantAccount": ACCOUNT}
    modifications = checkout.modifications_api
    received = await asyncio.to_thread(modifications.capture_authorised_payment, amount, psp, "c-1")
    link = await asyncio.to_thread(
        checkout.payment_links_api.payment_links, {**amount, "reference": "pay-2"}, "pay-2"
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
        await asyncio.to_thread(payments.payments, payment(unknown=1), "k")
    with pytest.raises(Adyen.AdyenAPIInvalidPermission):
        await asyncio.to_thread(payments.payments, payment(merchantAccount="Other"), "k")
    with pytest.raises(Adyen.AdyenAPIAuthenticationError):
        await asyncio.to_thread(stranger.payments, payment(), "k")

    assert unprocessable.value.error_code == "702"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"amount": {"value": -1, "currency": "EUR"}}, "137"),
        ({"amount": {"value": "1", "currency": "EUR"}}, "137"),
        ({"amount": {"value": 1, "currency": "euro"}}, "138"),
        ({"amount": {"value": 1}}, "702"),
        ({"amount": {"value": 1, "currency": "EUR", "unit": "cent"}}, "702"),
        ({"reference": ""}, "130"),
        ({"reference": "x" * 81}, "130"),
        ({"returnUrl": "javascript:alert(1)"}, "702"),
        ({"channel": "Telex"}, "702"),
        ({"additionalData": {"manualCapture": True}}, "702"),
        ({"paymentMethod": {"type": "scheme", "encryptedCardNumber": "4111111111111111"}}, "174"),
        ({"paymentMethod": CARD | {"encryptedExpiryYear": "2030"}}, "174"),
        ({"paymentMethod": CARD | {"number": "4111111111111111"}}, "702"),
        ({"paymentMethod": STORED, **MONTH}, "803"),
        ({"paymentMethod": STORED, **MONTH, "shopperInteraction": "Ecommerce"}, "702"),
        ({"paymentMethod": STORED, **MONTH, "storePaymentMethod": True}, "702"),
        ({"shopperInteraction": "ContAuth", "shopperReference": "ana"}, "800"),
        ({"shopperInteraction": "Telepathy"}, "702"),
        ({"recurringProcessingModel": "Sometimes"}, "702"),
        ({"storePaymentMethod": True, "recurringProcessingModel": "Subscription"}, "702"),
        ({"storePaymentMethod": True, "shopperReference": "ana"}, "702"),
        ({"shopperReference": "an"}, "702"),
        ({"shopperReference": "ana@example.com"}, "702"),
        ({"shopperReference": "a" * 257}, "702"),
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


async def test_nothing_is_changed_without_a_key(adyen: tuple[str, AdyenServer]) -> None:
    """Adyen would do it, perhaps twice."""
    url, account = adyen

    refused = await sent(url, "POST", "/v71/payments", payment(), idempotency_key="")
    read = await sent(
        url, "POST", "/v71/paymentMethods", {"merchantAccount": ACCOUNT}, idempotency_key=""
    )

    assert (refused[0], read[0]) == (422, 200)
    assert list(account.world.store.some("payment")) == []


async def test_a_token_is_its_shoppers_own(adyen: tuple[str, AdyenServer]) -> None:
    url, _ = adyen
    first = {"recurringProcessingModel": "Subscription", "shopperReference": "ana"}
    stores = payment(storePaymentMethod=True, **first)
    _, paid = await sent(url, "POST", "/v71/payments", stores)
    token = paid["additionalData"]["tokenization.storedPaymentMethodId"]
    month = payment(paymentMethod=STORED | {"storedPaymentMethodId": token}, **MONTH)

    own = await sent(url, "POST", "/v71/payments", month)
    others = await sent(url, "POST", "/v71/payments", month | {"shopperReference": "eva"})

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


LINK = {
    "amount": {"value": 1000, "currency": "EUR"}, "merchantAccount": ACCOUNT, "reference": "pay-2",
    "storePaymentMethodMode": "enabled", "recurringProcessingModel": "Subscription",
    "shopperReference": "ana", "manualCapture": True, "returnUrl": "https://shop.example/back",
}  # fmt: skip


@pytest.mark.parametrize(
    "more",
    [
        {"expires": "soon"}, {"reusable": True}, {"status": "active"}, {"description": "x" * 281},
        {"storePaymentMethodMode": "always"}, {"recurringProcessingModel": "Sometimes"},
        {"shopperReference": "ana@example.com"}, {"manualCapture": "true"},
    ],
)  # fmt: skip
async def test_a_link_that_adyen_does_not_take_is_refused(
    adyen: tuple[str, AdyenServer], more: Json
) -> None:
    status, told = await sent(adyen[0], "POST", "/v71/paymentLinks", LINK | more)

    assert (status, told["errorCode"]) == (422, "702")


@pytest.mark.parametrize("name", ["recurringProcessingModel", "shopperReference"])
async def test_a_link_that_stores_says_for_whom_and_for_what(
    adyen: tuple[str, AdyenServer], name: str
) -> None:
    without = {key: value for key, value in LINK.items() if key != name}

    status, told = await sent(adyen[0], "POST", "/v71/paymentLinks", without)

    assert (status, told["message"]) == (422, f"Required field '{name}' is not provided.")


async def answered(url: str) -> list[tuple[str, int, Json]]:
    """One of each answer: the operation, its status and its body."""
    answers = []

    async def ask(method: str, path: str, body: object) -> Json:
        status, told = await sent(url, method, path, body)
        answers.append((operation_of(path), status, told))
        return told

    paid = await ask("POST", "/v71/payments", payment())
    await ask("POST", "/v71/payments", payment(paymentMethod=CARD | {"holderName": "DECLINED"}))
    challenged = CARD | {"encryptedCardNumber": "test_4212345678901237"}
    await ask("POST", "/v71/payments", payment(paymentMethod=challenged))
    await ask("POST", "/v71/payments", payment(unknown=1))
    link = await ask("POST", "/v71/paymentLinks", LINK)
    await ask("GET", f"/v71/paymentLinks/{link['id']}", None)
    await ask("PATCH", f"/v71/paymentLinks/{link['id']}", {"status": "expired"})
    asked = {"amount": {"value": 1000, "currency": "EUR"}, "merchantAccount": ACCOUNT}
    of_payment = f"/v71/payments/{paid['pspReference']}"
    await ask("POST", f"{of_payment}/captures", asked)
    await ask("POST", f"{of_payment}/refunds", asked | {"reference": "back-1"})
    await ask("POST", f"{of_payment}/cancels", {"merchantAccount": ACCOUNT})
    await ask("POST", "/v71/paymentMethods", {"merchantAccount": ACCOUNT})
    return answers


async def test_every_answer_has_the_published_shape(adyen: tuple[str, AdyenServer]) -> None:
    answers = await answered(adyen[0])

    assert {operation for operation, _, _ in answers} == set(ANSWERS)
    for operation, status, body in answers:
        shape = ANSWERS[operation] if status < 300 else ERROR
        assert shape(body) == [], operation


async def test_every_webhook_has_the_published_shape(adyen: tuple[str, AdyenServer]) -> None:
    url, account = adyen
    told: list[Json] = []
    account.world.deliver = told.extend
    await answered(url)
    [held] = [one for one in account.world.store.some("payment") if one["state"] != "refused"]
    await sent(url, "POST", "/_control/advance", {"seconds": 3_601})
    for code in typing.get_args(Code):
        order = {"payment": held["id"], "code": code}
        assert (await sent(url, "POST", "/_control/report", order))[0] == 201
    await sent(url, "POST", "/v71/payments", payment(reference="pay-3"))
    await sent(url, "POST", "/_control/advance", {"seconds": 8 * 86_400})

    assert problems_of_webhook(notification(told, "00" * 32)) == []
    assert {"AUTHORISATION", "CAPTURE", "REFUND", "CANCELLATION", "EXPIRE"} <= {
        one["eventCode"] for one in told
    }
    [refund] = [one for one in told if one["eventCode"] == "REFUND"]
    assert refund["merchantReference"] == "back-1"


async def page(url: str, language: str = "", **form: str) -> tuple[int, str]:
    """Open a page, or send its form; return its status and its text."""
    method = "POST" if form else "GET"
    async with (
        aiohttp.ClientSession() as session,
        session.request(
            method, url, data=form or None, headers={"accept-language": language},
            allow_redirects=False,
        ) as answer,
    ):  # fmt: skip
        return answer.status, await answer.text()


@pytest.mark.parametrize(
    ("locale", "language", "lang", "button"),
    [
        (None, "", "en", "Pay €10.00"), (None, "es-ES,es;q=0.9,en;q=0.5", "es", "Pagar 10,00\xa0€"),
        (None, "fr", "en", "Pay €10.00"), ("es-ES", "en", "es", "Pagar 10,00\xa0€"),
        ("en-GB", "es", "en", "Pay €10.00"),
    ],
)  # fmt: skip
async def test_a_page_speaks_the_language_of_its_shopper(
    adyen: tuple[str, AdyenServer], locale: str | None, language: str, lang: str, button: str
) -> None:
    asked = LINK if locale is None else LINK | {"shopperLocale": locale}
    _, link = await sent(adyen[0], "POST", "/v71/paymentLinks", asked)

    _, text = await page(link["url"], language)
    refused, again = await page(
        link["url"], language, action="pay", number="4111111111111111", holder="CARD_EXPIRED"
    )

    assert f'<html lang="{lang}">' in text
    assert button in text
    assert refused == 200
    assert page_texts.TEXTS[lang]["refused"] in again
    assert "Expired Card" not in again


def test_both_languages_of_the_pages_have_the_same_texts() -> None:
    assert page_texts.TEXTS["en"].keys() == page_texts.TEXTS["es"].keys()


async def test_a_page_shows_how_far_it_is(adyen: tuple[str, AdyenServer]) -> None:
    url, _ = adyen
    _, link = await sent(url, "POST", "/v71/paymentLinks", LINK)
    _, other = await sent(url, "POST", "/v71/paymentLinks", LINK)
    await sent(url, "PATCH", f"/v71/paymentLinks/{other['id']}", {"status": "expired"})

    challenged, asks = await page(
        link["url"], "es", action="pay", number="4212345678901237", holder="Ana"
    )
    rejected, form = await page(link["url"], "es", action="reject")
    left, _ = await page(link["url"], "es", action="leave")
    paid, _ = await page(link["url"], "es", action="pay", number="4111111111111111", holder="Ana")
    done = await page(link["url"], "es")
    expired = await page(other["url"], "es")
    unknown = await page(f"{url}/pay/PLNONE", "es")

    assert (challenged, rejected, left, paid) == (200, 200, 303, 303)
    assert "Confirme el pago" in asks
    assert page_texts.TEXTS["es"]["refused"] in form
    assert [(status, "Pagado" in text) for status, text in (done, expired)] == [
        (410, True), (410, False),
    ]  # fmt: skip
    assert "Caducada" in expired[1]
    assert (unknown[0], "No encontrada" in unknown[1]) == (404, True)

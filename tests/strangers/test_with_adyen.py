"""Adyen instead of the seed's contract, by one setting: both programs, and an Adyen that refuses.

Nothing of a payment can be read there: what became of it is what Adyen has reported.
"""

import asyncio
import json
from typing import Any

from caas_simulators.adyen.webhooks import notification
from tests.external_systems.conformance.simulated import HMAC_KEY
from tests.external_systems.test_adyen_webhooks import STOPPED, TECHNICAL
from tests.strangers.adyen import CHALLENGED, GOOD, AtAdyen, eventually
from tests.strangers.adyen import alone as alone  # noqa: PLC0414  # A fixture.
from tests.strangers.adyen import at as at  # noqa: PLC0414  # A fixture.
from tests.strangers.adyen import shared as shared  # noqa: PLC0414  # A fixture.
from tests.strangers.stories import CATALOG, CONNECTED, ORDERS, PRICE, buys
from tests.strangers.world import ACCEPTED, CREATED


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


async def test_a_page_that_expires_charges_nobody(alone: AtAdyen) -> None:
    car = await alone.world.car()
    _, bought = await buys(alone.world, car.vin, None)

    await alone.control("advance", seconds=86_401)
    failed = await alone.until(bought["payment"], state="Failed")

    assert failed["decline_code"] == "abandoned"
    assert car.on == set()


async def test_a_withdrawal_ends_the_page_of_its_order(at: AtAdyen) -> None:
    car = await at.world.car()
    body = {
        "customer": await at.world.customer(), "vin": car.vin, "dealership": "Madrid Norte",
        "deposit": {"amount": 50_000, "currency": "EUR"},
    }  # fmt: skip
    _, ordered = await at.world.call(ORDERS, "POST", "/v1/orders", body)
    [payment] = ordered["payments"]
    page = await at.page_of(payment["id"])

    status, _ = await at.world.call(ORDERS, "POST", f"/v1/orders/{ordered['id']}/withdrawal", {})
    failed = await at.until(payment["id"], state="Failed")

    assert (status, failed["decline_code"]) == (200, "abandoned")
    link = at.adyen.world.store.get("link", page.rsplit("/", 1)[-1])
    assert link["status"] == "expired"


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
    known = [one["id"] for one in await at.payments()]

    await at.control("foreign")

    assert [one["id"] for one in await at.payments()] == known


async def test_a_subscription_verifies_the_token_of_an_earlier_page(at: AtAdyen) -> None:
    known = {one["id"] for one in await at.payments()}
    _, payment = await paid_on_page(at)
    await captured(at, payment)
    token = at.token_of(payment)
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
        return sorted(one["state"] for one in await at.payments() if one["id"] not in known)

    await eventually(states, lambda found: found == ["Capturing", "Voided"])


async def test_a_token_of_another_customer_charges_nobody(at: AtAdyen) -> None:
    known = {one["id"] for one in await at.payments()}
    held_before = {one["id"] for one in held(at)}
    _, payment = await paid_on_page(at)
    await captured(at, payment)
    token = at.token_of(payment)
    car = await at.world.car()
    assert (await at.world.call(CATALOG, "PUT", "/v1/services/connected", CONNECTED))[0] == 200
    body = {
        "customer": await at.world.customer(), "vin": car.vin, "service": "connected",
        "payment_method": token["id"],
    }  # fmt: skip

    status, made = await at.world.call("fleet", "POST", "/v1/subscriptions", body)
    assert status in (CREATED, ACCEPTED), made

    async def pages() -> list[str]:
        new = [one for one in await at.payments() if one["id"] not in known]
        return [await at.page_of(one["id"]) for one in new if one["state"] == "Pending"]

    await eventually(pages, lambda found: len(found) == 1 and found[0].startswith(at.url))
    assert len([one for one in held(at) if one["id"] not in held_before]) == 1
    assert car.on == set()


def held(at: AtAdyen) -> list[Any]:
    """Return the payments at Adyen that were not refused."""
    return [one for one in at.adyen.world.store.some("payment") if one["state"] != "refused"]


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

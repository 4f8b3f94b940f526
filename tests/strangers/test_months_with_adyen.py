"""Adyen over its whole life: a mandate and its months, an order, reports, and what goes wrong.

Both programs run, every message goes over a socket, and the reports are those that Adyen announces.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.strangers.adyen import GOOD, AtAdyen, eventually
from tests.strangers.adyen import alone as alone  # noqa: PLC0414  # A fixture.
from tests.strangers.fleet import StrangeCar
from tests.strangers.stories import CATALOG, CONNECTED, FLEET, ORDERS, buys
from tests.strangers.world import ACCEPTED, CREATED

MADRID = ZoneInfo("Europe/Madrid")


@pytest.fixture
def at(alone: AtAdyen) -> AtAdyen:
    """Each test moves the clocks and ends months: its platform is its own."""
    return alone


async def subscribed_on_page(at: AtAdyen, holder: str = "Ana") -> tuple[StrangeCar, str]:
    """Subscribe with a token that Adyen has not, and pay on the page that takes its place."""
    car = await at.world.car()
    assert (await at.world.call(CATALOG, "PUT", "/v1/services/connected", CONNECTED))[0] == 200
    body = {
        "customer": await at.world.customer(), "vin": car.vin, "service": "connected",
        "payment_method": "NOTSTOREDHERE123",
    }  # fmt: skip
    status, made = await at.world.call(FLEET, "POST", "/v1/subscriptions", body)
    assert status in (CREATED, ACCEPTED), made
    [verification] = await payments(at, made["id"])
    page = await at.page_of(verification["id"])
    assert await at.posts(page, action="pay", number=GOOD, holder=holder) in (200, 303)
    if holder != "Ana":
        assert await at.posts(page, action="confirm") == 303
    await at.world.until(CATALOG, f"/v1/subscriptions/{made['id']}", state="active")
    await at.until(verification["id"], state="Voided")
    assert car.on == {"connected"}
    return car, made["id"]


async def payments(at: AtAdyen, subject: str | None = None) -> list[Any]:
    """The payments of a subject, or all of them, the newest first."""
    _, listed = await at.world.call(ORDERS, "GET", "/v1/payments?limit=100")
    return [one for one in listed["data"] if subject in (None, one["subject"])]


async def month_ends(at: AtAdyen) -> str:
    """Let the month that runs end, and bill it; return the payment of its one invoice."""
    known = {one["id"] for one in await payments(at)}
    now = (await at.now()).astimezone(MADRID)
    first = datetime(now.year + now.month // 12, now.month % 12 + 1, 1, tzinfo=MADRID)
    await at.time_passes((first + timedelta(minutes=1)).astimezone(UTC))
    body = {"month": f"{now:%Y-%m}"}
    status, run = await at.world.call("billing", "POST", "/v1/billing/runs", body)
    assert status == CREATED, run

    async def new() -> list[str]:
        return [one["id"] for one in await payments(at) if one["id"] not in known]

    await eventually(new, lambda found: len(found) == 1)
    return (await new())[0]


async def batch_is_reported(at: AtAdyen, number: int | None = None) -> Any:
    """Let Adyen close a batch, and wait until its report was applied; return the day's report."""
    before = set(at.reports.glob("done/*.csv"))
    order = {} if number is None else {"number": number}
    report = await at.control("batch", **order)

    async def applied() -> set[str]:
        refused = [one.read_text() for one in at.reports.glob("refused/*.txt")]
        assert refused == []
        return {one.name for one in set(at.reports.glob("done/*.csv")) - before}

    await eventually(applied, lambda found: len(found) == 1)
    assert next(iter(await applied())).startswith(report["id"].removesuffix(".csv"))
    return await of_today(at)


async def of_today(at: AtAdyen) -> Any:
    """What is reported of the day that runs."""
    day = (await at.now()).astimezone(MADRID).date().isoformat()
    _, reported = await at.world.call("operations", "GET", f"/v1/reconciliation/days/{day}/report")
    return reported


async def test_a_mandate_is_charged_for_two_months_and_settled_by_the_reports(
    at: AtAdyen,
) -> None:
    _, subscription = await subscribed_on_page(at)
    [token] = list(at.adyen.world.store.some("token"))
    sizes = webhooks_in_batches(at)

    for _ in range(2):
        month = await month_ends(at)
        charged = await at.until(month, state="Capturing", outcome="known")
        assert charged["gateway_transaction_id"] == at.psp_of(month)
        await captured(at, month)
        day = await batch_is_reported(at)
        settled = await at.until(month, state="Settled")

        assert settled["amounts"]["settled"] == settled["amount"]
        assert (day["matched_lines"], day["differing_lines"]) == (1, 0), day

    assert max(sizes) > 1
    assert [one["id"] for one in at.adyen.world.store.some("token")] == [token["id"]]
    assert len(await payments(at)) == 3
    path = f"/v1/subscriptions/{subscription}"
    assert (await at.world.call(CATALOG, "GET", path))[1]["state"] == "active"


def webhooks_in_batches(at: AtAdyen) -> list[int]:
    """Let Adyen report of half a second in one webhook; return how many items each has."""
    waiting: list[Any] = []
    sizes: list[int] = []

    def deliver() -> None:
        sizes.append(len(waiting))
        at.adyen.webhooks.deliver(waiting.copy())
        waiting.clear()

    def collect(items: list[Any]) -> None:
        if not waiting:
            asyncio.get_running_loop().call_later(0.5, deliver)
        waiting.extend(items)

    at.adyen.world.deliver = collect
    return sizes


async def opened(at: AtAdyen, payment: str) -> str:
    """Wait until a payment has a page, and return it."""
    await eventually(lambda: at.page_of(payment), lambda found: found.startswith(at.url))
    return await at.page_of(payment)


async def captured(at: AtAdyen, payment: str) -> None:
    """Wait until Adyen has captured a payment."""

    async def state() -> str:
        return str(at.adyen.world.store.get("payment", at.psp_of(payment))["state"])

    await eventually(state, lambda found: found == "captured")


async def test_a_declined_month_ends_the_subscription_and_switches_it_off(at: AtAdyen) -> None:
    car, subscription = await subscribed_on_page(at)
    [token] = list(at.adyen.world.store.some("token"))
    await at.control("token", token=token["id"], holder="NOT_ENOUGH_BALANCE")

    month = await month_ends(at)
    failed = await at.until(month, state="Failed")
    await at.world.until(CATALOG, f"/v1/subscriptions/{subscription}", state="cancelled")
    while car.on:
        await asyncio.sleep(0.05)

    assert failed["decline_code"] == "insufficient_funds"
    assert failed["amounts"]["captured"] == 0


async def test_a_month_whose_bank_wants_the_customer_is_paid_on_a_page(at: AtAdyen) -> None:
    car, subscription = await subscribed_on_page(at, holder="AUTHENTICATION_REQUIRED")

    month = await month_ends(at)
    page = await opened(at, month)
    await at.posts(page, action="pay", number=GOOD, holder="Ana")
    await at.until(month, state="Capturing", outcome="known")

    assert page.startswith(f"{at.url}/pay/")
    assert car.on == {"connected"}
    path = f"/v1/subscriptions/{subscription}"
    assert (await at.world.call(CATALOG, "GET", path))[1]["state"] == "active"


async def test_a_customer_who_does_not_come_to_the_page_is_asked_again(at: AtAdyen) -> None:
    """The page expires, the payment fails, and the month is charged anew (decision 70)."""
    car, subscription = await subscribed_on_page(at, holder="AUTHENTICATION_REQUIRED")
    month = await month_ends(at)
    left = await opened(at, month)

    await at.control("advance", seconds=86_401)
    failed = await at.until(month, state="Failed")
    await at.time_passes(await at.now() + timedelta(days=2))
    again = await next_payment(at, besides=month)
    page = await opened(at, again)
    await at.posts(page, action="pay", number=GOOD, holder="Ana")
    await at.until(again, state="Capturing", outcome="known")

    assert failed["decline_code"] == "abandoned"
    assert page != left
    assert car.on == {"connected"}
    path = f"/v1/subscriptions/{subscription}"
    assert (await at.world.call(CATALOG, "GET", path))[1]["state"] == "active"


async def next_payment(at: AtAdyen, *, besides: str) -> str:
    """Wait until the subject of a payment has another one, and return that."""
    _, known = await at.world.call("operations", "GET", f"/v1/payments/{besides}")

    async def others() -> list[str]:
        listed = await payments(at, known["subject"])
        return [one["id"] for one in listed if one["id"] != besides]

    await eventually(others, lambda found: len(found) == 1)
    return (await others())[0]


async def test_a_vehicle_is_reserved_paid_for_and_delivered(at: AtAdyen) -> None:
    car = await at.world.car()
    body = {
        "customer": await at.world.customer(), "vin": car.vin, "dealership": "Madrid Norte",
        "deposit": {"amount": 50_000, "currency": "EUR"},
    }  # fmt: skip
    status, ordered = await at.world.call(ORDERS, "POST", "/v1/orders", body)
    assert status in (CREATED, ACCEPTED), ordered
    order = f"/v1/orders/{ordered['id']}"
    [deposit] = await payments(at)
    await at.posts(await at.page_of(deposit["id"]), action="pay", number=GOOD, holder="Ana")
    placed = await at.world.until(ORDERS, order, state="factory order placed")
    await at.world.partners.vehicle_is_ready(placed["factory_order_id"], car.vin)
    await at.world.until(ORDERS, order, state="ready")

    status, reported = await at.world.call(ORDERS, "POST", f"{order}/final-payment", {})
    assert status in (CREATED, ACCEPTED), reported
    final = next(one["id"] for one in await payments(at) if one["id"] != deposit["id"])
    await at.posts(await at.page_of(final), action="pay", number=GOOD, holder="Ana")
    await at.world.until(ORDERS, order, state="delivery scheduled")
    for payment in (deposit["id"], final):
        await at.until(payment, state="Capturing", outcome="known")
        await captured(at, payment)
    day = await batch_is_reported(at)
    for payment in (deposit["id"], final):
        await at.until(payment, state="Settled")

    assert (day["matched_lines"], day["differing_lines"]) == (2, 0), day


async def test_a_report_counts_once_and_a_corrected_one_adds_what_it_lacked(at: AtAdyen) -> None:
    first, second = await bought(at), await bought(at)
    held_back = at.adyen.world.store.get("payment", at.psp_of(second))
    at.adyen.world.store.put(held_back | {"batch": 99})
    await batch_is_reported(at)
    await at.until(first, state="Settled")
    at.adyen.world.store.put(
        at.adyen.world.store.get("payment", at.psp_of(second)) | {"batch": None}
    )

    await batch_is_reported(at, number=1)
    await at.until(second, state="Settled")
    day = await batch_is_reported(at, number=1)

    assert (day["matched_lines"], day["differing_lines"]) == (2, 0), day


async def bought(at: AtAdyen) -> str:
    """Buy a service on a page; return its payment, once it was captured."""
    car = await at.world.car()
    _, made = await buys(at.world, car.vin, None)
    payment = str(made["payment"])
    await at.posts(await at.page_of(payment), action="pay", number=GOOD, holder="Ana")
    await at.until(payment, state="Capturing", outcome="known")
    await captured(at, payment)
    return payment

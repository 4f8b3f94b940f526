"""What is lived through among strangers: one story for each way a payment can go.

Each has a car and a customer of its own, so that they can all happen at once.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from tests.strangers.world import ACCEPTED, CREATED, World

ORDERS, CATALOG, FLEET = "order-management", "service-catalog", "fleet"
PRICE = 1299
SEATS = {
    "name": "Heated seats", "kind": "one_time", "currency": "EUR",
    "prices": [{"duration_days": 30, "amount": PRICE}],
}  # fmt: skip
CONNECTED = {
    "name": "Connected", "kind": "subscription", "currency": "EUR", "monthly_fee": 999,
    "metered": [{"unit": "GB", "unit_price": 50}],
}  # fmt: skip


async def buys(world: World, vin: str, method: str | None) -> tuple[int, Any]:
    """Buy heated seats for a car."""
    assert (await world.call(CATALOG, "PUT", "/v1/services/seats", SEATS))[0] == 200
    body = {
        "customer": await world.customer(), "vin": vin, "service": "seats", "duration_days": 30,
        "payment_method": method, "return_url": "https://shop.example/thanks",
    }  # fmt: skip
    return await world.call(FLEET, "POST", "/v1/service-orders", body)


async def settled(world: World) -> tuple[str, Any]:
    """Buy for a car that obeys, and wait for the bank; return the payment and its address."""
    car = await world.car()
    status, bought = await buys(world, car.vin, "card-good")
    assert status == CREATED, bought
    path = f"/v1/payments/{bought['payment']}"
    await world.until(CATALOG, path, state="Capturing")
    assert car.on == {"seats"}
    await world.gateway.bank_settles(bought["payment"])
    return path, await world.until(CATALOG, path, state="Settled")


def amounts(**changed: int) -> dict[str, int]:
    """Return what has become of the money of a service that was paid."""
    paid = {"authorized": PRICE, "captured": PRICE, "settled": PRICE, "refunded": 0, "disputed": 0}
    return paid | changed


async def a_service_is_charged_on_the_cars_word_and_settled(world: World) -> None:
    """Diagram 4, with a car known by its public key alone."""
    _, paid = await settled(world)

    assert paid["amounts"] == amounts()
    assert world.gateway.of(paid["id"])["status"] == "settled"


async def a_decline_is_the_gateways_word(world: World) -> None:
    """The retry table: insufficient funds, at once."""
    car = await world.car()

    status, problem = await buys(world, car.vin, "card-without-money")

    assert (status, problem["payment"]["state"]) == (402, "Failed"), problem
    assert problem["payment"]["decline_code"] == "insufficient_funds"
    assert not car.on


async def a_car_that_refuses_is_not_charged_for(world: World) -> None:
    """Diagram 8, 4b and 5b."""
    car = await world.car()
    car.refuses = True

    _, bought = await buys(world, car.vin, "card-good")
    voided = await world.until(CATALOG, f"/v1/payments/{bought['payment']}", state="Voided")

    assert world.gateway.of(voided["id"])["status"] == "voided"


async def a_hosted_page_is_paid_on(world: World) -> None:
    """No card anywhere: the customer is sent to the gateway and comes back by webhook."""
    car = await world.car()

    status, bought = await buys(world, car.vin, None)
    assert status == ACCEPTED, bought
    path = f"/v1/payments/{bought['payment']}"
    waiting = await world.until(CATALOG, path, state="Pending")
    await world.gateway.customer_pays(waiting["hosted_page_url"])
    await world.until(CATALOG, path, state="Capturing")

    assert car.on == {"seats"}


async def money_is_given_back(world: World) -> None:
    """Twice, in parts; the strangers have no lookup of refunds, because none was agreed."""
    path, paid = await settled(world)

    for part in (299, PRICE - 299):
        body = {"amount": part, "reason": "desistimiento"}
        status, reported = await world.call(CATALOG, "POST", f"{path}/refunds", body)
        assert status == ACCEPTED, reported
        await world.gateway.refunds_arrive(paid["id"])
        await world.until(CATALOG, path, state="Settled" if part == 299 else "Refunded")
    await world.until(CATALOG, path, amounts=amounts(refunded=PRICE))


async def money_is_given_back_and_nobody_says_so(world: World) -> None:
    """The webhook of the refund is lost: the transaction's own total tells."""
    path, paid = await settled(world)

    body = {"amount": 1000, "reason": "goodwill"}
    await world.call(CATALOG, "POST", f"{path}/refunds", body)
    await world.gateway.refunds_arrive(paid["id"], silently=True)

    await world.until(CATALOG, path, state="Settled", amounts=amounts(refunded=1000))


async def a_dispute_is_lost(world: World) -> None:
    """The chargeback of the risk table; how far it is, is said by the event alone."""
    path, paid = await settled(world)

    await world.gateway.customer_disputes(paid["id"])

    await world.until(CATALOG, path, state="Settled", amounts=amounts(disputed=PRICE))


async def a_vehicle_is_reserved_paid_registered_and_delivered(world: World) -> None:
    """Diagrams 2 and 3."""
    car = await world.car()
    order = await reserved(world, car.vin)
    path = f"/v1/orders/{order}"
    placed = await world.until(ORDERS, path, state="factory order placed")
    await world.partners.vehicle_is_ready(placed["factory_order_id"], car.vin)
    await world.until(ORDERS, path, state="ready")

    card = {"payment_method": "card-good"}
    status, reported = await world.call(ORDERS, "POST", f"{path}/final-payment", card)
    assert status == CREATED, reported
    await world.until(ORDERS, path, state="delivery scheduled")
    await world.partners.delivery_is_done(order)
    done = await world.until(ORDERS, path, state="delivered")

    assert done["plate"] in world.partners.registrations


async def a_declined_final_payment_loses_the_reservation(world: World) -> None:
    """The critical business rule: sin asignar at once, no second try."""
    car = await world.car()
    order = await reserved(world, car.vin)
    path = f"/v1/orders/{order}"
    placed = await world.until(ORDERS, path, state="factory order placed")
    await world.partners.vehicle_is_ready(placed["factory_order_id"], car.vin)
    await world.until(ORDERS, path, state="ready")

    card = {"payment_method": "card-refused"}
    status, reported = await world.call(ORDERS, "POST", f"{path}/final-payment", card)
    _, vehicle = await world.call(ORDERS, "GET", f"/v1/vehicles/{car.vin}")

    assert (status, reported["payment"]["decline_code"]) == (402, "card_declined"), reported
    assert vehicle["state"] == "sin asignar"


async def a_factory_refuses_in_its_own_words(world: World) -> None:
    """422 is the refusal, whatever stands in it (decision 22)."""
    car = await world.car("Steam engine")

    order = await reserved(world, car.vin)
    await world.until(ORDERS, f"/v1/orders/{order}", state="factory refused")

    assert not any(asked["vin"] == car.vin for asked in world.partners.orders.values())


async def a_factory_that_hung_up_is_asked_again(world: World) -> None:
    """Without a lookup, the same key again makes one factory order."""
    car = await world.car("Slow")

    order = await reserved(world, car.vin)
    await world.until(ORDERS, f"/v1/orders/{order}", state="factory order placed")

    assert sum(asked["vin"] == car.vin for asked in world.partners.orders.values()) == 1


async def a_subscription_is_switched_on_and_off_again(world: World) -> None:
    """Diagram 6 without its month's end."""
    car = await world.car()
    assert (await world.call(CATALOG, "PUT", "/v1/services/connected", CONNECTED))[0] == 200
    body = {
        "customer": await world.customer(), "vin": car.vin, "service": "connected",
        "payment_method": "card-good",
    }  # fmt: skip
    _, begun = await world.call(FLEET, "POST", "/v1/subscriptions", body)
    path = f"/v1/subscriptions/{begun['id']}"
    await world.until(CATALOG, path, state="active")
    assert car.on == {"connected"}

    await world.call(CATALOG, "DELETE", path)
    await world.until(CATALOG, path, state="cancelled")
    while car.on:
        await asyncio.sleep(0.05)


async def the_day_is_reconciled(world: World, file: Path) -> None:
    """Diagram 10, when everybody else is done: pages with fees, and a fee of no payment's.

    The same report as a file says the same lines, and each counts once.

    Ids that were good enough to charge under were refused in the report: their slashes and signs
    were no identifier there, and every line of such a gateway was put aside.
    """
    world.gateway.takes_its_monthly_fee()
    today = world.gateway.lines[-1]["value_date"]
    lines = [line for line in world.gateway.lines if line["value_date"] == today]

    body = {"day": today, "mode": "incremental"}
    status, run = await world.call("operations", "POST", "/v1/reconciliation/runs", body)

    assert status == CREATED, run
    report = f"/v1/reconciliation/days/{today}/report"
    _, reported = await world.call("operations", "GET", report)
    assert (reported["matched_lines"], reported["differing_lines"]) == (len(lines), 0), reported
    (pages,) = reported["reports"]
    assert pages["gross_stored"] == sum(line["gross"] for line in lines)
    assert pages["net_stored"] == sum(line["net"] for line in lines)

    url = f"{world.gateway.url}/settlements?date={today}"
    key = {"Authorization": f"Bearer {world.gateway.api_key}", "Accept": "text/csv"}
    async with world.http.get(url, headers=key) as answer:
        file.write_bytes(await answer.read())
    ended = await world.command("reconcile", "--date", today, "--file", str(file), "--json")
    again = json.loads(ended.out)
    assert (again["run"]["lines"], again["day"]["verdict"]) == (0, "closed"), ended.stated


async def reserved(world: World, vin: str) -> str:
    """Reserve a vehicle and return its order."""
    body = {
        "customer": await world.customer(), "vin": vin, "dealership": "Madrid Norte",
        "deposit": {"amount": 50_000, "currency": "EUR"}, "payment_method": "card-good",
    }  # fmt: skip
    status, ordered = await world.call(ORDERS, "POST", "/v1/orders", body)
    assert status == CREATED, ordered
    return str(ordered["id"])


STORIES: Final[tuple[Callable[[World], Awaitable[None]], ...]] = (
    a_service_is_charged_on_the_cars_word_and_settled,
    a_decline_is_the_gateways_word,
    a_car_that_refuses_is_not_charged_for,
    a_hosted_page_is_paid_on,
    money_is_given_back,
    money_is_given_back_and_nobody_says_so,
    a_dispute_is_lost,
    a_vehicle_is_reserved_paid_registered_and_delivered,
    a_declined_final_payment_loses_the_reservation,
    a_factory_refuses_in_its_own_words,
    a_factory_that_hung_up_is_asked_again,
    a_subscription_is_switched_on_and_off_again,
)

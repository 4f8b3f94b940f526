"""A purchase that expects a price is made at that price, or not at all (decision 251)."""

from typing import Any

import pytest

from tests.api.conftest import Doors
from tests.api.test_buying_for_a_vehicle import owner_of
from tests.api.test_returns import bought
from tests.installation import VIN


async def put(doors: Doors, code: str, **terms: Any) -> None:
    """Put a service into the catalogue."""
    await doors.installation.platform.service_catalog.put_service(
        code=code, name="Connected", currency="EUR", **terms
    )


async def count(doors: Doors, table: str) -> int:
    """Return the number of rows of a table."""
    return len(await doors.installation.database.fetch(f"select id from {table}"))


METERED = [{"unit": "kWh", "unit_price": 12}]
SHOWN = {"amount": 999, "currency": "EUR"}


@pytest.mark.parametrize(
    ("fee", "metered", "expected", "status"),
    [
        (4999, METERED, {"expected_monthly_fee": SHOWN}, 409),
        (999, METERED, {"expected_monthly_fee": {"amount": 999, "currency": "USD"}}, 409),
        (999, [{"unit": "kWh", "unit_price": 99}],
         {"expected_monthly_fee": SHOWN, "expected_metered": METERED}, 409),
        (999, METERED, {"expected_monthly_fee": SHOWN, "expected_metered": METERED}, 201),
        (999, METERED, {"expected_monthly_fee": SHOWN}, 201),
        (4999, METERED, {}, 201),
    ],
)  # fmt: skip
async def test_a_subscription_is_never_recorded_with_another_fee_than_the_expected_one(
    doors: Doors, fee: int, metered: list[dict[str, Any]], expected: dict[str, Any], status: int
) -> None:
    owner = await owner_of(doors, await bought(doors))
    await put(doors, "connected", kind="subscription", monthly_fee=fee, metered=metered)

    answer = await doors.post(
        "/v1/subscriptions",
        {"customer": str(owner), "vin": VIN, "service": "connected", "payment_method": "pm_ok",
         **expected},
        caller="services",
    )  # fmt: skip

    made = await count(doors, "subscriptions")
    assert answer.status in ({201, 202} if status == 201 else {status})
    if status == 409:
        assert answer.json["code"] == "price_changed"
        assert answer.json["price"] == {"amount": fee, "currency": "EUR", "metered": metered}
    assert made == (0 if status == 409 else 1)


@pytest.mark.parametrize("fee", [0, 999])
@pytest.mark.parametrize("expected", [[], METERED, [{"unit": "kWh", "unit_price": 1}]])
async def test_expected_unit_prices_are_never_ignored(
    doors: Doors, fee: int, expected: list[dict[str, Any]]
) -> None:
    """Without their fee they have no currency: nothing can be compared with them."""
    owner = await owner_of(doors, await bought(doors))
    await put(doors, "connected", kind="subscription", monthly_fee=fee, metered=METERED)
    body = {"customer": str(owner), "vin": VIN, "service": "connected", "payment_method": "pm_ok",
            "expected_metered": expected}  # fmt: skip

    refused = await doors.post("/v1/subscriptions", body, caller="services")
    made = await count(doors, "subscriptions")
    whole = {**body, "expected_monthly_fee": {"amount": fee, "currency": "EUR"}}
    answer = await doors.post("/v1/subscriptions", whole, caller="services")

    assert (refused.status, made) == (422, 0)
    assert "expected_monthly_fee" in refused.json["detail"]
    assert answer.status in ({201, 202} if expected == METERED else {409})


async def test_a_service_is_not_bought_at_another_price_than_the_expected_one(
    doors: Doors,
) -> None:
    owner = await owner_of(doors, await bought(doors))
    await put(doors, "connected", kind="one_time", prices=[{"duration_days": 30, "amount": 9999}])
    body = {"customer": str(owner), "vin": VIN, "service": "connected", "duration_days": 30,
            "payment_method": "pm_ok"}  # fmt: skip
    before = await count(doors, "payments")

    refused = await doors.post(
        "/v1/service-orders", {**body, "expected_amount": {"amount": 1299, "currency": "EUR"}},
        caller="services",
    )  # fmt: skip
    made = await count(doors, "payments") - before, await count(doors, "service_orders")
    accepted = await doors.post(
        "/v1/service-orders", {**body, "expected_amount": {"amount": 9999, "currency": "EUR"}},
        caller="services",
    )  # fmt: skip

    assert (refused.status, refused.json["code"]) == (409, "price_changed")
    assert refused.json["price"] == {"amount": 9999, "currency": "EUR"}
    assert made == (0, 0)
    assert accepted.status == 201


async def test_a_vehicle_is_not_ordered_at_another_price_than_the_expected_one(
    doors: Doors,
) -> None:
    sold = await bought(doors)
    order = (await doors.get(f"/v1/orders/{sold}")).json
    price = order["price"]
    await doors.call("PUT", "/v1/models/Bravo", json={"price": price}, caller="orders")
    body = {"customer": order["customer"], "dealership": order["dealership"], "model": "Bravo",
            "deposit": order["deposit"], "payment_method": "pm_ok"}  # fmt: skip
    other = {**price, "amount": price["amount"] - 1}

    refused = await doors.post("/v1/orders", {**body, "expected_price": other}, caller="orders")
    orders = await count(doors, "orders")
    accepted = await doors.post("/v1/orders", {**body, "expected_price": price}, caller="orders")

    assert (refused.status, refused.json["code"]) == (409, "price_changed")
    assert refused.json["price"] == price
    assert orders == 1
    assert accepted.status == 201

"""Metered use: written down once, whoever tells it how often (Diagram 6)."""

import asyncio
from datetime import datetime, timedelta

import pytest

from caas.billing_database.identifiers import new_id
from caas.billing_database.subscriptions import SubscriptionNotFoundError
from caas.service_catalog.usage import InvalidUsageError, UsageConflictError
from tests.subscription_house import VIN, SubscriptionHouse


async def now(house: SubscriptionHouse) -> datetime:
    return await house.billing._runs.now()


async def test_the_same_source_counts_once(house: SubscriptionHouse) -> None:
    subscription = await house.active()
    at = await now(house)

    answers = await asyncio.gather(
        *(
            house.usage.record_usage(subscription.id, quantity=5, at=at, source_id="meter-1")
            for _ in range(20)
        )
    )

    assert sum(answers) == 1
    (use,) = await house.usage.used(subscription.id)
    assert (use.quantity, use.unit) == (5, "kWh")


async def test_a_source_that_changes_its_mind_is_refused(house: SubscriptionHouse) -> None:
    subscription = await house.active()
    at = await now(house)
    await house.usage.record_usage(subscription.id, quantity=5, at=at, source_id="meter-1")

    with pytest.raises(UsageConflictError):
        await house.usage.record_usage(subscription.id, quantity=6, at=at, source_id="meter-1")

    (use,) = await house.usage.used(subscription.id)
    assert use.quantity == 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"quantity": 0},
        {"quantity": -1},
        {"quantity": 10**12 + 1},
        {"unit": "miles"},
        {"source_id": " "},
        {"source_id": "card 4111 1111 1111 1111"},
        {"at": datetime(2030, 1, 1)},  # noqa: DTZ001 - without its time zone
    ],
)
async def test_use_that_is_not_described_as_metered_is_refused(
    house: SubscriptionHouse, wrong: dict[str, object]
) -> None:
    subscription = await house.active()
    told = {"quantity": 1, "at": await now(house), "source_id": "m", **wrong}

    with pytest.raises(InvalidUsageError):
        await house.usage.record_usage(subscription.id, **told)  # type: ignore[arg-type]

    assert await house.usage.used(subscription.id) == []


async def test_nothing_is_used_in_the_future(house: SubscriptionHouse) -> None:
    subscription = await house.active()
    tomorrow = await now(house) + timedelta(days=1)

    with pytest.raises(InvalidUsageError, match="future"):
        await house.usage.record_usage(subscription.id, quantity=1, at=tomorrow, source_id="m")


async def test_a_service_with_two_units_needs_the_unit_said(house: SubscriptionHouse) -> None:
    await house.offer(metered=[{"unit": "kWh", "unit_price": 12}, {"unit": "km", "unit_price": 1}])
    subscription = await house.active()
    at = await now(house)

    with pytest.raises(InvalidUsageError, match="kWh, km"):
        await house.usage.record_usage(subscription.id, quantity=1, at=at, source_id="m")
    await house.usage.record_usage(subscription.id, quantity=1, at=at, source_id="m", unit="km")

    assert [use.unit for use in await house.usage.used(subscription.id)] == ["km"]


async def test_nothing_is_used_of_what_was_never_active(house: SubscriptionHouse) -> None:
    refused = await house.subscribes("pm_declined", VIN)
    at = await now(house)

    with pytest.raises(InvalidUsageError):
        await house.usage.record_usage(refused.id, quantity=1, at=at, source_id="m")
    with pytest.raises(SubscriptionNotFoundError):
        await house.usage.record_usage(new_id(), quantity=1, at=at, source_id="m")


async def test_what_was_billed_is_never_billed_again(house: SubscriptionHouse) -> None:
    subscription = await house.active()
    await house.usage.record_usage(
        subscription.id, quantity=10, at=await now(house), source_id="first"
    )
    first = await house.billed(subscription)
    await house.charged(first)

    second = await house.billed(subscription)

    assert [line["kind"] for line in first.lines] == ["fixed fee", "metered usage"]
    assert [line["kind"] for line in second.lines] == ["fixed fee"]

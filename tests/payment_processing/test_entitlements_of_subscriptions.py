"""Subscriptions and purchases of one service in one vehicle, one after the other and undone."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from caas.billing_database.connection import Database
from caas.billing_database.entitlements import AlreadyRunningError, PurchasePendingError
from caas.billing_database.subscriptions import Subscription
from caas.rules.subscription_states import SubscriptionState
from caas.service_catalog.subscriptions import AlreadySubscribedError
from caas.service_catalog.usage import NotCounted
from caas_simulators.vehicle_car import Behaviour
from tests.installation import VIN, Installation
from tests.payment_processing.test_entitlements import DAY, SEATS, Owner, days_left
from tests.subscription_installation import set_clock

FOR_EVER = None


async def sold_once(installation: Installation) -> None:
    await installation.platform.service_catalog.put_service(
        code=SEATS, name="Heated seats", kind="one_time", currency="EUR",
        prices=[{"duration_days": 30, "amount": 1299}, {"duration_days": 365, "amount": 9900}],
    )  # fmt: skip


async def sold_monthly(installation: Installation) -> None:
    await installation.platform.service_catalog.put_service(
        code=SEATS, name="Heated seats", kind="subscription", currency="EUR", monthly_fee=2990
    )


@pytest.fixture
async def owner(installation: Installation) -> Owner:
    await sold_once(installation)
    return Owner(installation, await installation.customer())


async def subscribes(owner: Owner) -> Subscription:
    subscription = await owner.installation.platform.payment_processing.subscribe(
        customer=owner.customer, vin=VIN, service=SEATS, payment_method="pm_ok", by_fleet=True
    )
    return await stands(owner, subscription.id, SubscriptionState.ACTIVE)


async def stands(owner: Owner, subscription: UUID, state: SubscriptionState) -> Subscription:
    async with asyncio.timeout(120):
        while True:
            await owner.installation.rest()
            found = await owner.installation.platform.subscriptions.subscription(subscription)
            if found.state is state:
                return found
            await asyncio.sleep(0.01)


def is_on(owner: Owner) -> bool:
    service = owner.installation.fleet.cars[VIN].services.get(SEATS)
    return service is not None and service.active


def is_on_without_end(owner: Owner) -> bool:
    return is_on(owner) and owner.installation.fleet.cars[VIN].services[SEATS].valid_until is None


async def test_a_subscription_follows_a_paid_term_and_is_billed_from_its_end(owner: Owner) -> None:
    await owner.buys(30)
    await sold_monthly(owner.installation)

    await subscribes(owner)

    paid, subscribed = await owner.terms()
    assert (paid.ends_at, subscribed.ends_at) == (subscribed.starts_at, FOR_EVER)
    assert is_on_without_end(owner)


async def test_a_subscription_that_ends_leaves_the_paid_term_before_it_on(owner: Owner) -> None:
    await owner.buys(30)
    await sold_monthly(owner.installation)
    subscription = await subscribes(owner)

    await owner.installation.platform.subscriptions.end_subscription(subscription.id)

    assert days_left(await owner.agree()) == 30


async def test_withdrawing_the_paid_term_begins_the_subscription_at_once(owner: Owner) -> None:
    payment = await owner.settled(30)
    await sold_monthly(owner.installation)
    subscription = await subscribes(owner)

    await owner.withdraws(payment)
    await owner.installation.rest()

    _, subscribed = await owner.terms()
    assert subscribed.subscription == subscription.id
    assert subscribed.starts_at is not None
    assert subscribed.starts_at <= datetime.now(UTC) + timedelta(minutes=1)
    assert is_on_without_end(owner)


async def test_while_a_subscription_runs_the_service_is_not_sold_once(owner: Owner) -> None:
    await sold_monthly(owner.installation)
    subscription = await subscribes(owner)
    await sold_once(owner.installation)

    with pytest.raises(AlreadyRunningError) as refused:
        await owner.orders(30)

    assert refused.value.facts["subscription"] == str(subscription.id)
    assert is_on_without_end(owner)


async def test_while_a_purchase_is_pending_nobody_subscribes(owner: Owner) -> None:
    order = await owner.orders(30)
    await sold_monthly(owner.installation)

    with pytest.raises(PurchasePendingError) as refused:
        await subscribes(owner)

    assert refused.value.facts["service_order"] == str(order)


async def test_cancelled_and_subscribed_again_on_one_day_the_service_stays_on(owner: Owner) -> None:
    await sold_monthly(owner.installation)
    first = await subscribes(owner)
    await owner.installation.platform.subscriptions.end_subscription(first.id)

    second = await subscribes(owner)

    assert second.id != first.id
    assert is_on_without_end(owner)
    ended, running = await owner.terms()
    assert (ended.state, running.state) == ("ended", "granted")


async def test_a_second_subscription_of_what_is_subscribed_is_refused(owner: Owner) -> None:
    await sold_monthly(owner.installation)
    await subscribes(owner)

    with pytest.raises(AlreadySubscribedError):
        await subscribes(owner)


async def test_a_subscription_that_a_sleeping_car_never_takes_leaves_the_paid_term(
    owner: Owner,
) -> None:
    await owner.buys(30)
    await sold_monthly(owner.installation)
    owner.car_does(Behaviour.ASLEEP)
    subscription = await owner.installation.platform.payment_processing.subscribe(
        customer=owner.customer, vin=VIN, service=SEATS, payment_method="pm_ok", by_fleet=True
    )
    await stands(owner, subscription.id, SubscriptionState.NOT_ACTIVATED)

    owner.wakes()

    assert days_left(await owner.agree()) == 30


async def test_a_term_that_is_over_leaves_the_service_off_and_may_be_bought_again(
    owner: Owner, database: Database
) -> None:
    first = await owner.buys(30)
    await set_clock(database, datetime.now(UTC) + 31 * DAY)
    order = await owner.installation.platform.service_catalog.service_order(first.subject)

    await owner.buys(30)

    assert order.state == "expired"
    one, other = await owner.terms()
    assert one.ends_at is not None
    assert other.starts_at is not None
    assert other.starts_at > one.ends_at


async def test_use_while_a_paid_term_runs_is_not_counted_for_the_subscription_behind_it(
    owner: Owner,
) -> None:
    """It was answered as counted, and no invoice ever billed it."""
    await owner.buys(30)
    await owner.installation.platform.service_catalog.put_service(
        code=SEATS, name="Heated seats", kind="subscription", currency="EUR", monthly_fee=2990,
        metered=[{"unit": "kWh", "unit_price": 12}],
    )  # fmt: skip
    subscription = await subscribes(owner)

    reported = await owner.installation.platform.usage.record_usage(
        subscription.id, quantity=5, at=datetime.now(UTC), source_id="meter-1", unit="kWh"
    )

    assert reported is NotCounted.BEFORE_TERM

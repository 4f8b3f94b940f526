"""Subscribing and ending: Diagram 6's upper half, and what it does not draw."""

import asyncio

import pytest

from caas.billing_database.identifiers import new_id
from caas.billing_database.subscriptions import SubscriptionNotFoundError
from caas.rules.payment_states import PaymentState
from caas.rules.subscription_states import SubscriptionState
from caas.service_catalog import NotSoldLikeThisError, ServiceNotFoundError
from caas.service_catalog.subscriptions import AlreadySubscribedError, InvalidPaymentMethodError
from caas_simulators.vehicle_car import Behaviour, Manner
from tests.subscription_house import FEE, SERVICE, VIN, SubscriptionHouse


async def test_a_subscription_is_active_when_the_vehicle_has_said_so(
    house: SubscriptionHouse,
) -> None:
    subscription = await house.active()
    letter = await house.until_told("Subscription active")

    assert subscription.state is SubscriptionState.ACTIVE
    assert (subscription.monthly_fee, subscription.currency) == (FEE, "EUR")
    assert house.fleet.cars[VIN].services[SERVICE].active
    assert "€29.90 tax included" in letter.text


async def test_nothing_is_charged_for_subscribing(house: SubscriptionHouse) -> None:
    subscription = await house.active()

    (verification,) = await house.books.payments.listed(subject=subscription.id)
    ended = await house.until_paid(verification.id, lambda p: p.state is PaymentState.VOIDED)
    assert (ended.captured_amount, ended.settled_amount) == (0, 0)


async def test_a_refused_payment_method_activates_nothing(house: SubscriptionHouse) -> None:
    subscription = await house.subscribes("pm_insufficient_funds")
    await house.rest()

    assert subscription.state is SubscriptionState.REFUSED
    assert await house.books.commands.last_of(subscription.id, "activate") is None
    assert not house.fleet.cars[VIN].services
    assert house.letterbox.subjects == ["Subscription not activated"]


async def test_nothing_is_activated_while_the_payment_method_is_unknown(
    house: SubscriptionHouse,
) -> None:
    await house.from_now_on(status=500)

    subscription = await house.subscribes()

    assert subscription.state is SubscriptionState.VERIFYING
    assert not house.fleet.cars[VIN].services
    await house.faults_end()
    await house.until(subscription.id, lambda s: s.state is SubscriptionState.ACTIVE)


async def test_a_customer_who_must_confirm_is_active_afterwards(house: SubscriptionHouse) -> None:
    subscription = await house.subscribes("pm_3ds")

    (verification,) = await house.books.payments.listed(subject=subscription.id)
    assert subscription.state is SubscriptionState.VERIFYING
    assert verification.hosted_page_url is not None


@pytest.mark.parametrize("method", ["", "  ", "4111 1111 1111 1111"])
async def test_a_subscription_needs_a_token_and_no_card_number(
    house: SubscriptionHouse, method: str
) -> None:
    with pytest.raises(InvalidPaymentMethodError):
        await house.subscribes(method)

    assert await house.subscriptions.subscriptions() == []


async def test_a_vehicle_has_one_live_subscription_to_a_service(house: SubscriptionHouse) -> None:
    answers = await asyncio.gather(*(house.subscribes() for _ in range(4)), return_exceptions=True)

    assert sum(isinstance(answer, AlreadySubscribedError) for answer in answers) == 3
    assert len(await house.subscriptions.subscriptions(vin=VIN)) == 1


async def test_only_subscriptions_on_offer_are_sold(house: SubscriptionHouse) -> None:
    await house.offer(code="gone", offered=False)
    customer = await house.customer()

    for service, error in (("gone", NotSoldLikeThisError), ("none", ServiceNotFoundError)):
        with pytest.raises(error):
            await house.subscriptions.subscribe(
                customer=customer, vin=VIN, service=service, payment_method="pm_ok", by_fleet=True
            )


async def test_a_later_price_does_not_change_a_subscription(house: SubscriptionHouse) -> None:
    subscription = await house.active()

    await house.offer(monthly_fee=9990)

    assert (await house.subscriptions.subscription(subscription.id)).monthly_fee == FEE


async def test_a_vehicle_that_refuses_leaves_no_subscription_and_no_charge(
    house: SubscriptionHouse,
) -> None:
    house.fleet.add(VIN, Manner(Behaviour.REFUSES))

    subscription = await house.subscribes()
    await house.until(subscription.id, lambda s: s.state is SubscriptionState.NOT_ACTIVATED)
    await house.until_told("Subscription not activated")

    assert (await house.subscriptions.subscription(subscription.id)).activated_at is None


async def test_a_vehicle_that_wakes_too_late_is_switched_off_again(
    house: SubscriptionHouse,
) -> None:
    house.fleet.add(VIN, Manner(Behaviour.ASLEEP))
    subscription = await house.subscribes()
    await house.until(subscription.id, lambda s: s.state is SubscriptionState.NOT_ACTIVATED)

    house.fleet.wake(house.fleet.cars[VIN], Manner(Behaviour.OBEYS))
    async with asyncio.timeout(10):
        while await house.books.work.seconds_to_next(["activate", "deactivate"]) is not None:
            await house.open_work.run_due()
            await asyncio.sleep(0.01)

    assert not house.fleet.cars[VIN].services[SERVICE].active
    after = await house.subscriptions.subscription(subscription.id)
    assert (after.state, after.activated_at) == (SubscriptionState.NOT_ACTIVATED, None)


async def test_ending_switches_the_service_off(house: SubscriptionHouse) -> None:
    subscription = await house.active()

    ended = await house.subscriptions.end_subscription(subscription.id)
    off = await house.until(subscription.id, lambda s: s.deactivated_at is not None)
    await house.until_told("Subscription ended")

    assert (ended.state, ended.cancelled_because) == (SubscriptionState.CANCELLED, "customer")
    assert not house.fleet.cars[VIN].services[SERVICE].active
    assert off.deactivated_at is not None
    assert off.cancelled_at is not None
    assert off.deactivated_at > off.cancelled_at


async def test_ending_again_changes_nothing(house: SubscriptionHouse) -> None:
    subscription = await house.active()

    first, *others = await asyncio.gather(
        *(house.subscriptions.end_subscription(subscription.id) for _ in range(5))
    )

    assert {other.cancelled_at for other in others} == {first.cancelled_at}
    events = [event["event"] for event in await house.subscriptions.events(subscription.id)]
    assert events.count("Customer ends subscription") == 1


async def test_ending_before_the_payment_method_is_known_never_activates(
    house: SubscriptionHouse,
) -> None:
    await house.from_now_on(status=500)
    subscription = await house.subscribes()

    await house.subscriptions.end_subscription(subscription.id)
    await house.faults_end()
    (verification,) = await house.books.payments.listed(subject=subscription.id)
    await house.until_paid(verification.id, lambda p: p.state is PaymentState.VOIDED)

    assert await house.books.commands.last_of(subscription.id, "activate") is None
    assert not house.fleet.cars[VIN].services


async def test_a_service_that_ended_may_be_subscribed_to_again(house: SubscriptionHouse) -> None:
    first = await house.active()
    await house.subscriptions.end_subscription(first.id)

    second = await house.active()

    assert second.id != first.id


async def test_a_vehicle_that_keeps_an_ended_service_is_a_case(house: SubscriptionHouse) -> None:
    subscription = await house.active()
    house.fleet.add(VIN, Manner(Behaviour.REFUSES))

    await house.subscriptions.end_subscription(subscription.id)
    case = await house.until_case(subscription.id)

    assert case.kind == "goodwill_delivery"
    assert await house.books.cases.listed(subject=subscription.id) == [case]


async def test_a_subscription_that_nobody_made_is_said_so(house: SubscriptionHouse) -> None:
    with pytest.raises(SubscriptionNotFoundError):
        await house.subscriptions.end_subscription(new_id())

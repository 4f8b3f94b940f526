"""Subscribing and ending: Diagram 6's upper half, and what it does not draw."""

import asyncio

import pytest

from caas.billing_database.identifiers import new_id
from caas.billing_database.subscriptions import SubscriptionNotFoundError
from caas.billing_database.tables import BillingDatabase
from caas.payment_processing import PaymentRequest, subscription_payment
from caas.payment_processing.initiation import described
from caas.rules.payment_states import PaymentState
from caas.rules.subscription_states import SubscriptionState
from caas.service_catalog import NotSoldLikeThisError, ServiceNotFoundError
from caas.service_catalog.subscriptions import AlreadySubscribedError, InvalidPaymentMethodError
from caas_simulators.vehicle_car import Behaviour, Manner
from tests.databases import jobs_left
from tests.subscription_installation import FEE, SERVICE, VIN, SubscriptionInstallation


async def test_a_subscription_is_active_when_the_vehicle_has_said_so(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await installation.active()
    letter = await installation.until_told("Subscription active")

    assert subscription.state is SubscriptionState.ACTIVE
    assert (subscription.monthly_fee, subscription.currency) == (FEE, "EUR")
    assert installation.fleet.cars[VIN].services[SERVICE].active
    assert "€29.90 tax included" in letter.text


async def test_nothing_is_charged_for_subscribing(installation: SubscriptionInstallation) -> None:
    subscription = await installation.active()

    (verification,) = await installation.tables.payments.listed(subject=subscription.id)
    ended = await installation.until_paid(verification.id, lambda p: p.state is PaymentState.VOIDED)
    assert (ended.captured_amount, ended.settled_amount) == (0, 0)


@pytest.mark.parametrize("ended", [False, True], ids=["verified meanwhile", "ended meanwhile"])
async def test_a_verification_that_comes_too_late_holds_nothing(
    installation: SubscriptionInstallation, monkeypatch: pytest.MonkeyPatch, *, ended: bool
) -> None:
    new = await installation.subscriptions.subscribe(
        customer=await installation.customer(), vin=VIN, service=SERVICE,
        payment_method="pm_ok", gateway="contract", by_fleet=True,
    )  # fmt: skip

    async def overtaken(
        tables: BillingDatabase, request: PaymentRequest, kind: str
    ) -> PaymentRequest:
        monkeypatch.undo()
        if ended:
            await installation.subscriptions.end_subscription(new.id)
        else:
            await installation.payment.verify_payment_method(new.id)
            await installation.until(new.id, lambda s: s.state is SubscriptionState.ACTIVE)
        return await described(tables, request, kind)

    monkeypatch.setattr(subscription_payment, "described", overtaken)
    await installation.payment.verify_payment_method(new.id)

    payments = await installation.tables.payments.listed(subject=new.id)
    assert len(payments) == (0 if ended else 1)


async def test_a_refused_payment_method_activates_nothing(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await installation.subscribes("pm_insufficient_funds")
    await installation.rest()

    assert subscription.state is SubscriptionState.REFUSED
    assert await installation.tables.commands.last_of(subscription.id, "activate") is None
    assert not installation.fleet.cars[VIN].services
    assert installation.letterbox.subjects == ["Subscription not activated"]


async def test_nothing_is_activated_while_the_payment_method_is_unknown(
    installation: SubscriptionInstallation,
) -> None:
    await installation.from_now_on(status=500)

    subscription = await installation.subscribes()

    assert subscription.state is SubscriptionState.VERIFYING
    assert not installation.fleet.cars[VIN].services
    await installation.faults_end()
    await installation.until(subscription.id, lambda s: s.state is SubscriptionState.ACTIVE)


async def test_a_customer_who_must_confirm_is_active_afterwards(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await installation.subscribes("pm_3ds")

    (verification,) = await installation.tables.payments.listed(subject=subscription.id)
    assert subscription.state is SubscriptionState.VERIFYING
    assert verification.hosted_page_url is not None


@pytest.mark.parametrize("method", ["", "  ", "4111 1111 1111 1111"])
async def test_a_subscription_needs_a_token_and_no_card_number(
    installation: SubscriptionInstallation, method: str
) -> None:
    with pytest.raises(InvalidPaymentMethodError):
        await installation.subscribes(method)

    assert await installation.subscriptions.subscriptions() == []


async def test_a_vehicle_has_one_live_subscription_to_a_service(
    installation: SubscriptionInstallation,
) -> None:
    answers = await asyncio.gather(
        *(installation.subscribes() for _ in range(4)), return_exceptions=True
    )

    assert sum(isinstance(answer, AlreadySubscribedError) for answer in answers) == 3
    assert len(await installation.subscriptions.subscriptions(vin=VIN)) == 1


async def test_only_subscriptions_on_offer_are_sold(installation: SubscriptionInstallation) -> None:
    await installation.offer(code="gone", offered=False)
    customer = await installation.customer()

    for service, error in (("gone", NotSoldLikeThisError), ("none", ServiceNotFoundError)):
        with pytest.raises(error):
            await installation.platform.payment_processing.subscribe(
                customer=customer, vin=VIN, service=service, payment_method="pm_ok", by_fleet=True
            )


async def test_a_later_price_does_not_change_a_subscription(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await installation.active()

    await installation.offer(monthly_fee=9990)

    assert (await installation.subscriptions.subscription(subscription.id)).monthly_fee == FEE


async def test_a_vehicle_that_refuses_leaves_no_subscription_and_no_charge(
    installation: SubscriptionInstallation,
) -> None:
    installation.fleet.add(VIN, Manner(Behaviour.REFUSES))

    subscription = await installation.subscribes()
    await installation.until(subscription.id, lambda s: s.state is SubscriptionState.NOT_ACTIVATED)
    await installation.until_told("Subscription not activated")

    assert (await installation.subscriptions.subscription(subscription.id)).activated_at is None


async def test_a_vehicle_that_wakes_too_late_is_switched_off_again(
    installation: SubscriptionInstallation,
) -> None:
    installation.fleet.add(VIN, Manner(Behaviour.ASLEEP))
    subscription = await installation.subscribes()
    await installation.until(subscription.id, lambda s: s.state is SubscriptionState.NOT_ACTIVATED)

    installation.fleet.wake(installation.fleet.cars[VIN], Manner(Behaviour.OBEYS))
    async with asyncio.timeout(120):
        while await jobs_left(installation.database, "activate", "deactivate"):
            await installation.jobs.run_due()
            await asyncio.sleep(0.01)

    assert not installation.fleet.cars[VIN].services[SERVICE].active
    after = await installation.subscriptions.subscription(subscription.id)
    assert (after.state, after.activated_at) == (SubscriptionState.NOT_ACTIVATED, None)


async def test_ending_switches_the_service_off(installation: SubscriptionInstallation) -> None:
    subscription = await installation.active()

    ended = await installation.subscriptions.end_subscription(subscription.id)
    off = await installation.until(subscription.id, lambda s: s.deactivated_at is not None)
    await installation.until_told("Subscription ended")

    assert (ended.state, ended.cancelled_because) == (SubscriptionState.CANCELLED, "customer")
    assert not installation.fleet.cars[VIN].services[SERVICE].active
    assert off.deactivated_at is not None
    assert off.cancelled_at is not None
    assert off.deactivated_at > off.cancelled_at


async def test_ending_again_changes_nothing(installation: SubscriptionInstallation) -> None:
    subscription = await installation.active()

    first, *others = await asyncio.gather(
        *(installation.subscriptions.end_subscription(subscription.id) for _ in range(5))
    )

    assert {other.cancelled_at for other in others} == {first.cancelled_at}
    events = [event["event"] for event in await installation.subscriptions.events(subscription.id)]
    assert events.count("Customer ends subscription") == 1


async def test_ending_before_the_payment_method_is_known_never_activates(
    installation: SubscriptionInstallation,
) -> None:
    await installation.from_now_on(status=500)
    subscription = await installation.subscribes()

    await installation.subscriptions.end_subscription(subscription.id)
    await installation.faults_end()
    (verification,) = await installation.tables.payments.listed(subject=subscription.id)
    over = {PaymentState.FAILED, PaymentState.VOIDED}
    await installation.until_paid(verification.id, lambda p: p.state in over)

    assert await installation.tables.commands.last_of(subscription.id, "activate") is None
    assert not installation.fleet.cars[VIN].services


async def test_a_service_that_ended_may_be_subscribed_to_again(
    installation: SubscriptionInstallation,
) -> None:
    first = await installation.active()
    await installation.subscriptions.end_subscription(first.id)

    second = await installation.active()

    assert second.id != first.id


async def test_a_vehicle_that_keeps_an_ended_service_is_a_case(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await installation.active()
    installation.fleet.add(VIN, Manner(Behaviour.REFUSES))

    await installation.subscriptions.end_subscription(subscription.id)
    case = await installation.until_case(subscription.id)

    assert case.kind == "goodwill_delivery"
    assert await installation.tables.cases.listed(subject=subscription.id) == [case]


async def test_a_subscription_that_nobody_made_is_said_so(
    installation: SubscriptionInstallation,
) -> None:
    with pytest.raises(SubscriptionNotFoundError):
        await installation.subscriptions.end_subscription(new_id())

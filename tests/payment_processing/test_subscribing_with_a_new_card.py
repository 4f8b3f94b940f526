"""A customer without a payment method subscribes: the card is typed at the gateway (decision 242).

Only a customer who had paid before could subscribe, and only with what was used then.
"""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import aiohttp
import asyncpg
import pytest

from caas.billing_database.connection import Database
from caas.billing_database.payments import Payment
from caas.billing_database.subscriptions import Subscription
from caas.rules.payment_states import PaymentState
from caas.rules.subscription_states import SubscriptionState
from caas.service_catalog.subscriptions import AlreadySubscribedError
from tests.subscription_installation import (
    SERVICE,
    VIN,
    SubscriptionInstallation,
    standing,
)

CARD = {"number": "4242 4242 4242 4242", "expiry": "12/39", "cvc": "123"}
DECLINED = {**CARD, "number": "4000 0000 0000 0002"}
OVER = frozenset({PaymentState.VOIDED, PaymentState.FAILED})


@pytest.fixture
async def installation(database: Database) -> AsyncIterator[SubscriptionInstallation]:
    """An installation with a car and a subscription on offer."""
    async with standing(database) as built:
        await built.car()
        await built.offer()
        yield built


async def asks(installation: SubscriptionInstallation, customer: UUID) -> Subscription:
    """Subscribe with a card that is not known yet."""
    return await installation.platform.payment_processing.subscribe(
        customer=customer, vin=VIN, service=SERVICE, payment_method=None, by_fleet=True
    )


async def page_of(installation: SubscriptionInstallation, subject: UUID) -> Payment:
    """Return the payment that waits on the gateway's page for a subscription."""
    (payment,) = await installation.tables.payments.listed(subject=subject)
    return await installation.until_paid(payment.id, lambda p: p.hosted_page_url is not None)


async def on_the_page(payment: Payment, **form: str) -> int:
    """Send the form of the gateway's page; return its status."""
    assert payment.hosted_page_url is not None
    async with (
        aiohttp.ClientSession() as session,
        session.post(payment.hosted_page_url, data=form, allow_redirects=False) as answer,
    ):
        return answer.status


async def test_a_subscription_waits_for_the_gateways_page_and_is_active_after_it(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await asks(installation, await installation.customer())
    payment = await page_of(installation, subscription.id)
    await installation.rest()
    before = await installation.subscriptions.subscription(subscription.id)
    switched_on = SERVICE in installation.fleet.cars[VIN].services

    await on_the_page(payment, action="pay", **CARD)
    active = await installation.until(subscription.id, lambda s: s.activated_at is not None)
    let_go = await installation.until_paid(payment.id, lambda p: p.state in OVER)
    charged = await installation.charged(await installation.billed(subscription))

    assert (before.state, before.payment_method) == (SubscriptionState.VERIFYING, None)
    assert not switched_on
    assert (active.state, active.payment_method) == (SubscriptionState.ACTIVE, "pm_ok")
    assert (let_go.state, let_go.captured_amount) == (PaymentState.VOIDED, 0)
    assert charged.payment_method == "pm_ok"
    assert (await installation.invoice_of(subscription)).state == "paid"


@pytest.mark.parametrize("how", [{"action": "leave"}, {"action": "pay", **DECLINED}])
async def test_a_page_that_was_left_or_declined_leaves_nothing_to_charge(
    installation: SubscriptionInstallation, how: dict[str, str]
) -> None:
    customer = await installation.customer()
    subscription = await asks(installation, customer)
    payment = await page_of(installation, subscription.id)

    await on_the_page(payment, **how)
    if how["action"] == "pay":
        await on_the_page(payment, action="leave")
    refused = await installation.until(
        subscription.id, lambda s: s.state is SubscriptionState.REFUSED
    )
    await installation.month_ends()
    again = await asks(installation, customer)

    assert (refused.payment_method, refused.activated_at) == (None, None)
    assert SERVICE not in installation.fleet.cars[VIN].services
    assert await installation.invoices.listed(subject=subscription.id) == []
    assert again.id != subscription.id


async def test_a_page_that_is_still_open_is_the_one_subscription(
    installation: SubscriptionInstallation,
) -> None:
    customer = await installation.customer()

    both = await asyncio.gather(
        asks(installation, customer), asks(installation, customer), return_exceptions=True
    )

    (subscription,) = [one for one in both if isinstance(one, Subscription)]
    (refused,) = [one for one in both if not isinstance(one, Subscription)]
    assert isinstance(refused, AlreadySubscribedError)
    assert len(await installation.subscriptions.subscriptions()) == 1
    payment = await page_of(installation, subscription.id)
    await on_the_page(payment, action="leave")
    await installation.until(subscription.id, lambda s: s.state is SubscriptionState.REFUSED)


async def test_the_return_and_the_webhook_in_any_number_make_one_activation(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await asks(installation, await installation.customer())
    payment = await page_of(installation, subscription.id)
    back = installation.platform.payment_processing.customer_returned

    await asyncio.gather(
        on_the_page(payment, action="pay", **CARD), back(payment.id), back(payment.id)
    )
    await installation.until(subscription.id, lambda s: s.activated_at is not None)
    await back(payment.id)
    await installation.rest()

    events = [one["event"] for one in await installation.subscriptions.events(subscription.id)]
    assert events == ["Subscribe to Monthly Service", "Payment method verified", "Service Active"]
    assert len(await installation.tables.payments.listed(subject=subscription.id)) == 1


async def test_a_page_that_is_paid_after_the_subscription_was_ended_activates_nothing(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await asks(installation, await installation.customer())
    payment = await page_of(installation, subscription.id)
    await installation.subscriptions.end_subscription(subscription.id)

    await on_the_page(payment, action="pay", **CARD)
    let_go = await installation.until_paid(payment.id, lambda p: p.state in OVER)
    await installation.rest()

    after = await installation.subscriptions.subscription(subscription.id)
    assert let_go.captured_amount == 0
    assert (after.state, after.payment_method) == (SubscriptionState.CANCELLED, None)
    assert SERVICE not in installation.fleet.cars[VIN].services


async def test_a_hold_without_a_token_starts_nothing(
    installation: SubscriptionInstallation,
) -> None:
    """A gateway that saved no method would leave months that nobody can charge."""
    subscription = await asks(installation, await installation.customer())
    payment = await page_of(installation, subscription.id)

    async with installation.database.transaction() as connection:
        await installation.subscriptions.payment_method_verified(payment, None, within=connection)
    await installation.rest()
    await on_the_page(payment, action="pay", **CARD)
    let_go = await installation.until_paid(payment.id, lambda p: p.state in OVER)

    after = await installation.subscriptions.subscription(subscription.id)
    assert let_go.captured_amount == 0
    assert (after.state, after.payment_method) == (SubscriptionState.REFUSED, None)
    assert SERVICE not in installation.fleet.cars[VIN].services


async def test_the_database_activates_nothing_without_a_payment_method(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await asks(installation, await installation.customer())

    with pytest.raises(asyncpg.CheckViolationError, match="subscriptions_payment_method_needed"):
        await installation.database.fetch(
            "update subscriptions set state = 'activating', event = 'Payment method verified',"
            " version = version + 1 where id = $1",
            subscription.id,
        )
    with pytest.raises(asyncpg.CheckViolationError, match="its terms and what proved"):
        await installation.database.fetch(
            "update subscriptions set payment_method = 'pm_other' where id = $1", subscription.id
        )

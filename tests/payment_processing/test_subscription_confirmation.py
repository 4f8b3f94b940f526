"""A bank that asks the customer, and a customer who changes the payment method of a subscription.

A month's charge is made while nobody looks. When the bank wanted the customer's word, the charge
stayed Pending and nobody told them; when the gateway's page had run out, the subscription was
cancelled for it. And whoever had a new card could only end the subscription.
"""

import re
from collections.abc import AsyncIterator
from datetime import date
from uuid import UUID

import aiohttp
import pytest

from caas.billing_database.connection import Database
from caas.billing_database.invoices import Invoice
from caas.billing_database.payments import Payment
from caas.billing_database.subscriptions import Subscription
from caas.payment_processing.subscription_payment import VerificationOpenError
from caas.rules.payment_states import PaymentState
from caas.rules.subscription_states import SubscriptionState
from caas.service_catalog.subscriptions import (
    InvalidPaymentMethodError,
    SubscriptionEndedError,
)
from tests.subscription_installation import SubscriptionInstallation, standing

CARD = {"number": "4242 4242 4242 4242", "expiry": "12/39", "cvc": "123"}


@pytest.fixture
async def installation(database: Database) -> AsyncIterator[SubscriptionInstallation]:
    """An installation with a car and a subscription on offer."""
    async with standing(database) as built:
        await built.car()
        await built.offer()
        yield built


async def on_the_page(payment: Payment, **form: str) -> None:
    """Send the form of the gateway's page that a payment waits on."""
    assert payment.hosted_page_url is not None
    async with (
        aiohttp.ClientSession() as session,
        session.post(payment.hosted_page_url, data=form, allow_redirects=False) as answer,
    ):
        assert answer.status == 303, await answer.text()


async def newest(installation: SubscriptionInstallation, subject: UUID) -> Payment:
    """Return the newest payment for something."""
    return (await installation.tables.payments.listed(subject=subject))[0]


async def waits(installation: SubscriptionInstallation, payment_id: UUID) -> Payment:
    """Return a payment that waits for its customer on the gateway's page."""
    return await installation.until_paid(payment_id, lambda p: p.hosted_page_url is not None)


async def ended(installation: SubscriptionInstallation, payment: Payment) -> Payment:
    """Return a verification that is over."""
    over = {PaymentState.VOIDED, PaymentState.FAILED}
    return await installation.until_paid(payment.id, lambda p: p.state in over)


async def asked_for_a_month(
    installation: SubscriptionInstallation,
) -> tuple[Subscription, Invoice, Payment]:
    """Subscribe with a card whose bank always asks, and let a month be charged."""
    subscription = await installation.subscribes("pm_3ds")
    await on_the_page(await newest(installation, subscription.id), action="confirm")
    await installation.until(subscription.id, lambda s: s.activated_at is not None)
    invoice = await installation.billed(subscription)
    assert invoice.payment_id is not None
    return subscription, invoice, await waits(installation, invoice.payment_id)


async def test_a_month_that_waits_for_its_customer_is_told_with_the_gateways_page(
    installation: SubscriptionInstallation,
) -> None:
    subscription, invoice, payment = await asked_for_a_month(installation)

    month = date.fromisoformat(f"{invoice.month}-01")
    letter = await installation.until_told(f"Confirm the payment for {month:%B %Y}")

    assert payment.state is PaymentState.PENDING
    assert letter.recipient == "ana@example.com"
    assert payment.hosted_page_url is not None
    assert payment.hosted_page_url in letter.text
    await on_the_page(payment, action="confirm")
    await installation.charged(invoice)
    assert (await installation.invoice_of(subscription)).state == "paid"


async def test_a_customer_is_asked_once_however_often_the_gateway_says_that_it_waits(
    installation: SubscriptionInstallation,
) -> None:
    _, _, payment = await asked_for_a_month(installation)

    await installation.database.fetch("update jobs set due_at = db_now() where kind = 'probe'")
    await installation.rest()

    assert (await installation.tables.payments.get(payment.id)).state is PaymentState.PENDING
    asked = [one for one in installation.letterbox.subjects if one.startswith("Confirm the pay")]
    assert len(asked) == 1


async def test_a_page_that_runs_out_cancels_nothing_and_the_customer_is_asked_again(
    installation: SubscriptionInstallation,
) -> None:
    subscription, invoice, payment = await asked_for_a_month(installation)

    await on_the_page(payment, action="leave")
    await installation.until_paid(payment.id, lambda p: p.state is PaymentState.FAILED)
    state = (await installation.subscriptions.subscription(subscription.id)).state
    await installation.days_pass(1)
    again = await installation.until_paid_again(invoice.id, than=payment.id)
    await on_the_page(await waits(installation, again.id), action="confirm")
    await installation.until_paid(again.id, lambda p: p.state is PaymentState.CAPTURING)

    assert state is SubscriptionState.ACTIVE
    assert (await installation.invoice_of(subscription)).state == "paid"


async def test_a_customer_who_never_answers_loses_the_subscription_in_the_end(
    installation: SubscriptionInstallation,
) -> None:
    subscription, invoice, payment = await asked_for_a_month(installation)

    for days in (1, 2, 4):
        await on_the_page(payment, action="leave")
        await installation.until_paid(payment.id, lambda p: p.state is PaymentState.FAILED)
        await installation.days_pass(days)
        again = await installation.until_paid_again(invoice.id, than=payment.id)
        payment = await waits(installation, again.id)
    await on_the_page(payment, action="leave")
    await installation.until(subscription.id, lambda s: s.state is SubscriptionState.CANCELLED)

    assert (await installation.invoice_of(subscription)).state == "written off"


async def test_a_bank_that_says_no_to_the_customer_is_a_decline(
    installation: SubscriptionInstallation,
) -> None:
    subscription, _, payment = await asked_for_a_month(installation)

    await on_the_page(payment, action="reject")

    await installation.until(subscription.id, lambda s: s.state is SubscriptionState.CANCELLED)


async def test_a_payment_method_that_must_be_confirmed_is_told_too(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await installation.subscribes("pm_3ds")
    payment = await newest(installation, subscription.id)

    letter = await installation.until_told("Confirm your payment method")

    assert subscription.state is SubscriptionState.VERIFYING
    assert payment.hosted_page_url is not None
    assert payment.hosted_page_url in letter.text


async def test_another_payment_method_is_verified_before_it_is_used(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await installation.active()
    payment = await installation.platform.payment_processing.change_payment_method(
        subscription.id, payment_method="pm_3ds"
    )
    unverified = await installation.subscriptions.subscription(subscription.id)

    await on_the_page(await waits(installation, payment.id), action="confirm")
    let_go = await ended(installation, payment)

    after = await installation.subscriptions.subscription(subscription.id)
    assert unverified.payment_method == "pm_ok"
    assert after.payment_method == "pm_3ds"
    assert (let_go.state, let_go.captured_amount) == (PaymentState.VOIDED, 0)
    assert (await installation.subscriptions.events(subscription.id))[-1]["event"] == (
        "Payment method changed"
    )
    await installation.until_told("Payment method changed")


async def test_a_new_card_is_typed_at_the_gateway_and_its_token_is_charged_from_then_on(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await installation.active("pm_late_settlement")

    payment = await installation.platform.payment_processing.change_payment_method(
        subscription.id, payment_method=None
    )
    await on_the_page(await waits(installation, payment.id), action="pay", **CARD)
    await ended(installation, payment)
    invoice = await installation.billed(subscription)
    charged = await installation.charged(invoice)

    assert charged.payment_method == "pm_ok"
    assert (await installation.invoice_of(subscription)).state == "paid"
    assert not [one for one in installation.letterbox.subjects if re.match("Confirm", one)]


@pytest.mark.parametrize("how", ["declined", "left"])
async def test_a_payment_method_that_is_not_verified_changes_nothing(
    installation: SubscriptionInstallation, how: str
) -> None:
    subscription = await installation.active()

    if how == "declined":
        payment = await installation.platform.payment_processing.change_payment_method(
            subscription.id, payment_method="pm_declined"
        )
    else:
        payment = await installation.platform.payment_processing.change_payment_method(
            subscription.id, payment_method=None
        )
        await on_the_page(await waits(installation, payment.id), action="leave")
    await ended(installation, payment)
    await installation.until_told("Your payment method was not changed")

    after = await installation.subscriptions.subscription(subscription.id)
    assert (after.state, after.payment_method) == (SubscriptionState.ACTIVE, "pm_ok")


@pytest.mark.parametrize(
    ("left", "wanted"), [(None, "pm_other"), ("pm_3ds", "pm_other"), ("pm_3ds", None)]
)
async def test_a_chosen_method_is_never_dropped_for_a_page_that_was_left_open(
    installation: SubscriptionInstallation, left: str | None, wanted: str | None
) -> None:
    """It led back to the open page, verified nothing, and the old card stayed for a day."""
    subscription = await installation.active()
    change = installation.platform.payment_processing.change_payment_method
    page = await change(subscription.id, payment_method=left)
    await waits(installation, page.id)

    with pytest.raises(VerificationOpenError):
        await change(subscription.id, payment_method=wanted)
    await ended(installation, page)
    chosen = await change(subscription.id, payment_method="pm_late_settlement")
    await ended(installation, chosen)

    after = await installation.subscriptions.subscription(subscription.id)
    assert after.payment_method == "pm_late_settlement"


async def test_what_has_ended_takes_no_payment_method(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await installation.active()
    payment = await installation.platform.payment_processing.change_payment_method(
        subscription.id, payment_method=None
    )
    page = await waits(installation, payment.id)
    await installation.subscriptions.end_subscription(subscription.id)

    await on_the_page(page, action="pay", **CARD)
    let_go = await ended(installation, payment)

    assert let_go.captured_amount == 0
    after = await installation.subscriptions.subscription(subscription.id)
    assert (after.state, after.payment_method) == (SubscriptionState.CANCELLED, "pm_ok")
    with pytest.raises(SubscriptionEndedError):
        await installation.platform.payment_processing.change_payment_method(
            subscription.id, payment_method="pm_ok"
        )


async def test_a_card_number_is_no_payment_method(installation: SubscriptionInstallation) -> None:
    subscription = await installation.active()

    with pytest.raises(InvalidPaymentMethodError):
        await installation.platform.payment_processing.change_payment_method(
            subscription.id, payment_method="4111 1111 1111 1111"
        )


async def test_the_database_takes_another_payment_method_with_its_event_alone(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await installation.active()

    with pytest.raises(Exception, match="its terms and what proved"):
        await installation.database.fetch(
            "update subscriptions set payment_method = 'pm_other' where id = $1", subscription.id
        )

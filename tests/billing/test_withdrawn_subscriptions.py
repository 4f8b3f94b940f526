"""Subscriptions that their customers withdraw from: not billed, and what was charged goes back."""

from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID

import pytest

from caas.billing_database.connection import Database
from caas.billing_database.laws import LAWS
from caas.billing_database.subscriptions import Subscription
from caas.external_systems.payment_gateway import DisputeStatus, GatewayDispute
from caas.payment_processing.disputes import Disputes
from caas.rules.payment_states import PaymentState
from caas.service_catalog.subscriptions import WithdrawnSubscription
from tests.subscription_house import SERVICE, VIN, SubscriptionHouse, standing


@pytest.fixture
async def house(database: Database) -> AsyncIterator[SubscriptionHouse]:
    """A house in which a subscription that was withdrawn from is free."""
    async with standing(database, withdrawn=WithdrawnSubscription.FREE) as built:
        await built.car()
        await built.offer()
        yield built


async def subscribed(house: SubscriptionHouse, customer: UUID) -> Subscription:
    """Subscribe as this customer, and wait for the vehicle."""
    made = await house.subscriptions.subscribe(
        customer=customer, vin=VIN, service=SERVICE, payment_method="pm_ok", by_fleet=True
    )
    return await house.until(made.id, lambda s: s.activated_at is not None)


async def ended(house: SubscriptionHouse, one: Subscription) -> Subscription:
    """End it, and wait until the vehicle has switched it off."""
    await house.subscriptions.end_subscription(one.id)
    return await house.until(one.id, lambda s: s.deactivated_at is not None)


async def broken(house: SubscriptionHouse) -> list[str]:
    """The laws that do not hold."""
    return [law.name for law in LAWS if await house.database.fetch(law.query)]


async def test_the_first_withdrawal_costs_nothing_and_the_next_one_its_days(
    house: SubscriptionHouse,
) -> None:
    customer = await house.customer()
    first = await ended(house, await subscribed(house, customer))
    second = await ended(house, await subscribed(house, customer))
    await house.rest()

    month = await house.month_ends()
    await house.billing.run_month(month)

    assert (first.cancelled_because, second.cancelled_because) == ("withdrawal", "customer")
    assert await house.invoices.listed(subject=first.id) == []
    [billed] = await house.invoices.listed(subject=second.id)
    assert [line["quantity"] for line in billed.lines] == [1]
    assert "Subscription withdrawn from" in house.letterbox.subjects
    assert await broken(house) == []


async def test_who_stays_longer_than_the_period_pays_the_days(house: SubscriptionHouse) -> None:
    subscription = await house.active()
    await house.days_pass(15)

    after = await ended(house, subscription)

    assert after.cancelled_because == "customer"


async def test_a_month_that_was_charged_goes_back_with_the_vehicle(
    house: SubscriptionHouse,
) -> None:
    subscription = await house.active()
    invoice = await house.billed(subscription)
    charge = await house.charged(invoice)
    await house.gateway_does("settle")
    await house.until_paid(charge.id, lambda p: p.state is PaymentState.SETTLED)

    await house.subscriptions.end_subscription(subscription.id, with_vehicle=True)
    refunded = await house.until_paid(charge.id, lambda p: p.state is PaymentState.REFUNDED)

    [note] = await house.invoices.listed(corrects=invoice.id)
    assert (note.gross, refunded.refunded_amount) == (-invoice.gross, invoice.gross)
    await house.until(subscription.id, lambda s: s.deactivated_at is not None)
    await house.rest()
    assert await broken(house) == []


@pytest.mark.parametrize("told", [
    ("lost", "withdrawn", "won"), ("opened", "withdrawn", "lost", "won"),
    ("opened", "withdrawn", "won"), ("withdrawn", "lost", "won"),
])  # fmt: skip
@pytest.mark.parametrize("part", [1, 2])
async def test_a_month_goes_back_when_the_dispute_that_took_it_is_reversed(
    house: SubscriptionHouse, told: tuple[str, ...], part: int
) -> None:
    subscription = await house.active()
    invoice = await house.billed(subscription)
    charge = await house.charged(invoice)
    await house.gateway_does("settle")
    charge = await house.until_paid(charge.id, lambda p: p.state is PaymentState.SETTLED)
    word = GatewayDispute(
        id="dp_1", transaction_id=charge.gateway_transaction_id or "",
        amount=charge.amount // part, currency=charge.currency, status=DisputeStatus.OPENED,
    )  # fmt: skip
    for what in told:
        if what == "withdrawn":
            await house.subscriptions.end_subscription(subscription.id, with_vehicle=True)
            await house.until(subscription.id, lambda s: s.deactivated_at is not None)
        else:
            said = replace(word, status=DisputeStatus(what))
            await Disputes(house.books).gateway_says(said)
        await house.open_work.run_due()
        assert await broken(house) == [], what

    await house.gateway_does("settle")
    refunded = await house.until_paid(charge.id, lambda p: p.state is PaymentState.REFUNDED)
    notes = await house.invoices.listed(corrects=invoice.id)
    assert (sum(note.gross for note in notes), refunded.refunded_amount) == (
        -invoice.gross, invoice.gross,
    )  # fmt: skip
    await house.rest()
    assert await broken(house) == []

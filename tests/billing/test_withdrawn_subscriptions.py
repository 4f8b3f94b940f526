"""Subscriptions that their customers withdraw from: not billed, and what was charged goes back."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from msgspec.structs import replace

from caas.billing_database.connection import Database
from caas.billing_database.invariants import INVARIANTS
from caas.billing_database.subscriptions import Subscription
from caas.external_systems.payment_gateway import DisputeStatus, GatewayDispute
from caas.payment_processing.disputes import Disputes
from caas.rules.payment_states import PaymentState
from caas.service_catalog.subscriptions import WithdrawnSubscription
from tests.subscription_installation import SERVICE, VIN, SubscriptionInstallation, standing


@pytest.fixture
async def installation(database: Database) -> AsyncIterator[SubscriptionInstallation]:
    """An installation in which a subscription that was withdrawn from is free."""
    async with standing(database, withdrawn=WithdrawnSubscription.FREE) as built:
        await built.car()
        await built.offer()
        yield built


async def subscribed(installation: SubscriptionInstallation, customer: UUID) -> Subscription:
    """Subscribe as this customer, and wait for the vehicle."""
    made = await installation.platform.payment_processing.subscribe(
        customer=customer, vin=VIN, service=SERVICE, payment_method="pm_ok", by_fleet=True
    )
    return await installation.until(made.id, lambda s: s.activated_at is not None)


async def ended(installation: SubscriptionInstallation, one: Subscription) -> Subscription:
    """End it, and wait until the vehicle has switched it off."""
    await installation.subscriptions.end_subscription(one.id)
    return await installation.until(one.id, lambda s: s.deactivated_at is not None)


async def broken(installation: SubscriptionInstallation) -> list[str]:
    """The invariants that do not hold."""
    return [
        invariant.name
        for invariant in INVARIANTS
        if await installation.database.fetch(invariant.query)
    ]


async def test_the_first_withdrawal_costs_nothing_and_the_next_one_its_days(
    installation: SubscriptionInstallation,
) -> None:
    customer = await installation.customer()
    first = await ended(installation, await subscribed(installation, customer))
    second = await ended(installation, await subscribed(installation, customer))
    await installation.rest()

    month = await installation.month_ends()
    await installation.billing.run_month(month)

    assert (first.cancelled_because, second.cancelled_because) == ("withdrawal", "customer")
    assert await installation.invoices.listed(subject=first.id) == []
    [billed] = await installation.invoices.listed(subject=second.id)
    assert [line["quantity"] for line in billed.lines] == [1]
    assert "Subscription withdrawn" in installation.letterbox.subjects
    assert await broken(installation) == []


async def test_who_stays_longer_than_the_period_pays_the_days(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await installation.active()
    await installation.days_pass(15)

    after = await ended(installation, subscription)

    assert after.cancelled_because == "customer"


async def test_a_month_that_was_charged_goes_back_with_the_vehicle(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await installation.active()
    invoice = await installation.billed(subscription)
    charge = await installation.charged(invoice)
    await installation.until_settled(charge.id)

    await installation.subscriptions.end_subscription(subscription.id, with_vehicle=True)
    refunded = await installation.until_paid(charge.id, lambda p: p.state is PaymentState.REFUNDED)

    [note] = await installation.invoices.listed(corrects=invoice.id)
    assert (note.gross, refunded.refunded_amount) == (-invoice.gross, invoice.gross)
    await installation.until(subscription.id, lambda s: s.deactivated_at is not None)
    await installation.rest()
    assert await broken(installation) == []


@pytest.mark.parametrize("reported", [
    ("lost", "withdrawn", "won"), ("opened", "withdrawn", "lost", "won"),
    ("opened", "withdrawn", "won"), ("withdrawn", "lost", "won"),
])  # fmt: skip
@pytest.mark.parametrize("part", [1, 2])
async def test_a_month_goes_back_when_the_dispute_that_took_it_is_reversed(
    installation: SubscriptionInstallation, reported: tuple[str, ...], part: int
) -> None:
    subscription = await installation.active()
    invoice = await installation.billed(subscription)
    charge = await installation.charged(invoice)
    charge = await installation.until_settled(charge.id)
    word = GatewayDispute(
        id="dp_1", transaction_id=charge.gateway_transaction_id or "",
        amount=charge.amount // part, currency=charge.currency, status=DisputeStatus.OPENED,
    )  # fmt: skip
    for what in reported:
        if what == "withdrawn":
            await installation.subscriptions.end_subscription(subscription.id, with_vehicle=True)
            await installation.until(subscription.id, lambda s: s.deactivated_at is not None)
        else:
            stated = replace(word, status=DisputeStatus(what))
            await Disputes(installation.tables).on_event("contract", stated)
        await installation.jobs.run_due()
        assert await broken(installation) == [], what

    await installation.gateway_does("settle")
    refunded = await installation.until_paid(charge.id, lambda p: p.state is PaymentState.REFUNDED)
    notes = await installation.invoices.listed(corrects=invoice.id)
    assert (sum(note.gross for note in notes), refunded.refunded_amount) == (
        -invoice.gross, invoice.gross,
    )  # fmt: skip
    await installation.rest()
    assert await broken(installation) == []

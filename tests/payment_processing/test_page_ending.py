"""A purchase that was withdrawn leaves no page open on which it could be paid (decision 262)."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from caas.billing_database.connection import Database
from caas.billing_database.gateway_calls import GatewayCalls
from caas.billing_database.orders import Order
from caas.billing_database.payments import Payment, end_open_pages
from caas.external_systems.payment_gateway import GatewayTransaction
from caas.external_systems.seed_contract_gateway import SeedContractGateway
from caas.external_systems.stripe_gateway import StripeGateway
from caas.rules.order_states import OrderState
from caas.rules.payment_states import PaymentState
from caas.rules.subscription_states import SubscriptionState
from tests.api.planting import found_after
from tests.payment_processing.test_gateway_routes import CARD, pays, stocked
from tests.payment_processing.test_subscribing_with_a_new_card import asks, page_of
from tests.showroom import DEPOSIT, Showroom, opened, simulated_world
from tests.subscription_installation import standing
from tests.two_gateways import CONTRACT, STRIPE, TwoGateways, two_gateways


@pytest.fixture
async def showroom(database: Database) -> AsyncIterator[Showroom]:
    """A showroom with everything at hand."""
    async with simulated_world() as world, opened(database, world) as built:
        yield built


async def at_gateway(showroom: Showroom, payment: Payment) -> dict[str, Any]:
    """Return what the gateway has of a payment."""
    ledger = await showroom.world.gateway("GET", f"ledger?reference={payment.id}")
    [transaction] = ledger["transactions"]
    return dict(transaction)


async def on_page(showroom: Showroom) -> tuple[Order, Payment]:
    """Return an order whose final payment waits on the gateway's page."""
    order = await showroom.ready()
    payment = await showroom.pay_rest(order, None)
    assert (payment.state, payment.hosted_page_url is None) == (PaymentState.PENDING, False)
    return order, payment


async def refunded(showroom: Showroom) -> list[int]:
    """Return what was given back."""
    return [row["amount"] for row in await showroom.database.fetch("select amount from refunds")]


async def test_a_withdrawal_ends_the_page_of_the_final_payment(showroom: Showroom) -> None:
    order, payment = await on_page(showroom)

    await showroom.orders.withdrawal.withdraw(order.id)
    await showroom.jobs.run_due()
    await showroom.jobs.run_due()

    after = await showroom.tables.payments.get(payment.id)
    assert (after.state, after.decline_code) == (PaymentState.FAILED, "abandoned")
    assert (await at_gateway(showroom, payment))["status"] == "voided"
    assert (await showroom.orders.orders.get(order.id)).state is OrderState.WITHDRAWN
    assert await refunded(showroom) == [DEPOSIT.amount]
    assert (await showroom.reported(order.customer))[-2:] == [
        "withdrawal_received", "order_withdrawn",
    ]  # fmt: skip
    assert await showroom.cases() == []


async def test_a_page_that_was_paid_before_it_was_ended_takes_nothing(
    showroom: Showroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, payment = await on_page(showroom)
    void = SeedContractGateway.void

    async def overtaken(
        gateway: SeedContractGateway, transaction_id: str, reason: str, *, key: str
    ) -> object:
        if not paid:
            paid.append(True)
            await pays(payment)
        return await void(gateway, transaction_id, reason, key=key)

    paid: list[bool] = []
    monkeypatch.setattr(SeedContractGateway, "void", overtaken)
    await showroom.orders.withdrawal.withdraw(order.id)
    await showroom.work_until_order(order.id, OrderState.WITHDRAWN)
    await showroom.jobs.run_due()

    assert paid
    assert (await showroom.tables.payments.get(payment.id)).captured_amount == 0
    assert (await at_gateway(showroom, payment))["status"] == "voided"
    assert await refunded(showroom) == [DEPOSIT.amount]


async def test_a_page_is_ended_again_until_the_gateway_answers(showroom: Showroom) -> None:
    order, payment = await on_page(showroom)
    match = {"operation": "void", "times": 2}
    await showroom.world.gateway_fault(match, status=503)

    await showroom.orders.withdrawal.withdraw(order.id)
    await showroom.work_until_order(order.id, OrderState.WITHDRAWN)

    assert (await at_gateway(showroom, payment))["status"] == "voided"


async def test_a_withdrawal_ends_the_page_of_the_reservation(showroom: Showroom) -> None:
    order = await showroom.ordered(await showroom.stock())
    payment = await showroom.reserve(order, None)

    await showroom.orders.withdrawal.withdraw(order.id)
    await showroom.work_until_payment(payment.id, PaymentState.FAILED)

    assert (await at_gateway(showroom, payment))["status"] == "voided"
    assert (await showroom.reported(order.customer))[-1] == "order_withdrawn"


async def test_an_open_page_of_a_withdrawn_order_is_found(showroom: Showroom) -> None:
    order, _ = await on_page(showroom)
    await showroom.orders.withdrawal.withdraw(order.id)

    found = await found_after(showroom.database, "delete from jobs where kind = 'end_page'")

    assert "obligations_have_a_job" in found


async def test_a_subscription_that_is_ended_ends_the_page_for_its_card(database: Database) -> None:
    async with standing(database) as installation:
        await installation.car()
        await installation.offer()
        subscription = await asks(installation, await installation.customer())
        payment = await page_of(installation, subscription.id)

        ended = await installation.subscriptions.end_subscription(subscription.id)
        failed = await installation.until_paid(payment.id, lambda p: p.state is PaymentState.FAILED)

        assert ended.state is SubscriptionState.CANCELLED
        assert failed.decline_code == "abandoned"
        calls = await GatewayCalls(database).of(payment.id, payment.gateway_transaction_id)
        assert [it.outcome for it in calls if it.operation == "void"] == ["answered"]


@pytest.fixture
async def at(database: Database) -> AsyncIterator[TwoGateways]:
    """The gateways, before any payment."""
    async with two_gateways(database) as built:
        yield built


@pytest.mark.parametrize("name", [CONTRACT, STRIPE])
async def test_the_page_of_each_gateway_is_ended(at: TwoGateways, name: str) -> None:
    async with at.installed(name) as installation:
        await stocked(installation)
        payment = await installation.buys(None)
        page = payment.hosted_page_url
        assert page is not None

        await end_open_pages(payment.subject, within=at.database)
        failed = await installation.until(payment.id, lambda p: p.state is PaymentState.FAILED)

        assert failed.decline_code == "abandoned"
        async with (
            aiohttp.ClientSession() as session,
            session.post(page, data={**CARD, "action": "pay"}, allow_redirects=False) as answer,
        ):
            assert answer.status != 500
        if name == STRIPE:
            [session_] = at.stripe.server.world.store.some("checkout.session")
            assert session_["status"] == "expired"


async def test_a_stripe_page_that_was_paid_before_it_was_ended_is_looked_up(
    at: TwoGateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its flow decides what follows: nobody withdrew from this service, so it is charged."""
    void, tried = StripeGateway.void, list[str]()

    async def overtaken(
        gateway: StripeGateway, transaction_id: str, reason: str, *, key: str
    ) -> GatewayTransaction:
        if not tried:
            await at.stripe.page(page, number="4242424242424242", action="pay")
        tried.append(transaction_id)
        return await void(gateway, transaction_id, reason, key=key)

    async with at.installed(STRIPE) as installation:
        await stocked(installation)
        payment = await installation.buys(None)
        page = payment.hosted_page_url or ""
        monkeypatch.setattr(StripeGateway, "void", overtaken)

        await end_open_pages(payment.subject, within=at.database)
        paid = await installation.until(payment.id, lambda p: p.state is PaymentState.CAPTURING)

        assert paid.gateway_transaction_id is not None
        assert tried[0].startswith("cs_")

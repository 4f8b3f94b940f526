"""A change of the payment provider: each payment is finished where it was begun (decision 199)."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from uuid import UUID

import pytest

from caas.billing_database.connection import Database
from caas.billing_database.gateway_calls import GatewayCalls
from caas.billing_database.invoices import InvoiceRows
from caas.billing_database.payments import Payment
from caas.billing_database.subscriptions import Subscription
from caas.billing_database.webhook_inbox import Incoming
from caas.payment_processing.gateways import GatewayNotConfiguredError
from caas.payment_processing.outgoing_money import APPLY_WEBHOOK
from caas.rules.mes_vencido import Month
from caas.rules.payment_states import PaymentState
from caas_simulators.vehicle_car import Behaviour, Manner
from tests.installation import PATIENCE_SECONDS, VIN, Installation
from tests.subscription_installation import MADRID, set_clock
from tests.two_gateways import CONTRACT, STRIPE, TWIN, TwoGateways, two_gateways

STRIPE_CARD = "pm_card_visa"
OTHER_VIN = "WVWZZZ1JZXW000002"


@pytest.fixture
async def at(database: Database) -> AsyncIterator[TwoGateways]:
    """The gateways, before any payment."""
    async with two_gateways(database) as opened:
        yield opened


async def sold(installation: Installation, method: str, vin: str = VIN) -> Payment:
    """Sell a service and have it delivered."""
    payment = await installation.buys(method, vin=vin)
    await installation.until(payment.id, lambda now: now.state is PaymentState.CAPTURING)
    await installation.rest()
    return await installation.platform.tables.payments.get(payment.id)


async def settled(installation: Installation, at: TwoGateways, payment: Payment) -> Payment:
    """Let the payment's bank settle."""
    await at.settle(payment.gateway)
    return await installation.until(payment.id, lambda now: now.state is PaymentState.SETTLED)


async def given_back(installation: Installation, payment: Payment) -> Payment:
    """Refund the whole payment, and wait until it is refunded."""
    await installation.platform.payment_processing.refund_payment(
        payment.id, amount=payment.amount, reason="desistimiento", key=f"r-{payment.id}",
        requested_by="ops", term="end",
    )  # fmt: skip
    return await installation.until(payment.id, lambda now: now.state is PaymentState.REFUNDED)


async def gateways_asked(installation: Installation, payment: Payment) -> set[str]:
    """Return the gateways that were called about a payment."""
    calls = await GatewayCalls(installation.database).of(payment.id, payment.gateway_transaction_id)
    return {call.gateway for call in calls}


async def tells(
    installation: Installation, gateway: str, event: str, body: Mapping[str, object]
) -> UUID:
    """Have a verified webhook of a gateway stored, and its job done; return its row's id."""
    text = json.dumps({"id": event, "occurred_at": "2026-11-23T10:00:00Z", **body})
    stored = await installation.platform.tables.webhooks.store(
        Incoming(
            gateway=gateway, event_id=event, body_hash=hashlib.sha256(text.encode()).digest(),
            body=text, job_kind=APPLY_WEBHOOK,
        )
    )  # fmt: skip
    await installation.rest()
    return stored.id


def transaction(payment: Payment, status: str, **changes: object) -> dict[str, object]:
    """A gateway's event about the transaction of a payment."""
    data = {
        "id": payment.gateway_transaction_id, "reference": str(payment.id), "status": status,
        "amount": payment.amount, "currency": "EUR", "captured_amount": payment.amount,
        "settled_amount": payment.amount, "refunded_amount": 0,
        "created_at": "2026-11-23T10:00:00Z", **changes,
    }  # fmt: skip
    return {"type": f"transaction.{status}", "data": data}


async def test_after_a_change_each_payment_is_settled_and_refunded_where_it_was_made(
    at: TwoGateways,
) -> None:
    async with at.installed(CONTRACT) as before:
        await before.car()
        await before.car(OTHER_VIN)
        await before.offer_heated_seats()
        old = await sold(before, "pm_ok")

    async with at.installed(STRIPE, CONTRACT) as after:
        new = await sold(after, STRIPE_CARD, OTHER_VIN)
        assert (old.gateway, new.gateway) == (CONTRACT, STRIPE)
        for payment in (old, new):
            now = await settled(after, at, payment)
            assert (await given_back(after, now)).refunded_amount == payment.amount

        assert await gateways_asked(after, old) == {CONTRACT}
        assert await gateways_asked(after, new) == {STRIPE}
    assert len(at.contract.store.refunds) == 1


async def test_funds_held_before_a_change_are_voided_where_they_are_held(at: TwoGateways) -> None:
    async with at.installed(CONTRACT) as before:
        await before.car()
        before.fleet.cars[VIN].manner = Manner(behaviour=Behaviour.SILENT)
        await before.offer_heated_seats()
        held = await before.buys()
        assert held.state is PaymentState.AUTHORIZED

    async with at.installed(STRIPE, CONTRACT) as after:
        voided = await after.platform.payment_processing.void_payment(held.id, "changed my mind")

        assert voided.state is PaymentState.VOIDED
        assert await gateways_asked(after, voided) == {CONTRACT}


async def test_a_payment_at_a_gateway_without_settings_is_sent_nowhere(at: TwoGateways) -> None:
    async with at.installed(CONTRACT) as before:
        await before.car()
        before.fleet.cars[VIN].manner = Manner(behaviour=Behaviour.SILENT)
        await before.offer_heated_seats()
        held = await before.buys()

    async with at.installed(STRIPE) as after:
        with pytest.raises(GatewayNotConfiguredError, match="CAAS_GATEWAYS_KEPT"):
            await after.platform.payment_processing.void_payment(held.id, "changed my mind")

    async with at.installed(STRIPE, CONTRACT) as again:
        now = await again.until(held.id, lambda it: it.state is PaymentState.VOIDED)
        assert await gateways_asked(again, now) == {CONTRACT}


async def test_transactions_with_the_same_id_at_two_gateways_stay_apart(at: TwoGateways) -> None:
    async with at.installed(CONTRACT) as first:
        await first.car()
        await first.car(OTHER_VIN)
        await first.offer_heated_seats()
        one = await sold(first, "pm_ok")
    async with at.installed(TWIN, CONTRACT) as both:
        other = await sold(both, "pm_ok", OTHER_VIN)
        assert one.gateway_transaction_id == other.gateway_transaction_id

        assert (await settled(both, at, other)).id == other.id
        assert (await both.platform.tables.payments.get(one.id)).state is PaymentState.CAPTURING
        refund = {
            "type": "refund.succeeded",
            "data": {"id": "re_stranger", "transaction_id": one.gateway_transaction_id,
                     "amount": one.amount, "status": "succeeded"},
        }  # fmt: skip
        await tells(both, TWIN, "evt_refund", refund)

        assert await both.platform.tables.cases.listed(subject=one.id) == []
        [case] = await both.platform.tables.cases.listed(subject=other.id)
        assert case.kind == "refund_contradiction"


@pytest.mark.parametrize("status", ["settled", "settlement_failed", "voided", "authorized"])
async def test_a_webhook_moves_no_payment_of_another_gateway(at: TwoGateways, status: str) -> None:
    async with at.installed(CONTRACT, TWIN) as both:
        await both.car()
        await both.offer_heated_seats()
        payment = await sold(both, "pm_ok")
        before = await both.platform.tables.payments.timeline(payment.id)

        taken = 0 if status in {"voided", "authorized"} else payment.amount
        said = transaction(payment, status, captured_amount=taken, settled_amount=taken)
        told = await tells(both, TWIN, f"evt_{status}", said)

        assert await both.platform.tables.payments.timeline(payment.id) == before
        [case] = await both.platform.tables.cases.listed(subject=told)
        assert f"which is at '{CONTRACT}'. Nothing was applied." in case.sentence


async def test_a_refund_that_another_gateway_reports_holds_no_refund_back(at: TwoGateways) -> None:
    async with at.installed(CONTRACT, TWIN) as both:
        await both.car()
        await both.offer_heated_seats()
        payment = await settled(both, at, await sold(both, "pm_ok"))
        reported = {
            "type": "refund.succeeded",
            "data": {"id": "re_1", "transaction_id": payment.gateway_transaction_id,
                     "reference": str(payment.id), "amount": 1, "status": "succeeded"},
        }  # fmt: skip

        await tells(both, TWIN, "evt_of_twin", reported)

        assert (await given_back(both, payment)).refunded_amount == payment.amount


async def subscribed(installation: Installation) -> Subscription:
    """Subscribe, and wait for the vehicle's word."""
    made = await installation.platform.payment_processing.subscribe(
        customer=await installation.customer(), vin=VIN, service="range-plus",
        payment_method="pm_ok", by_fleet=True,
    )  # fmt: skip
    return await until_active(installation, made.id)


async def until_active(installation: Installation, subscription: UUID) -> Subscription:
    """Let jobs run until the vehicle has confirmed a subscription."""
    subscriptions = installation.platform.subscriptions
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await subscriptions.subscription(subscription)).activated_at is None:
            await installation.platform.jobs.run_due()
            await asyncio.sleep(0.005)
    return await subscriptions.subscription(subscription)


async def charged_month(installation: Installation, subscription: Subscription) -> Payment:
    """Let the month end, and return the payment of its invoice once it is captured."""
    platform = installation.platform
    month = Month.containing(await platform.billing._runs.now(), MADRID)
    await set_clock(installation.database, month.interval(MADRID).end + timedelta(minutes=1))
    await platform.billing.run_month(month)
    invoices = await InvoiceRows(installation.database).listed(subject=subscription.id)
    [payment] = await platform.tables.payments.listed(subject=invoices[0].id)
    return await installation.until(payment.id, lambda now: now.state is PaymentState.CAPTURING)


async def test_months_are_charged_where_the_method_is_saved_until_another_is_entered(
    at: TwoGateways,
) -> None:
    async with at.installed(CONTRACT) as before:
        await before.car()
        await before.platform.service_catalog.put_service(
            code="range-plus", name="Range plus", kind="subscription", currency="EUR",
            monthly_fee=2990,
        )  # fmt: skip
        subscription = await subscribed(before)
        assert subscription.gateway == CONTRACT

    async with at.installed(STRIPE, CONTRACT) as after:
        old = await charged_month(after, subscription)
        assert await gateways_asked(after, old) == {CONTRACT}

        await after.platform.payment_processing.change_payment_method(
            subscription.id, payment_method=STRIPE_CARD
        )
        await after.rest()
        moved = await after.platform.subscriptions.subscription(subscription.id)
        new = await charged_month(after, moved)

        assert (moved.gateway, old.gateway, new.gateway) == (STRIPE, CONTRACT, STRIPE)
        assert await gateways_asked(after, new) == {STRIPE}


async def test_a_method_used_before_is_verified_again_where_it_is_saved(at: TwoGateways) -> None:
    async with at.installed(CONTRACT) as before:
        await before.car()
        await before.platform.service_catalog.put_service(
            code="range-plus", name="Range plus", kind="subscription", currency="EUR",
            monthly_fee=2990,
        )  # fmt: skip
        subscription = await subscribed(before)

    async with at.installed(STRIPE, CONTRACT) as after:
        verifying = await after.platform.payment_processing.change_payment_method(
            subscription.id, payment_method="pm_ok"
        )

        assert verifying.gateway == CONTRACT


async def test_a_card_typed_at_stripe_starts_a_subscription_there(at: TwoGateways) -> None:
    async with at.installed(STRIPE) as platform_at:
        platform, vin = platform_at.platform, await platform_at.car()
        await platform.service_catalog.put_service(
            code="range-plus", name="Range plus", kind="subscription", currency="EUR",
            monthly_fee=2990,
        )  # fmt: skip
        made = await platform.payment_processing.subscribe(
            customer=await platform_at.customer(), vin=vin, service="range-plus",
            payment_method=None, by_fleet=True,
        )  # fmt: skip
        (page,) = await platform.tables.payments.listed(subject=made.id)
        assert page.hosted_page_url is not None

        await at.stripe.page(
            page.hosted_page_url, action="pay", number="4242424242424242", expiry="12/39", cvc="123"
        )
        await platform.payment_processing.customer_returned(page.id)
        active = await until_active(platform_at, made.id)
        charged = await charged_month(platform_at, active)

        assert (made.payment_method, active.gateway) == (None, STRIPE)
        assert active.payment_method == charged.payment_method
        assert charged.captured_amount > 0

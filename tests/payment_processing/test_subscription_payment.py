"""Subscription Payment: a path for each branch of Diagram 6, and for what it does not draw."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from caas.billing_database.connection import Database
from caas.billing_database.identifiers import new_id
from caas.billing_database.invoices import Invoice
from caas.billing_database.payments import NewPayment
from caas.billing_database.subscriptions import Subscription
from caas.external_systems.payment_gateway import GatewayTransaction, TransactionStatus
from caas.payment_processing.gateway_calls import AUTHORIZE
from caas.payment_processing.initiation import PaymentRequest
from caas.payment_processing.subscription_payment import InvoiceNotDueError
from caas.rules.mes_vencido import Month
from caas.rules.payment_states import PaymentState
from caas.rules.payment_types import PaymentType
from caas.rules.subscription_states import SubscriptionState
from tests.subscription_installation import MADRID, SERVICE, VIN, SubscriptionInstallation, standing

BALANCES = """
select account, sum(amount)::bigint as balance from ledger_lines where payment_id = $1
 group by account having sum(amount) <> 0
"""


@pytest.fixture
async def installation(database: Database) -> AsyncIterator[SubscriptionInstallation]:
    """An installation with a car and a subscription on offer."""
    async with standing(database) as built:
        await built.car()
        await built.offer()
        yield built


async def events_of(
    installation: SubscriptionInstallation, subscription: Subscription
) -> list[str]:
    """What happened to a subscription, by name."""
    return [event["event"] for event in await installation.subscriptions.events(subscription.id)]


async def balances(installation: SubscriptionInstallation, invoice: Invoice) -> dict[str, int]:
    """What the books say of an invoice's charge."""
    rows = await installation.database.fetch(BALANCES, invoice.payment_id)
    return {row["account"]: row["balance"] for row in rows}


async def declined(installation: SubscriptionInstallation) -> tuple[Subscription, Invoice]:
    """Subscribe, use a month, and let its charge be declined."""
    subscription = await installation.active()
    await installation.from_now_on(decline_code="insufficient_funds")
    invoice = await installation.billed(subscription)
    await installation.charged(invoice)
    return subscription, invoice


async def test_a_paid_month_continues_the_subscription_and_sends_the_invoice(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await installation.active()

    invoice = await installation.billed(subscription)
    payment = await installation.charged(invoice)
    letter = await installation.until_told(f"Invoice {invoice.full_number}")

    assert payment.state is PaymentState.CAPTURING
    assert payment.captured_amount == invoice.gross
    assert (await installation.invoice_of(subscription)).state == "paid"
    assert (await events_of(installation, subscription))[-1] == "Continue Subscription"
    assert f"€{invoice.gross / 100:.2f}" in letter.text
    assert (await installation.subscriptions.subscription(subscription.id)).state == "active"


async def test_the_capture_is_proved_by_what_was_used(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await installation.active()

    invoice = await installation.billed(subscription)
    await installation.charged(invoice)

    (proof,) = await installation.database.fetch(
        "select e.kind, e.command_id, e.status_reason, e.proves_delivery from resolution_claims c"
        " join delivery_evidence e on e.id = c.evidence_id where c.payment_id = $1",
        invoice.payment_id,
    )
    assert dict(proof) == {
        "kind": "usage_snapshot", "command_id": invoice.id, "proves_delivery": True,
        "status_reason": f"invoice {invoice.full_number}",
    }  # fmt: skip


async def test_a_month_settles_when_the_bank_confirms(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await installation.active()
    invoice = await installation.billed(subscription)
    await installation.charged(invoice)
    await installation.rest()

    await installation.gateway_does("settle")
    assert invoice.payment_id is not None
    settled = await installation.until_paid(
        invoice.payment_id, lambda p: p.state is PaymentState.SETTLED
    )

    assert settled.settled_amount == invoice.gross


async def test_a_declined_month_cancels_the_subscription_at_once(
    installation: SubscriptionInstallation,
) -> None:
    subscription, invoice = await declined(installation)

    cancelled = await installation.subscriptions.subscription(subscription.id)
    assert cancelled.state is SubscriptionState.CANCELLED
    assert cancelled.cancelled_because == "payment failed"
    assert (await installation.invoice_of(subscription)).state == "written off"
    assert (await installation.invoices.get(invoice.id)).decline_code == "insufficient_funds"


async def test_a_declined_month_switches_the_service_off(
    installation: SubscriptionInstallation,
) -> None:
    subscription, _ = await declined(installation)

    await installation.until(subscription.id, lambda s: s.deactivated_at is not None)

    assert not installation.fleet.cars[VIN].services[SERVICE].active


async def test_a_declined_month_is_told_with_its_reason(
    installation: SubscriptionInstallation,
) -> None:
    await declined(installation)

    letter = await installation.until_told("Subscription cancelled: payment failed")

    assert "insufficient funds" in letter.text
    assert "not be charged for that month or the current one" in letter.text


async def test_a_declined_month_is_a_loss_of_caas(installation: SubscriptionInstallation) -> None:
    _, invoice = await declined(installation)

    assert await balances(installation, invoice) == {
        "risk_loss:subscription_declined": invoice.gross,
        "subscription_revenue": -invoice.net,
        "output_vat": -invoice.iva,
    }


async def test_neither_the_failed_nor_the_running_month_is_ever_charged(
    installation: SubscriptionInstallation,
) -> None:
    subscription, invoice = await declined(installation)
    await installation.faults_end()

    month = await installation.month_ends()
    await installation.billing.run_month(month)
    await installation.rest()

    assert [one.id for one in await installation.invoices.listed(subject=subscription.id)] == [
        invoice.id
    ]
    assert len(await installation.tables.payments.listed(subject=invoice.id)) == 1


async def test_an_unknown_outcome_never_cancels(installation: SubscriptionInstallation) -> None:
    subscription = await installation.active()
    await installation.from_now_on(status=503)

    invoice = await installation.billed(subscription)
    assert invoice.payment_id is not None
    unknown = await installation.until_paid(invoice.payment_id, lambda p: p.outcome == "unknown")
    await installation.rest()

    assert unknown.state is PaymentState.PENDING
    assert (await installation.subscriptions.subscription(subscription.id)).state == "active"
    await installation.faults_end()
    paid = await installation.charged(invoice)
    assert paid.captured_amount == invoice.gross


async def test_a_charge_that_was_done_and_not_answered_is_found_and_kept(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await installation.active()
    await installation.from_now_on(drop_connection_after=True)

    invoice = await installation.billed(subscription)
    paid = await installation.charged(invoice)

    assert paid.captured_amount == invoice.gross
    assert (await installation.subscriptions.subscription(subscription.id)).state == "active"


async def test_a_code_nobody_knows_does_not_cancel(installation: SubscriptionInstallation) -> None:
    subscription = await installation.active()
    await installation.from_now_on(decline_code="code_4711")

    invoice = await installation.billed(subscription)
    assert invoice.payment_id is not None
    await installation.until_paid(invoice.payment_id, lambda p: p.outcome == "unknown")

    assert (await installation.subscriptions.subscription(subscription.id)).state == "active"


async def test_a_month_that_the_bank_rejects_cancels_too(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await installation.active("pm_settlement_fails")
    invoice = await installation.billed(subscription)
    await installation.charged(invoice)
    await installation.rest()

    await installation.gateway_does("settle")
    await installation.until(subscription.id, lambda s: s.deactivated_at is not None)
    await installation.until_told("Subscription cancelled: payment failed")

    assert (await installation.invoice_of(subscription)).state == "written off"
    assert (await events_of(installation, subscription)).count("Mark Subscription Cancelled") == 1
    assert (await balances(installation, invoice))["risk_loss:settlement_failed"] == invoice.gross


async def test_a_month_declined_after_a_later_one_was_paid_cancels_and_keeps_the_paid_one(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await installation.active()
    await installation.from_now_on(status=503)
    unknown = await installation.billed(subscription)
    assert unknown.payment_id is not None
    await installation.until_paid(unknown.payment_id, lambda p: p.outcome == "unknown")
    month = Month.parse(str(unknown.month)).next()
    reference = str(unknown.payment_id)
    await installation.faults_end()
    await installation.gateway_does(
        "faults", match={"reference": reference}, action={"status": 503}
    )
    assert await installation.month_ends() == month
    await installation.billing.run_month(month)
    paid = await installation.invoice_of(subscription)
    await installation.charged(paid)

    await installation.faults_end()
    await installation.from_now_on(decline_code="card_declined")
    await installation.until_paid(unknown.payment_id, lambda p: p.state is PaymentState.FAILED)

    after = await installation.subscriptions.subscription(subscription.id)
    assert (after.state, after.cancelled_because) == ("cancelled", "payment failed")
    assert (await installation.invoices.get(paid.id)).state == "paid"


async def test_a_word_of_success_after_the_decline_is_asked_about_and_revives_nothing(
    installation: SubscriptionInstallation,
) -> None:
    subscription, invoice = await declined(installation)
    assert invoice.payment_id is not None
    payment = await installation.tables.payments.get(invoice.payment_id)
    late = GatewayTransaction(
        id=payment.gateway_transaction_id or "", reference=str(payment.id),
        status=TransactionStatus.AUTHORIZED, amount=payment.amount, currency=payment.currency,
    )  # fmt: skip

    await installation.settlement.on_event(payment, late, source="late")
    await installation.rest()

    after = await installation.tables.payments.get(payment.id)
    kinds = {case.kind for case in await installation.tables.cases.listed(subject=payment.id)}
    assert (after.state, after.captured_amount) == (PaymentState.FAILED, 0)
    assert kinds == set(), "the gateway itself, asked, holds nothing"
    assert (await installation.subscriptions.subscription(subscription.id)).state == "cancelled"


async def test_what_a_customer_used_before_ending_is_charged(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await installation.active()
    await installation.subscriptions.end_subscription(subscription.id)

    invoice = await installation.billed(subscription)
    await installation.charged(invoice)

    assert (await installation.invoice_of(subscription)).state == "paid"
    assert invoice.lines[0]["quantity"] == 1
    assert (await installation.subscriptions.subscription(subscription.id)).state == "cancelled"


async def test_a_last_month_that_is_declined_ends_what_the_customer_ended(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await installation.active()
    await installation.subscriptions.end_subscription(subscription.id)
    await installation.from_now_on(decline_code="card_declined")

    invoice = await installation.billed(subscription)
    await installation.charged(invoice)

    after = await installation.subscriptions.subscription(subscription.id)
    assert after.cancelled_because == "payment failed"
    assert (await installation.invoice_of(subscription)).state == "written off"


async def test_a_charge_for_an_invoice_that_was_written_off_is_let_go(
    installation: SubscriptionInstallation,
) -> None:
    _, invoice = await declined(installation)
    await installation.faults_end()
    late = NewPayment(
        id=new_id(), type=PaymentType.SUBSCRIPTION, subject=invoice.id,
        customer=invoice.customer, amount=invoice.gross, currency=invoice.currency,
        gateway="contract",
        payment_method="pm_ok", job_kind=AUTHORIZE,
    )  # fmt: skip

    await installation.tables.payments.accept(late)
    ended = await installation.until_paid(late.id, lambda p: p.state is PaymentState.VOIDED)

    assert ended.captured_amount == 0


async def test_only_what_is_due_may_be_charged_by_the_seeds_call(
    installation: SubscriptionInstallation,
) -> None:
    subscription, written_off = await declined(installation)
    due = PaymentRequest(
        subject=written_off.id, customer=written_off.customer,
        amount=written_off.gross, currency="EUR",
    )  # fmt: skip
    strange = PaymentRequest(
        subject=subscription.id, customer=subscription.customer, amount=100, currency="EUR"
    )

    for request in (due, strange):
        check = await installation.payment.check_due(request)
        async with installation.database.transaction() as connection:
            with pytest.raises(InvoiceNotDueError):
                await check(request, within=connection)


async def test_two_workers_charge_a_month_once(installation: SubscriptionInstallation) -> None:
    subscription = await installation.active()
    invoice = await installation.billed(subscription)

    await asyncio.gather(*(installation.jobs.run_due() for _ in range(4)))
    await installation.charged(invoice)
    await installation.rest()

    assert (await events_of(installation, subscription)).count("Continue Subscription") == 1
    assert installation.letterbox.subjects.count(f"Invoice {invoice.full_number}") == 1


@pytest.mark.parametrize("decline_code", [None, "card_declined"])
async def test_a_worker_that_dies_anywhere_leaves_the_month_to_another(
    installation: SubscriptionInstallation, decline_code: str | None
) -> None:
    subscription = await installation.active()
    if decline_code:
        await installation.from_now_on(decline_code=decline_code)
    invoice = await installation.billed(subscription)

    for milliseconds in range(1, 40, 3):
        dying = asyncio.create_task(installation.jobs.run_due())
        await asyncio.sleep(milliseconds / 1000)
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)
        await installation.database.fetch("update jobs set lease_until = null, due_at = db_now()")
    payment = await installation.charged(invoice)
    await installation.rest()

    expected = PaymentState.FAILED if decline_code else PaymentState.CAPTURING
    assert payment.state is expected
    assert (await installation.invoice_of(subscription)).state == (
        "written off" if decline_code else "paid"
    )
    assert Month.containing(invoice.issued_at, MADRID) == Month.parse(str(invoice.month)).next()

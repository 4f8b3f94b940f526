"""A platform that has lived: purchases, a subscription's month, refunds, disputes, decisions.

Some of it is finished and some is under way, so that every table that carries an obligation has
rows, and most kinds of work are waiting.
"""

import asyncio
import hashlib
import json
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
from msgspec.structs import replace

from caas import app
from caas.billing.buyers import checked_details
from caas.billing.reissues import is_reissuable
from caas.billing_database import history_heads
from caas.billing_database.cases import DEPOSIT_HELD
from caas.billing_database.customers import BillingDetailsRows
from caas.billing_database.decisions import RefundWish
from caas.billing_database.orders import Order
from caas.billing_database.subscriptions import Subscription
from caas.billing_database.webhook_inbox import Incoming, WebhookInbox
from caas.external_systems.payment_gateway import DisputeStatus, GatewayDispute
from caas.order_management.held_deposits import DepositDecision
from caas.payment_processing import CallerKey, PaymentRequest
from caas.payment_processing.disputes import Disputes
from caas.payment_processing.outgoing_money import APPLY_WEBHOOK
from caas.rules.discrepancies import DiscrepancyKind, Resolution, is_large
from caas.rules.mes_vencido import Month
from caas.rules.money import Money
from caas.rules.order_states import OrderState
from caas.rules.payment_states import PaymentState
from caas_simulators.vehicle_car import Behaviour, Manner
from tests.billing_database.test_history_heads import TERMS
from tests.buyers import AT_HOME, gives_details
from tests.installation import PATIENCE_SECONDS, Installation
from tests.payment_processing.test_refunds import ask_back, refund_order
from tests.people import COMMAND_LINE, employed
from tests.reconciliation.office import Office
from tests.subscription_installation import MADRID

BESIDE = Path(__file__).with_name("lived_beside.sql")
DEALERSHIP = "Autos Sol"
BOUGHT, LOST, WITHDRAWN, REFUSING, MONTHLY, CANCELLED, KEPT = (
    f"WVWZZZ1JZXWLIVED{n}" for n in range(1, 8)
)


async def lived(installation: Installation) -> None:
    """Live through one of everything; what is still under way at the end is left so."""
    await installation.car()
    await installation.offer_heated_seats()
    await _vehicles(installation)
    await _services(installation)
    subscription = await _subscribed(installation)
    await _disputed_and_refunded(installation)
    await _reconciled(installation)
    await _a_month_ends(installation, subscription)
    await _issued_again(installation)
    await _under_way(installation)
    await _used_and_told(installation, subscription)
    await _on_schedule(installation)


async def _ordered(installation: Installation, vin: str) -> Order:
    await installation.car(vin)
    management = installation.platform.order_management
    customer = await management.ordering.create_customer(
        name="Ana", email=f"{vin.lower()}@example.com", language="es", dealership=DEALERSHIP
    )
    await gives_details(installation.database, customer.id)
    return await management.ordering.create_order(
        customer=customer.id, vin=vin, model=None, dealership=DEALERSHIP,
        deposit=Money(50_000, "EUR"),
    )  # fmt: skip


def _paid(order: Order, due: Money, method: str = "pm_ok") -> PaymentRequest:
    return PaymentRequest(
        subject=order.id, customer=order.customer, amount=due.amount, currency=due.currency,
        payment_method=method,
    )  # fmt: skip


async def _reserved(installation: Installation, vin: str) -> Order:
    order = await _ordered(installation, vin)
    await installation.platform.payment_processing.initiate_reservation_payment(
        _paid(order, order.deposit)
    )
    return await _until_order(installation, order.id, OrderState.READY)


async def _until_order(installation: Installation, order_id: UUID, state: OrderState) -> Order:
    for _ in range(2000):
        order = await installation.platform.order_management.orders.get(order_id)
        if order.state is state:
            return order
        if order.state is OrderState.FACTORY_ORDER_PLACED:
            assert order.vin is not None, "these orders have their vehicle"
            await installation.platform.order_management.partner_events.vehicle_ready(
                vin=order.vin, public_key=None, order_id=order.id
            )
        await installation.platform.jobs.run_due()
    message = f"{order_id} never was {state}"
    raise AssertionError(message)


async def _decided(installation: Installation) -> None:
    """One keeps the deposit of the lost reservation."""
    investigation = installation.platform.order_management.held_deposits
    (case,) = await installation.platform.tables.cases.listed(kind=DEPOSIT_HELD)
    await investigation.decide(case.subject, DepositDecision.KEEP, note="Seen.", by=COMMAND_LINE)


async def _vehicles(installation: Installation) -> None:
    """One vehicle is bought and delivered, one reservation is lost, one order is withdrawn."""
    platform = installation.platform
    order = await _reserved(installation, BOUGHT)
    await platform.payment_processing.initiate_final_payment(_paid(order, order.rest))
    order = await _until_order(installation, order.id, OrderState.DELIVERY_SCHEDULED)
    assert order.delivery_id is not None, "a scheduled delivery has an id"
    await platform.order_management.partner_events.delivery_completed(order.delivery_id)
    for vin in (KEPT, LOST):
        lost = await _reserved(installation, vin)
        declined = _paid(lost, lost.rest, "pm_declined")
        await platform.payment_processing.initiate_final_payment(declined)
        if vin == KEPT:
            await _decided(installation)
    withdrawn = await _reserved(installation, WITHDRAWN)
    await platform.order_management.withdrawal.withdraw(withdrawn.id)


async def _services(installation: Installation) -> None:
    """One service is declined, one withdrawn from, one voided because its car refuses."""
    withdrawn = await installation.settled()
    await installation.platform.payment_processing.withdraw_from_service(
        withdrawn.subject, requested_by="customer"
    )
    await installation.until(withdrawn.id, lambda p: p.state is PaymentState.REFUNDED)
    await installation.buys("pm_declined")
    await installation.car(REFUSING)
    installation.fleet.add(REFUSING, Manner(Behaviour.REFUSES))
    payment = await installation.buys(vin=REFUSING)
    await installation.until(payment.id, lambda p: p.state is PaymentState.VOIDED)


async def _disputed_and_refunded(installation: Installation) -> None:
    """Of one payment 300 are refunded, 500 lost, 700 argued about; another is refunded whole."""
    payment = await installation.settled()
    await refund_order(installation, payment, 300)
    reported = GatewayDispute(
        id="dp_lost", transaction_id=payment.gateway_transaction_id or "", amount=500,
        currency="EUR", status=DisputeStatus.LOST,
    )  # fmt: skip
    investigation = Disputes(installation.platform.tables)
    await investigation.on_event("contract", reported)
    await investigation.on_event(
        "contract", replace(reported, id="dp_argued", amount=700, status=DisputeStatus.OPENED)
    )


async def _subscribed(installation: Installation) -> UUID:
    """A car has a subscription, and uses it; another one had one."""
    await installation.platform.service_catalog.put_service(
        code="range-plus", name="Range plus", kind="subscription", currency="EUR",
        monthly_fee=2990, metered=[{"unit": "kWh", "unit_price": 12}],
    )  # fmt: skip
    ended = await _active(installation, CANCELLED)
    await installation.platform.subscriptions.end_subscription(ended.id)
    subscription = await _active(installation, MONTHLY)
    used = (await installation.platform.subscriptions.subscription(subscription.id)).activated_at
    assert used is not None, "it is active"
    uses = ("one", 7, None), ("two", 5, None), ("back", -5, "two"), ("argued", 3, None)
    for source, quantity, cancels in uses:
        await installation.platform.usage.record_usage(
            subscription.id, quantity=quantity, at=used, source_id=source, cancels=cancels
        )
    await installation.platform.usage.dispute(
        subscription.id, "argued", because="too much", by="olga"
    )
    return subscription.id


async def _active(installation: Installation, vin: str) -> Subscription:
    await installation.car(vin)
    subscriptions = installation.platform.subscriptions
    made = await installation.platform.payment_processing.subscribe(
        customer=await installation.customer(),
        vin=vin,
        service="range-plus",
        payment_method="pm_ok",
        by_fleet=True,
        request_key=hashlib.sha256(vin.encode()).digest(),
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await subscriptions.subscription(made.id)).activated_at is None:
            await installation.platform.jobs.run_due()
    return made


async def _reconciled(installation: Installation) -> None:
    """A day is reconciled: lines that agree, one that nobody knows, decided by two people."""
    office = Office(installation, installation.platform.reconciliation)
    await office.line(transaction_id="txn_alien")
    await office.line(transaction_id="txn_claimed", gross=-500, fee=0)
    (settled, *_) = await installation.database.fetch(
        "select id from payments where state = 'Settled' order by id limit 1"
    )
    await office.line(await installation.platform.tables.payments.get(settled["id"]), gross=7)
    await office.closed()
    for found in [
        *await office.found(kind=DiscrepancyKind.MISSING_IN_BOOK),
        *await office.found(kind=DiscrepancyKind.DUPLICATE_LINE),
    ]:
        await office.reconciliation.investigation.attach(
            found.id, name="seen.txt", media_type="text/plain", content=b"seen", by="olga"
        )
        seen = await office.reconciliation.investigation.check(found.id)
        await office.reconciliation.investigation.resolve(
            found.id,
            note="Seen.",
            by=COMMAND_LINE,
            resolution=(
                Resolution.CLAIM_FROM_GATEWAY
                if Resolution.CLAIM_FROM_GATEWAY in seen.allowed
                else Resolution.CORRECT_BY_ENTRY
            ),
        )


async def _a_month_ends(installation: Installation, subscription: UUID) -> None:
    """The month is billed, charged and in part credited."""
    month = Month.containing(app.now(), MADRID)
    over = month.next().first_instant(MADRID) - app.now() + timedelta(hours=1)
    owner = await asyncpg.connect(installation.database.dsn)
    await owner.execute("update caas.clock set moved = moved + $1", over)
    await owner.close()
    await installation.platform.billing.run_month(month)
    (invoice,) = await installation.platform.invoices.invoices(subject=subscription)
    assert invoice.payment_id is not None
    await installation.until(invoice.payment_id, lambda p: p.state is PaymentState.CAPTURING)
    await installation.platform.invoices.credit_notes.issue(invoice.id, reason="too much", gross=7)


async def _issued_again(installation: Installation) -> None:
    """A document is issued again, because its customer says later where they are."""
    await installation.platform.issuing.issue_due()
    invoice = next(
        one
        for one in await installation.platform.invoices.invoices()
        if is_reissuable(one) and not is_large(Money(one.gross, one.currency))
    )
    await BillingDetailsRows(installation.database).put(
        invoice.customer, checked_details(**{**AT_HOME, "street": "Calle Menor 2"})
    )
    await installation.platform.invoices.credit_notes.reissue(
        invoice.id, reason="The address was missing.", by=COMMAND_LINE
    )


async def _under_way(installation: Installation) -> None:
    """What waits at the end: a purchase on the page, one for a car that sleeps, a refund."""
    payment = await installation.buys()
    await installation.until(payment.id, lambda p: p.state is PaymentState.CAPTURING)
    await ask_back(installation, payment, 200)
    await installation.platform.payment_processing.refund_operations.decide(
        payment.id, RefundWish(100, "goodwill", None), note="Seen.", by=COMMAND_LINE
    )
    await installation.platform.issuing.issue_due()
    await employed(installation.database, "olga@caas.example")


async def _used_and_told(installation: Installation, subscription: UUID) -> None:
    """Use that no invoice bills yet, a webhook that is followed, a case that a person closed."""
    (now,) = await installation.database.fetch("select db_now() as at")
    await installation.platform.usage.record_usage(
        subscription, quantity=11, at=now["at"], source_id="later"
    )
    payment = await installation.buys()
    await installation.until(payment.id, lambda p: p.state is PaymentState.CAPTURING)
    await installation.gateway_does("settle")
    reported = {
        "id": str(payment.gateway_transaction_id), "reference": str(payment.id),
        "status": "settled", "amount": payment.amount, "currency": payment.currency,
        "captured_amount": payment.amount, "settled_amount": payment.amount, "refunded_amount": 0,
        "created_at": payment.created_at.isoformat(),
    }  # fmt: skip
    event = {"id": "evt_lived", "type": "transaction.settled", "data": reported}
    body = json.dumps(event | {"occurred_at": payment.created_at.isoformat()})
    digest = hashlib.sha256(body.encode()).digest()
    incoming = Incoming(
        gateway="contract",
        event_id="evt_lived",
        body=body,
        body_hash=digest,
        job_kind=APPLY_WEBHOOK,
    )
    await WebhookInbox(installation.database).store(incoming)
    await installation.until(payment.id, lambda p: p.state is PaymentState.SETTLED)
    cases = installation.platform.tables.cases
    await cases.open("noted", payment.id, "Somebody should look.")
    await cases.close("noted", payment.id, resolution="Seen.", owner="olga")
    key = CallerKey("shop", b"k" * 32, b"r" * 32)
    await installation.buys(caller_key=key)
    await installation.customer()


async def _on_schedule(installation: Installation) -> None:
    """What each worker plans when it starts, and the head of a day."""
    platform = installation.platform
    await platform.billing.schedule()
    await platform.reconciliation.begin_schedule()
    await platform.invariant_monitor.begin()
    await platform.issuing.begin()
    owner = await asyncpg.connect(
        installation.database.dsn, server_settings={"search_path": "caas,public"}
    )
    await owner.execute(BESIDE.read_text("utf-8"))
    await owner.close()
    assert await history_heads.made(installation.database, sign=TERMS.sign) is not None

"""A platform that has lived: purchases, a subscription's month, refunds, disputes, decisions.

Some of it is finished and some is under way, so that every table that carries an obligation has
rows, and most kinds of work are waiting.
"""

import asyncio
import hashlib
import json
from dataclasses import replace
from datetime import timedelta
from itertools import cycle
from pathlib import Path
from uuid import UUID

import asyncpg

from caas import app
from caas.billing_database import history_heads
from caas.billing_database.cases import DEPOSIT_HELD
from caas.billing_database.decisions import RefundWish
from caas.billing_database.orders import Order
from caas.billing_database.subscriptions import Subscription
from caas.billing_database.webhook_inbox import Incoming, WebhookInbox
from caas.external_systems.payment_gateway import DisputeStatus, GatewayDispute
from caas.order_management.held_deposits import DepositDecision
from caas.payment_processing import CallerKey, PaymentRequest
from caas.payment_processing.disputes import Disputes
from caas.payment_processing.outgoing_news import APPLY_WEBHOOK
from caas.rules.discrepancies import DiscrepancyKind, Resolution
from caas.rules.mes_vencido import Month
from caas.rules.money import Money
from caas.rules.order_states import OrderState
from caas.rules.payment_states import PaymentState
from caas_simulators.vehicle_car import Behaviour, Manner
from tests.billing_database.test_history_heads import TERMS
from tests.buyers import gives_details
from tests.house import PATIENCE_SECONDS, House
from tests.payment_processing.test_refunds import ask_back, give_back
from tests.people import COMMAND_LINE, employed
from tests.reconciliation.office import Office
from tests.subscription_house import MADRID

BESIDE = Path(__file__).with_name("lived_beside.sql")
DEALERSHIP = "Autos Sol"
BOUGHT, LOST, WITHDRAWN, REFUSING, MONTHLY, CANCELLED, KEPT = (
    f"WVWZZZ1JZXWLIVED{n}" for n in range(1, 8)
)


async def lived(house: House) -> None:
    """Live through one of everything; what is still under way at the end is left so."""
    await house.car()
    await house.offer_heated_seats()
    await _vehicles(house)
    await _services(house)
    subscription = await _subscribed(house)
    await _disputed_and_refunded(house)
    await _reconciled(house)
    await _a_month_ends(house, subscription)
    await _under_way(house)
    await _used_and_told(house, subscription)
    await _on_schedule(house)


async def _ordered(house: House, vin: str) -> Order:
    await house.car(vin)
    management = house.platform.order_management
    customer = await management.create_customer(
        name="Ana", email=f"{vin.lower()}@example.com", language="es", dealership=DEALERSHIP
    )
    await gives_details(house.database, customer.id)
    return await management.create_order(
        customer=customer.id, vin=vin, model=None, dealership=DEALERSHIP,
        deposit=Money(50_000, "EUR"),
    )  # fmt: skip


def _paid(order: Order, due: Money, method: str = "pm_ok") -> PaymentRequest:
    return PaymentRequest(
        subject=order.id, customer=order.customer, amount=due.amount, currency=due.currency,
        payment_method=method,
    )  # fmt: skip


async def _reserved(house: House, vin: str) -> Order:
    order = await _ordered(house, vin)
    await house.platform.payment_processing.initiate_reservation_payment(
        _paid(order, order.deposit)
    )
    return await _until_order(house, order.id, OrderState.READY)


async def _until_order(house: House, order_id: UUID, state: OrderState) -> Order:
    for _ in range(2000):
        order = await house.platform.order_management.order(order_id)
        if order.state is state:
            return order
        if order.state is OrderState.FACTORY_ORDER_PLACED:
            assert order.vin is not None, "these orders have their vehicle"
            await house.platform.order_management.vehicle_ready(
                vin=order.vin, public_key=None, order_id=order.id
            )
        await house.platform.open_work.run_due()
    message = f"{order_id} never was {state}"
    raise AssertionError(message)


async def _decided(house: House) -> None:
    """One keeps the deposit of the lost reservation."""
    desk = house.platform.order_management.held_deposits
    (case,) = await house.platform.books.cases.listed(kind=DEPOSIT_HELD)
    await desk.decide(case.subject, DepositDecision.KEEP, note="Seen.", by=COMMAND_LINE)


async def _vehicles(house: House) -> None:
    """One vehicle is bought and delivered, one reservation is lost, one order is withdrawn."""
    platform = house.platform
    order = await _reserved(house, BOUGHT)
    await platform.payment_processing.initiate_final_payment(_paid(order, order.rest))
    order = await _until_order(house, order.id, OrderState.DELIVERY_SCHEDULED)
    assert order.delivery_id is not None, "a scheduled delivery has an id"
    await platform.order_management.delivery_completed(order.delivery_id)
    for vin in (KEPT, LOST):
        lost = await _reserved(house, vin)
        declined = _paid(lost, lost.rest, "pm_declined")
        await platform.payment_processing.initiate_final_payment(declined)
        if vin == KEPT:
            await _decided(house)
    withdrawn = await _reserved(house, WITHDRAWN)
    await platform.order_management.withdraw(withdrawn.id)


async def _services(house: House) -> None:
    """One service is declined, one withdrawn from, one voided because its car refuses."""
    withdrawn = await house.settled()
    await house.platform.payment_processing.withdraw_from_service(
        withdrawn.subject, requested_by="customer"
    )
    await house.until(withdrawn.id, lambda p: p.state is PaymentState.REFUNDED)
    await house.buys("pm_declined")
    await house.car(REFUSING)
    house.fleet.add(REFUSING, Manner(Behaviour.REFUSES))
    payment = await house.buys(vin=REFUSING)
    await house.until(payment.id, lambda p: p.state is PaymentState.VOIDED)


async def _disputed_and_refunded(house: House) -> None:
    """Of one payment 300 are refunded, 500 lost, 700 argued about; another is refunded whole."""
    payment = await house.settled()
    await give_back(house, payment, 300)
    told = GatewayDispute(
        id="dp_lost", transaction_id=payment.gateway_transaction_id or "", amount=500,
        currency="EUR", status=DisputeStatus.LOST,
    )  # fmt: skip
    desk = Disputes(house.platform.books)
    await desk.gateway_says(told)
    await desk.gateway_says(replace(told, id="dp_argued", amount=700, status=DisputeStatus.OPENED))


async def _subscribed(house: House) -> UUID:
    """A car has a subscription, and uses it; another one had one."""
    await house.platform.service_catalog.put_service(
        code="range-plus", name="Range plus", kind="subscription", currency="EUR",
        monthly_fee=2990, metered=[{"unit": "kWh", "unit_price": 12}],
    )  # fmt: skip
    ended = await _active(house, CANCELLED)
    await house.platform.subscriptions.end_subscription(ended.id)
    subscription = await _active(house, MONTHLY)
    used = (await house.platform.subscriptions.subscription(subscription.id)).activated_at
    assert used is not None, "it is active"
    uses = ("one", 7, None), ("two", 5, None), ("back", -5, "two"), ("argued", 3, None)
    for source, quantity, cancels in uses:
        await house.platform.usage.record_usage(
            subscription.id, quantity=quantity, at=used, source_id=source, cancels=cancels
        )
    await house.platform.usage.dispute(subscription.id, "argued", because="too much", by="olga")
    return subscription.id


async def _active(house: House, vin: str) -> Subscription:
    await house.car(vin)
    subscriptions = house.platform.subscriptions
    made = await subscriptions.subscribe(
        customer=await house.customer(), vin=vin, service="range-plus", payment_method="pm_ok",
        by_fleet=True,
    )  # fmt: skip
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await subscriptions.subscription(made.id)).activated_at is None:
            await house.platform.open_work.run_due()
    return made


async def _reconciled(house: House) -> None:
    """A day is reconciled: lines that agree, one that nobody knows, decided by two people."""
    office = Office(house, house.platform.reconciliation)
    for transaction in ("txn_alien", "txn_claimed"):
        await office.line(transaction_id=transaction)
    (settled, *_) = await house.database.fetch(
        "select id from payments where state = 'Settled' order by id limit 1"
    )
    await office.line(await house.platform.books.payments.get(settled["id"]), gross=7)
    await office.closed()
    decisions = cycle((Resolution.CORRECT_BY_ENTRY, Resolution.CLAIM_FROM_GATEWAY))
    for found in [
        *await office.found(kind=DiscrepancyKind.MISSING_IN_BOOK),
        *await office.found(kind=DiscrepancyKind.DUPLICATE_LINE),
    ]:
        await office.room.investigation.attach(
            found.id, name="seen.txt", media_type="text/plain", content=b"seen", by="olga"
        )
        await office.room.investigation.resolve(
            found.id, resolution=next(decisions), note="Seen.", by=COMMAND_LINE
        )


async def _a_month_ends(house: House, subscription: UUID) -> None:
    """The month is billed, charged and in part credited."""
    month = Month.containing(app.now(), MADRID)
    over = month.next().first_instant(MADRID) - app.now() + timedelta(hours=1)
    owner = await asyncpg.connect(house.database.dsn)
    await owner.execute("update caas.clock set moved = moved + $1", over)
    await owner.close()
    await house.platform.billing.run_month(month)
    (invoice,) = await house.platform.invoices.invoices(subject=subscription)
    assert invoice.payment_id is not None
    await house.until(invoice.payment_id, lambda p: p.state is PaymentState.CAPTURING)
    await house.platform.invoices.credit_notes.issue(invoice.id, reason="too much", gross=7)


async def _under_way(house: House) -> None:
    """What waits at the end: a purchase on the page, one for a car that sleeps, a refund."""
    payment = await house.buys()
    await house.until(payment.id, lambda p: p.state is PaymentState.CAPTURING)
    await ask_back(house, payment, 200)
    await house.platform.payment_processing.refund_desk.decide(
        payment.id, RefundWish(100, "goodwill", None), note="Seen.", by=COMMAND_LINE
    )
    await house.platform.issuing.issue_due()
    await employed(house.database, "olga@caas.example")


async def _used_and_told(house: House, subscription: UUID) -> None:
    """Use that no invoice bills yet, a webhook that is followed, a case that a person closed."""
    (now,) = await house.database.fetch("select db_now() as at")
    await house.platform.usage.record_usage(
        subscription, quantity=11, at=now["at"], source_id="later"
    )
    payment = await house.buys()
    await house.until(payment.id, lambda p: p.state is PaymentState.CAPTURING)
    await house.gateway_does("settle")
    told = {
        "id": str(payment.gateway_transaction_id), "reference": str(payment.id),
        "status": "settled", "amount": payment.amount, "currency": payment.currency,
        "captured_amount": payment.amount, "settled_amount": payment.amount, "refunded_amount": 0,
        "created_at": payment.created_at.isoformat(),
    }  # fmt: skip
    event = {"id": "evt_lived", "type": "transaction.settled", "data": told}
    body = json.dumps(event | {"occurred_at": payment.created_at.isoformat()})
    digest = hashlib.sha256(body.encode()).digest()
    incoming = Incoming(
        gateway="gateway",
        event_id="evt_lived",
        body=body,
        body_hash=digest,
        work_kind=APPLY_WEBHOOK,
    )
    await WebhookInbox(house.database).store(incoming)
    await house.until(payment.id, lambda p: p.state is PaymentState.SETTLED)
    cases = house.platform.books.cases
    await cases.open("noted", payment.id, "Somebody should look.")
    await cases.close("noted", payment.id, resolution="Seen.", owner="olga")
    key = CallerKey("shop", b"k" * 32, b"r" * 32)
    await house.buys(caller_key=key)
    await house.customer()


async def _on_schedule(house: House) -> None:
    """What each worker plans when it starts, and the head of a day."""
    platform = house.platform
    await platform.billing.schedule()
    await platform.reconciliation.begin_schedule()
    await platform.law_watch.begin()
    await platform.issuing.begin()
    owner = await asyncpg.connect(
        house.database.dsn, server_settings={"search_path": "caas,public"}
    )
    await owner.execute(BESIDE.read_text("utf-8"))
    await owner.close()
    assert await history_heads.made(house.database, sign=TERMS.sign) is not None

"""Subscriptions (Diagram 6, mes vencido): used first, charged when the month is over.

The platform's clock is moved to the first day of the next month.

Rules a change must keep: a month is charged once, from what was delivered and used in it; only a
decline ends a subscription; the expected invoice amount is computed here independently.
"""

import calendar
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from caas.billing_database.identifiers import new_id
from caas.rules.mes_vencido import Month
from caas_lab.demo import checks, fixtures
from caas_lab.demo.fixtures import Customer
from caas_lab.demo.http_client import require_success
from caas_lab.demo.scenario import BANKING_NETWORK, PAYMENT_GATEWAY, Need, Scenario
from caas_lab.demo.scenario_run import Payment, ScenarioRun, money

MADRID: Final = ZoneInfo("Europe/Madrid")
RANGE_PLUS: Final = "range-plus"
MONTHLY_FEE: Final = 2_990
KWH_PRICE: Final = 12
KWH_USED: Final = 40
AFTER_MIDNIGHT_SECONDS: Final = 60
SERVICE_CATALOG: Final = "Service Catalog"
BILLING: Final = "Billing Subsystem"
EVERYTHING: Final = frozenset({Need.CONTROL_PLANES, Need.FAST_TIME, Need.CLOCK})


class Subscribed(msgspec.Struct, frozen=True):
    """An active subscription with usage, and the expected amount of its month."""

    customer: Customer
    vin: str
    id: str
    month: Month
    due: int


async def _paid(run: ScenarioRun) -> None:
    it = await _subscribes_and_uses(run, "pm_ok")
    await _month_ends(run, it)
    payment = await _month_payment(run, it, "Capturing")
    run.step(BANKING_NETWORK, PAYMENT_GATEWAY, "Settlement Confirmation")
    await run.testbed.gateway.settle(payment["id"])
    payment = await run.wait_for_payment(payment["id"], "Settled")
    await _bill(run, it.month)
    charged = len(await _payments_of(run, it.customer))
    verification = await run.payment(run.payments[0])

    run.expect("the hold that verified the card was", "Voided", verification["state"])
    run.expect("the subscription is", "active", (await _subscription(run, it.id))["state"])
    checks.expect_state(run, payment, "Settled")
    checks.expect_money(run, payment, captured=it.due, settled=it.due)
    await checks.expect_charges(run, payment["id"], 1)
    run.expect("payments after the month was billed a second time", 2, charged)
    await checks.expect_switched(run, it.vin, RANGE_PLUS, on=True)
    await checks.expect_notification(run, it.customer, "Subscription active")
    await checks.expect_mail(run, it.customer, "Invoice", containing=money(it.due).split()[0])


async def _declined(run: ScenarioRun) -> None:
    it = await _subscribes_and_uses(run, "pm_refund_fails")
    of_this_card = {"operation": "initiate", "payment_method": "pm_refund_fails"}
    await run.testbed.gateway.inject_fault(of_this_card, decline_code="card_declined")
    await _month_ends(run, it)
    payment = await _month_payment(run, it, "Failed")
    subscription = await _subscription_is(run, it.id, "cancelled")

    checks.expect_state(run, payment, "Failed")
    run.expect("the subscription is", "cancelled", subscription["state"])
    await checks.expect_switched(run, it.vin, RANGE_PLUS, on=False)
    await checks.expect_charges(run, payment["id"], 0)
    await checks.expect_ledger(run, payment["id"], "risk_loss:subscription_declined", it.due)
    await checks.expect_notification(run, it.customer, "Subscription cancelled: payment failed")


async def _unknown(run: ScenarioRun) -> None:
    it = await _subscribes_and_uses(run, "pm_late_settlement")
    run.step(PAYMENT_GATEWAY, PAYMENT_GATEWAY, "carries out every call and drops the connection")
    of_this_card = {"operation": "initiate", "payment_method": "pm_late_settlement"}
    await run.testbed.gateway.inject_fault(of_this_card, drop_connection_after=True)
    await run.testbed.gateway.inject_fault({"operation": "find"}, status=503)
    await run.testbed.gateway.inject_fault({"operation": "webhook"}, drop=True)
    await _month_ends(run, it)
    payment_id = (await _month_payment(run, it))["id"]

    async def not_known() -> bool:
        return bool((await run.payment(payment_id))["outcome"] == "unknown")

    await run.wait_until(not_known)
    meanwhile = await _subscription(run, it.id)
    await checks.expect_switched(run, it.vin, RANGE_PLUS, on=True)
    run.step(PAYMENT_GATEWAY, PAYMENT_GATEWAY, "works again")
    await run.testbed.gateway.clear_faults()
    payment = await run.wait_for_payment(payment_id, "Capturing")

    run.expect(
        "while the outcome is unknown the subscription is",
        "active",
        meanwhile["state"],
    )
    checks.expect_state(run, payment, "Capturing")
    checks.expect_money(run, payment, captured=it.due)
    await checks.expect_charges(run, payment_id, 1)
    await checks.expect_no_second_transaction(run, payment_id)
    await checks.expect_mail(run, it.customer, "Invoice", containing=money(it.due).split()[0])


async def _subscribes_and_uses(run: ScenarioRun, method: str) -> Subscribed:
    """Subscribe, wait until the service is active, and use it."""
    ana, vin = await fixtures.customer(run, "Ana"), await fixtures.car(run)
    await _range_plus_on_offer(run)
    price = f"{money(MONTHLY_FEE)} a month, {money(KWH_PRICE)} a kWh, tax included"
    run.step(ana.name, SERVICE_CATALOG, "Subscribe to Monthly Service", price)
    body = {"customer": ana.id, "vin": vin, "service": RANGE_PLUS, "payment_method": method}
    reply = await run.testbed.platform.post("/v1/subscriptions", body, scope=fixtures.FLEET)
    subscription = str(require_success(reply, "subscribe")["id"])
    run.names[subscription] = {"customer": ana.name}
    await _subscription_is(run, subscription, "active")
    await _payments_of(run, ana)
    await _uses(run, ana, subscription)
    month = Month.containing(run.now(), MADRID)
    return Subscribed(ana, vin, subscription, month, _due(run))


def _due(run: ScenarioRun) -> int:
    """Return the fee for the rest of this month plus the usage, tax included."""
    today = run.now().astimezone(MADRID)
    days = calendar.monthrange(today.year, today.month)[1]
    return MONTHLY_FEE * (days - today.day + 1) // days + KWH_USED * KWH_PRICE


async def _range_plus_on_offer(run: ScenarioRun) -> None:
    body = {
        "name": "Range plus",
        "kind": "subscription",
        "currency": "EUR",
        "monthly_fee": MONTHLY_FEE,
        "metered": [{"unit": "kWh", "unit_price": KWH_PRICE}],
    }
    path = f"/v1/services/{RANGE_PLUS}"
    require_success(
        await run.testbed.platform.send("PUT", path, body, scope=fixtures.CATALOG), "putService"
    )


async def _uses(run: ScenarioRun, customer: Customer, subscription: str) -> None:
    used = f"{KWH_USED} kWh"
    run.step(customer.name, SERVICE_CATALOG, "uses the service throughout the month", used)
    body = {
        "subscription": subscription,
        "quantity": KWH_USED,
        "at": run.now().isoformat(),
        "source_id": f"car-{new_id()}",
        "unit": "kWh",
    }
    require_success(
        await run.testbed.platform.post("/v1/usage", body, scope=fixtures.CATALOG), "recordUsage"
    )


async def _month_ends(run: ScenarioRun, it: Subscribed) -> None:
    """Move the clock past the end of the month, and bill it."""
    to_wait = (it.month.interval(MADRID).end - run.now()).total_seconds()
    await run.advance_clock(int(to_wait) + AFTER_MIDNIGHT_SECONDS)
    run.step(BILLING, BILLING, "End of Month Reached", f"Calculate Usage Charges of {it.month}")
    await _bill(run, it.month)


async def _bill(run: ScenarioRun, month: Month) -> None:
    body = {"month": str(month)}
    reply = await run.testbed.platform.post("/v1/billing/runs", body, scope="billing")
    require_success(reply, "runBilling")


async def _payments_of(run: ScenarioRun, customer: Customer) -> list[Payment]:
    """Watch every payment of a customer; return them, the newest first."""
    path = f"/v1/payments?customer={customer.id}"
    data = require_success(await run.testbed.platform.get(path, scope="operations"), "listPayments")
    for payment in reversed(data["data"]):
        run.watch(str(payment["id"]))
    return list(data["data"])


async def _month_payment(run: ScenarioRun, it: Subscribed, *states: str) -> Payment:
    """Return the payment of the month's charge, once it is in one of these states."""
    payments = await _payments_of(run, it.customer)
    newest = str(payments[0]["id"])
    return await run.wait_for_payment(newest, *states) if states else await run.payment(newest)


async def _subscription(run: ScenarioRun, subscription: str) -> dict[str, Any]:
    path = f"/v1/subscriptions/{subscription}"
    return require_success(
        await run.testbed.platform.get(path, scope="operations"), "getSubscription"
    )


async def _subscription_is(run: ScenarioRun, subscription: str, state: str) -> dict[str, Any]:
    async def there() -> bool:
        return bool((await _subscription(run, subscription))["state"] == state)

    await run.wait_until(there)
    return await _subscription(run, subscription)


SCENARIOS: Final = (
    Scenario(
        name="month-paid",
        title="Mes vencido: a month is used, charged when it is over, and invoiced",
        rule="Diagram 6, Payment Successful; decisions 27 to 30",
        text="A hold verifies the card and is voided, and the service is on at once. When the "
        "month is over, fee and usage are charged and the invoice is sent.",
        expected_end="month settled, subscription continues",
        steps=_paid,
        needs=EVERYTHING,
    ),
    Scenario(
        name="month-declined",
        title="Mes vencido: the month's charge is declined",
        rule="Diagram 6, Payment Failed; Failure Handling Rule 4; decisions 25 and 26",
        text="The first decline cancels: the service is switched off, the customer is notified, "
        "and the month is written off. Neither it nor the running month is ever charged.",
        expected_end="cancelled, off, written off",
        steps=_declined,
        needs=EVERYTHING,
    ),
    Scenario(
        name="month-unknown",
        title="Mes vencido: the outcome of the month's charge is unknown",
        rule="Diagram 6; decisions 3 and 25: unknown never cancels",
        text="The gateway charges and drops the connection, four times. The subscription "
        "continues. When the gateway answers again, the month proves to be paid, once.",
        expected_end="subscription continues, charged once",
        steps=_unknown,
        needs=EVERYTHING,
    ),
)

"""Subscriptions (Diagram 6, mes vencido): used first, charged when the month is over.

The calendar leaps to the first day of the next month, because nobody waits for it.

Rules a change must keep: a month is charged once, from what was delivered and used in it; only a
decline ends a subscription; what the invoice should come to is counted here by hand.
"""

import calendar
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

from caas.billing_database.identifiers import new_id
from caas.rules.mes_vencido import Month
from caas_lab.demo import cast, checks
from caas_lab.demo.calls import done
from caas_lab.demo.cast import Customer
from caas_lab.demo.play import Payment, Play, money
from caas_lab.demo.story import BANKING_NETWORK, PAYMENT_GATEWAY, Need, Scene

MADRID: Final = ZoneInfo("Europe/Madrid")
RANGE_PLUS: Final = "range-plus"
MONTHLY_FEE: Final = 2_990
KWH_PRICE: Final = 12
KWH_USED: Final = 40
AFTER_MIDNIGHT_SECONDS: Final = 60
SERVICE_CATALOG: Final = "Service Catalog"
BILLING: Final = "Billing Subsystem"
EVERYTHING: Final = frozenset({Need.STRINGS, Need.FAST_TIME, Need.CALENDAR})


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A subscription that is active and used, and what its month should come to."""

    customer: Customer
    vin: str
    id: str
    month: Month
    due: int


async def _paid(play: Play) -> None:
    it = await _subscribes_and_uses(play, "pm_ok")
    await _month_ends(play, it)
    payment = await _month_payment(play, it, "Capturing")
    play.step(BANKING_NETWORK, PAYMENT_GATEWAY, "Settlement Confirmation")
    await play.stage.gateway.bank_answers(payment["id"])
    payment = await play.payment_is(payment["id"], "Settled")
    await _bill(play, it.month)
    charged = len(await _payments_of(play, it.customer))
    verification = await play.payment(play.payments[0])

    play.expect("the hold that verified the card was", "Voided", verification["state"])
    play.expect("the subscription is", "active", (await _subscription(play, it.id))["state"])
    checks.expect_state(play, payment, "Settled")
    checks.expect_money(play, payment, captured=it.due, settled=it.due)
    await checks.expect_charges(play, payment["id"], 1)
    play.expect("payments after the month was billed a second time", 2, charged)
    await checks.expect_switched(play, it.vin, RANGE_PLUS, on=True)
    await checks.expect_told(play, it.customer, "Subscription active")
    await checks.expect_mail(play, it.customer, "Invoice", says=money(it.due).split()[0])


async def _declined(play: Play) -> None:
    it = await _subscribes_and_uses(play, "pm_refund_fails")
    of_this_card = {"operation": "initiate", "payment_method": "pm_refund_fails"}
    await play.stage.gateway.goes_wrong(of_this_card, decline_code="card_declined")
    await _month_ends(play, it)
    payment = await _month_payment(play, it, "Failed")
    subscription = await _subscription_is(play, it.id, "cancelled")

    checks.expect_state(play, payment, "Failed")
    play.expect("the subscription is", "cancelled", subscription["state"])
    await checks.expect_switched(play, it.vin, RANGE_PLUS, on=False)
    await checks.expect_charges(play, payment["id"], 0)
    await checks.expect_ledger(play, payment["id"], "risk_loss:subscription_declined", it.due)
    await checks.expect_told(play, it.customer, "Subscription cancelled: the payment failed")


async def _unknown(play: Play) -> None:
    it = await _subscribes_and_uses(play, "pm_late_settlement")
    play.step(PAYMENT_GATEWAY, PAYMENT_GATEWAY, "hangs up on every call, after doing it")
    of_this_card = {"operation": "initiate", "payment_method": "pm_late_settlement"}
    await play.stage.gateway.goes_wrong(of_this_card, drop_connection_after=True)
    await play.stage.gateway.goes_wrong({"operation": "find"}, status=503)
    await play.stage.gateway.goes_wrong({"operation": "webhook"}, drop=True)
    await _month_ends(play, it)
    payment_id = (await _month_payment(play, it))["id"]

    async def not_known() -> bool:
        return bool((await play.payment(payment_id))["outcome"] == "unknown")

    await play.until(not_known)
    meanwhile = await _subscription(play, it.id)
    await checks.expect_switched(play, it.vin, RANGE_PLUS, on=True)
    play.step(PAYMENT_GATEWAY, PAYMENT_GATEWAY, "is well again")
    await play.stage.gateway.goes_well()
    payment = await play.payment_is(payment_id, "Capturing")

    play.expect("while the outcome is unknown the subscription is", "active", meanwhile["state"])
    checks.expect_state(play, payment, "Capturing")
    checks.expect_money(play, payment, captured=it.due)
    await checks.expect_charges(play, payment_id, 1)
    await checks.expect_no_second_transaction(play, payment_id)
    await checks.expect_mail(play, it.customer, "Invoice", says=money(it.due).split()[0])


async def _subscribes_and_uses(play: Play, method: str) -> Subscribed:
    """Subscribe to Monthly Service, Service Active, and what is used until the month is over."""
    ana, vin = await cast.customer(play, "Ana"), await cast.car(play)
    await _range_plus_on_offer(play)
    price = f"{money(MONTHLY_FEE)} a month, {money(KWH_PRICE)} a kWh, tax included"
    play.step(ana.name, SERVICE_CATALOG, "Subscribe to Monthly Service", price)
    body = {"customer": ana.id, "vin": vin, "service": RANGE_PLUS, "payment_method": method}
    reply = await play.stage.platform.post("/v1/subscriptions", body, scope=cast.FLEET)
    subscription = str(done(reply, "subscribe")["id"])
    play.people[subscription] = {"customer": ana.name}
    await _subscription_is(play, subscription, "active")
    await _payments_of(play, ana)
    await _uses(play, ana, subscription)
    month = Month.containing(play.now(), MADRID)
    return Subscribed(ana, vin, subscription, month, _due(play))


def _due(play: Play) -> int:
    """Count by hand: the fee for the days left of this month, and the use; tax is in them."""
    today = play.now().astimezone(MADRID)
    days = calendar.monthrange(today.year, today.month)[1]
    return MONTHLY_FEE * (days - today.day + 1) // days + KWH_USED * KWH_PRICE


async def _range_plus_on_offer(play: Play) -> None:
    body = {
        "name": "Range plus",
        "kind": "subscription",
        "currency": "EUR",
        "monthly_fee": MONTHLY_FEE,
        "metered": [{"unit": "kWh", "unit_price": KWH_PRICE}],
    }
    path = f"/v1/services/{RANGE_PLUS}"
    done(await play.stage.platform.send("PUT", path, body, scope=cast.CATALOG), "putService")


async def _uses(play: Play, customer: Customer, subscription: str) -> None:
    used = f"{KWH_USED} kWh"
    play.step(customer.name, SERVICE_CATALOG, "uses the service throughout the month", used)
    body = {
        "subscription": subscription,
        "quantity": KWH_USED,
        "at": play.now().isoformat(),
        "source_id": f"car-{new_id()}",
        "unit": "kWh",
    }
    done(await play.stage.platform.post("/v1/usage", body, scope=cast.CATALOG), "recordUsage")


async def _month_ends(play: Play, it: Subscribed) -> None:
    """Let the calendar leap behind the end of the month, and bill it."""
    to_wait = (it.month.interval(MADRID).end - play.now()).total_seconds()
    await play.calendar_moves(int(to_wait) + AFTER_MIDNIGHT_SECONDS)
    play.step(BILLING, BILLING, "End of Month Reached", f"Calculate Usage Charges of {it.month}")
    await _bill(play, it.month)


async def _bill(play: Play, month: Month) -> None:
    body = {"month": str(month)}
    reply = await play.stage.platform.post("/v1/billing/runs", body, scope="billing")
    done(reply, "runBilling")


async def _payments_of(play: Play, customer: Customer) -> list[Payment]:
    """Watch every payment of a customer; return them, the newest first."""
    path = f"/v1/payments?customer={customer.id}"
    told = done(await play.stage.platform.get(path, scope="operations"), "listPayments")
    for payment in reversed(told["data"]):
        play.watch(str(payment["id"]))
    return list(told["data"])


async def _month_payment(play: Play, it: Subscribed, *states: str) -> Payment:
    """Return the payment of the month's charge, once it is in one of these states."""
    payments = await _payments_of(play, it.customer)
    newest = str(payments[0]["id"])
    return await play.payment_is(newest, *states) if states else await play.payment(newest)


async def _subscription(play: Play, subscription: str) -> dict[str, Any]:
    path = f"/v1/subscriptions/{subscription}"
    return done(await play.stage.platform.get(path, scope="operations"), "getSubscription")


async def _subscription_is(play: Play, subscription: str, state: str) -> dict[str, Any]:
    async def there() -> bool:
        return bool((await _subscription(play, subscription))["state"] == state)

    await play.until(there)
    return await _subscription(play, subscription)


SCENES: Final = (
    Scene(
        name="month-paid",
        title="Mes vencido: a month is used, charged when it is over, and invoiced",
        rule="Diagram 6, Payment Successful; decisions 27 to 30",
        tells="The card is verified with a hold that is let go, and the service is on at once. "
        "When the month is over, fee and use are charged and the invoice is sent.",
        ends="month settled, subscription goes on",
        plays=_paid,
        needs=EVERYTHING,
    ),
    Scene(
        name="month-declined",
        title="Mes vencido: the month's charge is declined",
        rule="Diagram 6, Payment Failed; Failure Handling Rule 4; decisions 25 and 26",
        tells="The first decline cancels: the service is switched off, the customer is told, and "
        "the month is written off. Neither it nor the running month is ever charged.",
        ends="cancelled, off, written off",
        plays=_declined,
        needs=EVERYTHING,
    ),
    Scene(
        name="month-unknown",
        title="Mes vencido: nobody knows whether the month was paid",
        rule="Diagram 6; decisions 3 and 25: unknown never cancels",
        tells="The gateway charges and hangs up, four times. The subscription goes on until the "
        "gateway can be asked, and then the month turns out to be paid, once.",
        ends="subscription goes on, charged once",
        plays=_unknown,
        needs=EVERYTHING,
    ),
)

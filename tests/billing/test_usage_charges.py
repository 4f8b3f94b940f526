"""A month's charges in SQL are those of `rules.mes_vencido`, whatever the past and the zone.

The rules are the specification, and the statement that bills a month is its fast twin.
"""

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from msgspec.structs import replace

from caas.billing import Billing
from caas.billing_database import self_check
from caas.billing_database.connection import Database
from caas.billing_database.invoices import Invoice, InvoiceRows
from caas.rules.mes_vencido import (
    DeliveredInterval,
    MeteredUsage,
    Month,
    UsageCharges,
    calculate_usage_charges,
    was_delivered,
)
from caas.rules.money import Money
from tests.billing.months import MADRID, Past, put
from tests.subscription_installation import LETTERHEAD, SubscriptionInstallation, set_clock

MONTHS = [
    ("2030-02", "Europe/Madrid"),  # 28 days
    ("2032-02", "Europe/Madrid"),  # a leap February
    ("2030-03", "Europe/Madrid"),  # clocks go forward
    ("2030-10", "Europe/Madrid"),  # clocks go back
    ("2030-12", "Pacific/Auckland"),  # far ahead of UTC
    ("2030-06", "America/Los_Angeles"),  # far behind it
    ("2030-11", "America/Havana"),  # an hour repeated at midnight
]
UNITS = (("kWh", 12), ("km", 3))


def billing_in(installation: SubscriptionInstallation, zone: ZoneInfo) -> Billing:
    """The same Billing in another market."""
    return Billing(
        tables=installation.tables,
        subscription_payment=installation.payment,
        notifications=installation.notifications,
        letterhead=replace(LETTERHEAD, zone=zone),
    )


def some_past(chance: random.Random, month: Month, zone: ZoneInfo) -> Past:
    """A past whose edges lie anywhere around the month, often close to a midnight."""
    start = month.previous().interval(zone).start
    end = month.interval(zone).end

    def moment() -> datetime:
        some = start + (end + timedelta(days=3) - start) * chance.random()
        near = chance.choice([month.interval(zone).start, end])
        close = near + timedelta(seconds=chance.choice([-3600, -1, 0, 1, 3600]))
        return chance.choice([some, close]).replace(microsecond=chance.choice([0, 999_999]))

    activated, cancelled, deactivated = sorted(moment() for _ in range(3))
    ends = chance.random()
    return Past(
        activated_at=activated,
        cancelled_at=cancelled if ends < 0.6 else None,
        deactivated_at=deactivated if ends < 0.4 else None,
        fee=chance.choice([0, 1, 2990, 10_000_01]),
        metered=UNITS,
        used=tuple(
            (chance.choice(["kWh", "km"]), chance.randint(1, 500), moment())
            for _ in range(chance.randint(0, 4))
        ),
    )


def expected(past: Past, month: Month, zone: ZoneInfo) -> UsageCharges:
    """What the rules say of this past."""
    ended = min((at for at in (past.cancelled_at, past.deactivated_at) if at), default=None)
    delivered = [DeliveredInterval(past.activated_at, ended)]
    end = month.interval(zone).end
    used = [use for use in past.used if use[2] < end and was_delivered(use[2], delivered)]
    metered = [
        MeteredUsage(unit=unit, quantity=quantity, unit_price=Money(price, "EUR"))
        for unit, price in UNITS
        if (quantity := sum(use[1] for use in used if use[0] == unit))
    ]
    return calculate_usage_charges(
        month,
        zone,
        fee=Money(past.fee, "EUR"),
        delivered=delivered,
        usage=metered,
        iva_basis_points=2100,
    )


def as_rules_say(charges: UsageCharges) -> tuple[int, int, int, list[dict[str, Any]]]:
    lines = [
        {
            "kind": line.kind.value, "unit": line.unit, "quantity": line.quantity,
            "out_of": line.out_of, "unit_price": line.unit_price.amount, "gross": line.gross.amount,
        }
        for line in charges.lines
    ]  # fmt: skip
    return charges.net.amount, charges.iva.amount, charges.gross.amount, lines


def as_issued(invoice: Invoice) -> tuple[int, int, int, list[dict[str, Any]]]:
    return invoice.net, invoice.iva, invoice.gross, invoice.lines


@pytest.mark.parametrize(("key", "zone_name"), MONTHS)
async def test_the_statement_says_what_the_rules_say(
    installation: SubscriptionInstallation, key: str, zone_name: str
) -> None:
    month, zone = Month.parse(key), ZoneInfo(zone_name)
    chance = random.Random(key)
    pasts = [some_past(chance, month, zone) for _ in range(300)]
    await put(installation.database, pasts)
    await installation.database.fetch(EVERYBODY_AT_HOME)
    await set_clock(installation.database, month.interval(zone).end + timedelta(days=4))

    await billing_in(installation, zone).run_month(month)

    issued: dict[Any, Invoice] = {}
    for past in pasts:
        for invoice in await InvoiceRows(installation.database).listed(subject=past.id):
            issued[past.id] = invoice
    stated = {past.id: expected(past, month, zone) for past in pasts}
    assert {i: as_issued(invoice) for i, invoice in issued.items()} == {
        i: as_rules_say(charges) for i, charges in stated.items() if charges.lines
    }
    assert 100 < len(issued) < 300


EVERYBODY_AT_HOME = """
insert into billing_details (customer, name, street, postcode, city, country, tax_id, updated_at)
select id, name, 'Calle Mayor 1', '28013', 'Madrid', 'ES', '12345678Z', db_now() from customers
"""
"""Large months name their buyers."""


async def invoice_after(
    database: Database, installation: SubscriptionInstallation, past: Past
) -> Invoice:
    """Bill the February of 2032 and return the invoice of this past."""
    await put(database, [past])
    await set_clock(database, datetime(2032, 3, 1, 12, tzinfo=MADRID))
    await installation.billing.run_month(Month.parse("2032-02"))
    (invoice,) = await installation.invoices.listed(subject=past.id)
    return invoice


async def test_a_whole_month_costs_the_fee_which_contains_iva(
    database: Database, installation: SubscriptionInstallation
) -> None:
    past = Past(activated_at=datetime(2031, 5, 5, tzinfo=UTC), fee=2990)

    invoice = await invoice_after(database, installation, past)

    assert (invoice.net, invoice.iva, invoice.gross) == (2471, 519, 2990)
    assert invoice.lines == [
        {"kind": "fixed fee", "unit": "day", "quantity": 29, "out_of": 29, "unit_price": 2990,
         "gross": 2990}
    ]  # fmt: skip


async def test_the_first_month_is_shared_out_by_its_days(
    database: Database, installation: SubscriptionInstallation
) -> None:
    past = Past(activated_at=datetime(2032, 2, 20, 23, 59, tzinfo=MADRID), fee=2900)

    invoice = await invoice_after(database, installation, past)

    assert invoice.lines[0]["quantity"] == 10
    assert invoice.gross == 1000


async def test_the_last_month_ends_with_the_customers_word_not_with_a_slow_vehicle(
    database: Database, installation: SubscriptionInstallation
) -> None:
    past = Past(
        activated_at=datetime(2031, 5, 5, tzinfo=UTC),
        cancelled_at=datetime(2032, 2, 10, 12, tzinfo=MADRID),
        deactivated_at=datetime(2032, 2, 25, 12, tzinfo=MADRID),
        fee=2900,
    )

    invoice = await invoice_after(database, installation, past)

    assert invoice.gross == 1000


async def test_use_told_late_stands_on_the_next_invoice(
    database: Database, installation: SubscriptionInstallation
) -> None:
    past = Past(
        activated_at=datetime(2031, 5, 5, tzinfo=UTC),
        fee=2900,
        metered=UNITS,
        used=(("kWh", 7, datetime(2032, 1, 31, 22, tzinfo=UTC)),),
    )

    invoice = await invoice_after(database, installation, past)

    assert invoice.gross == 2900 + 7 * 12


async def test_use_beyond_any_payment_is_a_case_and_the_fee_is_billed(
    database: Database, installation: SubscriptionInstallation
) -> None:
    at = datetime(2032, 2, 3, tzinfo=UTC)
    past = Past(activated_at=datetime(2031, 5, 5, tzinfo=UTC), metered=UNITS,
                used=(("kWh", 10**12, at),))  # fmt: skip
    good = Past(activated_at=datetime(2031, 5, 5, tzinfo=UTC))
    await put(database, [past, good])
    await set_clock(database, datetime(2032, 3, 1, 12, tzinfo=MADRID))

    run = await installation.billing.run_month(Month.parse("2032-02"))

    (case,) = await installation.tables.cases.listed(subject=past.id)
    assert (run.invoices, case.kind) == (2, "month_too_large")
    (invoice,) = await installation.invoices.listed(subject=past.id)
    assert [line["kind"] for line in invoice.lines] == ["fixed fee"]


async def test_a_subscription_that_cannot_be_invoiced_is_a_case_and_the_others_go_on(
    database: Database, installation: SubscriptionInstallation
) -> None:
    pasts = [Past(activated_at=datetime(2031, 5, 5, tzinfo=UTC)) for _ in range(9)]
    await put(database, pasts)
    bad = pasts[4]
    admin = await asyncpg.connect(database.dsn, server_settings={"search_path": "caas,public"})
    await admin.execute(
        f"alter table invoices add constraint bad check (subscription <> '{bad.id}')"
    )
    await set_clock(database, datetime(2032, 3, 1, 12, tzinfo=MADRID))

    run = await installation.billing.run_month(Month.parse("2032-02"))

    await admin.execute("alter table invoices drop constraint bad")
    await admin.close()

    (case,) = await installation.tables.cases.listed(kind="month_not_invoiced")
    assert (run.invoices, run.seen, case.subject) == (8, 9, bad.id)
    assert run.finished_at is not None


async def test_use_that_a_finished_month_left_out_in_silence_is_found(
    database: Database, installation: SubscriptionInstallation
) -> None:
    past = Past(activated_at=datetime(2031, 5, 5, tzinfo=UTC), metered=UNITS,
                used=(("kWh", 10**12, datetime(2032, 1, 3, tzinfo=UTC)),))  # fmt: skip
    await put(database, [past])
    await set_clock(database, datetime(2032, 3, 1, 12, tzinfo=MADRID))
    await installation.billing.run_month(Month.parse("2032-02"))
    reported = await violated_invariants(database)

    (case,) = await installation.tables.cases.listed(subject=past.id)
    await installation.tables.cases.resolve(case.id, resolution="looked away", owner="ana")

    assert reported == []
    assert await violated_invariants(database) == ["no_usage_is_unbilled"]
    await installation.tables.cases.open("month_too_large", past.id, "still to be looked at")


async def violated_invariants(database: Database) -> list[str]:
    findings = await self_check.self_check(database)
    return [finding.invariant.name for finding in findings if finding.broken]


async def days_billed(
    installation: SubscriptionInstallation, month: Month, pasts: list[Past]
) -> list[int]:
    """For how many days each of these subscriptions is billed in the month."""
    for past in pasts:
        await put(installation.database, [past])
    await set_clock(installation.database, month.interval(MADRID).end + timedelta(days=4))
    await billing_in(installation, MADRID).run_month(month)
    days = []
    for past in pasts:
        invoices = await InvoiceRows(installation.database).listed(subject=past.id)
        days.append(sum(line["quantity"] for i in invoices for line in i.lines))
    return days


def november(day: int, hour: int = 12) -> datetime:
    return datetime(2030, 11, day, hour, tzinfo=MADRID).astimezone(UTC)


async def test_two_subscriptions_of_one_service_in_a_month_are_billed_the_month_at_most(
    installation: SubscriptionInstallation,
) -> None:
    """Cancelled and subscribed to again in the middle of a day: 32 days of 30 were billed."""
    october = datetime(2030, 10, 1, tzinfo=UTC)
    vin = "WVWTOGGLED0000001"
    pasts = [
        Past(activated_at=october, cancelled_at=november(10), shared_vin=vin),
        Past(activated_at=november(10, 13), cancelled_at=november(20), shared_vin=vin),
        Past(activated_at=november(20, 13), shared_vin=vin),
    ]

    assert await days_billed(installation, Month(2030, 11), pasts) == [10, 10, 10]


async def test_four_subscriptions_of_one_day_are_billed_one_day(
    installation: SubscriptionInstallation,
) -> None:
    vin = "WVWTOGGLED0000002"
    pasts = [
        Past(activated_at=november(10, hour), cancelled_at=november(10, hour + 1), shared_vin=vin)
        for hour in (8, 10, 12, 14)
    ]

    assert await days_billed(installation, Month(2030, 11), pasts) == [1, 0, 0, 0]


async def test_a_day_of_a_month_that_is_not_billed_is_billed_by_the_next_subscription(
    installation: SubscriptionInstallation,
) -> None:
    """A card is declined on the first day of a month, and the service subscribed to again."""
    first = await installation.active()
    await installation.from_now_on(decline_code="card_declined")
    await installation.billed(first)
    await installation.until(first.id, lambda it: it.deactivated_at is not None)
    await installation.faults_end()

    second = await installation.active()
    invoice = await installation.billed(second)

    assert [line["quantity"] for line in invoice.lines] == [Month.parse(str(invoice.month)).days]
    assert len(await installation.invoices.listed(subject=first.id)) == 1

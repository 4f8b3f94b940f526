"""Estimate of a subscription's next charge from usage so far (Diagram 6).

It is computed by the rule of the invoice; it is an estimate because the month is not over.

Rules a change must keep: this module charges and writes nothing; it counts only usage of the
current month that no invoice has billed.
"""

from collections import Counter
from datetime import date, datetime, tzinfo
from typing import Final

import msgspec

from caas.billing_database.entitlements import BillingWindow
from caas.billing_database.subscriptions import Subscription
from caas.billing_database.tax_rates import TaxRates
from caas.billing_database.usage_records import Use
from caas.console.context import Console
from caas.rules.market import Goods
from caas.rules.mes_vencido import (
    DeliveredInterval,
    MeteredUsage,
    Month,
    UsageCharges,
    calculate_usage_charges,
)
from caas.rules.money import Money

PAGES_READ_MAX: Final = 20


class RunningMonth(msgspec.Struct, frozen=True):
    """The current month: usage, estimated charge and date of the charge."""

    first_day: date
    charged_on: date
    day: int
    days: int
    charges: UsageCharges


async def running_month(
    console: Console, subscription: Subscription, now: datetime
) -> RunningMonth:
    """Return the estimate for a subscription's current month."""
    zone = console.settings.zone
    month = Month.containing(now, zone)
    used = await _used(console, subscription, month, zone)
    rate = await TaxRates(console.platform.tables.database).of_customer(
        subscription.customer, Goods.SUBSCRIPTION
    )
    window = await console.platform.tables.entitlements.billing_window(
        subscription.id, zone=str(zone)
    )
    charges = calculate_usage_charges(
        month,
        zone,
        fee=Money(subscription.monthly_fee, subscription.currency),
        delivered=_delivered(subscription, window),
        billed_through=window.billed_through if window else None,
        usage=_metered(subscription, used),
        iva_basis_points=rate.basis_points if rate else 0,
    )
    following = month.next()
    return RunningMonth(
        first_day=date(month.year, month.number, 1),
        charged_on=date(following.year, following.number, 1),
        day=now.astimezone(zone).day,
        days=month.days,
        charges=charges,
    )


def _delivered(subscription: Subscription, window: BillingWindow | None) -> list[DeliveredInterval]:
    if subscription.activated_at is None:
        return []
    starts_at = window.starts_at if window else None
    start = max(subscription.activated_at, starts_at or subscription.activated_at)
    ends = [at for at in (subscription.cancelled_at, subscription.deactivated_at) if at]
    return [DeliveredInterval(start, min(ends, default=None))]


def _metered(subscription: Subscription, used: list[Use]) -> list[MeteredUsage]:
    quantities: Counter[str] = Counter()
    for use in used:
        quantities[use.unit] += use.quantity
    return [
        MeteredUsage(
            unit=metered["unit"],
            quantity=quantities[metered["unit"]],
            unit_price=Money(metered["unit_price"], subscription.currency),
        )
        for metered in subscription.metered
    ]


async def _used(
    console: Console, subscription: Subscription, month: Month, zone: tzinfo
) -> list[Use]:
    """Return the month's usage that is neither billed nor disputed."""
    interval = month.interval(zone)
    found: list[Use] = []
    before: datetime | None = None
    for _ in range(PAGES_READ_MAX):
        page = await console.platform.usage.used(subscription.id, before=before)
        found += [
            use for use in page if use.at in interval and use.invoice is None and not use.disputed
        ]
        if not page or page[-1].at < interval.start:
            break
        before = page[-1].at
    return found

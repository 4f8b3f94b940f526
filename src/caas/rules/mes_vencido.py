"""Mes vencido: billing periods in arrears and the charges for usage in them (Diagram 6).

A `Month` is a key such as 2026-11, not a duration. In a market's time zone it maps to a half-open
interval of UTC instants; each month ends exactly where the next begins, across clock changes too
(decision 28).

Only delivered service is billed: from the vehicle's activation to its deactivation (decision 29).
The fixed fee is prorated by day. A day with any delivered service counts in full and is billed once
per service and vehicle, so the shares of a month never exceed its fee.

Fees and unit prices include tax. Amounts are in whole minor units: shares of the fee are rounded
down; the tax in the sum of the lines is rounded half up (`taxes`), and net is the rest.

The tax rate is the one on the last day of the month with delivered service: a month is one supply,
so a rate change within it does not split the invoice (record 121).

Rules a change must keep:

1. A month ends by the clock of the market's time zone. The clock is an argument.
2. A line needs delivered time: metered units count only where `was_delivered` is true.
"""

import calendar
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Final, Self

from caas.errors import RefusedError
from caas.rules.market import tax_in
from caas.rules.money import Money, total

_MONTH_KEY: Final = re.compile("([0-9]{4})-(0[1-9]|1[0-2])")
_MONTHS_A_YEAR: Final = 12


class InvalidMonthError(RefusedError):
    """A month is written as its year and its number: 2026-11."""

    code = "invalid_month"


@dataclass(frozen=True, slots=True)
class ServicePeriod:
    """The aware instants `[start, end)`."""

    start: datetime
    end: datetime

    def __contains__(self, instant: datetime) -> bool:
        """Return whether the instant lies in the interval."""
        return self.start <= instant < self.end


@dataclass(frozen=True, slots=True)
class DeliveredInterval:
    """A period of delivered service: activation evidence to deactivation evidence, if any yet."""

    activated_at: datetime
    deactivated_at: datetime | None = None

    def within(self, interval: ServicePeriod) -> ServicePeriod | None:
        """Return the part inside the interval, or None."""
        start = max(self.activated_at, interval.start)
        end = min(self.deactivated_at or interval.end, interval.end)
        return ServicePeriod(start, end) if start < end else None


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A calendar month, independent of time zone; `interval` maps it to a time zone.

    Raises:
        InvalidMonthError: there is no such month.
    """

    year: int
    number: int

    def __post_init__(self) -> None:
        """Reject a month number outside 1 to 12."""
        if not (date.min.year <= self.year < date.max.year and 1 <= self.number <= _MONTHS_A_YEAR):
            raise InvalidMonthError(year=self.year, number=self.number)

    @classmethod
    def parse(cls, key: str) -> Self:
        """Parse "2026-11".

        Raises:
            InvalidMonthError: the text is not a month key.
        """
        match = _MONTH_KEY.fullmatch(key)
        if match is None:
            raise InvalidMonthError(month=key)
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def containing(cls, instant: datetime, zone: tzinfo) -> Self:
        """Return the month that contains the instant in the time zone."""
        local = instant.astimezone(zone)
        month = cls(local.year, local.month)
        return month if instant < month.interval(zone).end else month.next()

    @property
    def days(self) -> int:
        """The number of days in the month."""
        return calendar.monthrange(self.year, self.number)[1]

    def next(self) -> Self:
        """Return the month after it."""
        return self._shifted(1)

    def previous(self) -> Self:
        """Return the month before it."""
        return self._shifted(-1)

    def interval(self, zone: tzinfo) -> ServicePeriod:
        """Return the month's interval in the time zone, as UTC instants."""
        return ServicePeriod(self.first_instant(zone), self.next().first_instant(zone))

    def first_instant(self, zone: tzinfo) -> datetime:
        """Return the first instant of the first day: the earlier one if that hour is repeated."""
        return datetime(self.year, self.number, 1, tzinfo=zone).astimezone(UTC)

    def is_over(self, now: datetime, zone: tzinfo) -> bool:
        """Return whether the month has ended (Diagram 6) and can be charged."""
        return now >= self.interval(zone).end

    def __str__(self) -> str:
        """Format as "2026-11"."""
        return f"{self.year:04}-{self.number:02}"

    def _shifted(self, months: int) -> Self:
        """Return the month so many months later, or earlier if negative."""
        years, number = divmod(self.number - 1 + months, _MONTHS_A_YEAR)
        return type(self)(self.year + years, number + 1)


class ChargeKind(StrEnum):
    """What a charge line is for."""

    FIXED_FEE = "fixed fee"
    METERED_USAGE = "metered usage"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeteredUsage:
    """A metered quantity at one unit price."""

    unit: str
    quantity: int
    unit_price: Money


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeLine:
    """One line: `quantity` of `out_of` days of the fee, or `quantity` metered units."""

    kind: ChargeKind
    unit: str
    quantity: int
    out_of: int | None
    unit_price: Money
    gross: Money


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageCharges:
    """A month's charges: the lines, their sum, the tax in the sum, and the net amount."""

    month: Month
    lines: tuple[ChargeLine, ...]
    iva_basis_points: int
    net: Money
    iva: Money
    gross: Money


def calculate_usage_charges(  # noqa: PLR0913  # all inputs of the calculation, by name
    month: Month,
    zone: tzinfo,
    *,
    fee: Money,
    delivered: Sequence[DeliveredInterval],
    usage: Iterable[MeteredUsage],
    iva_basis_points: int,
    billed_through: date | None = None,
) -> UsageCharges:
    """Calculate what a subscription owes for the month (Diagram 6).

    `billed_through` is the last day already billed for an earlier term of the same service in the
    vehicle.
    """
    days = delivered_days(month, zone, delivered, billed_through=billed_through)
    lines = (*_fee_lines(month, fee, days), *map(_usage_line, usage))
    gross = total((line.gross for line in lines), fee.currency)
    iva = Money(tax_in(gross.amount, iva_basis_points), fee.currency)
    return UsageCharges(
        month=month,
        lines=lines,
        iva_basis_points=iva_basis_points,
        net=gross - iva,
        iva=iva,
        gross=gross,
    )


def delivered_days(
    month: Month,
    zone: tzinfo,
    delivered: Iterable[DeliveredInterval],
    *,
    billed_through: date | None = None,
) -> int:
    """Count the days of the month with any delivered service.

    Days up to `billed_through` are excluded.
    """
    days: set[int] = set()
    for stretch in delivered:
        part = stretch.within(month.interval(zone))
        if part is not None:
            last_moment = part.end - timedelta.resolution
            first, last = _day(part.start, month, zone), _day(last_moment, month, zone)
            days.update(range(first, last + 1))
    if billed_through is None:
        return len(days)
    return sum(date(month.year, month.number, day) > billed_through for day in days)


def was_delivered(at: datetime, delivered: Iterable[DeliveredInterval]) -> bool:
    """Return whether the service was delivered at this instant, so that usage is billable."""
    return any(
        stretch.activated_at <= at
        and (stretch.deactivated_at is None or at < stretch.deactivated_at)
        for stretch in delivered
    )


def prorate(fee: Money, *, days: int, out_of: int) -> Money:
    """Return the share of the fee for so many days, rounded down to the minor unit.

    Raises:
        ValueError: the days are out of range, or the fee is negative.
    """
    if not 0 <= days <= out_of or fee.amount < 0:
        message = f"{days} of {out_of} days of {fee} is no share of a fee"
        raise ValueError(message)
    return Money(fee.amount * days // out_of, fee.currency)


def _fee_lines(month: Month, fee: Money, days: int) -> tuple[ChargeLine, ...]:
    """Return the fixed-fee line, if there is a fee and the service was delivered."""
    if not days or not fee.amount:
        return ()
    line = ChargeLine(
        kind=ChargeKind.FIXED_FEE,
        unit="day",
        quantity=days,
        out_of=month.days,
        unit_price=fee,
        gross=prorate(fee, days=days, out_of=month.days),
    )
    return (line,)


def _usage_line(usage: MeteredUsage) -> ChargeLine:
    """Return the line of one kind of metered unit."""
    return ChargeLine(
        kind=ChargeKind.METERED_USAGE,
        unit=usage.unit,
        quantity=usage.quantity,
        out_of=None,
        unit_price=usage.unit_price,
        gross=Money(usage.unit_price.amount * usage.quantity, usage.unit_price.currency),
    )


def _day(instant: datetime, month: Month, zone: tzinfo) -> int:
    """Return the day of the month; an hour repeated from the last month is on the first."""
    local = instant.astimezone(zone)
    return local.day if local.month == month.number else 1

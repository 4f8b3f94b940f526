"""Expected settlement dates, and when a late settlement becomes a discrepancy (decision 36).

A settlement is expected a number of business days after the capture, depending on the payment
method. After that day it is *delayed* (the seed's first discrepancy); some business days later it
is *missing*. Both close when the settlement line arrives.

Business days are Monday to Friday except the holidays passed in. `target_closing_days` returns
those of TARGET, the euro's settlement system, the default for Madrid.

Rules a change must keep:

1. Dates are in the market's calendar; today's date is an argument.
2. Searches are bounded: a calendar with only holidays raises an error.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Final

HOLIDAYS_IN_A_ROW_MAX: Final = 30
"""The longest run of holidays; a longer one is a configuration error."""

_SATURDAY: Final = 5
_ONE_DAY: Final = timedelta(days=1)


class PaymentMethod(StrEnum):
    """How the customer pays, as far as it affects the settlement date."""

    CARD = "card"
    BANK_DEBIT = "bank_debit"


class Punctuality(StrEnum):
    """How an open settlement stands against its expected date."""

    ON_TIME = "on time"
    DELAYED = "delayed"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementTerms:
    """Business days from capture to settlement, and from there to missing."""

    expected_after: int
    missing_after: int


TERMS: Final[Mapping[PaymentMethod, SettlementTerms]] = {
    PaymentMethod.CARD: SettlementTerms(expected_after=2, missing_after=3),
    PaymentMethod.BANK_DEBIT: SettlementTerms(expected_after=5, missing_after=5),
}


def expected_settlement_date(
    captured_on: date, method: PaymentMethod, holidays: AbstractSet[date] = frozenset()
) -> date:
    """Return the business day on which the settlement is expected."""
    return add_business_days(captured_on, TERMS[method].expected_after, holidays)


def punctuality(
    expected_on: date, today: date, method: PaymentMethod, holidays: AbstractSet[date] = frozenset()
) -> Punctuality:
    """Return whether a settlement not yet received today is on time, delayed or missing."""
    if today <= expected_on:
        return Punctuality.ON_TIME
    missing_from = add_business_days(expected_on, TERMS[method].missing_after, holidays)
    return Punctuality.DELAYED if today <= missing_from else Punctuality.MISSING


def add_business_days(start: date, days: int, holidays: AbstractSet[date] = frozenset()) -> date:
    """Return the date so many business days after `start`, which is not counted.

    Raises:
        ValueError: more than `HOLIDAYS_IN_A_ROW_MAX` days without a business day follow.
    """
    day = start
    for _ in range(days):
        day = _next_business_day(day, holidays)
    return day


def is_business_day(day: date, holidays: AbstractSet[date] = frozenset()) -> bool:
    """Return whether banks settle on this day."""
    return day.weekday() < _SATURDAY and day not in holidays


def target_closing_days(year: int) -> frozenset[date]:
    """Return the weekdays on which TARGET, the euro's settlement system, is closed."""
    easter = _easter_sunday(year)
    return frozenset(
        {
            date(year, 1, 1),
            easter - 2 * _ONE_DAY,
            easter + _ONE_DAY,
            date(year, 5, 1),
            date(year, 12, 25),
            date(year, 12, 26),
        }
    )


def _next_business_day(day: date, holidays: AbstractSet[date]) -> date:
    """Return the first business day after this one."""
    for _ in range(HOLIDAYS_IN_A_ROW_MAX):
        day += _ONE_DAY
        if is_business_day(day, holidays):
            return day
    message = f"no business day in the {HOLIDAYS_IN_A_ROW_MAX} days before {day}"
    raise ValueError(message)


def _easter_sunday(year: int) -> date:
    """Return Easter Sunday of the Gregorian calendar (the anonymous computus of 1876)."""
    golden = year % 19
    century, in_century = divmod(year, 100)
    leap_centuries, rest_of_centuries = divmod(century, 4)
    moon_correction = (century - (century + 8) // 25 + 1) // 3
    epact = (19 * golden + century - leap_centuries - moon_correction + 15) % 30
    leap_years, rest_of_years = divmod(in_century, 4)
    weekday = (32 + 2 * rest_of_centuries + 2 * leap_years - epact - rest_of_years) % 7
    late = (golden + 11 * epact + 22 * weekday) // 451
    month, day = divmod(epact + weekday - 7 * late + 114, 31)
    return date(year, month, day + 1)

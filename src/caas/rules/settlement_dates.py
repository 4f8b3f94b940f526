"""Settlement terms: expected dates (decision 36), polling schedule (119), and agreed fees.

A settlement is expected a number of business days after the capture, depending on the payment
method. After that day it is *delayed* (the seed's first discrepancy); some business days later it
is *missing*. Both close when the settlement line arrives. Business days are Monday to Friday except
the holidays passed in. `target_closing_days` returns those of TARGET, the euro's settlement system,
the default for Madrid.

Settlements whose webhook did not arrive are polled. Polls start soon after the capture, become
hourly, and then daily once the settlement is late enough for a person to look at it. A lost webhook
costs a minute. Agreed fees are the reference for fee drift.

Rules a change must keep:

1. Dates are in the market's calendar; today's date is an argument.
2. Searches are bounded: a calendar with only holidays raises an error.
3. Polling waits are real seconds; the last wait of the terms repeats until daily polls begin.
4. Fees are whole minor units: a per mille of the gross, rounded half up, plus a fixed part. Without
   agreed terms no fee is a discrepancy.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Final

from caas.errors import StartupError

HOLIDAYS_IN_A_ROW_MAX: Final = 30
"""The longest run of holidays; a longer one is a configuration error."""

_SATURDAY: Final = 5
_ONE_DAY: Final = timedelta(days=1)


class PaymentMethod(StrEnum):
    """How the customer pays, as far as it affects the settlement date."""

    CARD = "card"
    BANK_DEBIT = "bank_debit"


class Punctuality(StrEnum):
    """An open settlement's status relative to its expected date."""

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


WAIT_SECONDS_MIN: Final = 10.0
WAITS_MAX: Final = 20
A_MINUTE_MAX: Final = 60_000
DAILY_SECONDS: Final = 86_400.0
DAILY_AFTER_SECONDS: Final = 10 * 86_400.0
"""From here on, poll daily: the settlement is a discrepancy to be investigated."""


class PollTermsError(ValueError):
    """The polling terms are invalid."""


@dataclass(frozen=True, slots=True)
class PollTerms:
    """Seconds from the capture to the first poll, and between polls.

    `a_minute` limits the polls that one process makes per minute, for all payments.
    """

    waits: tuple[float, ...] = (60.0, 300.0, 900.0, 3600.0)
    a_minute: int = 600

    def __post_init__(self) -> None:
        """Validate the waits.

        Raises:
            PollTermsError: there are none, one is too short, or there are too many.
        """
        sane = all(WAIT_SECONDS_MIN <= wait <= DAILY_AFTER_SECONDS for wait in self.waits)
        if not (sane and 0 < len(self.waits) <= WAITS_MAX):
            raise PollTermsError
        if not 0 < self.a_minute <= A_MINUTE_MAX:
            raise PollTermsError

    def wait_before(self, question: int) -> float:
        """Return the wait before the n-th poll of a payment, counted from zero."""
        wait = self.waits[min(question, len(self.waits) - 1)]
        repeated = max(0, question - len(self.waits) + 1)
        late = sum(self.waits) + repeated * self.waits[-1] > DAILY_AFTER_SECONDS
        return max(wait, DAILY_SECONDS) if late else wait


def read_poll_terms(waits: str, a_minute: str) -> PollTerms:
    """Parse comma-separated waits in seconds and a number; empty text gives the default.

    Raises:
        PollTermsError: the terms are invalid.
    """
    default = PollTerms()
    try:
        return PollTerms(
            tuple(float(part) for part in waits.split(",")) if waits else default.waits,
            int(a_minute) if a_minute else default.a_minute,
        )
    except ValueError as error:
        raise PollTermsError from error


PARTS: Final = 3


class FeeTermsError(StartupError):
    """Fee terms are three whole numbers: per mille of a settlement, fixed part, dispute fee."""

    code = "fee_terms"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeTerms:
    """Per mille of a settlement plus a fixed part, and a fixed dispute fee, in minor units."""

    per_mille: int
    fixed: int
    dispute: int

    def of_settlement(self, gross: int) -> int:
        """Return the agreed fee for a settlement of this gross amount."""
        return (gross * self.per_mille + 500) // 1000 + self.fixed


def read_fee_terms(text: str) -> FeeTerms | None:
    """Parse "per mille,fixed,dispute"; empty text means no agreement.

    Raises:
        FeeTermsError: the text is not three whole numbers.
    """
    if not text.strip():
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != PARTS or not all(part.isascii() and part.isdigit() for part in parts):
        raise FeeTermsError
    per_mille, fixed, dispute = (int(part) for part in parts)
    return FeeTerms(per_mille=per_mille, fixed=fixed, dispute=dispute)

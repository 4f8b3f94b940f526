"""Localized formats of amounts, dates and times.

Rules a change must keep: an amount is shown with its currency and never rounded; a moment is shown
in the market's time zone.
"""

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Final

from babel.dates import (
    format_date,
    format_datetime,
    format_skeleton,
    format_time,
    format_timedelta,
)
from babel.numbers import format_currency, format_decimal

from caas.rules.locales import LOCALES
from caas.rules.money import Money, exponent

WEEKDAY: Final[Mapping[str, str]] = {"es": "EEEE, d 'de' MMMM", "en": "EEEE d MMMM"}
"""A day near enough to need no year; the skeletons of either locale shorten its name."""


_AMOUNTS: Final = frozenset({
    "gross", "fee", "net", "fee_agreed", "payout_fee", "amount", "claimed", "excess", "lost",
    "settled_amount",
})  # fmt: skip
"""Facts that are amounts in minor units of the currency of what they are about."""


def fact_written(name: str, value: object, currency: str, language: str) -> str:
    """Write one fact of a row: an amount as money, anything else as it is."""
    if name in _AMOUNTS and isinstance(value, int):
        return written(Money(value, currency), language)
    return str(value)


def filters(language: str, zone: tzinfo) -> Mapping[str, Callable[..., str]]:
    """Return what templates write values with, in one language and time zone."""
    locale = LOCALES[language]
    weekday = WEEKDAY[language]

    def local(at: datetime) -> datetime:
        return at.astimezone(zone)

    return {
        "money": lambda money: written(money, language),
        "fact": lambda value, name, currency: fact_written(name, value, currency, language),
        "number": lambda number: format_decimal(number, locale=locale),
        "day": lambda at: format_date(_day_of(at, zone), "long", locale=locale),
        "weekday": lambda at: format_datetime(local(at), weekday, locale=locale, tzinfo=zone),
        "short_day": lambda at: format_skeleton("dMMM", local(at), locale=locale),
        "short_day_beside": lambda at, other: format_skeleton(
            "dMMM" if local(at).year == local(other).year else "yMMMd", local(at), locale=locale
        ),
        "moment": lambda at: format_datetime(local(at), "medium", locale=locale, tzinfo=zone),
        "short_moment": lambda at: (
            f"{format_skeleton('dMMM', local(at), locale=locale)}, "
            f"{format_time(local(at), 'short', locale=locale, tzinfo=zone)}"
        ),
        "month": lambda day: format_date(day, "LLLL yyyy", locale=locale),
        "clock": lambda at: (
            f"{format_skeleton('dMMM', local(at), locale=locale)}, "
            f"{format_time(local(at), 'HH:mm:ss', locale=locale, tzinfo=zone)}"
        ),
        "instant": lambda at: f"{local(at):%H:%M:%S},{local(at).microsecond // 1000:03}",
        "span": lambda seconds: format_timedelta(
            timedelta(seconds=abs(seconds)), format="long", threshold=1.5, locale=locale
        ),
        "machine_time": lambda at: at.isoformat(timespec="seconds"),
    }


def written(money: Money, language: str) -> str:
    """Write an amount as the language does: "12,99 €" or "€12.99"."""
    decimal = Decimal(money.amount).scaleb(-exponent(money.currency))
    return format_currency(decimal, money.currency, locale=LOCALES[language])


def _day_of(at: date | datetime, zone: tzinfo) -> date:
    return at.astimezone(zone).date() if isinstance(at, datetime) else at

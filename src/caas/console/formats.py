"""Localized formats of amounts, dates and times.

Rules a change must keep: an amount is shown with its currency and never rounded; a moment is shown
in the market's time zone.

Parses amounts of money as typed in the language of the page.

"10.5" is ten and a half in English and "10,5" in Spanish, as people write it.

Rules a change must keep: what could be meant in two ways is refused, never guessed: "1.000" is a
thousand in Spanish and no amount of euros in English; nothing is rounded; an amount that was typed
is shown back as it was read before it counts.
"""

import re
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

from caas.errors import RefusedError
from caas.reconciliation import NetWithoutCurrencyError
from caas.rules.market import LOCALES
from caas.rules.money import EXPONENTS, Money, exponent

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


AMOUNT_CHARS_MAX: Final = 20
AMOUNT_MAX: Final = Decimal(10) ** 12
"""In minor units: far above any car."""
_MARKS: Final = {"es": (".", ","), "en": (",", ".")}
"""Between thousands, and before the cents."""


class AmountNotReadError(RefusedError):
    """Type an amount with the marks of this language: 1,000.50 in English, 1.000,50 in Spanish."""

    code = "amount_not_read"


def read_amount(text: str, currency: str, language: str) -> Money | None:
    """Return the amount that was typed, None when it is none in this language."""
    thousands, point = _MARKS[language]
    digits = exponent(currency)
    cents = rf"(?:{re.escape(point)}\d{{1,{digits}}})?" if digits else ""
    grouped = rf"(?:[1-9]\d{{0,2}}(?:{re.escape(thousands)}\d{{3}})+|\d+)"
    typed = " ".join(text.replace("€", " ").replace("\N{NO-BREAK SPACE}", " ").split())
    if len(typed) > AMOUNT_CHARS_MAX or re.fullmatch(grouped + cents, typed, re.ASCII) is None:
        return None
    minor = Decimal(typed.replace(thousands, "").replace(point, ".")).scaleb(digits)
    return Money(int(minor), currency) if minor <= AMOUNT_MAX else None


def amount_typed(text: str, currency: str, language: str) -> Money:
    """Return the amount above zero that was typed.

    Raises:
        AmountNotReadError: it is none in this language.
    """
    money = read_amount(text, currency, language)
    if money is None or money.amount <= 0:
        raise AmountNotReadError
    return money


def net_typed(text: str, language: str) -> str:
    """Return a net such as "-1.234,50 EUR" with the point that files have.

    Raises:
        AmountNotReadError: it is none in this language.
        NetWithoutCurrencyError: its currency lacks.
    """
    amount, _, code = text.replace("€", " EUR").strip().partition(" ")
    currency = code.strip().upper()
    if not currency:
        raise NetWithoutCurrencyError
    if currency not in EXPONENTS:
        raise AmountNotReadError
    money = read_amount(amount.removeprefix("-"), currency, language)
    if money is None:
        raise AmountNotReadError
    sign = "-" if amount.startswith("-") else ""
    decimal = Decimal(money.amount).scaleb(-exponent(currency))
    return f"{sign}{decimal:f} {currency}"


def plain_amount(money: Money, language: str) -> str:
    """Write an amount as a person would type it."""
    whole, rest = divmod(money.amount, 10 ** exponent(money.currency))
    return f"{whole}{_MARKS[language][1]}{rest:0{exponent(money.currency)}}" if rest else str(whole)

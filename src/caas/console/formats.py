"""Localized formats of amounts, dates and times, and amounts as typed in a language.

"10.5" is ten and a half in English, "10,5" in Spanish.

Rules a change must keep: an amount is shown with its currency and never rounded; a time is shown in
the market's time zone; ambiguous input is rejected, never guessed ("1.000" is a thousand in Spanish
and no amount of euros in English); a typed amount is shown as parsed before it takes effect.
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
"""A date near enough to need no year; the skeletons of both locales shorten its name."""


_AMOUNTS: Final = frozenset({
    "gross", "fee", "net", "fee_agreed", "payout_fee", "amount", "claimed", "excess", "lost",
    "settled_amount",
})  # fmt: skip
"""Facts that are amounts in minor units, in the currency of their object."""


def fact_written(name: str, value: object, currency: str, language: str) -> str:
    """Format one fact of a row: an amount as money, anything else unchanged."""
    if name in _AMOUNTS and isinstance(value, int):
        return written(Money(value, currency), language)
    return str(value)


def filters(language: str, zone: tzinfo) -> Mapping[str, Callable[..., str]]:
    """Return the template filters for one language and time zone."""
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
    """Format an amount in the language: "12,99 €" or "€12.99"."""
    decimal = Decimal(money.amount).scaleb(-exponent(money.currency))
    return format_currency(decimal, money.currency, locale=LOCALES[language])


def _day_of(at: date | datetime, zone: tzinfo) -> date:
    return at.astimezone(zone).date() if isinstance(at, datetime) else at


AMOUNT_CHARS_MAX: Final = 20
AMOUNT_MAX: Final = Decimal(10) ** 12
"""In minor units: far above any vehicle's price."""
_MARKS: Final = {"es": (".", ","), "en": (",", ".")}
"""Thousands separator and decimal separator."""


class AmountNotReadError(RefusedError):
    """Type an amount with the marks of this language: 1,000.50 in English, 1.000,50 in Spanish."""

    code = "amount_not_read"


def read_amount(text: str, currency: str, language: str) -> Money | None:
    """Return the typed amount, or None if it is none in this language."""
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
    """Return the typed amount, which must be above zero.

    Raises:
        AmountNotReadError: it is not an amount above zero in this language.
    """
    money = read_amount(text, currency, language)
    if money is None or money.amount <= 0:
        raise AmountNotReadError
    return money


def net_typed(text: str, language: str) -> str:
    """Return a net total such as "-1.234,50 EUR" with the decimal point that files use.

    Raises:
        AmountNotReadError: it is not an amount in this language.
        NetWithoutCurrencyError: the currency is missing.
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
    """Format an amount as people type it."""
    whole, rest = divmod(money.amount, 10 ** exponent(money.currency))
    return f"{whole}{_MARKS[language][1]}{rest:0{exponent(money.currency)}}" if rest else str(whole)

"""Parses amounts of money as typed in the language of the page.

"10.5" is ten and a half in English and "10,5" in Spanish, as people write it.

Rules a change must keep: what could be meant in two ways is refused, never guessed: "1.000" is a
thousand in Spanish and no amount of euros in English; nothing is rounded; an amount that was typed
is shown back as it was read before it counts.
"""

import re
from decimal import Decimal
from typing import Final

from caas.errors import RefusedError
from caas.reconciliation import NetWithoutCurrencyError
from caas.rules.money import EXPONENTS, Money, exponent

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

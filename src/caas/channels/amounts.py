"""An amount of money as a person types it, read in the language of the page.

Rules a change must keep: what could be meant in two ways is refused, never guessed: "1.000" is a
thousand in Spanish and no amount of euros in English; nothing is rounded.
"""

import re
from decimal import Decimal
from typing import Final

from caas.rules.money import Money, exponent

AMOUNT_CHARS_MAX: Final = 20
AMOUNT_MAX: Final = Decimal(10) ** 12
"""In minor units: far above any car."""
_MARKS: Final = {"es": (".", ","), "en": (",", ".")}
"""Between thousands, and before the cents."""


def read_amount(text: str, currency: str, language: str) -> Money | None:
    """Return the amount that was typed, None when it is none in this language."""
    thousands, point = _MARKS[language]
    digits = exponent(currency)
    cents = rf"(?:{re.escape(point)}\d{{{digits}}})?" if digits else ""
    grouped = rf"(?:[1-9]\d{{0,2}}(?:{re.escape(thousands)}\d{{3}})+|\d+)"
    typed = " ".join(text.replace("€", " ").replace("\N{NO-BREAK SPACE}", " ").split())
    if len(typed) > AMOUNT_CHARS_MAX or re.fullmatch(grouped + cents, typed, re.ASCII) is None:
        return None
    minor = Decimal(typed.replace(thousands, "").replace(point, ".")).scaleb(digits)
    return Money(int(minor), currency) if minor <= AMOUNT_MAX else None


def plain_amount(money: Money, language: str) -> str:
    """Write an amount as a person would type it."""
    whole, rest = divmod(money.amount, 10 ** exponent(money.currency))
    return f"{whole}{_MARKS[language][1]}{rest:0{exponent(money.currency)}}" if rest else str(whole)

"""Money: an integer number of minor units and a currency (decision 39).

`exponent` returns a currency's number of decimals, from a table of the active ISO 4217 codes that
payments can use. Funds codes (CLF, USN, ...) and codes without a minor unit (XAU, XXX, ...) are
excluded.

Rules a change must keep:

1. No floats: an amount comes in as an `int` or as decimal text.
2. Input is never rounded: "12.345" EUR is an error.
3. Sums and comparisons never mix currencies.
4. The table follows ISO 4217; a test compares it with the published list.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Self

from caas.errors import ConflictError, RefusedError

AMOUNT_MAX: Final = 10**13
"""The maximum of one payment: enough for a car in rials, and 900 000 of them fit in one sum."""

TOTAL_MAX: Final = 2**63 - 1
"""The maximum of a PostgreSQL bigint, and so of any sum."""

_TWO_DECIMALS: Final = """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF
    CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL
    HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT
    MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB
    SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH
    USD UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG
"""
_NO_DECIMALS: Final = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_THREE_DECIMALS: Final = "BHD IQD JOD KWD LYD OMR TND"
_FOUR_DECIMALS: Final = "UYW"

EXPONENTS: Final[Mapping[str, int]] = {
    **dict.fromkeys(_NO_DECIMALS.split(), 0),
    **dict.fromkeys(_TWO_DECIMALS.split(), 2),
    **dict.fromkeys(_THREE_DECIMALS.split(), 3),
    **dict.fromkeys(_FOUR_DECIMALS.split(), 4),
}

_DECIMAL: Final = re.compile(r"(-?)([0-9]{1,19})(?:\.([0-9]{1,4}))?")


class UnknownCurrencyError(RefusedError):
    """The currency is not supported. Send an active ISO 4217 code in upper case."""

    code = "unknown_currency"


class InvalidAmountError(RefusedError):
    """The amount is invalid. Send a whole number of minor units within the limits."""

    code = "invalid_amount"


class CurrencyMismatchError(ConflictError):
    """Amounts in different currencies cannot be added or compared."""

    code = "currency_mismatch"


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in minor units (cents for EUR, yen for JPY) and its currency.

    It may be zero or negative, as in the ledger; use `payment_amount` for amounts to charge.

    Raises:
        UnknownCurrencyError: the currency is not in the table.
        InvalidAmountError: the amount is not an integer or exceeds a bigint.
    """

    amount: int
    currency: str

    def __post_init__(self) -> None:
        """Validate the currency and the amount."""
        exponent(self.currency)
        if type(self.amount) is not int or not -TOTAL_MAX <= self.amount <= TOTAL_MAX:
            raise InvalidAmountError(amount=str(self.amount), currency=self.currency)

    def __add__(self, other: Self) -> Self:
        """Add an amount of the same currency."""
        return type(self)(self.amount + self._amount_of(other), self.currency)

    def __sub__(self, other: Self) -> Self:
        """Subtract an amount of the same currency."""
        return type(self)(self.amount - self._amount_of(other), self.currency)

    def __neg__(self) -> Self:
        """Negate the amount."""
        return type(self)(-self.amount, self.currency)

    def __lt__(self, other: Self) -> bool:
        """Compare with an amount of the same currency."""
        return self.amount < self._amount_of(other)

    def __le__(self, other: Self) -> bool:
        """Compare with an amount of the same currency."""
        return self.amount <= self._amount_of(other)

    def __gt__(self, other: Self) -> bool:
        """Compare with an amount of the same currency."""
        return self.amount > self._amount_of(other)

    def __ge__(self, other: Self) -> bool:
        """Compare with an amount of the same currency."""
        return self.amount >= self._amount_of(other)

    def __str__(self) -> str:
        """Format as "12.34 EUR"."""
        return f"{format_plain(self)} {self.currency}"

    def _amount_of(self, other: Self) -> int:
        """Return the other's minor units; raise if its currency differs."""
        if self.currency != other.currency:
            raise CurrencyMismatchError(currency=self.currency, other=other.currency)
        return other.amount


def exponent(currency: str) -> int:
    """Return how many decimals the currency has: 2 for EUR, 0 for JPY, 3 for KWD.

    Raises:
        UnknownCurrencyError: no active currency has this code, or it has no minor unit.
    """
    decimals = EXPONENTS.get(currency)
    if decimals is None:
        raise UnknownCurrencyError(currency=currency)
    return decimals


def payment_amount(amount: int, currency: str) -> Money:
    """Return the amount of a payment: at least 1 and at most `AMOUNT_MAX` minor units.

    Raises:
        UnknownCurrencyError: the currency is not in the table.
        InvalidAmountError: the amount is not a positive integer within the limit.
    """
    money = Money(amount, currency)
    if not 0 < amount <= AMOUNT_MAX:
        raise InvalidAmountError(amount=str(amount), currency=currency)
    return money


def total(moneys: Iterable[Money], currency: str) -> Money:
    """Return the sum; `currency` is explicit so that an empty sum has one."""
    return sum(moneys, start=Money(0, currency))


def parse_decimal(text: str, currency: str) -> Money:
    """Parse "12.34": a decimal point, no thousands separators, no excess decimals.

    Raises:
        UnknownCurrencyError: the currency is not in the table.
        InvalidAmountError: the text is not such a number, or has too many decimals.
    """
    decimals = exponent(currency)
    match = _DECIMAL.fullmatch(text)
    if match is None or len(match[3] or "") > decimals:
        raise InvalidAmountError(amount=text, currency=currency)
    minor_units = int(match[2] + (match[3] or "").ljust(decimals, "0"))
    return Money(-minor_units if match[1] else minor_units, currency)


def format_plain(money: Money) -> str:
    """Format the amount alone, as `parse_decimal` reads it: "12.34", "1234" for JPY."""
    decimals = exponent(money.currency)
    sign = "-" if money.amount < 0 else ""
    digits = str(abs(money.amount)).rjust(decimals + 1, "0")
    whole = len(digits) - decimals
    return f"{sign}{digits[:whole]}.{digits[whole:]}" if decimals else f"{sign}{digits}"

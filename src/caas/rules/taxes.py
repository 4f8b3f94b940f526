"""The tax in a price, and what of a sale falls under which rate (decision 58, record 121).

Consumers are told prices that contain their tax. What is paid is the gross amount; the tax in it is
rounded half up in whole minor units, and the net amount is the rest, so that both always come to
what was paid, in currencies without decimals as well as with three.

What is earned of a payment shrinks when something is refunded. Its tax shrinks in the same measure,
worked out from what is left and not from each refund, so that no sequence of refunds leaves a unit
of tax behind.

Rules a change must keep: pure; whole minor units in and out; `billing_database` has the same three
lines as functions of the database, and a test holds them against each other.
"""

from enum import StrEnum
from typing import Final

BASIS_POINTS: Final = 10_000
"""One whole, as tax rates are written: 21 % is 2100."""


class Goods(StrEnum):
    """The kinds of goods that a market may tax differently."""

    VEHICLE = "vehicle"
    SERVICE = "service"
    SUBSCRIPTION = "subscription"


class TaxCategory(StrEnum):
    """How a supply is taxed: the codes of UNCL 5305 that EN 16931 names."""

    STANDARD = "S"
    ZERO = "Z"
    EXEMPT = "E"
    NOT_SUBJECT = "O"
    IGIC = "L"
    IPSI = "M"


TAXED: Final = frozenset({TaxCategory.STANDARD, TaxCategory.IGIC, TaxCategory.IPSI})
NEEDS_A_REASON: Final = frozenset({TaxCategory.EXEMPT, TaxCategory.NOT_SUBJECT})


def half_up(dividend: int, divisor: int) -> int:
    """Divide whole numbers and round half away from zero; the divisor is above zero."""
    rounded = (2 * abs(dividend) + divisor) // (2 * divisor)
    return -rounded if dividend < 0 else rounded


def tax_in(gross: int, basis_points: int) -> int:
    """Return the tax that a gross amount contains, rounded half up; the net amount is the rest."""
    return half_up(gross * basis_points, BASIS_POINTS + basis_points)


def tax_left(tax: int, *, left: int, of: int) -> int:
    """Return the tax in what is `left` of a gross amount that contained `tax`."""
    return half_up(tax * left, of) if of else 0

"""Tax included in prices, and the tax categories of sales (decision 58, record 121).

Consumer prices include tax. The payment is the gross amount; its tax is rounded half up in whole
minor units and net is the rest, so that net plus tax always equals the payment, whatever the
currency's decimals.

A refund reduces the revenue of a payment. The tax is then calculated from the remainder, not from
each refund, so that no sequence of refunds leaves a unit of tax behind.

Rules a change must keep: functions are pure, in whole minor units; the database has the same three
calculations as SQL functions, and a test compares them.
"""

from enum import StrEnum
from typing import Final

BASIS_POINTS: Final = 10_000
"""One whole, in basis points: 21 % is 2100."""


class Goods(StrEnum):
    """The kinds of goods that a market may tax differently."""

    VEHICLE = "vehicle"
    SERVICE = "service"
    SUBSCRIPTION = "subscription"


class TaxCategory(StrEnum):
    """UNCL 5305 tax category codes used by EN 16931."""

    STANDARD = "S"
    ZERO = "Z"
    EXEMPT = "E"
    NOT_SUBJECT = "O"
    IGIC = "L"
    IPSI = "M"


TAXED: Final = frozenset({TaxCategory.STANDARD, TaxCategory.IGIC, TaxCategory.IPSI})
NEEDS_A_REASON: Final = frozenset({TaxCategory.EXEMPT, TaxCategory.NOT_SUBJECT})


def half_up(dividend: int, divisor: int) -> int:
    """Divide and round half away from zero; the divisor is positive."""
    rounded = (2 * abs(dividend) + divisor) // (2 * divisor)
    return -rounded if dividend < 0 else rounded


def tax_in(gross: int, basis_points: int) -> int:
    """Return the tax included in a gross amount, rounded half up."""
    return half_up(gross * basis_points, BASIS_POINTS + basis_points)


def tax_left(tax: int, *, left: int, of: int) -> int:
    """Return the tax in the remainder `left` of a gross amount `of` that included `tax`."""
    return half_up(tax * left, of) if of else 0

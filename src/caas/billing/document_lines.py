"""The lines of a document: items, tax, net and gross amounts.

Consumer prices include tax. The tax is rounded half up on the sum per category and rate; the net
amount is the remainder, and both are allocated to the lines in whole minor units.

Rules a change must keep: pure; amounts are whole minor units; every `Line` is consistent in price,
amounts and tax and conforms to EN 16931.
"""

import re
from collections import Counter
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal
from itertools import groupby
from typing import Final

import msgspec

from caas.errors import RefusedError
from caas.rules.market import BASIS_POINTS, NEEDS_A_REASON, TAXED, TaxCategory, half_up
from caas.rules.money import AMOUNT_MAX

RATE_MAX: Final = BASIS_POINTS
RATE_MIN: Final = 50
"""The lowest rate above zero; the rules of EN 16931 treat less than half a percent as zero."""
QUANTITY_MAX: Final = 1_000_000
QUANTITY_DECIMALS: Final = 6
TEXT_CHARS_MAX: Final = 500
PRICE_DECIMALS: Final = Decimal("0.000001")

UNITS: Final = {
    "one": "C62",
    "day": "DAY",
    "month": "MON",
    "kWh": "KWH",
    "km": "KMT",
    "h": "HUR",
    "min": "MIN",
}
"""Units, with their UN/ECE Recommendation 20 codes."""

_UNWRITABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class InvalidDocumentError(RefusedError):
    """The document is inconsistent or incomplete."""

    code = "invalid_document"


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """An item before its net and gross are computed; `amount` is for the whole `quantity`.

    Deductions have negative quantity and amount.
    """

    name: str
    amount: int
    tax_category: TaxCategory
    rate_basis_points: int = 0
    exemption_reason: str = ""
    quantity: Decimal = Decimal(1)
    unit: str = "one"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line; `unit_price` is net, in minor units with decimals."""

    name: str
    quantity: Decimal
    unit: str
    unit_price: Decimal
    net: int
    gross: int
    tax_category: TaxCategory
    rate_basis_points: int
    exemption_reason: str = ""

    def __post_init__(self) -> None:
        """Validate price, amounts and tax."""
        check(bool(self.name.strip()), "A line needs a name.")
        check_texts(self.name, self.exemption_reason)
        check(
            self.unit in UNITS, f"{self.unit!r} is not a known unit; use one of {', '.join(UNITS)}."
        )
        _check_counted(self.quantity, self.net)
        priced = self.unit_price.is_finite() and self.unit_price >= 0
        check(priced, "A price cannot be negative; a deduction has a negative quantity.")
        worth = self.quantity * self.unit_price
        check(
            abs(worth - self.net) <= Decimal("0.5"),
            f"{self.quantity} at {self.unit_price} is not {self.net} net.",
        )
        self._check_tax()

    @property
    def tax(self) -> int:
        """Return the tax included in the gross."""
        return self.gross - self.net

    def _check_tax(self) -> None:
        rate, category = self.rate_basis_points, self.tax_category
        within = RATE_MIN <= rate <= RATE_MAX if category in TAXED else rate == 0
        check(within, f"{rate} basis points is not a valid rate of tax category {category}.")
        reasoned = bool(self.exemption_reason.strip())
        check(
            reasoned == (category in NEEDS_A_REASON),
            f"Tax category {category} {'has no' if reasoned else 'needs an'} exemption reason.",
        )
        check(rate > 0 or not self.tax, "Without a rate there is no tax.")


class TaxTotal(msgspec.Struct, frozen=True, kw_only=True):
    """The tax of one category and rate over all lines (BG-23)."""

    tax_category: TaxCategory
    rate_basis_points: int
    net: int
    tax: int
    exemption_reason: str = ""

    @property
    def apart(self) -> int:
        """Return the deviation of the tax from its rate, in parts of `RATE_MAX` of a minor unit."""
        return abs(self.tax * RATE_MAX - self.net * self.rate_basis_points)


def priced(items: Iterable[Item], *, tax_included: bool) -> tuple[Line, ...]:
    """Compute lines from prices that include tax, or to which tax is added.

    The tax of each category and rate is computed on the sum and allocated to the lines.
    """
    lines, sums = [], Counter[tuple[TaxCategory, int]]()
    for item in items:
        rate = item.rate_basis_points
        key, base = (item.tax_category, rate), RATE_MAX + rate * tax_included
        before = half_up(sums[key] * rate, base)
        sums[key] += item.amount
        tax = half_up(sums[key] * rate, base) - before
        net = item.amount - tax * tax_included
        lines.append(line(item, net=net, gross=net + tax))
    return tuple(lines)


def line(item: Item, *, net: int, gross: int) -> Line:
    """Create a line with given net and gross, such as an invoice's remainder."""
    _check_counted(item.quantity, net)
    price = Decimal(net) / item.quantity
    return Line(
        name=item.name,
        quantity=item.quantity,
        unit=item.unit,
        unit_price=_plain(price.quantize(PRICE_DECIMALS, ROUND_HALF_UP)),
        net=net,
        gross=gross,
        tax_category=item.tax_category,
        rate_basis_points=item.rate_basis_points,
        exemption_reason=item.exemption_reason,
    )


def tax_of(lines: Iterable[Line]) -> tuple[TaxTotal, ...]:
    """Sum the lines by tax category and rate.

    Raises:
        InvalidDocumentError: a category has two exemption reasons, or taxed and untaxable items are
            mixed.
    """
    groups = [
        _tax_total(*key, list(group))
        for key, group in groupby(sorted(lines, key=_tax_key), key=_tax_key)
    ]
    outside = [group for group in groups if group.tax_category is TaxCategory.NOT_SUBJECT]
    check(
        not outside or len(groups) == 1,
        "Items outside the scope of tax need a document of their own.",
    )
    return tuple(groups)


def _tax_key(one: Line) -> tuple[TaxCategory, int]:
    return one.tax_category, one.rate_basis_points


def _tax_total(category: TaxCategory, rate: int, lines: list[Line]) -> TaxTotal:
    reasons = {one.exemption_reason for one in lines}
    check(
        len(reasons) == 1, f"Tax category {category} must have one exemption reason per document."
    )
    return TaxTotal(
        tax_category=category,
        rate_basis_points=rate,
        net=sum(one.net for one in lines),
        tax=sum(one.tax for one in lines),
        exemption_reason=reasons.pop(),
    )


def _check_counted(quantity: Decimal, net: int) -> None:
    check(abs(net) <= AMOUNT_MAX, f"{net} exceeds the largest amount of a line.")
    check(
        quantity.is_finite()
        and 0 < abs(quantity) <= QUANTITY_MAX
        and int(quantity.as_tuple().exponent) >= -QUANTITY_DECIMALS,
        (
            f"A quantity must be nonzero, at most {QUANTITY_MAX}, with at most "
            f"{QUANTITY_DECIMALS} decimals."
        ),
    )


def _plain(number: Decimal) -> Decimal:
    """Remove trailing zeros and exponents."""
    short = number.normalize()
    return short if int(short.as_tuple().exponent) <= 0 else short.quantize(Decimal(1))


def check_texts(*texts: str) -> None:
    """Reject texts that are too long or contain unsupported characters."""
    for text in texts:
        check(
            len(text) <= TEXT_CHARS_MAX and not _UNWRITABLE.search(text),
            f"A text has at most {TEXT_CHARS_MAX} characters and no unsupported ones.",
        )


def check(holds: bool, sentence: str) -> None:  # noqa: FBT001  # reads as an assertion
    """Raise an error with this sentence unless the condition holds."""
    if not holds:
        raise InvalidDocumentError(sentence)

"""The lines of a document: what is sold, how it is taxed, and its amounts net and gross.

A price that a consumer is told contains its tax. The tax is rounded half up on the sum of each
category and rate, the net amount is the rest, and both are shared out over the lines to the unit.

Rules a change must keep: pure; amounts are whole minor units; a `Line` that exists is right: its
price, its amounts and its tax belong together, and it breaks no rule of EN 16931.
"""

import re
from collections import Counter
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal
from itertools import groupby
from typing import Final

import msgspec

from caas.errors import RefusedError
from caas.rules.money import AMOUNT_MAX
from caas.rules.taxes import BASIS_POINTS, NEEDS_A_REASON, TAXED, TaxCategory, half_up

RATE_MAX: Final = BASIS_POINTS
RATE_MIN: Final = 50
"""The lowest rate above none: the norm's own rules take less than half a percent for none."""
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
"""What is counted, and its UN/ECE Recommendation 20 code."""

_UNWRITABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class InvalidDocumentError(RefusedError):
    """The document contradicts itself or lacks what its kind must say."""

    code = "invalid_document"


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """What is sold, before its net and gross are worked out; `amount` is that of all of `quantity`.

    Below zero are quantity and amount of what is taken off.
    """

    name: str
    amount: int
    tax_category: TaxCategory
    rate_basis_points: int = 0
    exemption_reason: str = ""
    quantity: Decimal = Decimal(1)
    unit: str = "one"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line: `unit_price` is net, in minor units, and may have a fraction of one."""

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
        """Refuse a line whose price, amounts and tax do not belong together."""
        check(bool(self.name.strip()), "A line has a name.")
        check_texts(self.name, self.exemption_reason)
        check(self.unit in UNITS, f"{self.unit!r} is no unit; known are {', '.join(UNITS)}.")
        _check_counted(self.quantity, self.net)
        priced = self.unit_price.is_finite() and self.unit_price >= 0
        check(priced, "A price is not below zero; what is taken off is a quantity below zero.")
        worth = self.quantity * self.unit_price
        check(
            abs(worth - self.net) <= Decimal("0.5"),
            f"{self.quantity} at {self.unit_price} is not {self.net} net.",
        )
        self._check_tax()

    @property
    def tax(self) -> int:
        """Return what of the gross is tax."""
        return self.gross - self.net

    def _check_tax(self) -> None:
        rate, category = self.rate_basis_points, self.tax_category
        within = RATE_MIN <= rate <= RATE_MAX if category in TAXED else rate == 0
        check(within, f"{rate} basis points are no rate of tax category {category}.")
        reasoned = bool(self.exemption_reason.strip())
        check(
            reasoned == (category in NEEDS_A_REASON),
            f"Tax category {category} {'has no' if reasoned else 'needs an'} exemption reason.",
        )
        check(rate > 0 or not self.tax, "Where there is no rate there is no tax.")


class TaxTotal(msgspec.Struct, frozen=True, kw_only=True):
    """The tax of one category and rate, over all lines (BG-23)."""

    tax_category: TaxCategory
    rate_basis_points: int
    net: int
    tax: int
    exemption_reason: str = ""

    @property
    def apart(self) -> int:
        """Return how far the tax is from its rate, in parts of `RATE_MAX` of a minor unit."""
        return abs(self.tax * RATE_MAX - self.net * self.rate_basis_points)


def priced(items: Iterable[Item], *, tax_included: bool) -> tuple[Line, ...]:
    """Work lines out of prices that contain their tax, or to which it is added.

    The tax of each category and rate is that of the sum; the lines share it.
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
    """Make a line whose net and gross are known, such as what is left of an invoice."""
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
    """Sum the lines up by tax category and rate.

    Raises:
        InvalidDocumentError: what is exempt is so for two reasons, or is beside what is no subject.
    """
    groups = [
        _tax_total(*key, list(group))
        for key, group in groupby(sorted(lines, key=_tax_key), key=_tax_key)
    ]
    outside = [group for group in groups if group.tax_category is TaxCategory.NOT_SUBJECT]
    check(not outside or len(groups) == 1, "What is not subject to tax has its own document.")
    return tuple(groups)


def _tax_key(one: Line) -> tuple[TaxCategory, int]:
    return one.tax_category, one.rate_basis_points


def _tax_total(category: TaxCategory, rate: int, lines: list[Line]) -> TaxTotal:
    reasons = {one.exemption_reason for one in lines}
    check(len(reasons) == 1, f"Tax category {category} has one exemption reason in a document.")
    return TaxTotal(
        tax_category=category,
        rate_basis_points=rate,
        net=sum(one.net for one in lines),
        tax=sum(one.tax for one in lines),
        exemption_reason=reasons.pop(),
    )


def _check_counted(quantity: Decimal, net: int) -> None:
    check(abs(net) <= AMOUNT_MAX, f"{net} is more than a line may come to.")
    check(
        quantity.is_finite()
        and 0 < abs(quantity) <= QUANTITY_MAX
        and int(quantity.as_tuple().exponent) >= -QUANTITY_DECIMALS,
        f"A line counts something, up to {QUANTITY_MAX}, in at most {QUANTITY_DECIMALS} decimals.",
    )


def _plain(number: Decimal) -> Decimal:
    """Drop the zeros at the end of the decimals, and write no exponent."""
    short = number.normalize()
    return short if int(short.as_tuple().exponent) <= 0 else short.quantize(Decimal(1))


def check_texts(*texts: str) -> None:
    """Refuse texts that no document can hold."""
    for text in texts:
        check(
            len(text) <= TEXT_CHARS_MAX and not _UNWRITABLE.search(text),
            f"A text has at most {TEXT_CHARS_MAX} characters, and none that cannot be written.",
        )


def check(holds: bool, sentence: str) -> None:  # noqa: FBT001  # reads as an assertion
    """Refuse a document with this sentence unless it holds."""
    if not holds:
        raise InvalidDocumentError(sentence)

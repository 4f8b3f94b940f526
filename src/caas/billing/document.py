"""What an invoice, an advance invoice or a credit note says, in full and before it has a form.

One `Document` is the source of the PDF, the JSON and the EN 16931 XML, so the three cannot differ.
Amounts are minor units of the document's currency; `document_lines` works them out of prices.

Rules a change must keep: pure; a `Document` that exists is right: its lines, its tax and its totals
agree, and it breaks no rule of EN 16931; amounts of a credit note are above zero, its type says
that they are given back.
"""

from collections.abc import Iterable
from datetime import date
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Final

import msgspec

from caas.billing.document_lines import RATE_MAX, Line, TaxTotal, check, check_texts, tax_of
from caas.rules.money import TOTAL_MAX, exponent

LINES_MAX: Final = 1_000
REST_APART_MAX: Final = 3
PAYMENT_MEANS: Final = frozenset({"1", "10", "48", "54", "55", "68"})
"""Not said, cash, card, credit card, debit card, online service (UNTDID 4461): what needs an
account besides, such as a transfer, is none of ours."""


class TypeCode(StrEnum):
    """The kind of document (UNTDID 1001, BT-3)."""

    INVOICE = "380"
    CREDIT_NOTE = "381"
    ADVANCE_INVOICE = "386"


class Party(msgspec.Struct, frozen=True, kw_only=True):
    """A seller or a buyer. `tax_country` is whose tax office gave the id, if not `country`'s."""

    name: str
    country: str
    tax_id: str = ""
    tax_country: str = ""
    street: str = ""
    postcode: str = ""
    city: str = ""
    region: str = ""

    def __post_init__(self) -> None:
        """Refuse a party without a name, or of no country."""
        check(bool(self.name.strip()), "A party has a name.")
        for country in filter(None, (self.country, self.tax_country)):
            check(country in countries(), f"{country!r} is no ISO 3166 country, such as ES.")
        check(bool(self.country), "A party has a country, such as ES.")
        check_texts(self.name, self.tax_id, self.street, self.postcode, self.city, self.region)


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """The sums of a document: `payable` is the gross without what is prepaid."""

    net: int
    tax: int
    gross: int
    prepaid: int
    payable: int


class Period(msgspec.Struct, frozen=True):
    """Days from the first to the last, both included."""

    first: date
    last: date


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """A document issued before, and its amounts where they are deducted."""

    number: str
    issue_date: date
    net: int = 0
    tax: int = 0
    gross: int = 0


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """How a document is paid: `means` is of UNTDID 4461, 48 is a card."""

    means: str = "48"
    reference: str = ""
    terms: str = ""
    due_date: date | None = None


class Heading(msgspec.Struct, frozen=True, kw_only=True):
    """What a document says beside its lines and sums.

    `deducts` are advance invoices, each with what of it is deducted.
    """

    type_code: TypeCode
    number: str
    series: str
    issue_date: date
    currency: str
    language: str
    seller: Party
    buyer: Party | None
    simplified: bool = False
    supply_date: date | None = None
    period: Period | None = None
    corrects: Reference | None = None
    deducts: tuple[Reference, ...] = ()
    payment: Payment = Payment()
    reason: str = ""
    order: str = ""
    vehicle: str = ""


class Document(Heading, frozen=True, kw_only=True):
    """A document as it was issued; make one by `checked`.

    Raises:
        InvalidDocumentError: it contradicts itself or lacks something; the sentence says what.
    """

    lines: tuple[Line, ...]
    tax: tuple[TaxTotal, ...]
    totals: Totals

    def __post_init__(self) -> None:
        """Refuse what contradicts itself, whoever made it: a caller or a decoder."""
        self._check_head()
        self._check_kind()
        self._check_sums()

    @classmethod
    def checked(cls, heading: Heading, lines: Iterable[Line], *, paid: int = 0) -> "Document":
        """Make a document of lines by `priced` or `line`, its tax and totals worked out.

        `paid` is what has been paid besides the advances that it deducts.

        Raises:
            InvalidDocumentError: it contradicts itself or lacks something.
            UnknownCurrencyError: the currency is not in the table.
        """
        lines = tuple(lines)
        prepaid = paid + sum(one.gross for one in heading.deducts)
        return cls(
            **msgspec.structs.asdict(heading),
            lines=lines,
            tax=tax_of(lines),
            totals=_totals(lines, prepaid),
        )

    @property
    def preceding(self) -> tuple[Reference, ...]:
        """Return the documents that this one names (BG-3)."""
        return self.deducts if self.corrects is None else (self.corrects,)

    def _check_head(self) -> None:
        exponent(self.currency)
        check(bool(self.number.strip()), "A document has a number.")
        check(bool(self.seller.tax_id.strip()), "A seller has a tax id.")
        check(self.simplified or self.buyer is not None, "A full invoice names its buyer.")
        check(
            self.period is None or self.period.first <= self.period.last,
            "A period ends after it begins.",
        )
        named = (reference.number for reference in self.preceding)
        check(all(number.strip() for number in named), "A reference has a number.")
        check_texts(self.number, self.series, self.reason, self.order, self.vehicle)
        check_texts(self.payment.reference, self.payment.terms)
        check_texts(*(reference.number for reference in self.preceding))
        check(self.payment.means in PAYMENT_MEANS, f"{self.payment.means!r} is no payment means.")

    def _check_kind(self) -> None:
        if self.type_code is TypeCode.CREDIT_NOTE:
            check(self.corrects is not None, "A credit note names the invoice that it corrects.")
            check(bool(self.reason.strip()), "A credit note says why.")
            check(not self.totals.prepaid, "Nothing of a credit note is prepaid.")
            return
        check(self.corrects is None, "Only a credit note corrects an invoice.")
        invoice = self.type_code is TypeCode.INVOICE
        check(invoice or not self.deducts, "An advance invoice deducts none.")
        due = self.payment.due_date is not None or bool(self.payment.terms.strip())
        check(due or not self.totals.payable, "What is payable has a due date or payment terms.")

    def _check_sums(self) -> None:
        check(0 < len(self.lines) <= LINES_MAX, f"A document has 1 to {LINES_MAX} lines.")
        check(self.tax == tax_of(self.lines), "The tax is not that of the lines.")
        totals = self.totals
        check(totals == _totals(self.lines, totals.prepaid), "The totals are not those of lines.")
        check(0 <= totals.gross <= TOTAL_MAX, "What is owed to a buyer is a credit note.")
        deducted = sum(one.gross for one in self.deducts)
        check(
            deducted <= totals.prepaid <= totals.gross,
            f"{totals.prepaid} prepaid does not cover the {deducted} deducted, "
            f"or is more than the {totals.gross} of the document.",
        )
        for one in self.deducts:
            check(one.net + one.tax == one.gross > 0, f"{one.number} does not sum.")
        self._check_rates()

    def _check_rates(self) -> None:
        """Hold the tax against the rate, to the unit for each line and one.

        The tax of a price paid in two parts is rounded twice. A credit note may take back a rest,
        which has the roundings of all that was taken before it.
        """
        apart_max = len(self.lines) + 1
        if self.corrects is not None:
            apart_max = max(apart_max, 10 ** exponent(self.currency), REST_APART_MAX)
        for one in self.tax:
            check(
                one.apart < apart_max * RATE_MAX,
                f"{one.tax} is not the tax of {one.net} at {one.rate_basis_points} basis points.",
            )


def _totals(lines: tuple[Line, ...], prepaid: int) -> Totals:
    net, gross = sum(one.net for one in lines), sum(one.gross for one in lines)
    return Totals(net=net, tax=gross - net, gross=gross, prepaid=prepaid, payable=gross - prepaid)


@cache
def countries() -> frozenset[str]:
    """Return the country codes of ISO 3166, from the time zone data."""
    table = (resources.files("tzdata") / "zoneinfo/iso3166.tab").read_text("utf-8")
    return frozenset(row[:2] for row in table.splitlines() if not row.startswith("#"))

"""The content of an invoice, advance invoice or credit note, independent of its format.

PDF, JSON and EN 16931 XML are generated from one `Document`. Amounts are minor units of its
currency; `document_lines` computes them from prices.

Rules a change must keep: pure; every `Document` is consistent in lines, tax and totals and conforms
to EN 16931; amounts of a credit note are positive, its type marks them as credited.
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
"""Unspecified, cash, card, credit card, debit card, online service (UNTDID 4461). Means that
need an account, such as a transfer, are not supported."""


class TypeCode(StrEnum):
    """The kind of document (UNTDID 1001, BT-3)."""

    INVOICE = "380"
    CREDIT_NOTE = "381"
    DEBIT_NOTE = "383"
    ADVANCE_INVOICE = "386"


class Party(msgspec.Struct, frozen=True, kw_only=True):
    """A seller or buyer. `tax_country` is set if the tax id is not of `country`."""

    name: str
    country: str
    tax_id: str = ""
    tax_country: str = ""
    street: str = ""
    postcode: str = ""
    city: str = ""
    region: str = ""

    def __post_init__(self) -> None:
        """Reject a party without a name or with an unknown country."""
        check(bool(self.name.strip()), "A party needs a name.")
        for country in filter(None, (self.country, self.tax_country)):
            check(
                country in countries(),
                f"{country!r} is not an ISO 3166 country code; use one such as ES.",
            )
        check(bool(self.country), "A party needs a country, such as ES.")
        check_texts(self.name, self.tax_id, self.street, self.postcode, self.city, self.region)


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """The totals of a document: `payable` is the gross less the prepaid amount."""

    net: int
    tax: int
    gross: int
    prepaid: int
    payable: int


class Period(msgspec.Struct, frozen=True):
    """A period in days, both ends included."""

    first: date
    last: date


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """An earlier document, with its amounts where they are deducted."""

    number: str
    issue_date: date
    net: int = 0
    tax: int = 0
    gross: int = 0


class PaymentTerms(msgspec.Struct, frozen=True, kw_only=True):
    """Payment information: `means` is a code of UNTDID 4461, 48 is a card."""

    means: str = "48"
    reference: str = ""
    terms: str = ""
    due_date: date | None = None


class Heading(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a document other than lines and totals.

    `deducts` lists advance invoices with the deducted amounts; `replaces` names the credited
    document that this one was issued again for.
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
    replaces: Reference | None = None
    deducts: tuple[Reference, ...] = ()
    payment: PaymentTerms = PaymentTerms()
    reason: str = ""
    order: str = ""
    vehicle: str = ""


class Document(Heading, frozen=True, kw_only=True):
    """An issued document; create one with `checked`.

    Raises:
        InvalidDocumentError: it is inconsistent or incomplete.
    """

    lines: tuple[Line, ...]
    tax: tuple[TaxTotal, ...]
    totals: Totals

    def __post_init__(self) -> None:
        """Validate the document, also when it is decoded."""
        self._check_head()
        self._check_kind()
        self._check_sums()

    @classmethod
    def checked(cls, heading: Heading, lines: Iterable[Line], *, paid: int = 0) -> "Document":
        """Create a document from lines and compute its tax and totals.

        `paid` is the amount paid in addition to the deducted advances.

        Raises:
            InvalidDocumentError: it is inconsistent or incomplete.
            UnknownCurrencyError: the currency is unknown.
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
        """Return the documents this one references (BG-3)."""
        about = self.corrects or self.replaces
        return (*([about] if about else []), *self.deducts)

    def _check_head(self) -> None:
        exponent(self.currency)
        check(bool(self.number.strip()), "A document needs a number.")
        check(bool(self.seller.tax_id.strip()), "A seller needs a tax id.")
        check(self.simplified or self.buyer is not None, "A full invoice must name its buyer.")
        check(
            self.period is None or self.period.first <= self.period.last,
            "A period must end after it begins.",
        )
        named = (reference.number for reference in self.preceding)
        check(all(number.strip() for number in named), "A reference needs a number.")
        check_texts(self.number, self.series, self.reason, self.order, self.vehicle)
        check_texts(self.payment.reference, self.payment.terms)
        check_texts(*(reference.number for reference in self.preceding))
        check(
            self.payment.means in PAYMENT_MEANS,
            f"{self.payment.means!r} is not a supported payment means.",
        )

    def _check_kind(self) -> None:
        if self.type_code is TypeCode.CREDIT_NOTE:
            check(self.corrects is not None, "A credit note must name the invoice it corrects.")
            check(bool(self.reason.strip()), "A credit note needs a reason.")
            check(not self.totals.prepaid, "A credit note cannot have prepaid amounts.")
            check(self.replaces is None, "A credit note replaces nothing.")
            return
        debit = self.type_code is TypeCode.DEBIT_NOTE
        check(debit or self.corrects is None, "Only a credit or debit note corrects an invoice.")
        invoice = self.type_code is TypeCode.INVOICE
        check(invoice or not self.deducts, "An advance invoice deducts nothing.")
        due = self.payment.due_date is not None or bool(self.payment.terms.strip())
        check(due or not self.totals.payable, "A payable amount needs a due date or payment terms.")

    def _check_sums(self) -> None:
        check(0 < len(self.lines) <= LINES_MAX, f"A document has 1 to {LINES_MAX} lines.")
        check(self.tax == tax_of(self.lines), "The tax differs from that of the lines.")
        totals = self.totals
        check(
            totals == _totals(self.lines, totals.prepaid),
            "The totals differ from those of the lines.",
        )
        check(0 <= totals.gross <= TOTAL_MAX, "A negative amount requires a credit note.")
        deducted = sum(one.gross for one in self.deducts)
        check(
            deducted <= totals.prepaid <= totals.gross,
            (
                f"{totals.prepaid} prepaid is less than the {deducted} deducted, or "
                f"more than the total of {totals.gross}."
            ),
        )
        for one in self.deducts:
            check(one.net + one.tax == one.gross > 0, f"The amounts of {one.number} do not add up.")
        self._check_rates()

    def _check_rates(self) -> None:
        """Check the tax against the rate, with a tolerance of one minor unit per line plus one.

        The tax of a price paid in two parts is rounded twice, and a credit note for a remainder
        contains the rounding of everything credited before.
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

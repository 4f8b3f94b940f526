"""Invoice documents as PDF/A-3: texts and amounts on the page, typesetting, embedded data.

typst sets the page and embeds EN 16931 data (Factur-X).

Rules a change must keep: pure, the same document gives the same bytes; page and data come from one
`Document`, and nothing is computed that it does not contain; amounts of a credit note are printed
as negative.
"""

import io
import json
import re
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib import resources
from typing import Any, Final, Literal

import typst
from babel.dates import format_date
from babel.numbers import format_currency, format_decimal

from caas.billing.document import Document, Party, Reference, TypeCode
from caas.billing.document_lines import Line, TaxTotal
from caas.billing.document_xml import deduction, labels, language_of, to_xml, writable
from caas.notifications.texts import money
from caas.rules.market import LOCALES, NEEDS_A_REASON, written_tax_id
from caas.rules.money import exponent

CARD: Final = "48"
PRICE_DECIMALS_MORE: Final = 2


def page_of(document: Document) -> dict[str, Any]:
    """Return the input of `document.typ`: labels, facts, lines and totals."""
    return _Page(document).content()


class _Page:
    """Formats one document in its reader's language."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._language = language_of(document)
        self._locale = LOCALES[self._language]
        self._labels = labels(self._language)
        self._sign = -1 if document.type_code is TypeCode.CREDIT_NOTE else 1

    def content(self) -> dict[str, Any]:
        document, content = self._document, self._labels
        return {
            "language": self._language,
            "title": f"{self._kind()} {document.number}",
            "page": content["page"],
            "seller": self._party(document.seller),
            "to": content["to"],
            "buyer": self._party(document.buyer) if document.buyer else [content["consumer"]],
            "facts": [(what, fact) for what, fact in self._facts() if fact],
            "head": [
                content[name] for name in ("description", "quantity", "price", "rate", "amount")
            ],
            "lines": [self._line(line) for line in document.lines],
            "sums": self._sums(),
            "notes": [note for note in self._notes() if note],
        }

    def _kind(self) -> str:
        code = str(self._document.type_code.value)
        return self._labels[f"{code} simplified" if self._document.simplified else code]

    def _party(self, party: Party) -> list[str]:
        town = " ".join(filter(None, (party.postcode, party.city)))
        place = ", ".join(filter(None, (town, party.region, party.country)))
        tax_id = party.tax_id and written_tax_id(
            party.tax_country or party.country, party.tax_id, otherwise=self._labels["tax id"]
        )
        return [row for row in (party.name, party.street, place, tax_id) if row]

    def _facts(self) -> list[tuple[str, str]]:
        document, content = self._document, self._labels
        corrects, replaces, period = document.corrects, document.replaces, document.period
        return [
            (content["number"], document.number),
            (content["issued"], self._day(document.issue_date, "long")),
            (content["supplied"], self._day(document.supply_date, "long")),
            (
                content["period"],
                f"{self._day(period.first)} - {self._day(period.last)}" if period else "",
            ),
            (content["order"], document.order),
            (content["vehicle"], document.vehicle),
            (content["corrects"], self._named(corrects) if corrects else ""),
            (content["replaces"], self._named(replaces) if replaces else ""),
            (content["reason"], document.reason),
            (content["reference"], document.payment.reference),
            (content["due"], self._day(document.payment.due_date, "long")),
        ]

    def _named(self, reference: Reference) -> str:
        return self._labels["corrects_of"].format(
            number=reference.number, date=self._day(reference.issue_date)
        )

    def _line(self, line: Line) -> list[str]:
        quantity = format_decimal(
            self._sign * line.quantity, locale=self._locale, decimal_quantization=False
        )
        return [
            line.name,
            f"{quantity} {self._labels[line.unit]}".strip(),
            self._price(line),
            self._rate(line),
            self._money(line.net),
        ]

    def _sums(self) -> list[dict[str, Any]]:
        document, content, totals = self._document, self._labels, self._document.totals
        sums = [row for tax in document.tax for row in self._tax(tax)]
        sums.append((content["gross"], totals.gross, True))
        for one in document.deducts:
            named = content["deducted"].format(number=one.number, date=self._day(one.issue_date))
            sums.append((named, -one.gross, False))
        paid = totals.prepaid - sum(one.gross for one in document.deducts)
        if paid:
            sums.append((content["paid"], -paid, False))
        if document.type_code is not TypeCode.CREDIT_NOTE:
            sums.append((content["payable"], totals.payable, True))
        return [
            {"what": what, "amount": self._money(amount), "strong": strong}
            for what, amount, strong in sums
        ]

    def _tax(self, tax: TaxTotal) -> list[tuple[str, int, bool]]:
        net = (f"{self._labels['net']} ({self._rate(tax)})", tax.net, False)
        if tax.tax_category in NEEDS_A_REASON:
            return [net]
        return [net, (self._rate(tax), tax.tax, False)]

    def _rate(self, taxed: Line | TaxTotal) -> str:
        """Format a tax as "VAT 21 %" or its exemption reason."""
        category = taxed.tax_category
        if category in NEEDS_A_REASON:
            return self._labels[category]
        percent = Decimal(taxed.rate_basis_points).scaleb(-2)
        return f"{self._labels[category]} {format_decimal(percent, locale=self._locale)} %"

    def _notes(self) -> list[str]:
        document, content = self._document, self._labels
        notes = list(dict.fromkeys(tax.exemption_reason for tax in document.tax))
        notes += [deduction(document, one) for one in document.deducts]
        if document.type_code is TypeCode.CREDIT_NOTE:
            return notes
        if not document.totals.payable and document.payment.means == CARD:
            notes.append(content["by card"])
        if document.totals.payable and document.payment.terms:
            notes.append(f"{content['terms']}: {document.payment.terms}")
        return notes

    def _money(self, amount: int) -> str:
        return money(self._sign * amount, self._document.currency, language=self._language)

    def _price(self, line: Line) -> str:
        """Format a price with up to two decimals more than amounts have."""
        currency = self._document.currency
        decimals = exponent(currency)
        price = round(line.unit_price.scaleb(-decimals), decimals + PRICE_DECIMALS_MORE)
        return format_currency(price, currency, locale=self._locale, decimal_quantization=False)

    def _day(self, day: date | None, length: Literal["medium", "long"] = "medium") -> str:
        return format_date(day, length, locale=self._locale) if day else ""


PDF_STANDARD: Final = "a-3b"
UNSHOWN: Final = re.compile(
    "[^\x20-\x7e\xa0-\u0377\u0384-\u038a\u038c\u038e-\u03a1\u03a3-\u04ff\u05d0-\u05ea"
    "\u060c\u061b\u061f\u0621-\u063a\u0640-\u0652\u0660-\u0669\u067e\u0686\u06a9\u06af\u06cc"
    "\u1e00-\u1eff\u2010-\u2027\u202f-\u203a\u20a0-\u20bf\u2116\u2122]"
)
"""Characters that the page's fonts lack. PDF/A forbids them, so they are replaced by "?"."""
SCHEMAS: Final = "<pdfaExtension:schemas><rdf:Bag>"
END: Final = "</rdf:RDF>"


def to_pdf(document: Document) -> bytes:
    """Return a document as PDF/A-3, with its data embedded if EN 16931 can represent it."""
    shown = UNSHOWN.sub("?", json.dumps(page_of(document), ensure_ascii=False))
    inputs = {"document": shown}
    data = to_xml(document).decode() if writable(document) else None
    pages = bytes(
        typst.compile(
            _source("document.typ").encode(),
            format="pdf",
            sys_inputs=inputs if data is None else {**inputs, "data": data},
            pdf_standards=PDF_STANDARD,
            ignore_system_fonts=True,
            timestamp=datetime.combine(document.issue_date, time(), UTC),
        )
    )
    return pages if data is None else _named_factur_x(pages)


def _named_factur_x(pages: bytes) -> bytes:
    """Add the Factur-X metadata that describes the embedded file."""
    from pypdf import PdfWriter  # noqa: PLC0415  # slow to import, and few processes make paper
    from pypdf.generic import DecodedStreamObject  # noqa: PLC0415

    writer = PdfWriter(clone_from=io.BytesIO(pages))
    metadata = writer.root_object["/Metadata"].get_object()
    assert isinstance(metadata, DecodedStreamObject), "typst writes metadata as plain text"
    stated = metadata.get_data().decode()
    schema, end = _source("factur_x.xmp").split("<!-- -->\n")
    for place, addition in ((SCHEMAS, SCHEMAS + schema), (END, end + END)):
        assert stated.count(place) == 1, "typst writes one schema list and one end tag"
        stated = stated.replace(place, addition)
    metadata.set_data(stated.encode())
    written = io.BytesIO()
    writer.write(written)
    return written.getvalue()


def _source(name: str) -> str:
    return (resources.files("caas.billing") / name).read_text("utf-8")

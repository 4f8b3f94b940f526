"""A subscription's invoice or credit note as a document, made from its row (decisions 30, 64).

Rules a change must keep: a document is a function of the invoice, the letterhead and the buyer's
address, and is made again whenever somebody asks; an erased customer's name is a dash.
"""

import asyncio
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from caas.billing.document import Document, Heading, Party, Payment, Period, Reference, TypeCode
from caas.billing.document_lines import UNITS, Item, Line, TaxCategory, line, priced
from caas.billing.document_pdf import to_pdf
from caas.billing.document_words import words
from caas.billing.letterhead import Letterhead
from caas.billing_database.invoices import CREDIT_NOTE, Invoice
from caas.notifications import Address
from caas.notifications.texts import LOCALES
from caas.rules.mes_vencido import Month

ERASED: Final = "—"


async def invoice_pdf(
    invoice: Invoice,
    letterhead: Letterhead,
    *,
    buyer: Address | None,
    corrects: Invoice | None = None,
) -> bytes:
    """Return an invoice as a PDF/A-3 file; written in a thread, as it takes some milliseconds."""
    document = document_of(invoice, letterhead, buyer=buyer, corrects=corrects)
    return await asyncio.to_thread(to_pdf, document)


def document_of(
    invoice: Invoice,
    letterhead: Letterhead,
    *,
    buyer: Address | None,
    corrects: Invoice | None = None,
) -> Document:
    """Return what an invoice or a credit note says, in its customer's language."""
    language = buyer.language if buyer and buyer.language in LOCALES else letterhead.language
    first, last = _days(Month.parse(invoice.month))
    paid = invoice.gross if corrects is None and invoice.state == "paid" else 0
    heading = Heading(
        type_code=TypeCode.CREDIT_NOTE if corrects else TypeCode.INVOICE,
        number=invoice.full_number,
        series=invoice.series,
        issue_date=_issued(invoice, letterhead),
        currency=invoice.currency,
        language=language,
        seller=_seller(letterhead),
        buyer=Party(name=buyer.name if buyer else ERASED, country=letterhead.country),
        supply_date=last,
        period=Period(first, last),
        corrects=_reference(corrects, letterhead) if corrects else None,
        payment=Payment(terms=_terms(invoice, letterhead, words(language))),
        reason=invoice.reason or "",
        vehicle=invoice.vin,
    )
    return Document.checked(heading, _lines(invoice, words(language)), paid=paid)


def _days(month: Month) -> tuple[date, date]:
    following = month.next()
    return (
        date(month.year, month.number, 1),
        date(following.year, following.number, 1) - timedelta(days=1),
    )


def _issued(invoice: Invoice, letterhead: Letterhead) -> date:
    return invoice.issued_at.astimezone(letterhead.zone).date()


def _seller(letterhead: Letterhead) -> Party:
    return Party(
        name=letterhead.name,
        tax_id=letterhead.vat_id,
        street=letterhead.street,
        postcode=letterhead.postcode,
        city=letterhead.city,
        country=letterhead.country,
    )


def _reference(corrects: Invoice, letterhead: Letterhead) -> Reference:
    return Reference(number=corrects.full_number, issue_date=_issued(corrects, letterhead))


def _terms(invoice: Invoice, letterhead: Letterhead, said: dict[str, str]) -> str:
    return said["written off"] if invoice.state == "written off" else letterhead.payment_terms


def _lines(invoice: Invoice, said: dict[str, str]) -> tuple[Line, ...]:
    """Make the lines; what a credit note takes back is as its row says, a rest has no rate."""
    items = list(_items(invoice, said))
    if invoice.kind == CREDIT_NOTE:
        return (line(items[0], net=-invoice.net, gross=-invoice.gross),)
    return priced(items, tax_included=False)


def _items(invoice: Invoice, said: dict[str, str]) -> Iterator[Item]:
    rate = invoice.iva_basis_points
    for row in invoice.lines:
        shared, known = row["out_of"] is not None, row["unit"] in UNITS
        counted = invoice.kind != CREDIT_NOTE and not shared
        yield Item(
            name=said[row["kind"]].format(**row, service=invoice.service),
            amount=row["net"],
            tax_category=TaxCategory.STANDARD if rate else TaxCategory.ZERO,
            rate_basis_points=rate,
            quantity=Decimal(row["quantity"] if counted else 1),
            unit=row["unit"] if counted and known else "one",
        )

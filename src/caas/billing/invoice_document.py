"""Builds a `Document` from its stored row (decisions 30, 64, record 123).

Rule a change must keep: the result depends only on the row and the document it corrects or
replaces; an erased customer's name becomes a dash unless the law requires it.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from caas.billing.document import (
    Document,
    Heading,
    Party,
    PaymentTerms,
    Period,
    Reference,
    TypeCode,
)
from caas.billing.document_lines import UNITS, Item, Line, line, priced
from caas.billing.document_xml import labels
from caas.billing.drafts import DEDUCTED
from caas.billing.letterhead import Letterhead
from caas.billing_database.invoices import (
    ADVANCE,
    CREDIT_NOTE,
    DEBIT_NOTE,
    INVOICE,
    VEHICLE,
    Invoice,
)
from caas.rules.market import TaxCategory
from caas.rules.mes_vencido import Month

ERASED: Final = "—"


def document_of(
    invoice: Invoice,
    letterhead: Letterhead,
    *,
    corrects: Invoice | None = None,
    replaces: Invoice | None = None,
) -> Document:
    """Return the document in its customer's language."""
    words = labels(invoice.language or letterhead.language)
    seller = _seller(invoice, letterhead)
    period = _period(invoice)
    heading = Heading(
        type_code=_type_code(invoice),
        number=invoice.full_number,
        series=invoice.series,
        issue_date=_issued(invoice, letterhead),
        currency=invoice.currency,
        language=invoice.language or letterhead.language,
        seller=seller,
        buyer=_buyer(invoice, seller),
        simplified=invoice.simplified,
        supply_date=period.last if period else invoice.supplied_on,
        period=period,
        corrects=_reference(corrects, letterhead) if corrects else None,
        replaces=_reference(replaces, letterhead) if replaces else None,
        deducts=_deducts(invoice),
        payment=PaymentTerms(terms=_terms(invoice, letterhead, words)),
        reason=invoice.reason or "",
        order=str(invoice.subject) if invoice.kind in {ADVANCE, VEHICLE} else "",
        vehicle=invoice.vin or "",
    )
    is_paid = invoice.kind == DEBIT_NOTE or (corrects is None and invoice.state == "paid")
    paid = invoice.gross if is_paid else 0
    return Document.checked(heading, _lines(invoice, words), paid=paid)


def _type_code(invoice: Invoice) -> TypeCode:
    if invoice.kind == CREDIT_NOTE:
        return TypeCode.CREDIT_NOTE
    if invoice.kind == DEBIT_NOTE:
        return TypeCode.DEBIT_NOTE
    return TypeCode.ADVANCE_INVOICE if invoice.kind == ADVANCE else TypeCode.INVOICE


def _period(invoice: Invoice) -> Period | None:
    if invoice.month is None:
        return None
    month = Month.parse(invoice.month)
    following = month.next()
    return Period(
        date(month.year, month.number, 1),
        date(following.year, following.number, 1) - timedelta(days=1),
    )


def _issued(invoice: Invoice, letterhead: Letterhead) -> date:
    return invoice.issued_at.astimezone(letterhead.zone).date()


def _seller(invoice: Invoice, letterhead: Letterhead) -> Party:
    known = invoice.seller or letterhead.as_issued
    return Party(
        name=known["name"],
        tax_id=known["vat_id"],
        street=known["street"],
        postcode=known["postcode"],
        city=known["city"],
        country=known["country"],
    )


def _buyer(invoice: Invoice, seller: Party) -> Party | None:
    """Return the buyer as of the issue; a simplified document may have none."""
    known = invoice.buyer
    if known is None:
        return None if invoice.simplified else Party(name=ERASED, country=seller.country)
    return Party(**{"country": seller.country, **known})


def _reference(corrects: Invoice, letterhead: Letterhead) -> Reference:
    return Reference(number=corrects.full_number, issue_date=_issued(corrects, letterhead))


def _deducts(invoice: Invoice) -> tuple[Reference, ...]:
    return tuple(
        Reference(
            number=row["number"],
            issue_date=date.fromisoformat(row["issued_on"]),
            net=row["net"],
            tax=row["iva"],
            gross=row["gross"],
        )
        for row in invoice.lines
        if row["kind"] == DEDUCTED and row["gross"]
    )


def _terms(invoice: Invoice, letterhead: Letterhead, words: dict[str, str]) -> str:
    return words["written off"] if invoice.state == "written off" else letterhead.payment_terms


def _lines(invoice: Invoice, words: dict[str, str]) -> tuple[Line, ...]:
    """Return the lines; a credit note's are those of its row, and a remainder has no quantity."""
    items = list(_items(invoice, words))
    if invoice.kind == CREDIT_NOTE:
        return (line(items[0], net=-invoice.net, gross=-invoice.gross),)
    return priced(items, tax_included=all("gross" in row for row in invoice.lines))


def _items(invoice: Invoice, words: dict[str, str]) -> Iterator[Item]:
    for row in invoice.lines:
        if row["kind"] == DEDUCTED:
            continue
        shared, known = row["out_of"] is not None, row["unit"] in UNITS
        counted = invoice.kind == INVOICE and not shared
        rate = row.get("basis_points", invoice.iva_basis_points)
        default = TaxCategory.STANDARD if rate else TaxCategory.ZERO
        named = {**row, "service": invoice.service_name or invoice.service or ""}
        yield Item(
            name=row.get("name") or words[row["kind"]].format(**named).rstrip(", "),
            amount=row["gross"] if "gross" in row else row["net"],
            tax_category=TaxCategory(row.get("category", invoice.tax_category or default)),
            rate_basis_points=rate,
            exemption_reason=row.get("exempt_because", invoice.exempt_because) or "",
            quantity=Decimal(row["quantity"] if counted else 1),
            unit=row["unit"] if counted and known else "one",
        )

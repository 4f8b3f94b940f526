"""Documents for tests: sellers of five markets, a buyer, and what they buy."""

from datetime import date
from typing import Any, Final

from caas.billing.document import (
    Document,
    Heading,
    Party,
    PaymentTerms,
    Period,
    Reference,
    TypeCode,
)
from caas.billing.document_lines import Item, Line, priced
from caas.rules.market import TaxCategory

NOVEMBER: Final = date(2026, 11, 28)
SPAIN: Final = Party(
    name="Coches por Meses S.L.",
    tax_id="B58378431",
    street="Calle de Alcalá 1",
    postcode="28014",
    city="Madrid",
    country="ES",
)
CANARIES: Final = Party(
    name="Coches Canarios S.L.",
    tax_id="B58378431",
    street="Calle Triana 1",
    postcode="35002",
    city="Las Palmas de Gran Canaria",
    region="Canarias",
    country="ES",
)
PORTUGAL: Final = Party(
    name="Carros por Mês Lda.", tax_id="PT501964843", city="Lisboa", country="PT"
)
CHILE: Final = Party(name="Autos por Mes SpA", tax_id="76086428-5", city="Santiago", country="CL")
KUWAIT: Final = Party(name="Cars by Month W.L.L.", tax_id="312345", city="Kuwait", country="KW")
BUYER: Final = Party(
    name="Ana Pérez López",
    tax_id="12345678Z",
    street="Calle Mayor 5, 2.º B",
    postcode="28013",
    city="Madrid",
    country="ES",
)
CREDITED: Final = Reference(number="2026-000007", issue_date=date(2026, 11, 2))


def item(
    amount: int,
    rate: int = 2100,
    category: TaxCategory = TaxCategory.STANDARD,
    **changed: Any,
) -> Item:
    """Return something sold, at 21 % when nothing else is said."""
    stated: dict[str, Any] = {
        "name": "Vehículo CaaS Model 1",
        "amount": amount,
        "rate_basis_points": rate,
    }
    return Item(**{**stated, "tax_category": category, **changed})


def not_subject(amount: int) -> Item:
    """Return something sold where there is no VAT."""
    return item(amount, 0, TaxCategory.NOT_SUBJECT, exemption_reason="Not subject to VAT in Kuwait")


def made(
    *items: Item, lines: tuple[Line, ...] | None = None, paid: int = 0, **changed: Any
) -> Document:
    """Return an invoice of these prices, tax included, with some of it changed."""
    stated: dict[str, Any] = {
        "type_code": TypeCode.INVOICE,
        "number": "2026-000012",
        "series": "2026",
        "issue_date": NOVEMBER,
        "currency": "EUR",
        "language": "es",
        "seller": SPAIN,
        "buyer": BUYER,
        "supply_date": NOVEMBER,
        "payment": PaymentTerms(reference="019ac1b2", terms="Al contado"),
    }
    lines = priced(items or (item(12100),), tax_included=True) if lines is None else lines
    return Document.checked(Heading(**stated | changed), lines, paid=paid)


def credit_note(*items: Item, **changed: Any) -> Document:
    """Return a credit note that takes these prices back, tax included."""
    stated: dict[str, Any] = {
        "type_code": TypeCode.CREDIT_NOTE,
        "number": "R2026-000001",
        "series": "R2026",
        "corrects": CREDITED,
        "reason": "Tres días sin servicio",
    }
    return made(*items, **stated | changed)


def advance_invoice(*items: Item, **changed: Any) -> Document:
    """Return an advance invoice for a deposit of 500.00 that was paid."""
    items = items or (item(50000, name="Anticipo del vehículo, pedido 4711"),)
    paid = sum(one.amount for one in items)
    stated: dict[str, Any] = {
        "type_code": TypeCode.ADVANCE_INVOICE,
        "number": "A2026-000003",
        "series": "A2026",
        "supply_date": None,
        "paid": paid,
        "order": "4711",
    }
    return made(*items, **stated | changed)


def final_invoice(advance: Document, *items: Item, **changed: Any) -> Document:
    """Return the invoice of a vehicle that deducts its advance invoice, the rest paid by card."""
    totals = advance.totals
    deducted = Reference(
        number=advance.number,
        issue_date=advance.issue_date,
        net=totals.net,
        tax=totals.tax,
        gross=totals.gross,
    )
    items = items or (item(3_499_000),)
    stated: dict[str, Any] = {
        "deducts": (deducted,),
        "paid": sum(one.amount for one in items) - totals.gross,
        "vehicle": "VF1AAAAA555777123",
        "order": "4711",
    }
    return made(*items, **stated | changed)


def november() -> Period:
    """Return the month of a subscription."""
    return Period(date(2026, 11, 1), date(2026, 11, 30))

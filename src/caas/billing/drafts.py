"""Drafts of documents before they have a number: from a payment or a correction.

A deposit is documented by an advance invoice, the balance of a vehicle by an invoice of the whole
price that deducts the advance, and a service by an invoice. A draft's amounts are those of the
payment.

Rules a change must keep: pure; a draft's tax is the payment's, so that ledger and documents agree.
"""

from datetime import datetime
from typing import Any, Final, assert_never
from uuid import UUID

from caas.billing.document_xml import labels
from caas.billing.letterhead import Letterhead
from caas.billing_database.connection import Row
from caas.billing_database.documents import NewDocument
from caas.billing_database.identifiers import new_id
from caas.billing_database.invoices import (
    ADVANCE,
    CREDIT_NOTE,
    DEBIT_NOTE,
    INVOICE,
    SERVICE,
    VEHICLE,
    Invoice,
    Left,
)
from caas.rules.market import tax_left
from caas.rules.payment_types import PaymentType

DEDUCTED: Final = "deducted advance"
REASON_CHARS_MAX: Final = 200


def _kind_of(payment_type: PaymentType) -> str:
    """Return the document kind of a payment; months are invoiced before their charge."""
    match payment_type:
        case PaymentType.RESERVATION:
            return ADVANCE
        case PaymentType.FINAL:
            return VEHICLE
        case PaymentType.SERVICE:
            return SERVICE
        case PaymentType.SUBSCRIPTION:
            raise AssertionError("a month is charged from its invoice")
    assert_never(payment_type)


def missing_details(paid: Row) -> list[str]:
    """Return the buyer details that a payment's document requires and that are missing.

    The law allows small amounts without a buyer, except for the invoice of a vehicle.
    """
    return [] if _is_small(paid) else list(paid["lacking"])


def of_payment(paid: Row, letterhead: Letterhead, now: datetime) -> NewDocument:
    """Draft the document of a payment, addressed to its customer as currently known."""
    kind = _kind_of(PaymentType(paid["type"]))
    return NewDocument(
        id=new_id(),
        series=letterhead.series_of(kind, now),
        kind=kind,
        subject=paid["subject"],
        customer=paid["customer"],
        service=paid["service"],
        service_name=paid["service_name"],
        vin=paid["vin"],
        currency=paid["currency"],
        lines=_lines(kind, paid, letterhead),
        net=paid["gross"] - paid["tax"],
        iva_basis_points=paid["basis_points"],
        iva=paid["tax"],
        gross=paid["gross"],
        payment_id=paid["payment_id"],
        correction=0,
        advance=paid["advance"],
        market=paid["market"],
        tax_rate=paid["rate"],
        supplied_on=paid["supplied_on"],
        simplified=_is_small(paid) and bool(paid["lacking"]),
        language=paid["language"],
        seller=letterhead.as_issued,
        buyer=paid["buyer"],
    )


def credit_note(  # noqa: PLR0913  # what a correction follows from, by name
    invoice: Invoice,
    left: Left,
    letterhead: Letterhead,
    now: datetime,
    *,
    gross: int,
    reason: str,
    refund: UUID | None,
    note_id: UUID | None = None,
    buyer: dict[str, str] | None = None,
) -> NewDocument:
    """Draft the credit note for `gross` of a document's remainder."""
    tax = left.iva - tax_left(invoice.iva, left=left.gross - gross, of=invoice.gross)
    return NewDocument(
        id=note_id or new_id(),
        series=letterhead.series_of(CREDIT_NOTE, now),
        kind=CREDIT_NOTE,
        subject=invoice.subject,
        subscription=invoice.subscription,
        customer=invoice.customer,
        month=invoice.month,
        service=invoice.service,
        service_name=invoice.service_called,
        vin=invoice.vin,
        currency=invoice.currency,
        lines=[_line("correction", -gross)],
        net=tax - gross,
        iva_basis_points=invoice.iva_basis_points,
        iva=-tax,
        gross=-gross,
        corrects=invoice.id,
        correction=left.next,
        refund=refund,
        reason=reason.strip()[:REASON_CHARS_MAX],
        market=invoice.market,
        tax_rate=invoice.tax_rate,
        supplied_on=invoice.supplied_on,
        simplified=invoice.simplified,
        language=invoice.language or letterhead.language,
        seller=letterhead.as_issued,
        buyer=buyer or invoice.buyer,
    )


def debit_note(
    invoice: Invoice, left: Left, letterhead: Letterhead, now: datetime, *, returned: Row
) -> NewDocument:
    """Draft the debit note for a refund that failed after its credit note was issued."""
    gross = min(returned["amount"], invoice.gross - left.gross)
    language = invoice.language or letterhead.language
    credited = f"{returned['series']}-{returned['number']:06}"
    tax = tax_left(invoice.iva, left=left.gross + gross, of=invoice.gross) - left.iva
    return NewDocument(
        id=new_id(),
        series=letterhead.series_of(DEBIT_NOTE, now),
        kind=DEBIT_NOTE,
        subject=invoice.subject,
        subscription=invoice.subscription,
        customer=invoice.customer,
        month=invoice.month,
        service=invoice.service,
        service_name=invoice.service_called,
        vin=invoice.vin,
        currency=invoice.currency,
        lines=[_line("correction", gross)],
        net=gross - tax,
        iva_basis_points=invoice.iva_basis_points,
        iva=tax,
        gross=gross,
        corrects=invoice.id,
        correction=left.next,
        returned=returned["refund"],
        reason=labels(language)["returned refund"].format(number=credited),
        market=invoice.market,
        tax_rate=invoice.tax_rate,
        supplied_on=invoice.supplied_on,
        simplified=invoice.simplified,
        language=language,
        seller=letterhead.as_issued,
        buyer=invoice.buyer,
    )


def reissued(
    invoice: Invoice,
    letterhead: Letterhead,
    now: datetime,
    *,
    buyer: dict[str, str],
    lines: list[dict[str, Any]],
    advance: UUID | None,
) -> NewDocument:
    """Draft a document that replaces a credited one, with its tax and amounts, for another buyer.

    A month's invoice is one for each subscription; what replaces it is a service invoice.
    """
    assert invoice.last_payment is not None, "only a paid document is issued again"
    kind = SERVICE if invoice.kind == INVOICE else invoice.kind
    return NewDocument(
        id=new_id(),
        series=letterhead.series_of(kind, now),
        kind=kind,
        subject=invoice.subject,
        customer=invoice.customer,
        month=invoice.month,
        service=invoice.service,
        service_name=invoice.service_called,
        vin=invoice.vin,
        currency=invoice.currency,
        lines=lines,
        net=invoice.net,
        iva_basis_points=invoice.iva_basis_points,
        iva=invoice.iva,
        gross=invoice.gross,
        payment_id=invoice.last_payment,
        correction=0,
        advance=advance,
        market=invoice.market,
        tax_rate=invoice.tax_rate,
        supplied_on=invoice.supplied_on,
        simplified=False,
        language=invoice.language or letterhead.language,
        seller=letterhead.as_issued,
        buyer=buyer,
        replaces=invoice.id,
    )


def _is_small(paid: Row) -> bool:
    return bool(paid["type"] != PaymentType.FINAL and paid["gross"] <= paid["simplified_up_to"])


def _lines(kind: str, paid: Row, letterhead: Letterhead) -> list[dict[str, Any]]:
    stated = labels(paid["language"] or letterhead.language)
    gross = paid["gross"]
    if kind == ADVANCE:
        return [_line("deposit", gross, stated["deposit"].format(model=paid["model"]))]
    if kind == SERVICE:
        name = stated["service"].format(name=paid["service_name"], days=paid["duration_days"])
        return [_line("service", gross, name)]
    if paid["advance"] is None:
        return [_line("vehicle", gross, stated["rest"].format(model=paid["model"]))]
    advance = paid["advance_gross"]
    deducted = {
        "kind": DEDUCTED,
        "number": f"{paid['advance_series']}-{paid['advance_number']:06}",
        "issued_on": paid["advance_at"].astimezone(letterhead.zone).date().isoformat(),
        "net": advance - paid["advance_iva"],
        "iva": paid["advance_iva"],
        "gross": advance,
    }
    if paid["advance_basis_points"] == paid["basis_points"]:
        return [_line("vehicle", gross + advance, paid["model"]), deducted]
    taxed_before = {
        "basis_points": paid["advance_basis_points"],
        "category": paid["advance_category"],
        "exempt_because": paid["advance_exempt_because"],
    }
    first = _line("vehicle", advance, stated["deposit"].format(model=paid["model"]))
    rest = _line("vehicle", gross, stated["rest"].format(model=paid["model"]))
    return [rest, {**first, **taxed_before}, deducted]


def _line(kind: str, gross: int, name: str = "") -> dict[str, Any]:
    line = {
        "kind": kind,
        "unit": "one",
        "quantity": 1,
        "out_of": None,
        "unit_price": gross,
        "gross": gross,
    }
    return {**line, "name": name} if name else line

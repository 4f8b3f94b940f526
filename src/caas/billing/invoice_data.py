"""An invoice as data: EN 16931 in the syntax that Factur-X puts into a PDF (decision 30).

The business terms of the norm are its own names (BT-1 is the number, BG-25 are the lines), so that
this file can be read beside it. Amounts are decimal text made from minor units.

Rules a change must keep: pure; what the document says and what the data say is the same; a credit
note is a document of type 381 with amounts above zero that names the invoice it corrects.
"""

from datetime import date, timedelta
from typing import Any, Final

from facturx import generate_cii_xml

from caas.billing.letterhead import Letterhead
from caas.billing_database.invoices import CREDIT_NOTE, Invoice
from caas.rules.mes_vencido import Month
from caas.rules.money import Money, format_plain

INVOICE_TYPE: Final = "380"
CREDIT_NOTE_TYPE: Final = "381"
PAID_BY_CARD: Final = "48"
ONE_UNIT: Final = "C62"
UNIT_CODES: Final = {"kWh": "KWH", "km": "KMT", "h": "HUR", "min": "MIN", "day": "DAY"}


def en_16931(
    invoice: Invoice,
    letterhead: Letterhead,
    *,
    buyer: str,
    names: list[str],
    corrects: Invoice | None,
) -> bytes:
    """Return the invoice in EN 16931's cross industry syntax; `names` are those of its lines."""
    sign = -1 if invoice.kind == CREDIT_NOTE else 1
    terms = {
        **_document(invoice, letterhead, corrects),
        **_parties(letterhead, buyer),
        **_sums(invoice, sign),
        "BG-23": [_iva(invoice, sign)],
        "BG-25": [
            _line(invoice, line, name, number, sign)
            for number, (line, name) in enumerate(zip(invoice.lines, names, strict=True), 1)
        ],
    }
    return bytes(generate_cii_xml(terms, level="en16931", check_schematron=False))


def first_and_last_day(month: Month) -> tuple[date, date]:
    """Return the period that a month's invoice is about."""
    following = month.next()
    return (
        date(month.year, month.number, 1),
        date(following.year, following.number, 1) - timedelta(days=1),
    )


def _document(invoice: Invoice, letterhead: Letterhead, corrects: Invoice | None) -> dict[str, Any]:
    first, last = first_and_last_day(Month.parse(invoice.month))
    terms: dict[str, Any] = {
        "BT-1": invoice.full_number,
        "BT-2": invoice.issued_at.astimezone(letterhead.zone).date(),
        "BT-3": CREDIT_NOTE_TYPE if corrects else INVOICE_TYPE,
        "BT-5": invoice.currency,
        "BT-20": letterhead.payment_terms,
        "BT-72": last,
        "BT-73": first,
        "BT-74": last,
        "BT-81": PAID_BY_CARD,
    }
    if corrects is not None:
        issued = corrects.issued_at.astimezone(letterhead.zone).date()
        terms["BG-3"] = [{"BT-25": corrects.full_number, "BT-26": issued}]
        terms["BG-1"] = [{"BT-22": invoice.reason}]
    return terms


def _parties(letterhead: Letterhead, buyer: str) -> dict[str, Any]:
    return {
        "BG-4": {
            "name": letterhead.name,
            "vat_identifier": letterhead.vat_id,
            "addr_l1": letterhead.street,
            "postcode": letterhead.postcode,
            "city": letterhead.city,
            "country_code": letterhead.country,
        },
        "BG-7": {"name": buyer, "country_code": letterhead.country},
    }


def _sums(invoice: Invoice, sign: int) -> dict[str, str]:
    paid = invoice.gross if invoice.state == "paid" else 0
    return {
        "BT-106": _text(invoice, sign * invoice.net),
        "BT-109": _text(invoice, sign * invoice.net),
        "BT-110": _text(invoice, sign * invoice.iva),
        "BT-112": _text(invoice, sign * invoice.gross),
        "BT-113": _text(invoice, sign * paid),
        "BT-115": _text(invoice, sign * (invoice.gross - paid)),
    }


def _iva(invoice: Invoice, sign: int) -> dict[str, str]:
    return {
        "BT-116": _text(invoice, sign * invoice.net),
        "BT-117": _text(invoice, sign * invoice.iva),
        "BT-118": _iva_category(invoice),
        "BT-119": _percent(invoice),
    }


def _line(
    invoice: Invoice, line: dict[str, Any], name: str, number: int, sign: int
) -> dict[str, Any]:
    """A share of a fee is one unit at the price of the share; metered units have their own."""
    counted = line["out_of"] is None
    return {
        "BT-126": str(number),
        "BT-153": name,
        "BT-129": str(line["quantity"]) if counted else "1",
        "BT-130": UNIT_CODES.get(line["unit"], ONE_UNIT) if counted else ONE_UNIT,
        "BT-146": _text(invoice, sign * (line["unit_price"] if counted else line["net"])),
        "BT-131": _text(invoice, sign * line["net"]),
        "BT-151": _iva_category(invoice),
        "BT-152": _percent(invoice),
    }


def _iva_category(invoice: Invoice) -> str:
    return "S" if invoice.iva_basis_points else "Z"


def _percent(invoice: Invoice) -> str:
    whole, rest = divmod(invoice.iva_basis_points, 100)
    return f"{whole}.{rest:02}"


def _text(invoice: Invoice, amount: int) -> str:
    return format_plain(Money(amount, invoice.currency))

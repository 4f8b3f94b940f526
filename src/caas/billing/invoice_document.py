"""An invoice on paper: PDF/A-3 by typst, its EN 16931 data inside (Factur-X, decision 30).

Rules a change must keep: a document is a function of the invoice, the letterhead and the buyer's
address, and is made again whenever somebody asks; amounts and dates are written as the reader's
locale does; an erased customer's name is a dash.
"""

import asyncio
import json
import tomllib
from collections.abc import Mapping
from datetime import UTC
from functools import cache
from importlib import resources
from typing import Any, Final

import typst
from babel.dates import format_date
from facturx import generate_from_binary

from caas.billing.invoice_data import en_16931, first_and_last_day
from caas.billing.letterhead import Letterhead
from caas.billing_database.invoices import CREDIT_NOTE, Invoice
from caas.notifications import Address
from caas.notifications.texts import LOCALES, money
from caas.rules.mes_vencido import Month

ERASED: Final = "—"
PDF_STANDARD: Final = "a-3b"


async def document(
    invoice: Invoice,
    letterhead: Letterhead,
    *,
    buyer: Address | None,
    corrects: Invoice | None = None,
) -> bytes:
    """Return an invoice as a PDF/A-3 file; written in a thread, as it takes some milliseconds."""
    return await asyncio.to_thread(_document, invoice, letterhead, buyer, corrects)


def _document(
    invoice: Invoice, letterhead: Letterhead, buyer: Address | None, corrects: Invoice | None
) -> bytes:
    language = buyer.language if buyer and buyer.language in LOCALES else letterhead.language
    language = language if language in LOCALES else "es"
    name = buyer.name if buyer else ERASED
    said = _said(invoice, letterhead, name, corrects, language)
    data = en_16931(
        invoice,
        letterhead,
        buyer=name,
        names=[line["description"] for line in said["lines"]],
        corrects=corrects,
    )
    pages = typst.compile(
        (resources.files("caas.billing") / "invoice.typ").read_bytes(),
        format="pdf",
        sys_inputs={"invoice": json.dumps(said)},
        pdf_standards=PDF_STANDARD,
        ignore_system_fonts=True,
        timestamp=invoice.issued_at.astimezone(UTC).replace(microsecond=0),
    )
    metadata = {
        "author": letterhead.name,
        "title": said["title"],
        "subject": said["title"],
        "keywords": "Factur-X",
    }
    return bytes(
        generate_from_binary(
            pages, data, check_xsd=False, pdf_metadata=metadata, lang=language, level="en16931"
        )
    )


def _said(
    invoice: Invoice,
    letterhead: Letterhead,
    buyer: str,
    corrects: Invoice | None,
    language: str,
) -> dict[str, Any]:
    """Return every word of the document, written out."""
    words = _words(language)
    first, last = first_and_last_day(Month.parse(invoice.month))
    locale = LOCALES[language]
    issued = invoice.issued_at.astimezone(letterhead.zone).date()
    facts = [
        (words["number"], invoice.full_number),
        (words["issued"], format_date(issued, "long", locale=locale)),
        (
            words["period"],
            f"{format_date(first, locale=locale)} - {format_date(last, locale=locale)}",
        ),
        (words["service"], invoice.service),
        (words["vin"], invoice.vin),
    ]
    if corrects is not None:
        facts += [
            (words["corrects"], corrects.full_number),
            (words["reason"], invoice.reason or ""),
        ]
    return {
        "language": language,
        "title": f"{words[invoice.kind]} {invoice.full_number}",
        "seller": [
            letterhead.name,
            letterhead.street,
            f"{letterhead.postcode} {letterhead.city}, {letterhead.country}",
            f"{words['vat id']} {letterhead.vat_id}",
        ],
        "to": words["to"],
        "buyer": buyer,
        "facts": facts,
        "head": [words[name] for name in ("description", "quantity", "price", "amount")],
        "lines": [_line(invoice, line, words, language) for line in invoice.lines],
        "sums": [
            (words["net"], money(invoice.net, invoice.currency, language=language)),
            (_rate(invoice, words), money(invoice.iva, invoice.currency, language=language)),
            (words["gross"], money(invoice.gross, invoice.currency, language=language)),
        ],
        "state": "" if invoice.kind == CREDIT_NOTE else words.get(invoice.state, words["other"]),
    }


@cache
def _words(language: str) -> dict[str, str]:
    source = (resources.files("caas.billing") / "invoice_words.toml").read_text("utf-8")
    words: dict[str, str] = tomllib.loads(source)[language]
    return words


def _line(
    invoice: Invoice, line: dict[str, Any], words: Mapping[str, str], language: str
) -> dict[str, str]:
    description, quantity = line["unit"], str(line["quantity"])
    if line["kind"] in words:
        description = words[line["kind"]]
    if line["out_of"] is not None:
        quantity = words["days"].format(**line)
    return {
        "description": description,
        "quantity": quantity,
        "price": money(line["unit_price"], invoice.currency, language=language),
        "amount": money(line["net"], invoice.currency, language=language),
    }


def _rate(invoice: Invoice, words: Mapping[str, str]) -> str:
    whole, rest = divmod(invoice.iva_basis_points, 100)
    percent = f"{whole}.{rest:02}".rstrip("0").rstrip(".")
    return f"{words['iva']} {percent} %"

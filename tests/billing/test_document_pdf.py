"""A document on paper: the reader's words, the same bytes every time, and its data inside."""

import io
from datetime import date

import facturx
import pypdf
import pytest

from caas.billing.document import Document, Party, PaymentTerms
from caas.billing.document_page import UNSHOWN, to_pdf
from caas.billing.document_xml import to_xml
from caas.rules.market import TaxCategory
from tests.billing.documents import (
    BUYER,
    CANARIES,
    KUWAIT,
    advance_invoice,
    credit_note,
    final_invoice,
    item,
    made,
    not_subject,
)

IGIC, EXEMPT = TaxCategory.IGIC, TaxCategory.EXEMPT
UNPAID = PaymentTerms(terms="14 days", due_date=date(2026, 12, 12))
KUWAITI = made(not_subject(8_499_995), seller=KUWAIT, currency="KWD", language="en")
SHOWN = "".join(chr(code) for code in range(0x20, 0x2200) if not UNSHOWN.match(chr(code)))


def reader(document: Document) -> pypdf.PdfReader:
    """Return a document's file, opened."""
    return pypdf.PdfReader(io.BytesIO(to_pdf(document)))


def text(document: Document) -> str:
    """Return what a person reads, with plain spaces."""
    return " ".join("".join(page.extract_text() for page in reader(document).pages).split())


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (made(), ["Factura 2026-000012", "Calle Mayor 5, 2.º B", "NIF 12345678Z", "IVA 21 %",
                  "100,00 €", "21,00 €", "A pagar 121,00 €", "28 de noviembre de 2026"]),
        (made(simplified=True, buyer=None), ["Factura simplificada", "Cliente final"]),
        (made(simplified=True, buyer=None, language="en"), ["Simplified invoice", "Consumer"]),
        (advance_invoice(), ["Factura de anticipo A2026-000003", "Pagada con tarjeta.",
                             "Pedido 4711", "A pagar 0,00 €"]),
        (advance_invoice(language="en"), ["Advance invoice A2026-000003", "Paid by card."]),
        (final_invoice(advance_invoice()), ["VF1AAAAA555777123", "Total 34.990,00 €",
            "Anticipo A2026-000003 de 28 nov 2026 -500,00 €", "Pagado -34.490,00 €",
            "base 413,22 €, impuesto 86,78 €, total 500,00 €"]),
        (final_invoice(advance_invoice(), language="en", paid=0, payment=UNPAID),
            ["Invoice 2026-000012", "Advance invoice A2026-000003 of 28 Nov 2026 -€500.00",
             "To pay €34,490.00", "Due 12 December 2026", "Payment terms: 14 days"]),
        (credit_note(item(1234)), ["Factura rectificativa R2026-000001", "-12,34 €",
            "Rectifica la factura 2026-000007 de 2 nov 2026", "Motivo Tres días sin servicio"]),
        (credit_note(language="en"), ["Credit note R2026-000001", "Total -€121.00"]),
        (made(item(10700, 700, IGIC), seller=CANARIES), ["IGIC 7 %", "Canarias"]),
        (made(item(100, 0, EXEMPT, exemption_reason="Artículo 20")), ["IVA exento", "Artículo 20"]),
        (KUWAITI, ["KWD8,499.995", "Not subject to VAT in Kuwait"]),
        (made(item(12134), currency="RSD"), ["121,34 RSD"]),
        (made(language="pt"), ["Factura"]),
    ],
)  # fmt: skip
def test_its_reader_reads_it_in_their_language(document: Document, words: list[str]) -> None:
    read = text(document)

    assert [stated for stated in words if stated not in read] == []


def test_what_is_not_paid_is_not_said_to_be() -> None:
    unpaid = text(final_invoice(advance_invoice(), language="en", paid=0, payment=UNPAID))
    note = text(credit_note(payment=UNPAID))

    assert "Paid by card" not in unpaid
    assert "14 days" not in note
    assert "A pagar" not in note


def test_the_same_document_is_the_same_bytes_and_another_is_not() -> None:
    first, again, other = to_pdf(made()), to_pdf(made()), to_pdf(made(number="2026-000013"))

    assert first == again
    assert first != other
    assert b"20261128000000" in first


def test_its_data_are_inside_and_named() -> None:
    document = final_invoice(advance_invoice())

    name, xml = facturx.get_xml_from_pdf(to_pdf(document), check_xsd=True)
    root = reader(document).root_object

    assert name == "factur-x.xml"
    assert xml == to_xml(document)
    attached, metadata = root["/AF"], root["/Metadata"].get_object()
    assert isinstance(attached, pypdf.generic.ArrayObject)
    assert isinstance(metadata, pypdf.generic.StreamObject)
    assert [one.get_object()["/AFRelationship"] for one in attached] == ["/Alternative"]
    described = metadata.get_data().decode()
    for stated in ("<pdfaid:part>3<", "<fx:ConformanceLevel>EN 16931<", "Factur-X PDFA Extension"):
        assert described.count(stated) == 1


def test_what_the_norm_cannot_write_is_on_paper_alone() -> None:
    root = reader(KUWAITI).root_object

    assert "/AF" not in root
    assert "8,499.995" in text(KUWAITI)


def test_a_word_without_end_covers_no_amount() -> None:
    endless = Party(name="A" * 300, country="ES")

    read = text(made(item(12100, name="W" * 300), buyer=endless))

    assert (read.count("W"), "W" * 40 in read) == (300, False)
    assert "A" * 60 not in read


def test_every_letter_is_shown_or_replaced_and_none_stops_the_page() -> None:
    shown = [SHOWN[start : start + 60] for start in range(0, len(SHOWN), 60)]
    lines = [item(100, name=f"| {part} |") for part in shown]
    stranger = Party(name="王小明 and محمد 😀", country="KW")

    assert len(reader(made(*lines)).pages) > 1
    assert "??? and" in text(made(buyer=stranger))
    assert BUYER.name in text(made())

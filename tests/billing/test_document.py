"""A document says sums that agree, in every currency, or it does not exist."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal

import msgspec
import pytest

from caas.billing.document import Document, Party, PaymentTerms, Period, Reference, TypeCode
from caas.billing.document_lines import InvalidDocumentError, Line, line, priced
from caas.rules.market import TaxCategory
from tests.billing.documents import (
    BUYER,
    CHILE,
    KUWAIT,
    advance_invoice,
    credit_note,
    final_invoice,
    item,
    made,
    not_subject,
)

IGIC = TaxCategory.IGIC


@pytest.mark.parametrize(
    ("gross", "rate", "category", "tax"),
    [
        (12100, 2100, TaxCategory.STANDARD, 2100),
        (999, 2100, TaxCategory.STANDARD, 173),
        (10700, 700, IGIC, 700),
        (10000, 2300, TaxCategory.STANDARD, 1870),
        (9990, 1900, TaxCategory.STANDARD, 1595),
        (1, 2100, TaxCategory.STANDARD, 0),
        (3, 10000, TaxCategory.STANDARD, 2),
        (5000, 0, TaxCategory.ZERO, 0),
    ],
)
def test_the_tax_within_a_price_is_rounded_half_up(
    gross: int, rate: int, category: TaxCategory, tax: int
) -> None:
    document = made(item(gross, rate, category))

    assert document.totals.gross == gross
    assert document.totals.tax == tax
    assert document.totals.net == gross - tax


def test_amounts_are_whole_in_currencies_of_no_and_of_three_decimals() -> None:
    pesos = made(item(29_990_001, 1900), currency="CLP", seller=CHILE)
    dinars = made(not_subject(8_499_995), currency="KWD", seller=KUWAIT)

    assert (pesos.totals.net, pesos.totals.tax) == (25_201_682, 4_788_319)
    assert (dinars.totals.net, dinars.totals.tax) == (8_499_995, 0)


def test_lines_share_the_tax_of_their_sum_to_the_cent() -> None:
    document = made(item(1000), item(1000), item(1000), item(1070, 700, IGIC))

    assert [one.net + one.tax for one in document.lines] == [1000, 1000, 1000, 1070]
    assert [(one.rate_basis_points, one.tax) for one in document.tax] == [(700, 70), (2100, 521)]
    assert document.totals.tax == 591


def test_tax_is_added_once_to_the_sum_of_net_prices() -> None:
    document = made(lines=priced([item(33), item(33), item(34)], tax_included=False))

    assert (document.totals.net, document.totals.tax, document.totals.gross) == (100, 21, 121)


def test_a_price_of_several_is_net_for_one() -> None:
    (sold,) = priced([item(3000, quantity=Decimal(3))], tax_included=True)
    (metered,) = priced([item(4200, quantity=Decimal(120), unit="kWh")], tax_included=False)
    (discount,) = priced([item(-1210, quantity=Decimal(-1))], tax_included=True)

    assert sold.unit_price == Decimal("826.333333")
    assert sold.net == 2479
    assert metered.unit_price == Decimal(35)
    assert (discount.unit_price, discount.net) == (Decimal(1000), -1000)


def test_an_advance_is_deducted_from_the_invoice_of_the_vehicle() -> None:
    advance = advance_invoice()
    invoice = final_invoice(advance)

    assert advance.totals.payable == 0
    assert invoice.totals.prepaid == invoice.totals.gross
    assert [one.number for one in invoice.preceding] == [advance.number]
    partly = final_invoice(advance, paid=0)
    assert partly.totals.payable == 3_499_000 - 50_000


def test_a_credit_note_is_above_zero_and_names_what_it_corrects() -> None:
    note = credit_note(item(1234))

    assert note.totals.payable == 1234
    assert [one.number for one in note.preceding] == ["2026-000007"]


def test_a_document_comes_back_from_json_as_it_was() -> None:
    document = final_invoice(advance_invoice())

    assert msgspec.json.decode(msgspec.json.encode(document), type=Document) == document


def test_a_document_changed_in_its_json_is_refused() -> None:
    stated = msgspec.to_builtins(made())

    for part, changed in (("totals", {"tax": 2101}), ("totals", {"payable": 1})):
        with pytest.raises(InvalidDocumentError, match="totals"):
            msgspec.convert(stated | {part: stated[part] | changed}, type=Document, str_keys=True)
    with pytest.raises(InvalidDocumentError, match="differs from that of the lines"):
        msgspec.convert(stated | {"tax": [stated["tax"][0] | {"net": 9999}]}, type=Document)


def _wrong_tax() -> Line:
    return line(item(12100), net=9900, gross=12100)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: made(lines=()), "lines"),
        (lambda: made(buyer=None), "name its buyer"),
        (lambda: made(number=" "), "number"),
        (lambda: made(seller=msgspec.structs.replace(BUYER, tax_id="")), "tax id"),
        (lambda: made(item(100, 0)), "not a valid rate of tax category S"),
        (lambda: made(item(100, 0, TaxCategory.EXEMPT)), "needs an exemption reason"),
        (
            lambda: made(item(100, 0, TaxCategory.ZERO, exemption_reason="why")),
            "has no exemption reason",
        ),
        (lambda: made(item(100), not_subject(100)), "document of their own"),
        (lambda: made(lines=(_wrong_tax(),)), "not the tax of"),
        (lambda: made(item(-100, quantity=Decimal(-1))), "requires a credit note"),
        (lambda: made(item(-100)), "cannot be negative"),
        (lambda: made(item(100, quantity=Decimal(0))), "must be nonzero"),
        (lambda: made(item(100, quantity=Decimal("0.0000001"))), "must be nonzero"),
        (lambda: made(item(100, unit="furlong")), "not a known unit"),
        (lambda: made(item(10**14)), "exceeds the largest amount"),
        (lambda: made(item(100, name="a\x00b")), "no unsupported ones"),
        (lambda: made(item(100, name="a" * 501)), "at most 500"),
        (lambda: made(payment=PaymentTerms()), "due date or payment terms"),
        (lambda: made(payment=PaymentTerms(means="cash")), "not a supported payment means"),
        (lambda: made(paid=12101), "more than the total"),
        (lambda: made(period=Period(date(2026, 2, 1), date(2026, 1, 1))), "end after it begins"),
        (lambda: credit_note(corrects=None), "name the invoice"),
        (lambda: credit_note(reason=""), "needs a reason"),
        (lambda: credit_note(paid=1), "prepaid"),
        (lambda: advance_invoice(deducts=(_deducted(1),), paid=0), "deducts nothing"),
        (lambda: made(deducts=(_deducted(5),), paid=-3), "less than the"),
        (lambda: made(deducts=(_deducted(0),)), "do not add up"),
        (lambda: made(corrects=_deducted(1)), "Only a credit or debit note"),
        (lambda: Party(name="", country="ES"), "needs a name"),
        (lambda: Party(name="A", country="Spain"), "ISO 3166"),
        (lambda: Party(name="A", country=""), "needs a country"),
    ],
)
def test_what_contradicts_itself_is_refused(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(InvalidDocumentError, match=sentence):
        make()


def _deducted(gross: int) -> Reference:
    return Reference(number="A-1", issue_date=date(2026, 11, 2), net=gross, gross=gross)


def test_a_simplified_invoice_needs_no_buyer() -> None:
    assert made(buyer=None, simplified=True).type_code is TypeCode.INVOICE

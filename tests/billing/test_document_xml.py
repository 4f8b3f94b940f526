"""A document's data keep to the official rules of EN 16931, and the rules refuse what does not."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree as ET

import facturx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caas.billing.document import (
    PAYMENT_MEANS,
    Document,
    Party,
    PaymentTerms,
    Reference,
    TypeCode,
    countries,
)
from caas.billing.document_lines import UNITS, InvalidDocumentError, Item, line, priced
from caas.billing.document_xml import NotWritableError, to_xml, writable
from caas.rules.market import NEEDS_A_REASON, TAXED, TaxCategory
from caas.rules.money import EXPONENTS
from tests.billing.documents import (
    BUYER,
    CANARIES,
    CHILE,
    KUWAIT,
    NOVEMBER,
    PORTUGAL,
    advance_invoice,
    credit_note,
    final_invoice,
    item,
    made,
    not_subject,
    november,
)
from tests.billing.norm import broken_rules

RAM = "{urn:un:unece:uncefact:data:standard:ReusableAggregateBusinessInformationEntity:100}"
ZERO, EXEMPT, IGIC = TaxCategory.ZERO, TaxCategory.EXEMPT, TaxCategory.IGIC
IPSI = TaxCategory.IPSI
EXEMPTED = item(300, 0, EXEMPT, exemption_reason="Artículo 20 de la Ley 37/1992")


def stated(xml: bytes, name: str) -> list[str | None]:
    """Return the texts of every element with this name."""
    return [one.text for one in ET.fromstring(xml).iter(RAM + name)]  # noqa: S314  # our own


DOCUMENTS = {
    "spain": made(item(12100), period=november()),
    "portugal": made(item(9990, 2300), seller=PORTUGAL),
    "chile": made(item(9_990_000, 1900), seller=CHILE, buyer=CHILE, currency="CLP"),
    "canaries": made(item(10700, 700, IGIC), seller=CANARIES),
    "ceuta": made(item(10400, 400, IPSI), seller=CANARIES),
    "kuwait": made(not_subject(8_499_990), seller=KUWAIT, buyer=BUYER, currency="KWD"),
    "zero": made(item(5000, 0, ZERO)),
    "exempt": made(EXEMPTED, EXEMPTED),
    "mixed": made(item(1000), item(3000, 1000), item(500, 0, ZERO), EXEMPTED, item(1, 700, IGIC)),
    "discount": made(item(12100), item(-999, quantity=Decimal(-1), name="Descuento")),
    "counted": made(item(4201, quantity=Decimal("120.5"), unit="kWh"), payment=PaymentTerms(
        due_date=date(2026, 12, 12))),
    "simplified": made(simplified=True, buyer=None),
    "advance": advance_invoice(),
    "final": final_invoice(advance_invoice()),
    "final, unpaid": final_invoice(advance_invoice(), paid=0),
    "two advances": final_invoice(advance_invoice(), paid=0, deducts=tuple(
        Reference(number=f"A-{one}", issue_date=NOVEMBER, net=100, tax=21, gross=121)
        for one in (1, 2))),
    "credit note": credit_note(item(1234)),
    "credit note, simplified": credit_note(item(1234), simplified=True, buyer=None),
}  # fmt: skip


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_kind_of_document_keeps_to_the_norm(name: str) -> None:
    xml = to_xml(DOCUMENTS[name])

    assert broken_rules(xml) == []
    facturx.xml_check_xsd(xml, flavor="factur-x", level="en16931")


def test_the_data_say_what_the_document_says() -> None:
    xml = to_xml(DOCUMENTS["final, unpaid"])

    assert stated(xml, "TypeCode")[0] == "380"
    assert stated(xml, "TotalPrepaidAmount") == ["500.00"]
    assert stated(xml, "DuePayableAmount") == ["34490.00"]
    assert stated(xml, "IssuerAssignedID") == ["4711", "VF1AAAAA555777123", "A2026-000003"]
    assert "base 413,22 €, impuesto 86,78 €, total 500,00 €" in str(stated(xml, "Content"))
    assert stated(to_xml(DOCUMENTS["canaries"]), "CategoryCode") == ["L", "L"]
    assert stated(to_xml(DOCUMENTS["ceuta"]), "CategoryCode") == ["M", "M"]
    assert stated(to_xml(DOCUMENTS["chile"]), "GrandTotalAmount") == ["9990000"]
    assert stated(to_xml(DOCUMENTS["kuwait"]), "RateApplicablePercent") == []
    assert stated(to_xml(DOCUMENTS["kuwait"]), "GrandTotalAmount") == ["8499.99"]


def test_a_tax_id_has_the_prefix_of_its_country_once() -> None:
    greek = Party(name="A", country="DE", tax_country="GR", tax_id="094259216")
    for buyer, tax_id in ((BUYER, "ES12345678Z"), (greek, "EL094259216")):
        assert tax_id in stated(to_xml(made(buyer=buyer)), "ID")
    again = Party(name="A", country="PT", tax_id="PT501964843")
    assert "PT501964843" in stated(to_xml(made(buyer=again)), "ID")


def test_an_amount_with_a_third_decimal_is_not_cut() -> None:
    document = made(not_subject(8_499_995), seller=KUWAIT, currency="KWD")

    assert not writable(document)
    with pytest.raises(NotWritableError, match="third decimal"):
        to_xml(document)
    assert not writable(made(buyer=Party(name="A", country="SS")))


def _without(xml: str, name: str) -> str:
    start, end = xml.index(f"<ram:{name}"), xml.index(f"</ram:{name}>")
    return xml[:start] + xml[end + len(f"</ram:{name}>") :]


@pytest.mark.parametrize(
    ("name", "spoil", "rule"),
    [
        ("spain", lambda xml: xml.replace(">121.00</ram:Grand", ">120.00</ram:Grand"), "BR-CO-15"),
        ("spain", lambda xml: xml.replace(">100.00</ram:Line", ">99.00</ram:Line", 1), "BR-CO-10"),
        ("spain", lambda xml: xml.replace(">21.00</ram:Calc", ">23.00</ram:Calc"), "BR-CO-17"),
        ("spain", lambda xml: xml.replace(">21.00</ram:TaxT", ">22.00</ram:TaxT"), "BR-CO-14"),
        ("spain", lambda xml: xml.replace(">EUR<", ">EUX<"), "BR-CL-04"),
        ("spain", lambda xml: _without(xml, "SpecifiedTaxRegistration"), "BR-S-02"),
        ("spain", lambda xml: xml.replace("21.00</ram:Rate", "0.00</ram:Rate", 1), "BR-S-05"),
        ("spain", lambda xml: xml.replace("100.00<", "100.001<"), "BR-DEC-09"),
        ("spain", lambda xml: xml.replace(">2026-000012<", "> <"), "BR-02"),
        ("final", lambda xml: xml.replace(">0.00</ram:Due", ">1.00</ram:Due"), "BR-CO-16"),
        ("final", lambda xml: xml.replace(">A2026-000003<", "> <"), "BR-55"),
        ("canaries", lambda xml: xml.replace("7.00</ram:Rate", "0.00</ram:Rate", 1), "BR-AF-05"),
        ("exempt", lambda xml: _without(xml, "ExemptionReason"), "BR-E-10"),
        ("kuwait", lambda xml: xml.replace(">O<", ">S<", 1), "BR-O-"),
        ("credit note", lambda xml: xml.replace(">381<", ">999<"), "BR-CL-01"),
    ],
)  # fmt: skip
def test_the_rules_refuse_what_is_wrong(name: str, spoil: Callable[[str], str], rule: str) -> None:
    right = to_xml(DOCUMENTS[name]).decode()
    wrong = spoil(right)

    assert wrong != right
    assert any(rule in sentence for sentence in broken_rules(wrong.encode()))


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn")), min_size=1,
                max_size=30).filter(str.strip)  # fmt: skip
AMOUNTS = st.integers(min_value=-10_000, max_value=10**9)
RATES = st.sampled_from([50, 300, 700, 950, 1000, 1350, 1900, 2100, 2300, 2700, 10_000])


@st.composite
def items(draw: st.DrawFn) -> Item:
    """Return a price, or what is taken off."""
    category = draw(st.sampled_from(TaxCategory))
    amount = draw(AMOUNTS)
    quantity = draw(st.decimals(min_value="0.001", max_value=1000, places=3))
    return Item(
        name=draw(TEXTS),
        amount=amount,
        tax_category=category,
        rate_basis_points=draw(RATES) if category in TAXED else 0,
        exemption_reason=f"Reason {category}" if category in NEEDS_A_REASON else "",
        quantity=-quantity if amount < 0 else quantity,
        unit=draw(st.sampled_from(sorted(UNITS))),
    )


@st.composite
def parties(draw: st.DrawFn, *, tax_id: bool) -> Party:
    """Return somebody, anywhere."""
    texts = st.just("") | TEXTS
    return Party(
        name=draw(TEXTS),
        country=draw(st.sampled_from(sorted(countries()))),
        tax_id=draw(TEXTS if tax_id else texts),
        street=draw(texts),
        postcode=draw(texts),
        city=draw(texts),
        region=draw(texts),
    )


@st.composite
def documents(draw: st.DrawFn) -> Document | None:
    """Return any document that can be made, or none where it would contradict itself."""
    sold = draw(st.lists(items(), min_size=1, max_size=6))
    kind = draw(st.sampled_from(TypeCode))
    changed: dict[str, Any] = {
        "currency": draw(st.sampled_from(sorted(EXPONENTS))),
        "seller": draw(parties(tax_id=True)),
        "buyer": draw(parties(tax_id=False)),
        "language": draw(st.sampled_from(["es", "en"])),
        "payment": PaymentTerms(
            means=draw(st.sampled_from(sorted(PAYMENT_MEANS))), terms=draw(TEXTS)
        ),
        "supply_date": draw(st.none() | st.just(NOVEMBER)),
        "period": draw(st.none() | st.just(november())),
    }
    try:
        if kind is TypeCode.CREDIT_NOTE:
            return credit_note(*sold, **changed)
        paid = draw(st.sampled_from([0, sum(one.amount for one in sold)]))
        return made(*sold, type_code=kind, paid=paid, **changed)
    except InvalidDocumentError:
        return None


@settings(max_examples=100)
@given(documents().filter(lambda document: document is not None and writable(document)))
def test_whatever_can_be_made_keeps_to_the_norm(document: Document) -> None:
    xml = to_xml(document)

    assert broken_rules(xml) == []
    facturx.xml_check_xsd(xml, flavor="factur-x", level="en16931")


@settings(max_examples=100)
@given(
    st.sampled_from([("CLP", 1900), ("EUR", 2100), ("KWD", 500), ("EUR", 2700)]),
    st.lists(st.integers(min_value=1, max_value=5000), min_size=2, max_size=4),
)
def test_parts_of_a_price_have_documents_whatever_their_rounding(
    currency: tuple[str, int], parts: list[int]
) -> None:
    code, rate = currency
    whole = item(sum(parts[:2]), rate)
    shares = priced([item(part, rate) for part in parts], tax_included=True)
    alone = [priced([item(part, rate)], tax_included=True)[0] for part in parts[:2]]
    summed = line(whole, net=sum(one.net for one in alone), gross=whole.amount)
    notes = [credit_note(lines=(share,), currency=code) for share in shares]

    for document in (*notes, made(lines=(summed,), currency=code)):
        if writable(document):
            assert broken_rules(to_xml(document)) == []

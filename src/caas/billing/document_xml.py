"""Documents as EN 16931 data in cross industry invoice syntax, for Factur-X, and their labels.

The business terms are noted beside their elements (BT-1 is the number, BG-25 the lines), in schema
order. Labels exist per language; other languages fall back to Spanish.

Rules a change must keep: pure, the same document gives the same bytes; every document that
`writable` accepts passes the official validation rules, which the tests run; all languages have the
same labels.
"""

import re
import tomllib
from datetime import date
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Final, TypeAlias
from xml.etree import ElementTree as ET

from babel.dates import format_date

from caas.billing.document import Document, Party, Reference
from caas.billing.document_lines import RATE_MAX, UNITS, Line, TaxTotal
from caas.errors import RefusedError
from caas.notifications.texts import money
from caas.rules.market import LOCALES, TaxCategory
from caas.rules.money import Money, exponent, format_plain


def language_of(document: Document) -> str:
    """Return the language of a document."""
    return document.language if document.language in LOCALES else "es"


@cache
def labels(language: str) -> dict[str, str]:
    """Return the labels of a language by key."""
    source = (resources.files("caas.billing") / "document_words.toml").read_text("utf-8")
    labels_by_language: dict[str, dict[str, str]] = tomllib.loads(source)
    return labels_by_language.get(language, labels_by_language["es"])


def deduction(document: Document, deducted: Reference) -> str:
    """Describe a deducted advance invoice and its amount in one sentence."""
    language = language_of(document)

    def written(amount: int) -> str:
        return money(amount, document.currency, language=language).replace(
            "\N{NO-BREAK SPACE}", " "
        )

    return labels(language)["deduction"].format(
        number=deducted.number,
        date=format_date(deducted.issue_date, locale=LOCALES[language]),
        net=written(deducted.net),
        tax=written(deducted.tax),
        gross=written(deducted.gross),
    )


NORM: Final = "urn:cen.eu:en16931:2017"
DECIMALS_MAX: Final = 2
INVOICED_OBJECT: Final = "130"
VAT: Final = "VAT"
VAT_ID: Final = "VA"
LOCAL_TAX_ID: Final = "FC"
EUROPEAN_UNION: Final = re.compile(
    "AT|BE|BG|CY|CZ|DE|DK|EE|ES|FI|FR|GR|HR|HU|IE|IT|LT|LU|LV|MT|NL|PL|PT|RO|SE|SI|SK"
)
UNLISTED: Final = frozenset({"SS", "STN", "XAD"})
"""Codes of ISO 3166 and 4217 that the code lists of the EN 16931 rules (1.3.16) lack."""
STANDARDS: Final = "urn:un:unece:uncefact:data:standard"
NAMESPACES: Final = {
    "xmlns:rsm": f"{STANDARDS}:CrossIndustryInvoice:100",
    "xmlns:ram": f"{STANDARDS}:ReusableAggregateBusinessInformationEntity:100",
    "xmlns:qdt": f"{STANDARDS}:QualifiedDataType:100",
    "xmlns:udt": f"{STANDARDS}:UnqualifiedDataType:100",
}

Node: TypeAlias = ET.Element | None
"""An element, or None where the document has no value."""


class NotWritableError(RefusedError):
    """EN 16931 cannot represent it: a third decimal, a rounding difference, or a code.

    It allows two decimals (BR-DEC), but dinars have three. The document is available as
    application/json and application/pdf.
    """

    code = "not_writable"


def to_xml(document: Document) -> bytes:
    """Write a document in EN 16931 cross industry invoice syntax.

    Raises:
        NotWritableError: EN 16931 cannot represent it; see `writable`.
    """
    if not writable(document):
        raise NotWritableError(number=document.number, currency=document.currency)
    root = _node(
        "rsm:CrossIndustryInvoice",
        _node(
            "rsm:ExchangedDocumentContext",
            _node("ram:GuidelineSpecifiedDocumentContextParameter", _text("ram:ID", NORM)),
        ),
        _head(document),
        _node(
            "rsm:SupplyChainTradeTransaction",
            *(_line(document, number, one) for number, one in enumerate(document.lines, 1)),
            _agreement(document),
            _delivery(document),
            _settlement(document),
        ),
    )
    root.attrib.update(NAMESPACES)
    ET.indent(root)
    data: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return data


def writable(document: Document) -> bool:
    """Return whether EN 16931 can represent it: two decimals, listed codes.

    The tax may also differ from its rate by less than one whole currency unit.
    """
    parties = [party for party in (document.seller, document.buyer) if party]
    codes = {document.currency, *(party.country for party in parties)}
    unit = 10 ** max(exponent(document.currency) - DECIMALS_MAX, 0)
    amounts = [one.net for one in document.lines]
    amounts += [document.totals.prepaid]
    amounts += [amount for one in document.tax for amount in (one.net, one.tax)]
    apart_max = RATE_MAX * 10 ** exponent(document.currency)
    near = all(one.apart < apart_max for one in document.tax)
    return near and not codes & UNLISTED and not any(amount % unit for amount in amounts)


def vat_id(party: Party) -> str | None:
    """Return the tax id with its country prefix, as used in EU trade."""
    country = party.tax_country or party.country
    if not EUROPEAN_UNION.fullmatch(country) or not party.tax_id.strip():
        return None
    prefix = "EL" if country == "GR" else country
    return party.tax_id if party.tax_id.startswith(prefix) else f"{prefix}{party.tax_id}"


def _head(document: Document) -> ET.Element:
    notes = [document.reason, *(deduction(document, one) for one in document.deducts)]
    return _node(
        "rsm:ExchangedDocument",
        _text("ram:ID", document.number),  # BT-1
        _text("ram:TypeCode", document.type_code),  # BT-3
        _day("ram:IssueDateTime", document.issue_date),  # BT-2
        *(_node("ram:IncludedNote", _text("ram:Content", note)) for note in notes if note),  # BT-22
    )


def _line(document: Document, number: int, line: Line) -> ET.Element:
    return _node(
        "ram:IncludedSupplyChainTradeLineItem",
        _node("ram:AssociatedDocumentLineDocument", _text("ram:LineID", str(number))),  # BT-126
        _node("ram:SpecifiedTradeProduct", _text("ram:Name", line.name)),  # BT-153
        _node(
            "ram:SpecifiedLineTradeAgreement",
            _node(
                "ram:NetPriceProductTradePrice",
                _text("ram:ChargeAmount", _price(document, line.unit_price)),  # BT-146
            ),
        ),
        _node(
            "ram:SpecifiedLineTradeDelivery",
            _text("ram:BilledQuantity", f"{line.quantity:f}", unitCode=UNITS[line.unit]),  # BT-129
        ),
        _node(
            "ram:SpecifiedLineTradeSettlement",
            _node(
                "ram:ApplicableTradeTax",
                _text("ram:TypeCode", VAT),
                _text("ram:CategoryCode", line.tax_category),  # BT-151
                _rate(line),  # BT-152
            ),
            _node(
                "ram:SpecifiedTradeSettlementLineMonetarySummation",
                _text("ram:LineTotalAmount", _amount(document, line.net)),  # BT-131
            ),
        ),
    )


def _agreement(document: Document) -> ET.Element:
    outside = any(one.tax_category is TaxCategory.NOT_SUBJECT for one in document.tax)
    buyer = document.buyer or Party(
        name=labels(document.language)["consumer"], country=document.seller.country
    )
    order = _node("ram:BuyerOrderReferencedDocument", _text("ram:IssuerAssignedID", document.order))
    vehicle = _node(
        "ram:AdditionalReferencedDocument",
        _text("ram:IssuerAssignedID", document.vehicle),
        _text("ram:TypeCode", INVOICED_OBJECT),
    )
    return _node(
        "ram:ApplicableHeaderTradeAgreement",
        _party("ram:SellerTradeParty", document.seller, seller=True, outside=outside),  # BG-4
        _party("ram:BuyerTradeParty", buyer, seller=False, outside=outside),  # BG-7
        order if document.order else None,  # BT-13
        vehicle if document.vehicle else None,  # BT-18
    )


def _party(name: str, party: Party, *, seller: bool, outside: bool) -> ET.Element:
    """Write a party; `outside` omits the VAT id, as required where nothing is subject to VAT."""
    vat = None if outside else vat_id(party)
    local = party.tax_id if seller and not vat and not outside else ""
    legal = party.tax_id if seller or not vat else ""
    return _node(
        name,
        _text("ram:Name", party.name),  # BT-27, BT-44
        _node("ram:SpecifiedLegalOrganization", _text("ram:ID", legal)) if legal else None,  # BT-30
        _node(
            "ram:PostalTradeAddress",
            _text("ram:PostcodeCode", party.postcode),
            _text("ram:LineOne", party.street),
            _text("ram:CityName", party.city),
            _text("ram:CountryID", party.country),
            _text("ram:CountrySubDivisionName", party.region),
        ),
        _registration(VAT_ID, vat),  # BT-31, BT-48
        _registration(LOCAL_TAX_ID, local),  # BT-32
    )


def _registration(scheme: str, tax_id: str | None) -> Node:
    named = _text("ram:ID", tax_id or "", schemeID=scheme)
    return None if named is None else _node("ram:SpecifiedTaxRegistration", named)


def _delivery(document: Document) -> ET.Element:
    day = document.supply_date
    return _node(
        "ram:ApplicableHeaderTradeDelivery",
        _node("ram:ActualDeliverySupplyChainEvent", _day("ram:OccurrenceDateTime", day))
        if day
        else None,  # BT-72
    )


def _settlement(document: Document) -> ET.Element:
    period, totals = document.period, document.totals
    return _node(
        "ram:ApplicableHeaderTradeSettlement",
        _text("ram:PaymentReference", document.payment.reference),  # BT-83
        _text("ram:InvoiceCurrencyCode", document.currency),  # BT-5
        _node(
            "ram:SpecifiedTradeSettlementPaymentMeans",
            _text("ram:TypeCode", document.payment.means),  # BT-81
        ),
        *(_tax(document, one) for one in document.tax),  # BG-23
        _node(
            "ram:BillingSpecifiedPeriod",
            _day("ram:StartDateTime", period.first),  # BT-73
            _day("ram:EndDateTime", period.last),  # BT-74
        )
        if period
        else None,
        _terms(document),
        _node(
            "ram:SpecifiedTradeSettlementHeaderMonetarySummation",
            _text("ram:LineTotalAmount", _amount(document, totals.net)),  # BT-106
            _text("ram:TaxBasisTotalAmount", _amount(document, totals.net)),  # BT-109
            _text(
                "ram:TaxTotalAmount", _amount(document, totals.tax), currencyID=document.currency
            ),  # BT-110
            _text("ram:GrandTotalAmount", _amount(document, totals.gross)),  # BT-112
            _text("ram:TotalPrepaidAmount", _amount(document, totals.prepaid)),  # BT-113
            _text("ram:DuePayableAmount", _amount(document, totals.payable)),  # BT-115
        ),
        *(_preceding(one) for one in document.preceding),  # BG-3
    )


def _tax(document: Document, tax: TaxTotal) -> ET.Element:
    return _node(
        "ram:ApplicableTradeTax",
        _text("ram:CalculatedAmount", _amount(document, tax.tax)),  # BT-117
        _text("ram:TypeCode", VAT),
        _text("ram:ExemptionReason", tax.exemption_reason),  # BT-120
        _text("ram:BasisAmount", _amount(document, tax.net)),  # BT-116
        _text("ram:CategoryCode", tax.tax_category),  # BT-118
        _rate(tax),  # BT-119
    )


def _terms(document: Document) -> Node:
    """Write payment terms; the schema allows no empty element."""
    terms, due = document.payment.terms, document.payment.due_date
    if not terms.strip() and due is None:
        return None
    return _node(
        "ram:SpecifiedTradePaymentTerms",
        _text("ram:Description", terms),  # BT-20
        _day("ram:DueDateDateTime", due) if due else None,  # BT-9
    )


def _preceding(one: Reference) -> ET.Element:
    return _node(
        "ram:InvoiceReferencedDocument",
        _text("ram:IssuerAssignedID", one.number),  # BT-25
        _day("ram:FormattedIssueDateTime", one.issue_date, kind="qdt"),  # BT-26
    )


def _rate(taxed: Line | TaxTotal) -> Node:
    if taxed.tax_category is TaxCategory.NOT_SUBJECT:
        return None
    whole, rest = divmod(taxed.rate_basis_points, 100)
    return _text("ram:RateApplicablePercent", f"{whole}.{rest:02}")


def _day(name: str, day: date, *, kind: str = "udt") -> ET.Element:
    return _node(name, _text(f"{kind}:DateTimeString", f"{day:%Y%m%d}", format="102"))


def _amount(document: Document, amount: int) -> str:
    """Write an amount with at most two decimals; a third one is zero here."""
    text = format_plain(Money(amount, document.currency))
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals[:DECIMALS_MAX]}" if decimals else whole


def _price(document: Document, price: Decimal) -> str:
    return f"{price.scaleb(-exponent(document.currency)):f}"


def _node(name: str, *children: Node) -> ET.Element:
    node = ET.Element(name)
    node.extend(child for child in children if child is not None)
    return node


def _text(name: str, text: str, **attributes: str) -> Node:
    """Create a text element; None for an empty text."""
    if not text.strip():
        return None
    node = ET.Element(name, attributes)
    node.text = text.strip()
    return node

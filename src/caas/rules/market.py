"""Markets, sellers, interface languages, tax calculation (decision 121), and tax ids.

The market and the seller who issues invoices are read from the settings once, at startup. Each
language has the locale that formats money and dates. Each country has its own format and check
digits of tax ids; for a country unknown to the library, letters, digits and separators are accepted
as they are.

Consumer prices include tax. The payment is the gross amount; its tax is rounded half up in whole
minor units and net is the rest, so that net plus tax always equals the payment, whatever the
currency's decimals. A refund reduces the revenue of a payment. The tax is then calculated from the
remainder, not from each refund, so that no sequence of refunds leaves a unit of tax behind.

Rules a change must keep: functions are pure, amounts are whole minor units; the database has the
same three tax calculations as SQL functions, and a test compares them; tax ids are stored without
separators and country prefix.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from stdnum import get_cc_module
from stdnum.exceptions import InvalidChecksum, InvalidLength, ValidationError

from caas.errors import RefusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Seller:
    """Who issues the invoices."""

    name: str
    vat_id: str
    street: str
    postcode: str
    city: str
    country: str
    payment_terms: str
    series: str = ""


SAMPLE_SELLER: Final = Seller(
    name="Sample seller (set CAAS_SELLER)",
    vat_id="ESA12345674",
    street="Calle de Alcalá 1",
    postcode="28014",
    city="Madrid",
    country="ES",
    payment_terms="Charged to the payment method on file.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """Where we sell, time zone, currency and language, and who sells.

    `code` names the market whose taxes apply; without one it is that of the time zone.
    """

    zone: ZoneInfo
    currency: str
    language: str
    seller: Seller = SAMPLE_SELLER
    code: str = ""


LOCALES: Final[Mapping[str, str]] = {"es": "es_ES", "en": "en_GB"}


BASIS_POINTS: Final = 10_000
"""One whole, in basis points: 21 % is 2100."""


class Goods(StrEnum):
    """The kinds of goods that a market may tax differently."""

    VEHICLE = "vehicle"
    SERVICE = "service"
    SUBSCRIPTION = "subscription"


class TaxCategory(StrEnum):
    """UNCL 5305 tax category codes used by EN 16931."""

    STANDARD = "S"
    ZERO = "Z"
    EXEMPT = "E"
    NOT_SUBJECT = "O"
    IGIC = "L"
    IPSI = "M"


TAXED: Final = frozenset({TaxCategory.STANDARD, TaxCategory.IGIC, TaxCategory.IPSI})
NEEDS_A_REASON: Final = frozenset({TaxCategory.EXEMPT, TaxCategory.NOT_SUBJECT})


def half_up(dividend: int, divisor: int) -> int:
    """Divide and round half away from zero; the divisor is positive."""
    rounded = (2 * abs(dividend) + divisor) // (2 * divisor)
    return -rounded if dividend < 0 else rounded


def tax_in(gross: int, basis_points: int) -> int:
    """Return the tax included in a gross amount, rounded half up."""
    return half_up(gross * basis_points, BASIS_POINTS + basis_points)


def tax_left(tax: int, *, left: int, of: int) -> int:
    """Return the tax in the remainder `left` of a gross amount `of` that included `tax`."""
    return half_up(tax * left, of) if of else 0


SHOWN_CHARS_MAX: Final = 30
_COUNTRY: Final = re.compile("[A-Z]{2}")
_ANYWHERE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9./ -]{0,28}[A-Za-z0-9])?")
_SEPARATORS: Final = re.compile("[./ -]")
_NAMES: Final = {"ES": "NIF", "PT": "NIF", "CL": "RUT"}


class InvalidTaxIdError(RefusedError):
    """The tax id is not valid in that country. Check it against the document it comes from."""

    code = "invalid_tax_id"


def checked_tax_id(country: str, tax_id: str) -> str:
    """Validate a tax id and return it in the country's form, without separators.

    Raises:
        InvalidTaxIdError: it is not valid; the sentence says why.
    """
    if not _COUNTRY.fullmatch(country):
        raise _refused(
            country, tax_id, f"{country!r:.10} is not a country code. Send one such as ES"
        )
    office = get_cc_module(country, "vat")
    if office is None:
        if not _ANYWHERE.fullmatch(tax_id):
            raise _refused(country, tax_id, "it has up to 30 letters and digits")
        return tax_id
    try:
        return str(office.validate(_SEPARATORS.sub("", tax_id)))
    except InvalidChecksum:
        raise _refused(country, tax_id, "its check digit or letter does not fit") from None
    except InvalidLength:
        raise _refused(country, tax_id, "it is too short or too long") from None
    except ValidationError:
        raise _refused(country, tax_id, "it does not have the form of one") from None


def written_tax_id(country: str, tax_id: str, *, otherwise: str) -> str:
    """Format a tax id for a document, after its name: "RUT 12.345.678-5".

    `otherwise` is the label for countries without a named tax id.
    """
    office = get_cc_module(country, "vat") if _COUNTRY.fullmatch(country) else None
    written = getattr(office, "format", str)(tax_id)
    return f"{_NAMES.get(country, otherwise)} {written}"


def _refused(country: str, tax_id: str, because: str) -> InvalidTaxIdError:
    name = _NAMES.get(country, "tax id")
    return InvalidTaxIdError(
        f"{tax_id[:SHOWN_CHARS_MAX]!r} is no {name} of {country[:2]}: {because}.", country=country
    )

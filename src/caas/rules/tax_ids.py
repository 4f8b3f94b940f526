"""Validates and formats tax ids.

Each country has its own format and check digits; for a country unknown to the library, letters,
digits and separators are accepted as they are.

Rules a change must keep: functions are pure; ids are stored without separators and country prefix.
"""

import re
from typing import Final

from stdnum import get_cc_module
from stdnum.exceptions import InvalidChecksum, InvalidLength, ValidationError

from caas.errors import RefusedError

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

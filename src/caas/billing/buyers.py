"""Validates billing details.

Rule a change must keep: a document can always be issued to accepted details.
"""

from typing import Final

from caas.billing.document import countries
from caas.billing_database.customers import NewBillingDetails
from caas.errors import RefusedError
from caas.rules.market import checked_tax_id
from caas.rules.personal_data import PERSON_NAME_CHARS_MAX

CHARS_MAX: Final = {"name": PERSON_NAME_CHARS_MAX, "street": 200, "postcode": 20, "city": 100}


class UnknownCountryError(RefusedError):
    """Unknown country code. Use ISO 3166-1 alpha-2, for example ES."""

    code = "unknown_country"


class InvalidBillingDetailsError(RefusedError):
    """Street, postcode and city are required; each is one line of text."""

    code = "invalid_billing_details"


def checked_details(
    *, street: str, postcode: str, city: str, country: str, name: str = "", tax_id: str = ""
) -> NewBillingDetails:
    """Return validated billing details.

    Raises:
        UnknownCountryError: the country code is unknown.
        InvalidTaxIdError: the tax id is invalid in that country.
        InvalidBillingDetailsError: a field is missing or too long.
    """
    if country not in countries():
        raise UnknownCountryError(country=country[:10])
    stated = {"name": name, "street": street, "postcode": postcode, "city": city}
    kept = {what: " ".join(text.split()) for what, text in stated.items()}
    for what, text in kept.items():
        if len(text) > CHARS_MAX[what] or not text.isprintable() or not (text or what == "name"):
            raise InvalidBillingDetailsError(field=what)
    return NewBillingDetails(
        name=kept["name"] or None,
        street=kept["street"],
        postcode=kept["postcode"],
        city=kept["city"],
        country=country,
        tax_id=checked_tax_id(country, tax_id.strip()) if tax_id.strip() else None,
    )

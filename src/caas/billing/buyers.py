"""What a customer says about where they are and how their tax office knows them, checked.

Rules a change must keep: pure; a document can always be made out to what was taken here.
"""

from typing import Final

from caas.billing.document import countries
from caas.billing_database.billing_details import NewBillingDetails
from caas.errors import RefusedError
from caas.rules.personal_data import PERSON_NAME_CHARS_MAX
from caas.rules.tax_ids import checked_tax_id

CHARS_MAX: Final = {"name": PERSON_NAME_CHARS_MAX, "street": 200, "postcode": 20, "city": 100}


class UnknownCountryError(RefusedError):
    """No country has this code; ISO 3166 has two capital letters, such as ES."""

    code = "unknown_country"


class InvalidBillingDetailsError(RefusedError):
    """Street, postcode and city are each a line of text, and none is left out."""

    code = "invalid_billing_details"


def checked_details(
    *, street: str, postcode: str, city: str, country: str, name: str = "", tax_id: str = ""
) -> NewBillingDetails:
    """Return billing details that a document can be made out to.

    Raises:
        UnknownCountryError: there is no such country.
        InvalidTaxIdError: the tax id is none of that country.
        InvalidBillingDetailsError: something is left out, or too long.
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

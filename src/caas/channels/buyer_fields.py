"""The fields of a form in which a buyer says where they are and how their tax office knows them.

They stand on the customer's own page, before the final payment, and in the dealership's forms.

Rule a change must keep: what was typed and refused is shown again, and nothing of it is kept.
"""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from caas.billing.buyers import checked_details
from caas.billing_database.billing_details import BillingDetails, BillingDetailsRows
from caas.channels.rooms import Channels
from caas.channels.visit import Visit

FIELDS: Final = ("name", "street", "postcode", "city", "country", "tax_id")
CHARS_MAX: Final = 200


def typed(form: Mapping[str, str]) -> dict[str, str]:
    """Return what was typed into the fields, blanks around it left out."""
    said = {name: " ".join(form.get(name, "").split())[:CHARS_MAX] for name in FIELDS}
    return {**said, "country": said["country"].upper()}


def is_filled(said: Mapping[str, str]) -> bool:
    """Say whether anything was typed that other forms, or forms as they are shown, do not have."""
    return any(said[name] for name in ("street", "postcode", "city", "tax_id"))


def filled_in(visit: Visit, action: str, known: BillingDetails | None) -> dict[str, str]:
    """Return what the fields of the form to `action` show: what was typed, or what is known."""
    return {name: visit.typed(action, name, getattr(known, name, None) or "") for name in FIELDS}


async def known_buyer(channels: Channels, customer: UUID) -> BillingDetails | None:
    """Return what a customer said last."""
    return await BillingDetailsRows(channels.rooms.books.database).find(customer)


async def lacks_tax_id(channels: Channels, dealership: str, said: Mapping[str, str]) -> bool:
    """Say whether a vehicle's invoice needs a tax id that was not typed."""
    rows = BillingDetailsRows(channels.rooms.books.database)
    return not said["tax_id"] and await rows.needs_tax_id(dealership)


async def put_buyer(channels: Channels, customer: UUID, said: Mapping[str, str]) -> None:
    """Keep what was typed; documents issued from now on show it.

    Raises:
        UnknownCountryError, InvalidTaxIdError, InvalidBillingDetailsError: it cannot be used.
    """
    new = checked_details(**said)
    await BillingDetailsRows(channels.rooms.books.database).put(customer, new)

"""Form fields for a buyer's address and tax ID.

They stand on the customer's own page, before the final payment, and in the dealership's forms.

Rule a change must keep: what was typed and refused is shown again, and nothing of it is kept.
"""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from caas.billing.buyers import checked_details
from caas.billing_database.billing_details import BillingDetails, BillingDetailsRows
from caas.console.context import Console
from caas.console.request import PageRequest

FIELDS: Final = ("name", "street", "postcode", "city", "country", "tax_id")
CHARS_MAX: Final = 200


def typed(form: Mapping[str, str]) -> dict[str, str]:
    """Return what was typed into the fields, blanks around it left out."""
    entered = {name: " ".join(form.get(name, "").split())[:CHARS_MAX] for name in FIELDS}
    return {**entered, "country": entered["country"].upper()}


def is_filled(entered: Mapping[str, str]) -> bool:
    """Say whether anything was typed that other forms, or forms as they are shown, do not have."""
    return any(entered[name] for name in ("street", "postcode", "city", "tax_id"))


def filled_in(request: PageRequest, action: str, known: BillingDetails | None) -> dict[str, str]:
    """Return what the fields of the form to `action` show: what was typed, or what is known."""
    return {name: request.typed(action, name, getattr(known, name, None) or "") for name in FIELDS}


async def known_buyer(console: Console, customer: UUID) -> BillingDetails | None:
    """Return what a customer said last."""
    return await BillingDetailsRows(console.platform.tables.database).find(customer)


async def lacks_tax_id(console: Console, dealership: str, entered: Mapping[str, str]) -> bool:
    """Say whether a vehicle's invoice needs a tax id that was not typed."""
    rows = BillingDetailsRows(console.platform.tables.database)
    return not entered["tax_id"] and await rows.needs_tax_id(dealership)


async def put_buyer(console: Console, customer: UUID, entered: Mapping[str, str]) -> None:
    """Keep what was typed; documents issued from now on show it.

    Raises:
        UnknownCountryError, InvalidTaxIdError, InvalidBillingDetailsError: it cannot be used.
    """
    new = checked_details(**entered)
    await BillingDetailsRows(console.platform.tables.database).put(customer, new)

"""A customer's billing address and tax ID (record 123).

Rule a change must keep: only its customer sees and changes them; what cannot be used is told beside
the form, and nothing of it is kept.

Form fields for a buyer's address and tax ID.

They stand on the customer's own page, before the final payment, and in the dealership's forms.

Rule a change must keep: what was typed and refused is shown again, and nothing of it is kept.
"""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from caas.billing.buyers import checked_details
from caas.billing_database.customers import BillingDetails, BillingDetailsRows
from caas.console.context import Console
from caas.console.form_actions import acted, form_result, new_key
from caas.console.page_routes import CUSTOMERS, PageRoute, get, post
from caas.console.request import PageRequest
from caas.web.response import Response

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


PATH: Final = "/billing-details"


async def billing_details(console: Console, request: PageRequest) -> Response:
    """Show what documents are made out to, to be changed."""
    details = filled_in(request, PATH, await known_buyer(console, request.customer))
    return console.page(
        request,
        "customer/billing_details.html",
        details=details,
        after=form_result(console, request),
        key=new_key(),
    )


async def put_billing_details(console: Console, request: PageRequest) -> Response:
    """Keep what the customer says; what waited for it is issued."""
    entered = typed(request.form)
    return await acted(
        console, request, PATH, lambda: put_buyer(console, request.customer, entered)
    )


CUSTOMER_BILLING_DETAILS_ROUTES: Final[tuple[PageRoute, ...]] = (
    get(PATH, billing_details, CUSTOMERS),
    post(PATH, put_billing_details, CUSTOMERS),
)

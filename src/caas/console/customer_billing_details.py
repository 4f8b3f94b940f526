"""A buyer's billing address and tax ID: the customer's page and the form fields (decision 123).

The fields appear on the customer's own page, before the final payment, and in the dealership's
forms.

Rules a change must keep: on this page only the customer sees and changes the details; invalid input
is shown again beside its error and is not stored.
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
    """Return the trimmed input of the fields."""
    entered = {name: " ".join(form.get(name, "").split())[:CHARS_MAX] for name in FIELDS}
    return {**entered, "country": entered["country"].upper()}


def is_filled(entered: Mapping[str, str]) -> bool:
    """Return whether the form has input beyond the values it was shown with."""
    return any(entered[name] for name in ("street", "postcode", "city", "tax_id"))


def filled_in(request: PageRequest, action: str, known: BillingDetails | None) -> dict[str, str]:
    """Return the values of the form to `action`: the rejected input, or the stored details."""
    return {name: request.typed(action, name, getattr(known, name, None) or "") for name in FIELDS}


async def known_buyer(console: Console, customer: UUID) -> BillingDetails | None:
    """Return the customer's latest billing details."""
    return await BillingDetailsRows(console.platform.tables.database).find(customer)


async def lacks_tax_id(console: Console, dealership: str, entered: Mapping[str, str]) -> bool:
    """Return whether the vehicle's invoice requires a tax id that is missing from the form."""
    rows = BillingDetailsRows(console.platform.tables.database)
    return not entered["tax_id"] and await rows.needs_tax_id(dealership)


async def put_buyer(console: Console, customer: UUID, entered: Mapping[str, str]) -> None:
    """Store the input; documents issued from now on show it.

    Raises:
        UnknownCountryError, InvalidTaxIdError, InvalidBillingDetailsError: it is invalid.
    """
    new = checked_details(**entered)
    await BillingDetailsRows(console.platform.tables.database).put(customer, new)


PATH: Final = "/billing-details"


async def billing_details(console: Console, request: PageRequest) -> Response:
    """Show the form for the customer's billing details."""
    details = filled_in(request, PATH, await known_buyer(console, request.customer))
    return console.page(
        request,
        "customer/billing_details.html",
        details=details,
        after=form_result(console, request),
        key=new_key(),
    )


async def put_billing_details(console: Console, request: PageRequest) -> Response:
    """Store the customer's billing details and issue the documents that waited for them."""
    entered = typed(request.form)
    return await acted(
        console, request, PATH, lambda: put_buyer(console, request.customer, entered)
    )


CUSTOMER_BILLING_DETAILS_ROUTES: Final[tuple[PageRoute, ...]] = (
    get(PATH, billing_details, CUSTOMERS),
    post(PATH, put_billing_details, CUSTOMERS),
)

"""A customer's billing address and tax ID (record 123).

Rule a change must keep: only its customer sees and changes them; what cannot be used is told beside
the form, and nothing of it is kept.
"""

from typing import Final

from caas.console.buyer_fields import filled_in, known_buyer, put_buyer, typed
from caas.console.context import Console
from caas.console.form_actions import acted, form_result
from caas.console.idempotent_forms import new_key
from caas.console.page_routes import CUSTOMERS, PageRoute, get, post
from caas.console.request import PageRequest
from caas.web.response import Response

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

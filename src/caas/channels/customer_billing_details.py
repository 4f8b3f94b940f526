"""A customer's address and tax id, for documents that must name them (record 123).

Rule a change must keep: only its customer sees and changes them; what cannot be used is told beside
the form, and nothing of it is kept.
"""

from typing import Final

from caas.channels.acting import acted, told
from caas.channels.buyer_fields import filled_in, known_buyer, put_buyer, typed
from caas.channels.page_routes import CUSTOMERS, PageRoute, get, post
from caas.channels.rooms import Channels
from caas.channels.sending_once import new_key
from caas.channels.visit import Visit
from caas.web.response import Response

PATH: Final = "/billing-details"


async def billing_details(channels: Channels, visit: Visit) -> Response:
    """Show what documents are made out to, to be changed."""
    details = filled_in(visit, PATH, await known_buyer(channels, visit.customer))
    return channels.page(
        visit, "customer/billing_details.html", details=details, after=told(channels, visit),
        key=new_key(),
    )  # fmt: skip


async def put_billing_details(channels: Channels, visit: Visit) -> Response:
    """Keep what the customer says; what waited for it is issued."""
    said = typed(visit.form)
    return await acted(channels, visit, PATH, lambda: put_buyer(channels, visit.customer, said))


CUSTOMER_BILLING_DETAILS_ROUTES: Final[tuple[PageRoute, ...]] = (
    get(PATH, billing_details, CUSTOMERS),
    post(PATH, put_billing_details, CUSTOMERS),
)

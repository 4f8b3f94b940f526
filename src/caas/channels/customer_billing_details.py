"""A customer's address and tax id, for documents that must name them (record 123).

Rule a change must keep: only its customer sees and changes them; what cannot be used is told beside
the form, and nothing of it is kept.
"""

from typing import Final

from caas.billing.buyers import checked_details
from caas.billing_database.billing_details import BillingDetailsRows
from caas.channels.acting import acted, told
from caas.channels.page_routes import CUSTOMERS, PageRoute, get, post
from caas.channels.replies import Reply
from caas.channels.rooms import Channels
from caas.channels.sending_once import new_key
from caas.channels.visit import Visit

PATH: Final = "/billing-details"
FIELDS: Final = ("name", "street", "postcode", "city", "country", "tax_id")


async def billing_details(channels: Channels, visit: Visit) -> Reply:
    """Show what documents are made out to, to be changed."""
    details = await BillingDetailsRows(channels.rooms.books.database).find(visit.customer)
    return channels.page(
        visit, "customer/billing_details.html", details=details, after=told(channels, visit),
        key=new_key(),
    )  # fmt: skip


async def put_billing_details(channels: Channels, visit: Visit) -> Reply:
    """Keep what the customer says; documents issued from now on show it."""
    said = {name: visit.form.get(name, "") for name in FIELDS}

    async def act() -> None:
        new = checked_details(**{**said, "country": said["country"].strip().upper()})
        await BillingDetailsRows(channels.rooms.books.database).put(visit.customer, new)

    return await acted(channels, visit, PATH, act)


CUSTOMER_BILLING_DETAILS_ROUTES: Final[tuple[PageRoute, ...]] = (
    get(PATH, billing_details, CUSTOMERS),
    post(PATH, put_billing_details, CUSTOMERS),
)

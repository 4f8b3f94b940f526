"""Links that open an account: sent again by the dealership, or asked for by the customer.

Diagram 2, "Send Access Credentials". The first one is Order Management's; these are for when it was
lost or is too old.

Rules a change must keep: a link goes to the address the customer is known by and to no other; it
works once and not for ever; asking tells nobody whether an address is known here.
"""

import contextlib
import secrets
from typing import Final
from uuid import UUID

from caas.billing_database.audit_events import AuditType, Outsider, audit
from caas.billing_database.connection import Connection
from caas.billing_database.customers import Access, Customers
from caas.billing_database.identifiers import new_id
from caas.billing_database.sessions import RefusedSignIns
from caas.channels.rooms import Channels
from caas.errors import CaasError
from caas.notifications import CUSTOMER

LINK_SECONDS: Final = 24 * 3600.0
TOKEN_BYTES: Final = 32
WINDOW_SECONDS: Final = 3600.0
LINKS_MAX: Final = 4
ASKED_FROM_AN_ADDRESS_MAX: Final = 20


class TooManyLinksError(CaasError):
    """Enough links were sent for now; look at the last one, or wait an hour."""

    code = "too_many_links"
    http_status = 429


async def send_link(
    channels: Channels, customer: UUID, order_id: UUID, *, by: UUID | Outsider, address: str
) -> None:
    """Send a customer another link to choose a password with.

    Raises:
        TooManyLinksError: several were sent within the hour.
    """
    if not await _may_send(channels, f"link:{customer}", LINKS_MAX):
        raise TooManyLinksError
    database = channels.rooms.books.database
    token = secrets.token_urlsafe(TOKEN_BYTES)

    async def send(connection: Connection) -> None:
        await Customers(database).add_link(
            token, Access(customer, order_id), valid_seconds=LINK_SECONDS, within=connection
        )
        await audit(
            AuditType.LINK_MADE, by=by, subject=customer, address=address, within=connection
        )
        await channels.rooms.notifications.tell(
            audience=CUSTOMER,
            recipient=customer,
            template="access_credentials",
            facts={"access_url": f"{channels.settings.public_url}/access/{token}"},
            subject=new_id(),
            within=connection,
        )

    await database.in_transaction(send)


async def send_links_to(channels: Channels, email: str, *, asked_from: str) -> None:
    """Send a link to the customers of this address; nobody learns whether there are any.

    Raises:
        TooManyLinksError: too many were asked for from the same place.
    """
    if not await _may_send(channels, f"asked:{asked_from}", ASKED_FROM_AN_ADDRESS_MAX):
        raise TooManyLinksError
    for found in await channels.accounts.reachable_at(email):
        with contextlib.suppress(TooManyLinksError):
            await send_link(
                channels, found.customer, found.order_id, by=Outsider.NOBODY, address=asked_from
            )


async def _may_send(channels: Channels, counted_for: str, times_max: int) -> bool:
    counts = RefusedSignIns(channels.rooms.books.database, window_seconds=WINDOW_SECONDS)
    return (await counts.tried(counted_for))[0] <= times_max

"""Links that open a customer account, sent again by the dealership or requested by the customer.

Diagram 2, "Send Access Credentials". Order Management sends the first link; these replace a lost or
expired one. Every request becomes a job, so that response and timing do not reveal whether an
address is known.

Rules a change must keep: a link is sent only to the customer's stored address; it works once,
expires, and invalidates earlier ones; a request does not look up the address.
"""

import contextlib
import secrets
from typing import Final
from uuid import UUID

from caas.billing_database.accounts import Accounts
from caas.billing_database.audit_events import AuditType, Outsider, audit, network_of
from caas.billing_database.connection import Connection
from caas.billing_database.customers import Access, Customers
from caas.billing_database.erasure_rows import SEND_ACCESS_LINKS
from caas.billing_database.identifiers import new_id
from caas.billing_database.job_rows import Job
from caas.billing_database.sessions import RefusedSignIns
from caas.billing_database.tables import BillingDatabase
from caas.errors import CaasError
from caas.jobs import Answer, Done, JobQueue
from caas.notifications import CUSTOMER, Notifications

LINK_SECONDS: Final = 24 * 3600.0
TOKEN_BYTES: Final = 32
WINDOW_SECONDS: Final = 3600.0
LINKS_MAX: Final = 4
ASKED_FROM_AN_ADDRESS_MAX: Final = 20


class TooManyLinksError(CaasError):
    """Too many links were requested. Use the latest one, or wait an hour."""

    code = "too_many_links"
    http_status = 429


class AccessLinks:
    """Sends links for choosing a password."""

    def __init__(
        self, *, tables: BillingDatabase, notifications: Notifications, public_url: str
    ) -> None:
        """Send through these notifications; links point to `public_url`."""
        self._tables = tables
        self._notifications = notifications
        self._public_url = public_url

    def register(self, jobs: JobQueue) -> None:
        """Register the job handler."""
        jobs.register(SEND_ACCESS_LINKS, self._send_asked)

    async def ask(self, email: str, *, asked_from: str) -> None:
        """Request links for the customers with this address, if any.

        Raises:
            TooManyLinksError: too many requests from the same network.
        """
        if not await self._may_send(f"asked:{asked_from}", ASKED_FROM_AN_ADDRESS_MAX):
            raise TooManyLinksError
        network = network_of(asked_from)
        payload: dict[str, object] = {
            "email": email.lower(),
            "network": str(network.network_address) if network else "",
        }
        await self._tables.jobs.add(SEND_ACCESS_LINKS, new_id(), payload=payload)

    async def send(
        self, customer: UUID, order_id: UUID, *, by: UUID | Outsider, address: str
    ) -> None:
        """Send a customer a new link; earlier ones become invalid.

        Raises:
            TooManyLinksError: several were sent within the hour.
        """
        if not await self._may_send(f"link:{customer}", LINKS_MAX):
            raise TooManyLinksError
        token = secrets.token_urlsafe(TOKEN_BYTES)

        async def send(connection: Connection) -> None:
            await Customers(self._tables.database).add_link(
                token, Access(customer, order_id), valid_seconds=LINK_SECONDS, within=connection
            )
            await audit(
                AuditType.LINK_MADE, by=by, subject=customer, address=address, within=connection
            )
            await self._notifications.notify(
                audience=CUSTOMER,
                recipient=customer,
                template="access_credentials",
                facts={"access_url": f"{self._public_url}/access/{token}"},
                subject=new_id(),
                within=connection,
            )

        await self._tables.database.in_transaction(send)

    async def _send_asked(self, job: Job) -> Answer:
        email, network = str(job.payload["email"]), str(job.payload["network"])
        for found in await Accounts(self._tables.database).reachable_at(email):
            with contextlib.suppress(TooManyLinksError):
                await self.send(found.customer, found.order_id, by=Outsider.NOBODY, address=network)
        return Done()

    async def _may_send(self, counted_for: str, times_max: int) -> bool:
        counts = RefusedSignIns(self._tables.database, window_seconds=WINDOW_SECONDS)
        return (await counts.tried(counted_for))[0] <= times_max

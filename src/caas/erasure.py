"""Erases a customer once nothing is pending (decision 92).

Anything that may still charge, refund or notify the customer blocks the erasure and is listed. On
request, subscriptions and unpaid payment pages are ended first; a later payment on such a page is
voided.

Rules a change must keep: the list is read again under the customer's lock in the erasing commit;
local messages, and what gateways keep of the customer, are deleted by jobs of that
commit; of the documents kept by law only full invoices
identify the customer, and none is issued after the erasure.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec

from caas.billing.issuing import Issuing
from caas.billing_database import erasure_rows
from caas.billing_database.connection import Connection
from caas.billing_database.erasure_rows import KeptDocument, OpenKind, OpenThing
from caas.billing_database.job_rows import Job
from caas.billing_database.payments import END_PAGE
from caas.billing_database.tables import BillingDatabase
from caas.jobs import Answer, Done, JobQueue
from caas.notifications import Notifications
from caas.order_management import OrderManagement
from caas.service_catalog.subscriptions import Subscriptions

FORGET_MESSAGES: Final = "forget_messages"
BEING_SENT_SECONDS: Final = 60.0
"""Wait for messages that were being sent during the erasure."""

ENDED_ON_REQUEST: Final = frozenset({OpenKind.SUBSCRIPTION, OpenKind.UNPAID_ORDER, OpenKind.PAGE})


class Erasing(msgspec.Struct, frozen=True):
    """Progress of an erasure: done when nothing is pending; `began` if something was ended."""

    open: Sequence[OpenThing]
    began: bool = False


class Kept(msgspec.Struct, frozen=True):
    """Documents kept by law with their buyer, and evidence that was not inspected."""

    documents: Sequence[KeptDocument]
    evidence: Sequence[UUID]


class Erasure:
    """Erases customers."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        order_management: OrderManagement,
        subscriptions: Subscriptions,
        notifications: Notifications,
        issuing: Issuing,
        zone: str,
    ) -> None:
        """End pending items in these subsystems; months end in this time zone."""
        self._tables = tables
        self._orders = order_management
        self._subscriptions = subscriptions
        self._notifications = notifications
        self._issuing = issuing
        self._zone = zone

    def register(self, jobs: JobQueue) -> None:
        """Register the job handler."""
        jobs.register(FORGET_MESSAGES, self._forget_messages)

    async def erase(self, customer: UUID, *, end_open: bool = False) -> Erasing:
        """Erase a customer, or return what is pending and erase nothing.

        With `end_open`, pending items are ended first where possible. Idempotent.

        Raises:
            CustomerNotFoundError: no customer has this id.
        """
        await self._orders.customers.get(customer)
        await self._issuing.issue_due()
        found = await self._open(customer)
        if found and not end_open:
            return Erasing(found)
        for thing in found:
            await self._end(thing)

        async def clear(connection: Connection) -> list[OpenThing]:
            was_erased = await erasure_rows.lock(customer, within=connection)
            left = [] if was_erased else await self._left(customer, connection, end_open=end_open)
            if not left:
                await erasure_rows.clear(customer, within=connection)
                await self._tables.jobs.add(
                    FORGET_MESSAGES, customer, due_in=BEING_SENT_SECONDS, within=connection
                )
                await self._tables.jobs.add(
                    erasure_rows.ERASE_AT_GATEWAYS, customer, within=connection
                )
            return left

        left = await self._tables.database.in_transaction(clear)
        if not left:
            await self._notifications.forget(customer)
        return Erasing(left, began=bool(found))

    async def kept(self, customer: UUID) -> Kept:
        """Return what still identifies, or may identify, an erased customer."""
        database = self._tables.database
        return Kept(
            await erasure_rows.kept_of(database, customer),
            await erasure_rows.evidence_of(database, customer),
        )

    async def _open(self, customer: UUID, within: Connection | None = None) -> list[OpenThing]:
        return await erasure_rows.open_of(
            self._tables.database, customer, zone=self._zone, within=within
        )

    async def _left(self, customer: UUID, within: Connection, *, end_open: bool) -> list[OpenThing]:
        """Return what still blocks the erasure; abandoned payment pages do not."""
        given_up = {OpenKind.PAGE} if end_open else set()
        return [thing for thing in await self._open(customer, within) if thing.kind not in given_up]

    async def _end(self, thing: OpenThing) -> None:
        match thing.kind:
            case OpenKind.SUBSCRIPTION:
                await self._subscriptions.end_subscription(UUID(thing.id))
            case OpenKind.PAGE:
                await self._tables.jobs.add(END_PAGE, UUID(thing.id))
            case OpenKind.UNPAID_ORDER:
                await self._orders.withdrawal.withdraw(UUID(thing.id))
            case _:
                return

    async def _forget_messages(self, job: Job) -> Answer:
        await self._notifications.forget(job.subject)
        return Done()

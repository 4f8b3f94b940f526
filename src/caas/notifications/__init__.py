"""Notifications to customers and dealerships, and alerts to operations.

`notify` stores a row, which is also the recipient's inbox entry, and enqueues its delivery in the
transaction it reports. A worker delivers it and retries until the channel accepts it.

Rules a change must keep: an occasion is notified once; texts are rendered from facts when read or
sent, in the reader's language; an erased customer receives nothing; delivery is at least once.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
import structlog
from msgspec.structs import replace

from caas.billing_database.connection import Connection
from caas.billing_database.customers import Customers
from caas.billing_database.identifiers import new_id
from caas.billing_database.job_rows import Job
from caas.billing_database.notification_rows import (
    NewNotification,
    Notification,
    NotificationRows,
)
from caas.billing_database.services import names_of
from caas.billing_database.tables import BillingDatabase
from caas.external_systems.notification_channel import (
    MessageNotDeliveredError,
    NotificationChannel,
    OutgoingMessage,
)
from caas.jobs import Answer, Done, JobQueue, RetryIn
from caas.notifications import texts
from caas.rules.card_numbers import scrub

CUSTOMER: Final = "customer"
DEALERSHIP: Final = "dealership"
OPERATIONS: Final = "operations"
NOTIFY: Final = "notify"
ALERT: Final = "alert"
ERASED: Final = "the customer was erased"
NOT_DELIVERED: Final = "notification_not_delivered"
ATTEMPTS_BEFORE_CASE: Final = 12
SEND_AGAIN_SECONDS: Final = 2.0
SEND_AGAIN_SECONDS_MAX: Final = 600.0

_log = structlog.get_logger()


class Address(NamedTuple):
    """A customer's e-mail address, name and language."""

    name: str
    email: str
    language: str


class Message(msgspec.Struct, frozen=True):
    """An inbox entry, rendered in its reader's language."""

    id: UUID
    template: str
    subject: UUID
    title: str
    text: str
    created_at: datetime
    sent_at: datetime | None
    read_at: datetime | None
    facts: Mapping[str, Any]


class Alerted(msgspec.Struct, frozen=True):
    """The subject of an alert."""

    kind: str
    subject: UUID


class Notifications:
    """Sends notifications and alerts, and lists inboxes."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        channel: NotificationChannel,
        zone: tzinfo,
        language: str = "es",
        public_url: str = "",
    ) -> None:
        """Deliver through this channel; other recipients than customers read `language`.

        A delivered alert links to the console at `public_url`.
        """
        self._public_url = public_url
        self._tables = tables
        self._rows = NotificationRows(tables.database)
        self._channel = channel
        self._customers = Customers(tables.database)
        self._zone = zone
        self._language = language

    def register(self, jobs: JobQueue) -> None:
        """Register the job handler."""
        jobs.register(NOTIFY, self._notify_due)

    async def notify(
        self,
        *,
        audience: str,
        recipient: str | UUID,
        template: str,
        facts: Mapping[str, Any],
        subject: UUID,
        within: Connection | None = None,
    ) -> bool:
        """Notify a recipient once; return False if it was already notified.

        Raises:
            UnknownTemplateError: no such template.
            MissingFactError: a fact that the text uses is missing.
        """
        texts.check_facts(template, facts)
        new = NewNotification(
            id=new_id(),
            audience=audience,
            recipient=str(recipient),
            template=template,
            subject=subject,
            facts=dict(facts),
            job_kind=NOTIFY,
        )
        return await self._rows.notify(new, within=within)

    async def alert(
        self,
        kind: str,
        subject: UUID,
        sentence: str,
        *,
        case: bool = True,
        within: Connection | None = None,
    ) -> bool:
        """Alert operations and open a case; return False if a case of this kind is already open.

        Without a case, a kind is alerted once per subject.
        """
        sentence = scrub(sentence)
        if within is not None:
            return await self._alert(within, kind, subject, sentence, case=case)

        async def alone(connection: Connection) -> bool:
            return await self._alert(connection, kind, subject, sentence, case=case)

        return await self._tables.database.in_transaction(alone)

    async def inbox(
        self,
        recipient: str | UUID,
        *,
        audience: str = CUSTOMER,
        language: str | None = None,
        unread_only: bool = False,
        before: UUID | None = None,
    ) -> list[Message]:
        """Return a recipient's notifications, newest first, in the recipient's language."""
        listed = await self._rows.inbox(
            audience=audience, recipient=str(recipient), unread_only=unread_only, before=before
        )
        if language is None:
            address = await self._address_of_recipient(audience, str(recipient))
            language = address.language if address else self._language
        names = await self._names(listed, language)
        return [self._rendered(row, language, names) for row in listed]

    async def alerted(self, notification_id: UUID) -> Alerted | None:
        """Return the subject of an alert; None if there is no such alert."""
        row = await self._rows.get(notification_id)
        if row is None or row.template != ALERT:
            return None
        return Alerted(row.facts["kind"], row.subject)

    async def unread(self, recipient: str | UUID, *, audience: str = CUSTOMER) -> int:
        """Count a recipient's unread notifications."""
        return await self._rows.unread(audience=audience, recipient=str(recipient))

    async def mark_read(
        self,
        recipient: str | UUID,
        *,
        audience: str = CUSTOMER,
        notification_id: UUID | None = None,
    ) -> int:
        """Mark one or all of a recipient's notifications as read; return how many."""
        return await self._rows.mark_read(
            audience=audience, recipient=str(recipient), notification_id=notification_id
        )

    async def forget(self, customer: UUID) -> None:
        """Delete local copies of the messages to a customer."""
        before: UUID | None = None
        while page := await self._rows.inbox(
            audience=CUSTOMER, recipient=str(customer), before=before
        ):
            await self._channel.forget(frozenset(str(row.id) for row in page))
            before = page[-1].id

    async def _alert(
        self, connection: Connection, kind: str, subject: UUID, sentence: str, *, case: bool
    ) -> bool:
        occasion = kind
        if case:
            if not await self._tables.cases.open(kind, subject, sentence, within=connection):
                return False
            occasion = f"{kind}:{new_id()}"
        new = NewNotification(
            id=new_id(),
            audience=OPERATIONS,
            recipient=OPERATIONS,
            template=ALERT,
            subject=subject,
            occasion=occasion,
            facts={"kind": kind, "sentence": sentence, "subject": str(subject)},
            job_kind=NOTIFY,
        )
        message = await self._rows.notify(new, within=connection)
        if message:
            _log.error("operations.alerted", kind=kind, subject=str(subject), sentence=sentence)
        return message

    async def _notify_due(self, job: Job) -> Answer:
        """Deliver a notification that was not sent; retry for as long as the channel fails."""
        row = await self._rows.get(job.subject)
        if row is None or row.sent_at is not None or row.not_sent_because is not None:
            return Done()
        address = await self._address_of_recipient(row.audience, row.recipient)
        if address is None:
            await self._rows.ended(row.id, because=ERASED)
            return Done()
        try:
            names = await self._names([row], address.language)
            await self._channel.send(self._message(row, address, names))
        except MessageNotDeliveredError as failure:
            return await self._not_delivered(job, failure)
        await self._rows.ended(row.id)
        return Done()

    async def _not_delivered(self, job: Job, failure: MessageNotDeliveredError) -> Answer:
        """Schedule a retry, and open a case after repeated failures."""
        if job.attempts >= ATTEMPTS_BEFORE_CASE:
            sentence = (
                f"A notification was not delivered in {job.attempts} attempts: {failure.sentence}"
            )
            await self._tables.cases.open(NOT_DELIVERED, job.subject, sentence)
        return RetryIn(_wait(job.attempts), failure.sentence)

    async def _address_of_recipient(self, audience: str, recipient: str) -> Address | None:
        """Return the recipient's address; None if erased."""
        if audience == CUSTOMER:
            return await self._address_of(UUID(recipient))
        return Address(recipient, "", self._language)

    async def _address_of(self, customer: UUID) -> Address | None:
        """Return a customer's address; None when the customer was erased."""
        found = await self._customers.get(customer)
        if found.name is None or found.email is None:
            return None
        return Address(found.name, found.email, found.language)

    async def _names(self, rows: Sequence[Notification], language: str) -> Mapping[str, str]:
        """Return the localized names of the orders and services in these notifications."""
        return await names_of(
            self._tables.database,
            orders=[row.facts["order"] for row in rows if "order" in row.facts],
            services=[row.facts["service"] for row in rows if "service" in row.facts],
            language=language,
        )

    def _message(
        self, row: Notification, address: Address, names: Mapping[str, str]
    ) -> OutgoingMessage:
        facts_given = texts.words(
            row.template, row.facts, language=address.language, zone=self._zone, names=names
        )
        if row.template == ALERT and self._public_url:
            there = f"{self._public_url}/operations/alerts/{row.id}"
            facts_given = replace(facts_given, text=f"{facts_given.text}\n\n{there}")
        return OutgoingMessage(
            id=str(row.id),
            recipient=address.email or row.recipient,
            subject=facts_given.title,
            text=texts.letter(facts_given, name=address.name, language=address.language),
            written_at=row.created_at,
        )

    def _rendered(self, row: Notification, language: str, names: Mapping[str, str]) -> Message:
        facts_given = texts.words(
            row.template, row.facts, language=language, zone=self._zone, names=names
        )
        return Message(
            row.id,
            row.template,
            row.subject,
            facts_given.title,
            facts_given.text,
            row.created_at,
            row.sent_at,
            row.read_at,
            row.facts,
        )


def _wait(attempts: int) -> float:
    return min(SEND_AGAIN_SECONDS * 2.0 ** (attempts - 1), SEND_AGAIN_SECONDS_MAX)

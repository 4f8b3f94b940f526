"""Delivers events to subscribers: signed webhooks, in order, retried until accepted.

Each subscription has one job that stores its position. An event that is not accepted is retried
with growing waits, and later events wait behind it; operations are alerted.

Rules a change must keep: every connection goes to a public address that was resolved immediately
before (docs/decisions/0155); an event is delivered at least once, with a constant id; the position
advances only past accepted events; response bodies are not stored; a secret is shown once, stored
encrypted, and re-encrypted with a newer key.
"""

import asyncio
import base64
import secrets
from datetime import UTC
from functools import partial
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

import msgspec

from caas.billing_database.accounts import Actor
from caas.billing_database.audit_events import AuditType, Outsider, audit
from caas.billing_database.company_events import (
    CompanyEvent,
    CompanyEvents,
    EventPosition,
    EventSubscription,
    EventSubscriptions,
    position_of,
)
from caas.billing_database.connection import Connection
from caas.billing_database.identifiers import new_id
from caas.billing_database.job_rows import Job
from caas.billing_database.tables import BillingDatabase
from caas.errors import ConflictError, RefusedError, StartupError
from caas.external_systems.encryption_at_rest import EncryptedElsewhereError, EncryptionAtRest
from caas.external_systems.http import HttpClient, HttpLimits, Secret, checked_base_url
from caas.external_systems.http_answers import NotSentError, OutcomeUnknownError
from caas.external_systems.webhook_signatures import (
    SECRET_PREFIX,
    AddressNotPublicError,
    checked_addresses,
    is_local_name,
    sign,
)
from caas.jobs import Answer, Done, JobQueue, RetryIn
from caas.payment_processing.flow import Alert
from caas.rules.time_scale import TimeScale

DELIVER: Final = "deliver_events"
FAILING: Final = "event_subscription_failing"
SUBSCRIPTIONS_MAX: Final = 20
AT_ONCE_MAX: Final = 100
SECONDS_AT_ONCE_MAX: Final = 20.0
LOOK_EVERY_SECONDS: Final = 2.0
SEND_AGAIN_SECONDS: Final = 5.0
SEND_AGAIN_SECONDS_MAX: Final = 3600.0
FAILURES_BEFORE_ALERT: Final = 10
DOUBLINGS_MAX: Final = 20
SECRET_BYTES: Final = 32
LIMITS: Final = HttpLimits(total_seconds=10.0, connect_seconds=3.0, connections_max=1)
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
HTTPS_PORT: Final = 443
_ENCODER: Final = msgspec.json.Encoder()


class EventAddressRefusedError(RefusedError):
    """The URL must be https, public, and without user, query or fragment."""

    code = "event_address_refused"


class TooManyEventSubscriptionsError(ConflictError):
    """The maximum number of event subscriptions is reached. End one that is unused."""

    code = "too_many_event_subscriptions"


class EventSubscriptionEndedError(ConflictError):
    """This event subscription has ended. Create another one."""

    code = "event_subscription_ended"


class EventDelivery:
    """Manages event subscriptions and delivers events."""

    def __init__(
        self,
        tables: BillingDatabase,
        *,
        encryption: EncryptionAtRest,
        alert: Alert,
        time_scale: TimeScale,
        local_subscribers: bool = False,
    ) -> None:
        """Deliver this database's events; `alert` reports failing subscribers.

        `encryption` protects their secrets; `local_subscribers` allows this machine and plain HTTP,
        for development only.
        """
        self._tables = tables
        self._encryption = encryption
        self._alert = alert
        self._time_scale = time_scale
        self._local = local_subscribers
        self._look_up = partial(checked_addresses, loopback_allowed=local_subscribers)
        self._rows = EventSubscriptions(tables.database)
        self.events = CompanyEvents(tables.database)

    def register(self, jobs: JobQueue) -> None:
        """Register the job handler."""
        jobs.register(DELIVER, self._due)

    async def subscribe(
        self, *, url: str, types: list[str], after: str | None, by: Actor
    ) -> tuple[EventSubscription, str]:
        """Create a subscription from now on or after an event; return its secret once.

        Raises:
            EventAddressRefusedError, EventIdRefusedError: the URL or the event id is invalid.
            TooManyEventSubscriptionsError: the limit is reached.
        """
        await self._refuse_address(url)
        begin = position_of(after) if after else await self.events.now()
        secret = SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
        subscription_id = new_id()
        encrypted = self._encryption.encrypt(secret.encode(), owner=subscription_id)

        async def together(connection: Connection) -> None:
            if await self._rows.running(within=connection) >= SUBSCRIPTIONS_MAX:
                raise TooManyEventSubscriptionsError
            await self._rows.add(
                subscription_id, url=url, types=sorted(set(types)), encrypted_secret=encrypted,
                by=by.name, within=connection,
            )  # fmt: skip
            await _audited(AuditType.EVENTS_SUBSCRIBED, subscription_id, by, connection)
            place = _position_payload(begin, 0)
            await self._tables.jobs.add(DELIVER, subscription_id, payload=place, within=connection)

        await self._tables.database.in_transaction(together)
        return await self._rows.get(subscription_id), secret

    async def subscription(self, subscription_id: UUID) -> EventSubscription:
        """Return a subscription.

        Raises:
            EventSubscriptionNotFoundError: no subscription has this id.
        """
        return await self._rows.get(subscription_id)

    async def subscriptions(
        self, *, before: UUID | None = None, rows_max: int
    ) -> list[EventSubscription]:
        """Return the active subscriptions, newest first."""
        return await self._rows.listed(before=before, rows_max=rows_max)

    async def end(self, subscription_id: UUID, *, by: Actor) -> EventSubscription:
        """End a subscription; idempotent.

        Raises:
            EventSubscriptionNotFoundError: no subscription has this id.
        """
        await self._rows.get(subscription_id)

        async def together(connection: Connection) -> None:
            if await self._rows.end(subscription_id, within=connection):
                await _audited(AuditType.EVENTS_UNSUBSCRIBED, subscription_id, by, connection)
            await self._tables.jobs.end(DELIVER, subscription_id, within=connection)
            await self._close_failing_case(
                subscription_id, "The subscription has ended.", connection
            )

        await self._tables.database.in_transaction(together)
        return await self._rows.get(subscription_id)

    async def replay(self, subscription_id: UUID, *, after: str) -> None:
        """Deliver again all events after the given one, also to a failing subscriber.

        Raises:
            EventSubscriptionNotFoundError: no subscription has this id.
            EventSubscriptionEndedError: it has ended.
            EventIdRefusedError: no event has this id.
        """
        begin = position_of(after)
        if (await self._rows.get(subscription_id)).ended_at is not None:
            raise EventSubscriptionEndedError(subscription=str(subscription_id))
        await self._tables.jobs.postpone(
            DELIVER, subscription_id, due_in=0.0, payload={"after": begin.id, "failures": 0}
        )

    async def _refuse_address(self, url: str) -> None:
        """Reject a URL that must not be called; an unknown host is checked at delivery."""
        try:
            parts = urlsplit(checked_base_url(url))
            host, port = parts.hostname or "", parts.port
        except (StartupError, ValueError) as error:
            raise EventAddressRefusedError from error
        here = self._local and host in LOOPBACK
        if port == 0 or (not here and (parts.scheme != "https" or is_local_name(host))):
            raise EventAddressRefusedError
        try:
            async with asyncio.timeout(LIMITS.connect_seconds):
                await self._look_up(host, port or HTTPS_PORT)
        except AddressNotPublicError as error:
            raise EventAddressRefusedError from error
        except (OSError, UnicodeError):
            return

    async def _due(self, job: Job) -> Answer:
        subscription = await self._rows.get(job.subject)
        if subscription.ended_at is not None:
            return Done()
        place, failures = position_of(job.payload["after"]), int(job.payload["failures"])
        try:
            secret = await self._secret_of(subscription)
        except EncryptedElsewhereError as unreadable:
            return await self._later(subscription, place, failures + 1, unreadable.sentence)
        page = await self.events.after(place, types=subscription.types, rows_max=AT_ONCE_MAX)
        deadline = asyncio.get_running_loop().time() + SECONDS_AT_ONCE_MAX
        for event in page.events:
            because = await self._sent(subscription, secret, event)
            if because is not None:
                return await self._later(subscription, place, failures + 1, because)
            place = event.position
            if failures:
                failures = 0
                await self._recovered(subscription.id)
            if asyncio.get_running_loop().time() > deadline:
                return RetryIn(0.0, "more events are pending", _position_payload(place, failures))
        return RetryIn(
            0.0 if page.more else LOOK_EVERY_SECONDS, None, _position_payload(page.until, failures)
        )

    async def _secret_of(self, subscription: EventSubscription) -> Secret:
        """Return the signing secret, re-encrypting it with the newest key if needed."""
        owner, encrypted = subscription.id, subscription.encrypted_secret
        if encrypted is None:
            plain = (subscription.secret or "").encode()
        else:
            plain = self._encryption.decrypt(encrypted, owner=owner)
        if encrypted is None or not self._encryption.is_current(encrypted, owner=owner):
            await self._rows.encrypted(owner, self._encryption.encrypt(plain, owner=owner))
        return Secret(plain.decode())

    async def _sent(
        self, subscription: EventSubscription, secret: Secret, event: CompanyEvent
    ) -> str | None:
        """Send an event; return why it was not accepted, or None."""
        body = _ENCODER.encode(body_of(event))
        signed_at = await self.events.clock()
        headers = sign(secret, event_id=event.position.id, at=signed_at, body=body)
        client = HttpClient(
            subscription.url,
            partner="event subscriber",
            limits=LIMITS,
            headers=headers,
            look_up=self._look_up,
        )
        try:
            path = urlsplit(checked_base_url(subscription.url)).path
            answer = await client.send("POST", "" if path else "/", body=body)
        except (NotSentError, OutcomeUnknownError) as failure:
            return failure.sentence
        finally:
            await client.close()
        return None if answer.status // 100 == 2 else f"it responded with status {answer.status}"  # noqa: PLR2004  # success

    async def _later(
        self, subscription: EventSubscription, place: EventPosition, failures: int, because: str
    ) -> Answer:
        if failures >= FAILURES_BEFORE_ALERT:
            await self._alert(
                FAILING,
                subscription.id,
                (
                    f"The subscriber {urlsplit(subscription.url).hostname} has not "
                    f"accepted events in {failures} attempts: {because} Events are "
                    "queued in order. Repair the subscriber, or end the subscription."
                ),
            )
        wait = SEND_AGAIN_SECONDS * 2 ** min(failures - 1, DOUBLINGS_MAX)
        due_in = self._time_scale.seconds(min(wait, SEND_AGAIN_SECONDS_MAX))
        return RetryIn(due_in, because, _position_payload(place, failures))

    async def _recovered(self, subscription_id: UUID) -> None:
        async with self._tables.database.transaction() as connection:
            await self._close_failing_case(
                subscription_id, "The subscriber accepts events again.", connection
            )

    async def _close_failing_case(
        self, subscription_id: UUID, resolution: str, connection: Connection
    ) -> None:
        await self._tables.cases.close(
            FAILING, subscription_id, resolution=resolution, owner="caas", within=connection
        )


def body_of(event: CompanyEvent) -> dict[str, object]:
    """Return an event's JSON, the same for the API and webhooks."""
    return {
        "id": event.position.id,
        "type": event.type,
        "occurred_at": event.position.at.astimezone(UTC),
        "data": {
            event.position.source: event.position.subject,
            "state": event.state,
            "before": event.before,
            "kind": event.of_type,
            "subject": event.about,
            "customer": event.customer,
            "dealership": event.dealership,
        },
    }


async def _audited(type_: AuditType, subject: UUID, by: Actor, connection: Connection) -> None:
    who = by.account or Outsider.SETTINGS
    await audit(type_, by=who, subject=subject, within=connection)


def _position_payload(place: EventPosition, failures: int) -> dict[str, object]:
    return {"after": place.id, "failures": failures}

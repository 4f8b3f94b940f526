"""Events delivered to whoever subscribed: signed webhooks, in order, until each was taken.

One piece of jobs for each subscription holds how far it is. What is not answered with success
is sent again, later and later, and nothing behind it is sent before; operations are alerted.

Rules a change must keep: every connection goes to an address of the public internet that was
looked at just before (docs/decisions/0155); an event is delivered at least once and under one id;
the place moves only behind what was taken; an answer's body is not kept: its
address is the subscriber's; a secret is told once, kept encrypted, and encrypted anew once there is
a newer key.
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

from caas.billing_database.actors import Actor
from caas.billing_database.audit_events import AuditType, Outsider, audit
from caas.billing_database.company_events import (
    CompanyEvent,
    CompanyEvents,
    Position,
    position_of,
)
from caas.billing_database.connection import Connection
from caas.billing_database.event_subscriptions import EventSubscription, EventSubscriptions
from caas.billing_database.identifiers import new_id
from caas.billing_database.job_rows import Job
from caas.billing_database.tables import BillingDatabase
from caas.errors import ConflictError, RefusedError, StartupError
from caas.external_systems.encryption_at_rest import EncryptedElsewhereError, EncryptionAtRest
from caas.external_systems.http import HttpClient, HttpLimits, Secret, checked_base_url
from caas.external_systems.http_answers import NotSentError, OutcomeUnknownError
from caas.external_systems.subscriber_addresses import (
    AddressNotPublicError,
    checked_addresses,
    is_local_name,
)
from caas.external_systems.webhook_signatures import SECRET_PREFIX, sign
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
    """Events go to an https address of the public internet, without user, query or fragment."""

    code = "event_address_refused"


class TooManyEventSubscriptionsError(ConflictError):
    """There are as many event subscriptions as there may be; end one that nobody reads."""

    code = "too_many_event_subscriptions"


class EventSubscriptionEndedError(ConflictError):
    """This event subscription has ended; make another one."""

    code = "event_subscription_ended"


class EventDelivery:
    """Keeps subscriptions, and delivers."""

    def __init__(
        self,
        tables: BillingDatabase,
        *,
        encryption: EncryptionAtRest,
        alert: Alert,
        time_scale: TimeScale,
        local_subscribers: bool = False,
    ) -> None:
        """Deliver what these books tell; `alert` tells operations of a subscriber in trouble.

        `encryption` keeps their secrets; `local_subscribers` may be on this machine, also without
        TLS: for development alone.
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
        """Take the deliveries."""
        jobs.register(DELIVER, self._due)

    async def subscribe(
        self, *, url: str, types: list[str], after: str | None, by: Actor
    ) -> tuple[EventSubscription, str]:
        """Deliver events from now on, or from behind an event on; the secret is told this once.

        Raises:
            EventAddressRefusedError, EventIdRefusedError: nothing can be sent there, or from there.
            TooManyEventSubscriptionsError: there are as many as there may be.
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
            EventSubscriptionNotFoundError: none has this id.
        """
        return await self._rows.get(subscription_id)

    async def subscriptions(
        self, *, before: UUID | None = None, rows_max: int
    ) -> list[EventSubscription]:
        """Return the running subscriptions, newest first."""
        return await self._rows.listed(before=before, rows_max=rows_max)

    async def end(self, subscription_id: UUID, *, by: Actor) -> EventSubscription:
        """Deliver no more; ending it again changes nothing.

        Raises:
            EventSubscriptionNotFoundError: none has this id.
        """
        await self._rows.get(subscription_id)

        async def together(connection: Connection) -> None:
            if await self._rows.end(subscription_id, within=connection):
                await _audited(AuditType.EVENTS_UNSUBSCRIBED, subscription_id, by, connection)
            await self._tables.jobs.end(DELIVER, subscription_id, within=connection)
            await self._no_longer_failing(subscription_id, "It has ended.", connection)

        await self._tables.database.in_transaction(together)
        return await self._rows.get(subscription_id)

    async def replay(self, subscription_id: UUID, *, after: str) -> None:
        """Deliver again from behind an event on; also what a failing subscriber waits for.

        Raises:
            EventSubscriptionNotFoundError: none has this id.
            EventSubscriptionEndedError: it has ended.
            EventIdRefusedError: this is no event's id.
        """
        begin = position_of(after)
        if (await self._rows.get(subscription_id)).ended_at is not None:
            raise EventSubscriptionEndedError(subscription=str(subscription_id))
        await self._tables.jobs.postpone(
            DELIVER, subscription_id, due_in=0.0, payload={"after": begin.id, "failures": 0}
        )

    async def _refuse_address(self, url: str) -> None:
        """Refuse where nothing may be sent; a name that is not known yet is looked at when sent."""
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
                return RetryIn(0.0, "more is to be delivered", _position_payload(place, failures))
        return RetryIn(
            0.0 if page.more else LOOK_EVERY_SECONDS, None, _position_payload(page.until, failures)
        )

    async def _secret_of(self, subscription: EventSubscription) -> Secret:
        """Return what signs, and let the newest key encrypt it if an older one has, or none."""
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
        """Send an event; return why it was not taken, None when it was."""
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
        return None if answer.status // 100 == 2 else f"it answered {answer.status}"  # noqa: PLR2004  # success

    async def _later(
        self, subscription: EventSubscription, place: Position, failures: int, because: str
    ) -> Answer:
        if failures >= FAILURES_BEFORE_ALERT:
            await self._alert(
                FAILING,
                subscription.id,
                f"Events are not taken at {urlsplit(subscription.url).hostname} since {failures} "
                f"tries: {because} They wait in order; mend it, or end the subscription.",
            )
        wait = SEND_AGAIN_SECONDS * 2 ** min(failures - 1, DOUBLINGS_MAX)
        due_in = self._time_scale.seconds(min(wait, SEND_AGAIN_SECONDS_MAX))
        return RetryIn(due_in, because, _position_payload(place, failures))

    async def _recovered(self, subscription_id: UUID) -> None:
        async with self._tables.database.transaction() as connection:
            await self._no_longer_failing(subscription_id, "It takes events again.", connection)

    async def _no_longer_failing(
        self, subscription_id: UUID, resolution: str, connection: Connection
    ) -> None:
        await self._tables.cases.close(
            FAILING, subscription_id, resolution=resolution, owner="caas", within=connection
        )


def body_of(event: CompanyEvent) -> dict[str, object]:
    """Return an event as it is told: by the API and by webhooks alike."""
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


def _position_payload(place: Position, failures: int) -> dict[str, object]:
    return {"after": place.id, "failures": failures}

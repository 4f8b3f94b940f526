"""Domain events, read by position or delivered as signed webhooks, and the audit log.

The audit log, for export, records sign-ins and changes to keys, accounts and links.

Rules a change must keep: a restricted key sees only its own events; subscriptions require the
operations scope; a secret is returned once, when its subscription is created; audit events are
ordered by id, so that `after` continues the list.
"""

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

import msgspec
from msgspec import Meta

from caas.api.authentication import Call
from caas.api.bodies import PAGE_ROWS, BodyOf, Limit, QueryOf
from caas.api.context import Api
from caas.api.idempotency import once
from caas.api.operation import Operation
from caas.api.problems import Problem
from caas.api.row_answers import answer_from, page_of
from caas.api.texts import CallbackUrl, EventId, EventType
from caas.billing_database.audit_events import AuditEvents, AuditType
from caas.billing_database.company_events import EventSubscription, position_of
from caas.event_delivery import body_of
from caas.rules.scopes import Scope
from caas.web.response import Response, encode, json_response

TAG: Final = "events"
PATH: Final = "/v1/event-subscriptions"


class HappenedAnswer(msgspec.Struct, frozen=True):
    """A domain event; `data` holds the id of the object, keyed by its kind, and its states."""

    id: str
    type: str
    occurred_at: datetime
    data: dict[str, str | None]


class EventPage(msgspec.Struct, frozen=True):
    """Events, oldest first. Continue with `next_after`, at once while `more` is true."""

    data: list[HappenedAnswer]
    next_after: str
    more: bool


class EventQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Filters: events after an id, of a type (`payment.bank_confirms`) or a source (`payment`)."""

    after: EventId | None = None
    type: EventType | None = None
    limit: Limit = PAGE_ROWS


class EventSubscriptionQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Filters for event subscriptions."""

    cursor: UUID | None = None
    limit: Limit = PAGE_ROWS


class EventSubscriptionBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The endpoint; without `types` it gets all events, without `after` only new ones."""

    url: CallbackUrl
    types: Annotated[list[EventType], Meta(max_length=50)] = []
    after: EventId | None = None


class ReplayBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The event id after which delivery restarts."""

    after: EventId


class EventSubscriptionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An event subscription."""

    id: UUID
    url: str
    types: list[str]
    created_by: str
    created_at: datetime
    ended_at: datetime | None
    links: dict[str, str]


class NewEventSubscriptionAnswer(EventSubscriptionAnswer, frozen=True, kw_only=True):
    """A new subscription; `secret` (Standard Webhooks) is null on a repeated call."""

    secret: str | None


class EventSubscriptionPage(msgspec.Struct, frozen=True):
    """Subscriptions, newest first; pass `next_cursor` to get the next page."""

    data: list[EventSubscriptionAnswer]
    next_cursor: str | None


EVENTS: Final = QueryOf(EventQuery)
LISTED: Final = QueryOf(EventSubscriptionQuery)
NEW: Final = BodyOf(EventSubscriptionBody)
REPLAY: Final = BodyOf(ReplayBody)


async def list_events(api: Api, call: Call) -> Response:
    """List events, oldest first. A restricted key sees only its own."""
    query = EVENTS.read(call.scope["query_string"])
    page = await api.platform.event_delivery.events.after(
        position_of(query.after) if query.after else None,
        types=[query.type] if query.type else (),
        customer=call.by.customer, dealership=call.by.dealership, rows_max=query.limit,
    )  # fmt: skip
    to_response = [msgspec.convert(_plain(body_of(event)), HappenedAnswer) for event in page.events]
    return json_response(200, EventPage(to_response, page.until.id, page.more))


async def subscribe_to_events(api: Api, call: Call) -> Response:
    """Subscribe to events. They are delivered to a URL, in order and signed, until acknowledged."""
    body = NEW.read(call.body)

    async def make() -> Response:
        made, secret = await api.platform.event_delivery.subscribe(
            url=body.url, types=body.types, after=body.after, by=call.by.actor
        )
        to_response = answer_from(
            NewEventSubscriptionAnswer, made, secret=secret, links=_links(made)
        )
        return json_response(201, to_response, (b"location", to_response.links["self"].encode()))

    return await once(api.platform.tables.keys, call, body, make, kept=_without_secret)


async def list_event_subscriptions(api: Api, call: Call) -> Response:
    """List event subscriptions, newest first."""
    query = LISTED.read(call.scope["query_string"])
    page = await api.platform.event_delivery.subscriptions(
        before=query.cursor, rows_max=query.limit + 1
    )
    shown, more = page_of(page, query.limit)
    return json_response(200, EventSubscriptionPage([_to_response(one) for one in shown], more))


async def get_event_subscription(api: Api, call: Call) -> Response:
    """Return an event subscription without its secret."""
    one = await api.platform.event_delivery.subscription(call.ids["subscription_id"])
    return json_response(200, _to_response(one))


async def end_event_subscription(api: Api, call: Call) -> Response:
    """Stop a subscription. Repeating the call changes nothing."""
    ended = await api.platform.event_delivery.end(call.ids["subscription_id"], by=call.by.actor)
    return json_response(200, _to_response(ended))


async def replay_events(api: Api, call: Call) -> Response:
    """Deliver events again from a position."""
    body, subscription_id = REPLAY.read(call.body), call.ids["subscription_id"]

    async def replay() -> Response:
        await api.platform.event_delivery.replay(subscription_id, after=body.after)
        return json_response(
            202, _to_response(await api.platform.event_delivery.subscription(subscription_id))
        )

    return await once(api.platform.tables.keys, call, body, replay)


def _without_secret(answer: Response) -> bytes:
    made = msgspec.json.decode(answer.body, type=NewEventSubscriptionAnswer)
    return encode(msgspec.structs.replace(made, secret=None))


def _plain(to_response: dict[str, object]) -> object:
    return msgspec.to_builtins(to_response)


def _links(one: EventSubscription) -> dict[str, str]:
    return {"self": f"{PATH}/{one.id}", "replay": f"{PATH}/{one.id}/replay"}


def _to_response(one: EventSubscription) -> EventSubscriptionAnswer:
    return answer_from(EventSubscriptionAnswer, one, links=_links(one))


_ONE: Final = f"{PATH}/{{subscription_id:uuid}}"
_SCOPES: Final = frozenset({Scope.OPERATIONS})

EVENT_OPERATIONS: Final = (
    Operation(
        id="listEvents", narrowed=True, tag=TAG, method="GET", path="/v1/events", query=EVENTS,
        answers={200: EventPage}, handle=list_events,
    ),
    Operation(
        id="subscribeToEvents", tag=TAG, method="POST", path=PATH, scopes=_SCOPES, body=NEW,
        answers={201: NewEventSubscriptionAnswer, 409: Problem}, handle=subscribe_to_events,
    ),
    Operation(
        id="listEventSubscriptions", tag=TAG, method="GET", path=PATH, scopes=_SCOPES,
        query=LISTED, answers={200: EventSubscriptionPage}, handle=list_event_subscriptions,
    ),
    Operation(
        id="getEventSubscription", tag=TAG, method="GET", path=_ONE, scopes=_SCOPES,
        answers={200: EventSubscriptionAnswer, 404: Problem}, handle=get_event_subscription,
    ),
    Operation(
        id="endEventSubscription", tag=TAG, method="DELETE", path=_ONE, scopes=_SCOPES,
        answers={200: EventSubscriptionAnswer, 404: Problem}, handle=end_event_subscription,
    ),
    Operation(
        id="replayEvents", tag=TAG, method="POST", path=f"{_ONE}/replay", scopes=_SCOPES,
        body=REPLAY, answers={202: EventSubscriptionAnswer, 404: Problem, 409: Problem},
        handle=replay_events,
    ),
)  # fmt: skip


class AuditEventAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An audit event; `actor` is the account, or a label when no account acted."""

    id: UUID
    type: AuditType
    actor: str
    account: UUID | None
    subject: UUID | None
    network: str | None
    at: datetime


class AuditPage(msgspec.Struct, frozen=True, kw_only=True):
    """Events, oldest first; `next_after` is present if there are more."""

    data: list[AuditEventAnswer]
    next_after: UUID | None


class AuditQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Filters: events after an id, and of one type."""

    after: UUID | None = None
    type: AuditType | None = None
    limit: Limit = PAGE_ROWS


AUDITED: Final = QueryOf(AuditQuery)


async def list_audit_events(api: Api, call: Call) -> Response:
    """List audit events, the oldest first."""
    query = AUDITED.read(call.scope["query_string"])
    events = await AuditEvents(api.platform.tables.database).after(
        query.after, type_=query.type, rows_max=query.limit + 1
    )
    shown = events[: query.limit]
    more = shown[-1].id if len(events) > query.limit else None
    reported = [answer_from(AuditEventAnswer, one) for one in shown]
    return json_response(200, AuditPage(data=reported, next_after=more))


AUDIT_OPERATIONS: Final = (
    Operation(
        id="listAuditEvents", tag="operations", method="GET", path="/v1/audit-events",
        scopes=frozenset({Scope.OPERATIONS}), query=AUDITED, answers={200: AuditPage},
        handle=list_audit_events,
    ),
)  # fmt: skip

"""Domain events in one order, and the subscriptions that receive them.

Payments, orders, subscriptions, vehicles and documents have an event table each. This module reads
them by time, up to the start of the oldest open transaction, so that no event appears later behind
a reader's position. An event id is a position; the next page starts after it.

Rules a change must keep: a page and the time range it scans are bounded; an empty page reports how
far it scanned, so that the next one continues there; a subscription is created and ended, and
otherwise unchanged except for re-encryption of its secret; secrets are stored encrypted and deleted
at the end.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.connection import Connection, Database
from caas.billing_database.filters import composed
from caas.billing_database.rows import columns, read_all, row_as
from caas.errors import NotFoundError, RefusedError

FIRST_WINDOW: Final = timedelta(minutes=1)
WIDER_TIMES: Final = 4
WINDOWS_MAX: Final = 12
EVENTS_READ_MAX: Final = 2_000
EXPECTED: Final = """
explain (format json) select from (
  select at from payment_events union all select at from order_events
  union all select at from subscription_events union all select at from vehicle_events
  union all select issued_at from invoices) e where e.at >= $1 and e.at < $2
"""
"""How many events the statistics expect in a time range: to count them would be to read them."""
WHOLE_UNTIL: Final = "select events_are_whole_until() as until"
CLOCK: Final = "select clock_timestamp() as now"
SINCE: Final = "select min(ran_at) as since from migrations"
LISTED: Final = """
select at, source, subject, seq, type, state, before, of_type, about, customer, dealership
  from company_events
 where at >= $1 and at < $2 and (at, source, subject, seq) > ($1, $3::text, $4::text, $5::integer)
   and {given}
 order by at, source, subject, seq limit $6
"""
_ID: Final = re.compile(
    r"([0-9]{1,17})(?:_(payment|order|subscription|vehicle|document)_([A-Za-z0-9-]{3,36})"
    r"_([0-9]{1,9}))?"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class EventIdRefusedError(RefusedError):
    """The event id is invalid. Pass `next_after` of the previous page, or omit it to start over."""

    code = "event_id_refused"


class EventPosition(msgspec.Struct, frozen=True, order=True):
    """A reader's position: after an event, or after a point in time."""

    at: datetime
    source: str = ""
    subject: str = ""
    seq: int = 0

    @property
    def id(self) -> str:
        """The position as text."""
        micros = (self.at - _EPOCH) // timedelta(microseconds=1)
        return f"{micros}_{self.source}_{self.subject}_{self.seq}" if self.source else str(micros)


class CompanyEvent(msgspec.Struct, frozen=True):
    """A domain event with ids, states and its owner."""

    position: EventPosition
    type: str
    state: str
    before: str | None
    of_type: str | None
    about: UUID | None
    customer: UUID | None
    dealership: str | None


class Happened(msgspec.Struct, frozen=True):
    """A page of events, oldest first; `more` says whether further events exist already."""

    events: list[CompanyEvent]
    until: EventPosition
    more: bool


def position_of(event_id: str) -> EventPosition:
    """Parse an event id.

    Raises:
        EventIdRefusedError: it is not one.
    """
    read = _ID.fullmatch(event_id)
    if read is None:
        raise EventIdRefusedError
    micros, source, subject, seq = read.groups()
    try:
        at = _EPOCH + timedelta(microseconds=int(micros))
    except OverflowError as error:
        raise EventIdRefusedError from error
    return EventPosition(at, source or "", subject or "", int(seq or 0))


class CompanyEvents:
    """Reads domain events."""

    def __init__(self, database: Database) -> None:
        """Read through this database."""
        self._database = database

    async def now(self) -> EventPosition:
        """Return the position after the latest event."""
        row = await self._database.fetchrow(WHOLE_UNTIL)
        assert row is not None, "a function returns one row"
        return EventPosition(row["until"])

    async def clock(self) -> datetime:
        """Return the real time, without any test offset of the database's clock."""
        row = await self._database.fetchrow(CLOCK)
        assert row is not None, "the time is one row"
        moment: datetime = row["now"]
        return moment

    async def after(
        self,
        position: EventPosition | None,
        *,
        types: Sequence[str] = (),
        customer: UUID | None = None,
        dealership: str | None = None,
        rows_max: int,
    ) -> Happened:
        """Return the events after a position, or from the beginning."""
        place = position or await self._beginning()
        whole = (await self.now()).at
        width = FIRST_WINDOW
        for _ in range(WINDOWS_MAX):
            if place.at >= whole:
                break
            until = await self._narrowed(place.at, min(place.at + width, whole))
            query, arguments = composed(
                LISTED, place.at, until, place.source, place.subject, place.seq, rows_max,
                given={
                    "(type = any ($) or source = any ($))": list(types) or None,
                    "customer = $": customer,
                    "dealership = $": dealership,
                },
            )  # fmt: skip
            rows = await self._database.fetch(query, *arguments)
            if rows:
                events = [_event(row) for row in rows]
                more = len(rows) == rows_max or until < whole
                end = events[-1].position if len(rows) == rows_max else EventPosition(until)
                return Happened(events, end, more)
            place, width = EventPosition(until), (until - place.at) * WIDER_TIMES
        return Happened([], place, place.at < whole)

    async def _narrowed(self, at: datetime, until: datetime) -> datetime:
        """Return an end of the time range before which few enough events are expected."""
        while until - at > FIRST_WINDOW:
            (row,) = await self._database.fetch(EXPECTED, at, until)
            (plan,) = json.loads(row[0])
            if plan["Plan"]["Plan Rows"] <= EVENTS_READ_MAX:
                break
            until = at + (until - at) / WIDER_TIMES
        return until

    async def _beginning(self) -> EventPosition:
        row = await self._database.fetchrow(SINCE)
        assert row is not None, "a minimum is one row"
        return EventPosition(row["since"])


def _event(row: Sequence[object]) -> CompanyEvent:
    at, source, subject, seq, *rest = tuple(row)
    return CompanyEvent(EventPosition(at, source, subject, seq), *rest)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class EventSubscription:
    """An event subscription; without types it receives all.

    `secret` is set only if it was stored before secrets were encrypted.
    """

    id: UUID
    url: str
    types: list[str]
    secret: str | None = field(repr=False)
    encrypted_secret: bytes | None = field(repr=False)
    created_by: str
    created_at: datetime
    ended_at: datetime | None


COLUMNS: Final = f"select {columns(EventSubscription)}"
ONE: Final = f"{COLUMNS} from event_subscriptions where id = $1"
SUBSCRIPTIONS: Final = f"""
{COLUMNS} from event_subscriptions where ended_at is null and {{given}}
 order by id desc limit $1
"""
RUNNING: Final = "select count(*) as running from event_subscriptions where ended_at is null"
ADD: Final = """
insert into event_subscriptions (id, url, types, encrypted_secret, created_by, created_at)
values ($1, $2, $3, $4, $5, db_now())
"""
END: Final = """
update event_subscriptions set ended_at = db_now(), secret = null, encrypted_secret = null
 where id = $1 and ended_at is null returning id
"""
ENCRYPTED: Final = """
update event_subscriptions set encrypted_secret = $2, secret = null
 where id = $1 and ended_at is null
"""


class EventSubscriptionNotFoundError(NotFoundError):
    """No event subscription has this id."""

    code = "event_subscription_not_found"


class EventSubscriptions:
    """The table of event subscriptions."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database

    async def get(self, subscription_id: UUID) -> EventSubscription:
        """Return a subscription.

        Raises:
            EventSubscriptionNotFoundError: no subscription has this id.
        """
        row = await self._database.fetchrow(ONE, subscription_id)
        if row is None:
            raise EventSubscriptionNotFoundError(f"No subscription has the id {subscription_id}.")
        return row_as(EventSubscription, row)

    async def listed(self, *, before: UUID | None, rows_max: int) -> list[EventSubscription]:
        """Return the active subscriptions, newest first."""
        query, arguments = composed(SUBSCRIPTIONS, rows_max, given={"id < $": before})
        return await read_all(EventSubscription, self._database, query, *arguments)

    async def running(self, *, within: Connection) -> int:
        """Count the active subscriptions."""
        return int(await within.fetchval(RUNNING))

    async def add(  # the columns of a subscription, by name
        self,
        subscription_id: UUID,
        *,
        url: str,
        types: list[str],
        encrypted_secret: bytes,
        by: str,
        within: Connection,
    ) -> None:
        """Add a subscription."""
        await within.execute(ADD, subscription_id, url, types, encrypted_secret, by)

    async def encrypted(self, subscription_id: UUID, encrypted_secret: bytes) -> None:
        """Store the secret encrypted with the newest key."""
        await self._database.fetch(ENCRYPTED, subscription_id, encrypted_secret)

    async def end(self, subscription_id: UUID, *, within: Connection) -> bool:
        """End a subscription; return whether it was active."""
        return await within.fetchval(END, subscription_id) is not None

"""Which rows an invariant is checked on: all, a slice of them, or those touched since a mark.

Queries of invariants name the key that decides in their conditions: `within(p.id)`. It becomes a
range of ids in a slice, a list of ids for what was touched, and nothing where everything is read.
The ids are read before the query: what it compares with a row of such a key, it finds by itself.

What was touched is found by the time of each event, order, command, acknowledgement, document,
case and discrepancy, and completed with the ids that refer to it. The next mark is the time before
which every transaction has ended (`events_are_whole_until`), so rows of transactions that commit
late are read next time. A change that bypasses the platform leaves no such time, unless it is of a
row that is touched as well: the full check finds it.

Rules a change must keep: all keys of a statement that are compared with each other have one value,
or a slice reports what is no violation; a key is a uuid, or a VIN in a column named `vin`.
"""

import re
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.connection import Connection

KEY: Final = re.compile(r"\bwithin\(((?:\w+\.)?(\w+))\)")
PAYMENTS_PER_SLICE: Final = 5_000
SUBJECTS_AT_ONCE: Final = 1_000
EVEN_SLICES_MAX: Final = 64
ID_MAX: Final = (1 << 128) - 1

BOUNDS: Final = """
select id from (select id, row_number() over (order by id) as n from payments) p where n % $1 = 0
"""
TOUCHED: Final = """
select id from (
  select payment_id as id from payment_events where at >= $1
  union select payment_id from ledger_entries where at >= $1
  union select payment_id from resolution_claims where claimed_at >= $1
  union select payment_id from gateway_calls where asked_at >= $1
  union select payment_id from refunds where created_at >= $1
  union select order_id from order_events where at >= $1
  union select subscription from subscription_events where at >= $1
  union select id from service_orders where created_at >= $1
  union select subject from ota_commands where created_at >= $1
  union select subject from delivery_evidence where recorded_at >= $1
  union select id from invoices where issued_at >= $1
  union select i.id from billing_runs r join invoices i on i.month = r.month
           and i.issued_at between r.started_at and r.finished_at where r.finished_at >= $1
  union select id from webhook_inbox where received_at >= $1
  union select subject from cases where opened_at >= $1
  union select report_id from settlement_lines where at >= $1
  union select payment_id from settlement_lines where at >= $1
  union select report_id from quarantined_lines where found_at >= $1 or released_at >= $1
  union select payment_id from identified_lines where at >= $1
  union select discrepancy_id from discrepancy_events where at >= $1
  union select payment_id from discrepancy_entries where at >= $1
  union select discrepancy_id from gateway_claim_events where at >= $1) t
 where id is not null order by id
"""
TOUCHED_VINS: Final = "select distinct vin from vehicle_events where at >= $1 order by vin"
# What belongs to a subject: what it is for, its payments, what was sold, documented and given back
# for it, what is beside it on its vehicle, and what was said about it. Each step adds to the ids
# before it.
STEPS: Final = (
    """select subject as id from payments where id = any ($1)
    union select coalesce(subscription, payment_id) from invoices where id = any ($1)
    union select corrects from invoices where id = any ($1)""",
    "select id from payments where subject = any ($1)",
    """select entitlement as id from entitlement_terms where payment_id = any ($1)
    union select entitlement from entitlement_terms where service_order = any ($1)
    union select entitlement from entitlement_terms where subscription = any ($1)
    union select id from invoices where payment_id = any ($1)
    union select id from invoices where coalesce(subject, subscription) = any ($1)
    union select id from invoices where corrects = any ($1)
    union select id from refunds where payment_id = any ($1)
    union select id from refund_decisions where payment_id = any ($1)
    union select id from discrepancies where payment_id = any ($1)
    union select id from event_subscriptions""",
    """select unnest(array[id, payment_id, subscription]) as id from entitlement_terms
        where entitlement = any ($1)
    union select corrects from invoices where id = any ($1)""",
    """select id from delivery_evidence where subject = any ($1)
    union select id from notifications where subject = any ($1)
    union select customer from orders where id = any ($1)
    union select customer from payments where id = any ($1)""",
)
OF_VEHICLES: Final = "select id from orders where vin = any ($1)"
VINS: Final = """
select vin from orders where id = any ($1) and vin is not null
union select vin from invoices where id = any ($1) and vin is not null
"""
UNTIL: Final = "select events_are_whole_until() as until"


class Slice(msgspec.Struct, frozen=True):
    """All rows with ids in a range; vehicles are few and come with the first range."""

    first: UUID
    last: UUID
    vehicles: bool

    @property
    def key(self) -> str:
        """Where it begins, to go on after it."""
        return str(self.first)


class Touched(msgspec.Struct, frozen=True):
    """The rows that belong to these ids and vehicles."""

    ids: Sequence[UUID]
    vins: Sequence[str]


class Pages(msgspec.Struct, frozen=True):
    """A few pages of a table, with the query for its text columns; the last have no end."""

    of_table: str
    query: str
    first: int
    is_last: bool

    @property
    def key(self) -> str:
        """Where it begins, to go on after it."""
        return f"{self.of_table} {self.first}"


class Everything(msgspec.Struct, frozen=True):
    """All rows, in one statement."""

    key: str = "everything"


Part = Slice | Pages | Everything
"""A part of all rows; `key` tells where it begins, to go on after it."""
Scope = Part | Touched
EVERYTHING: Final = Everything()


def has_slices(query: str) -> bool:
    """Return whether a query can be asked slice by slice."""
    return "within(" in query


def has_marks(query: str) -> bool:
    """Return whether a query can be asked about what was touched."""
    return KEY.search(query) is not None


def scoped(query: str, scope: Scope) -> tuple[str, list[object]]:
    """Return the query over a scope, with its arguments."""
    arguments: list[object] = []

    def place(value: object, kind: str) -> str:
        if not any(value is known for known in arguments):
            arguments.append(value)
        number = next(n for n, known in enumerate(arguments, 1) if value is known)
        return f"${number}::{kind}"

    def condition(found: re.Match[str]) -> str:
        key, column = found.groups()
        match scope:
            case Slice() if column == "vin":
                return place(scope.vehicles, "boolean")
            case Slice():
                return f"{key} between {place(scope.first, 'uuid')} and {place(scope.last, 'uuid')}"
            case Touched() if column == "vin":
                return f"{key} = any ({place(scope.vins, 'text[]')})"
            case Touched():
                return f"{key} = any ({place(scope.ids, 'uuid[]')})"
            case _:
                return "true"

    return KEY.sub(condition, query), arguments


async def slices(connection: Connection) -> list[Slice]:
    """Return ranges that together hold every id.

    They follow the payments. Ids that are not in order of time are spread over even ranges.
    """
    rows = await connection.fetch(BOUNDS, PAYMENTS_PER_SLICE)
    even_slices = min(len(rows) + 1, EVEN_SLICES_MAX)
    even = (ID_MAX // even_slices * number for number in range(1, even_slices))
    bounds = sorted({0, *(row["id"].int for row in rows), *even})
    ends = [*(bound - 1 for bound in bounds[1:]), ID_MAX]
    return [
        Slice(UUID(int=first), UUID(int=last), vehicles=first == 0)
        for first, last in zip(bounds, ends, strict=True)
    ]


async def whole_until(connection: Connection) -> datetime:
    """Return the time before which every row is visible, for the next mark."""
    until: datetime = await connection.fetchval(UNTIL)
    return until


async def touched_since(connection: Connection, mark: datetime) -> AsyncIterator[Touched]:
    """Yield what was touched since a mark, a limited number of subjects at a time."""
    ids = [row["id"] for row in await connection.fetch(TOUCHED, mark)]
    vins = [row["vin"] for row in await connection.fetch(TOUCHED_VINS, mark)]
    for start in range(0, max(len(ids), len(vins)), SUBJECTS_AT_ONCE):
        part = slice(start, start + SUBJECTS_AT_ONCE)
        yield await _completed(connection, ids[part], vins[part])


async def _completed(
    connection: Connection, subjects: Sequence[UUID], vehicles: Sequence[str]
) -> Touched:
    ids = {*subjects, *(row["id"] for row in await connection.fetch(OF_VEHICLES, vehicles))}
    for step in STEPS:
        ids |= {row["id"] for row in await connection.fetch(step, list(ids))}
        ids.discard(None)
    vins = {row["vin"] for row in await connection.fetch(VINS, list(ids))}
    return Touched(list(ids), [*vins.union(vehicles)])

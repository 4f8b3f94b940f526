"""Metered usage: records, cancellations and disputes (Diagram 6).

Rules a change must keep: a source id counts once; billed usage never changes; cancelling or
disputing usage blocks billing batches until the transaction ends.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.connection import Connection, Database, Row
from caas.billing_database.filters import composed
from caas.billing_database.identifiers import new_id
from caas.billing_database.rows import PAGE_ROWS_MAX, columns, read_all, read_one, row_as

CLOCKS_DIFFER_SECONDS_MAX: Final = 300

HOLD_OFF_INVOICES: Final = "select pg_advisory_xact_lock_shared(hashtext('caas usage'))"
HOLD_OFF_CHANGES: Final = "select pg_advisory_xact_lock(hashtext('caas usage'))"
"""Many may change use at once, and no batch of invoices beside them."""

ADD: Final = """
insert into usage_records (subscription, source_id, unit, quantity, at, recorded_at, cancels)
select $1, $2, $3, $4, $5, db_now(), $7 where $5 <= db_now() + make_interval(secs => $6)
returning source_id
"""


class Use(msgspec.Struct, frozen=True):
    """Units used at a point in time; `invoice` is the one that bills them, if any.

    A cancelling record has the negative quantity and the cancelled id in `cancels`.
    """

    source_id: str
    unit: str
    quantity: int
    at: datetime
    invoice: UUID | None = None
    cancels: str | None = None
    disputed: bool = False


DISPUTED: Final = """exists (
         select from usage_disputes d where d.subscription = u.subscription
            and d.source_id = u.source_id and d.ended_at is null)"""
COLUMNS: Final = f"select {columns(Use, 'u', disputed=DISPUTED)} from usage_records u"
ONE: Final = COLUMNS + " where u.subscription = $1 and u.source_id = $2"
CANCELLED_BY: Final = COLUMNS + " where u.subscription = $1 and u.cancels = $2"
LISTED: Final = (
    COLUMNS
    + """
 where u.subscription = $1 and {given} order by u.at desc limit $2
"""
)
WAITING: Final = """
select unit, sum(quantity)::text as quantity from usage_records
 where subscription = $1 and invoice is null group by unit
"""
OPEN_DISPUTE: Final = """
insert into usage_disputes (id, subscription, source_id, because, opened_by, opened_at)
values ($1, $2, $3, $4, $5, db_now()) on conflict do nothing returning *
"""
DISPUTE: Final = "select * from usage_disputes where id = $1 for update"
IS_ERASED: Final = """
select c.erased_at is not null as is_erased
  from subscriptions s join customers c on c.id = s.customer where s.id = $1 for share of c
"""
DISPUTE_OF: Final = """
select * from usage_disputes
 where subscription = $1 and source_id = $2 and ended_at is null for update
"""
END_DISPUTE: Final = """
update usage_disputes set outcome = $2, ended_by = $3, ended_at = db_now()
 where id = $1 and ended_at is null returning *
"""


class UsageDispute(msgspec.Struct, frozen=True):
    """A usage dispute; while it is open, the usage is not billed."""

    id: UUID
    subscription: UUID
    source_id: str
    because: str
    opened_by: str
    opened_at: datetime
    outcome: str | None
    ended_by: str | None
    ended_at: datetime | None


class UsageRecords:
    """The tables of usage and its disputes."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database

    async def hold_off_invoices(self, *, within: Connection) -> None:
        """Block billing batches until the transaction ends; wait for a running one."""
        await within.execute(HOLD_OFF_INVOICES)

    async def add(self, subscription: UUID, use: Use, *, within: Connection) -> bool:
        """Add a usage record; False if its time is in the future."""
        row = await within.fetchrow(
            ADD,
            subscription,
            use.source_id,
            use.unit,
            use.quantity,
            use.at,
            CLOCKS_DIFFER_SECONDS_MAX,
            use.cancels,
        )
        return row is not None

    async def find(self, subscription: UUID, source_id: str, *, within: Connection) -> Use | None:
        """Return the record with this source id, or None."""
        return _use(await within.fetchrow(ONE, subscription, source_id))

    async def cancelled_by(
        self, subscription: UUID, source_id: str, *, within: Connection
    ) -> Use | None:
        """Return the record that cancels this one, or None."""
        return _use(await within.fetchrow(CANCELLED_BY, subscription, source_id))

    async def waiting(self, subscription: UUID, *, within: Connection) -> dict[str, int]:
        """Return the unbilled quantity of each unit."""
        rows = await within.fetch(WAITING, subscription)
        return {row["unit"]: int(row["quantity"]) for row in rows}

    async def listed(self, subscription: UUID, *, before: datetime | None = None) -> list[Use]:
        """Return a page of usage, newest first."""
        query, arguments = composed(LISTED, subscription, PAGE_ROWS_MAX, given={"u.at < $": before})
        return await read_all(Use, self._database, query, *arguments)

    async def open_dispute(
        self, subscription: UUID, source_id: str, *, because: str, by: str, within: Connection
    ) -> UsageDispute:
        """Open a dispute, or return the open one."""
        row = await within.fetchrow(OPEN_DISPUTE, new_id(), subscription, source_id, because, by)
        row = row or await within.fetchrow(DISPUTE_OF, subscription, source_id)
        assert row is not None, "it was written, or another one is open"
        return row_as(UsageDispute, row)

    async def is_erased(self, subscription: UUID, *, within: Connection) -> bool:
        """Return whether the subscription's customer was erased, locked until the commit."""
        return bool(await within.fetchval(IS_ERASED, subscription))

    async def dispute(self, dispute_id: UUID, *, within: Connection) -> UsageDispute | None:
        """Return a dispute locked until the transaction ends, or None."""
        return await read_one(UsageDispute, within, DISPUTE, dispute_id)

    async def dispute_of(
        self, subscription: UUID, source_id: str, *, within: Connection
    ) -> UsageDispute | None:
        """Return the open dispute of a record, or None."""
        return await read_one(UsageDispute, within, DISPUTE_OF, subscription, source_id)

    async def end_dispute(
        self, dispute_id: UUID, *, outcome: str, by: str, within: Connection
    ) -> UsageDispute:
        """End an open dispute."""
        row = await within.fetchrow(END_DISPUTE, dispute_id, outcome, by)
        assert row is not None, "only an open dispute is ended"
        return row_as(UsageDispute, row)


def _use(row: Row | None) -> Use | None:
    return None if row is None else row_as(Use, row)

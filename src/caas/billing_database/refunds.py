"""Refunds and disputes as rows: what is given back of a payment, and what is argued about.

Rules a change must keep: every write that lets more be given back locks the payment's row first;
the database refuses what would exceed the money received.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from caas.billing_database.connection import Connection, Database

LOCK_PAYMENT: Final = "select lock_payment($1)"
GIVEN_BACK: Final = """
select coalesce((select sum(amount) from refunds
                  where payment_id = $1 and state <> 'failed'), 0)::bigint
     + coalesce((select sum(amount) from disputes
                  where payment_id = $1 and state in ('opened', 'lost')), 0)::bigint as amount
"""
ADD: Final = """
insert into refunds (id, payment_id, amount, currency, reason, requested_by, state, created_at,
    updated_at)
values ($1, $2, $3, $4, $5, $6, 'waiting', db_now(), db_now()) on conflict (id) do nothing
"""
COLUMNS: Final = """
select id, payment_id, amount, currency, reason, requested_by, state, outcome, gateway_refund_id,
       failed_because, created_at, updated_at,
       extract(epoch from db_now() - created_at)::float8 as age_seconds,
       extract(epoch from db_now() - updated_at)::float8 as unmoved_seconds, issue from refunds
"""
ONE: Final = COLUMNS + " where id = $1"
OF_PAYMENT: Final = COLUMNS + " where payment_id = $1 order by created_at"
BY_GATEWAY_ID: Final = COLUMNS + " where gateway_refund_id = $1"
SET: Final = """
update refunds set state = $2, outcome = $3, gateway_refund_id = coalesce($4, gateway_refund_id),
       failed_because = $5, updated_at = db_now()
 where id = $1 and state not in ('succeeded', 'failed') returning id
"""
NEXT_ISSUE: Final = """
update refunds set issue = issue + 1, updated_at = db_now() where id = $1
"""
PUT_DISPUTE: Final = """
insert into disputes as d (id, payment_id, amount, currency, state, reason, opened_at, updated_at)
values ($1, $2, $3, $4, $5, $6, db_now(), db_now())
on conflict (id) do update set state = excluded.state, updated_at = excluded.updated_at
"""
DISPUTE: Final = """
select id, payment_id, amount, currency, state, reason, opened_at, updated_at from disputes
 where id = $1
"""
DISPUTES_OF_PAYMENT: Final = """
select id, payment_id, amount, currency, state, reason, opened_at, updated_at from disputes
 where payment_id = $1 order by opened_at
"""


@dataclass(frozen=True, slots=True)
class Refund:
    """Money given back of a payment; `amount` in minor units of `currency`."""

    id: UUID
    payment_id: UUID
    amount: int
    currency: str
    reason: str
    requested_by: str
    state: str
    outcome: str
    gateway_refund_id: str | None
    failed_because: str | None
    created_at: datetime
    updated_at: datetime
    age_seconds: float = 0.0
    unmoved_seconds: float = 0.0
    issue: int = 1


@dataclass(frozen=True, slots=True)
class Dispute:
    """A chargeback the customer's bank raised; `id` is the gateway's."""

    id: str
    payment_id: UUID
    amount: int
    currency: str
    state: str
    reason: str
    opened_at: datetime
    updated_at: datetime


class Refunds:
    """The tables of refunds and disputes."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database

    async def given_back(self, payment_id: UUID, *, within: Connection) -> int:
        """Lock the payment and return what of it is given back, promised or argued about."""
        await within.fetchrow(LOCK_PAYMENT, payment_id)
        row = await within.fetchrow(GIVEN_BACK, payment_id)
        assert row is not None, "a sum is one row"
        return int(row["amount"])

    async def add(  # noqa: PLR0913  # the columns of a refund
        self,
        refund_id: UUID,
        payment_id: UUID,
        *,
        amount: int,
        currency: str,
        reason: str,
        requested_by: str,
        within: Connection,
    ) -> None:
        """Write down that money is to be given back; the same id is written once."""
        await within.execute(ADD, refund_id, payment_id, amount, currency, reason, requested_by)

    async def get(self, refund_id: UUID, *, within: Connection | None = None) -> Refund | None:
        """Return a refund, or None."""
        row = await (within or self._database).fetchrow(ONE, refund_id)
        return None if row is None else Refund(**dict(row))

    async def by_gateway_id(self, gateway_refund_id: str) -> Refund | None:
        """Return the refund the gateway knows by this id, or None."""
        row = await self._database.fetchrow(BY_GATEWAY_ID, gateway_refund_id)
        return None if row is None else Refund(**dict(row))

    async def of_payment(
        self, payment_id: UUID, *, within: Connection | None = None
    ) -> list[Refund]:
        """Return a payment's refunds, oldest first."""
        rows = await (within or self._database).fetch(OF_PAYMENT, payment_id)
        return [Refund(**dict(row)) for row in rows]

    async def set(
        self,
        refund_id: UUID,
        state: str,
        *,
        outcome: str = "known",
        gateway_refund_id: str | None = None,
        failed_because: str | None = None,
        within: Connection | None = None,
    ) -> bool:
        """Say how far a refund is; False when it had ended before."""
        row = await (within or self._database).fetchrow(
            SET, refund_id, state, outcome, gateway_refund_id, failed_because
        )
        return row is not None

    async def next_issue(self, refund_id: UUID) -> None:
        """Give a refund that is known to be absent at the gateway another key."""
        await self._database.fetch(NEXT_ISSUE, refund_id)

    async def put_dispute(  # noqa: PLR0913  # the columns of a dispute
        self,
        dispute_id: str,
        payment_id: UUID,
        *,
        amount: int,
        currency: str,
        state: str,
        reason: str,
        within: Connection,
    ) -> None:
        """Write down a dispute, or how far it is."""
        await within.execute(PUT_DISPUTE, dispute_id, payment_id, amount, currency, state, reason)

    async def dispute(self, dispute_id: str, *, within: Connection) -> Dispute | None:
        """Return a dispute, or None."""
        row = await within.fetchrow(DISPUTE, dispute_id)
        return None if row is None else Dispute(**dict(row))

    async def disputes_of(self, payment_id: UUID) -> list[Dispute]:
        """Return a payment's disputes, oldest first."""
        rows = await self._database.fetch(DISPUTES_OF_PAYMENT, payment_id)
        return [Dispute(**dict(row)) for row in rows]

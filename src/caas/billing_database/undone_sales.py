"""Sales that were undone, and whose money is therefore the customer's whenever it is with us.

Rule a change must keep: whether a sale was undone is read off the order, the term, the decision or
the subscription that says so, never kept beside them.
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from caas.billing_database.connection import Connection

HELD: Final = """
select coalesce(sum(amount), 0)::bigint as amount from disputes
 where payment_id = $1 and state in ('opened', 'lost')
"""
UNDONE: Final = """
select case o.state when 'withdrawn' then 'desistimiento' else 'factory_refused' end as reason
  from payments p join orders o on o.id = p.subject
 where p.id = $1 and o.state in ('withdrawn', 'factory refused')
union all
select t.ended_because from entitlement_terms t
 where t.payment_id = $1 and t.state = 'ended' and t.ended_because = 'desistimiento'
union all
select 'reservation_lost' from deposit_decisions d
 where d.payment_id = $1 and d.state = 'agreed' and d.decision = 'refund'
limit 1
"""
WITHDRAWN: Final = """
select s.id from payments p
  join invoices i on i.id = p.subject
  join subscriptions s on s.id = i.subscription
 where p.id = $1 and s.cancelled_because = 'withdrawal'
"""
PROMISED_REST: Final = """
select w.subject as id from open_work w
 where w.kind = 'promised_refund' and w.payload->>'payment' = $1::uuid::text
   and w.payload->>'amount' is null
"""


@dataclass(frozen=True, slots=True)
class Undone:
    """Why the money of a payment goes back, and the subscription whose month it paid for."""

    reason: str | None
    subscription: UUID | None


async def held_by_banks(by: Connection, payment_id: UUID) -> int:
    """Return what disputes of a payment hold."""
    row = await by.fetchrow(HELD, payment_id)
    assert row is not None, "a sum is one row"
    return int(row["amount"])


async def of_payment(by: Connection, payment_id: UUID) -> Undone:
    """Return whether what a payment paid for was undone."""
    undone = await by.fetchrow(UNDONE, payment_id)
    withdrawn = await by.fetchrow(WITHDRAWN, payment_id)
    return Undone(undone["reason"] if undone else None, withdrawn["id"] if withdrawn else None)


async def promised_rest(by: Connection, payment_id: UUID) -> list[UUID]:
    """Return the jobs that refund whatever is left of a payment."""
    return [row["id"] for row in await by.fetch(PROMISED_REST, payment_id)]

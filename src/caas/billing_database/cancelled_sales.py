"""Sales that were undone, and whose money is therefore the customer's whenever it is with us.

Rule a change must keep: whether a sale was undone is read off the order, the term, the decision or
the subscription that says so, never kept beside them. A term that a refund ended is undone as far
as disputes held its money then; of what is disputed later a person has decided that it is kept.
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from caas.billing_database.connection import Connection

HELD: Final = """
select id, amount from disputes where payment_id = $1 and state in ('opened', 'lost')
"""
# A term that a refund ended, whatever its reason, and the disputes that held money at that moment:
# what they held was the customer's already when it was decided how much more goes back.
ENDED: Final = """
select t.ended_because as reason, array(
       select d.id from disputes d
        where d.payment_id = t.payment_id and (
          select e.event from payment_events e
           where e.payment_id = t.payment_id and e.facts->>'dispute' = d.id and e.at <= c.at
           order by e.seq desc limit 1)
          in ('Dispute opened', 'Dispute counted', 'Dispute lost')) as held
  from entitlement_terms t
  join entitlement_changes c on c.term = t.id and c.state = 'ended' and c.kept is null
 where t.payment_id = $1 and t.state = 'ended'
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
select w.subject as id from jobs w
 where w.kind = 'promised_refund' and w.payload->>'payment' = $1::uuid::text
   and w.payload->>'amount' is null
"""


@dataclass(frozen=True, slots=True)
class Undone:
    """Why the money of a payment goes back, and the subscription whose month it paid for.

    Where `only` names disputes, what others give back is kept: a person decided so.
    """

    reason: str | None
    subscription: UUID | None
    only: frozenset[str] | None = None


async def held_by_banks(by: Connection, payment_id: UUID) -> dict[str, int]:
    """Return what each dispute of a payment holds."""
    return {row["id"]: int(row["amount"]) for row in await by.fetch(HELD, payment_id)}


async def of_payment(by: Connection, payment_id: UUID) -> Undone:
    """Return whether what a payment paid for was undone."""
    undone = await by.fetchrow(UNDONE, payment_id)
    withdrawn = await by.fetchrow(WITHDRAWN, payment_id)
    subscription = withdrawn["id"] if withdrawn else None
    if undone is not None:
        return Undone(undone["reason"], subscription)
    ended = await by.fetchrow(ENDED, payment_id)
    if ended is not None and ended["held"]:
        return Undone(ended["reason"], subscription, frozenset(ended["held"]))
    return Undone(None, subscription)


async def promised_rest(by: Connection, payment_id: UUID) -> list[UUID]:
    """Return the jobs that refund whatever is left of a payment."""
    return [row["id"] for row in await by.fetch(PROMISED_REST, payment_id)]

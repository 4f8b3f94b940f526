"""Cancelled sales, whose money must be refunded once it is received.

Rule a change must keep: cancellation is derived from the order, term, decision or subscription,
never stored separately. If a refund ended a term, only disputes that held money at that time count;
later disputes were kept by a person's decision.
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from caas.billing_database.connection import Connection

HELD: Final = """
select id, amount from disputes where payment_id = $1 and state in ('opened', 'lost')
"""
# A term ended by a refund, and the disputes that held money at that time:
# that money belonged to the customer when the refund was decided.
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
    """Why a payment is refunded, and the subscription whose month it paid for.

    If `only` lists disputes, money from other disputes is kept by decision.
    """

    reason: str | None
    subscription: UUID | None
    only: frozenset[str] | None = None


async def held_by_banks(by: Connection, payment_id: UUID) -> dict[str, int]:
    """Return the amount that each dispute of a payment holds."""
    return {row["id"]: int(row["amount"]) for row in await by.fetch(HELD, payment_id)}


async def of_payment(by: Connection, payment_id: UUID) -> Undone:
    """Return whether the sale of a payment was cancelled."""
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
    """Return the jobs that refund the rest of a payment."""
    return [row["id"] for row in await by.fetch(PROMISED_REST, payment_id)]

"""What decisions about discrepancies left of the money of a payment.

Rule a change must keep: sums are over the whole life of a discrepancy, so that entries which were
taken back count for nothing.
"""

from typing import Final
from uuid import UUID

from caas.billing_database.connection import Connection

# A job that knows that its last attempt sent nothing says so by the number of that attempt.
REFUND_OF: Final = """
select exists (select from discrepancy_events e
                where e.discrepancy_id = $1 and e.facts ? 'refund' and e.seq > (
                  select max(x.seq) from discrepancy_events x
                   where x.discrepancy_id = $1 and x.event in ('resolved', 'approved'))) as made,
       exists (select from jobs w
                where w.kind = 'carry_out_resolution' and w.subject = $1 and w.paused_at is null
                  and (w.payload->>'not_sent')::integer is distinct from w.attempts) as on_its_way
"""
# What the settlement lines of a payment, and decisions about them, left of what is due.
NOT_BROUGHT: Final = """
with lines as (
  select report_id, line_no, gross, posts from settlement_lines
   where payment_id = $1 and type = 'settlement' and currency = $2
   union all
  select l.report_id, l.line_no, l.gross, l.posts
    from identified_lines i join settlement_lines l using (report_id, line_no)
   where i.payment_id = $1 and l.type = 'settlement' and l.currency = $2)
select ($3::bigint - coalesce((select sum(gross) from lines where posts), 0)
  - coalesce((select sum(case 'settled_funds' when e.credit then e.amount
                              when e.debit then -e.amount end)
                from lines join discrepancies d using (report_id, line_no)
                join discrepancy_entries e on e.discrepancy_id = d.id), 0))::bigint as amount
"""
LOST: Final = """
select coalesce(sum(case when debit = $2 then amount else -amount end), 0)::bigint as lost
  from (select debit, credit, amount, currency from ledger_entries where payment_id = $1
         union all
        select e.debit, e.credit, e.amount, e.currency from discrepancies d
          join discrepancy_entries e on e.discrepancy_id = d.id where d.payment_id = $1
         union all
        select e.debit, e.credit, e.amount, e.currency from discrepancies d
          join gateway_claim_entries e on e.discrepancy_id = d.id where d.payment_id = $1) e
 where $2 in (debit, credit) and currency = $3
"""


async def lost(payment_id: UUID, account: str, currency: str, *, within: Connection) -> int:
    """Return the balance of a payment's loss account, in minor units."""
    return int(await within.fetchval(LOST, payment_id, account, currency))


async def not_brought(payment_id: UUID, currency: str, due: int, *, within: Connection) -> int:
    """Return what neither lines nor decisions brought of what is due, in minor units."""
    return int(await within.fetchval(NOT_BROUGHT, payment_id, currency, due))


async def refund_of(discrepancy_id: UUID, *, within: Connection) -> tuple[bool, bool]:
    """Return whether the decision's refund was made, and whether it may be on its way."""
    row = await within.fetchrow(REFUND_OF, discrepancy_id)
    assert row is not None, "two answers are one row"
    return row["made"], row["on_its_way"]

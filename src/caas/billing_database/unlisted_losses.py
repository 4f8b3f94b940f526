"""Losses that a bank's message booked and no report line has taken (decision 288).

A settlement that was reversed, or a dispute that was lost, leaves `settled_funds`; its line takes
the money from the bank. A loss whose line has not come within `LISTED_WITHIN_DAYS` is a
discrepancy.

Rule a change must keep: lines are counted with what they and their decisions left, as in
`classification.sql`; a payment about which something else is unresolved is looked at afterwards.
"""

from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.connection import Connection
from caas.billing_database.discrepancies import Discrepancy
from caas.billing_database.discrepancy_statements import COLUMNS
from caas.billing_database.rows import read_all
from caas.rules.postings import REVERSED_AFTER_REFUND, SETTLEMENT_LOSSES, risk_loss

LISTED_WITHIN_DAYS: Final = 10
LOOK_BACK_DAYS: Final = 120
_LOSSES: Final = (*SETTLEMENT_LOSSES, risk_loss(REVERSED_AFTER_REFUND))
# What lines and decisions about them left of a payment `p`: settlements less what took them back,
# and what chargebacks took less what came back.
_BY_LINES: Final = """
select coalesce(sum(m.amount) filter (where m.type in ('settlement', 'settlement_failure')), 0)
         as settled,
       coalesce(-sum(m.amount) filter (where m.type in ('chargeback', 'chargeback_reversal')), 0)
         as taken
  from (select l.type, case when l.posts then l.gross else 0 end + coalesce((
                 select sum(case 'settled_funds' when e.credit then e.amount
                                 when e.debit then -e.amount end)
                   from discrepancies d join discrepancy_entries e on e.discrepancy_id = d.id
                  where d.report_id = l.report_id and d.line_no = l.line_no
                    and e.debit <> 'refunds_payable'), 0) as amount
          from (select * from settlement_lines where payment_id = p.id
                 union all
                select s.* from identified_lines i
                  join settlement_lines s using (report_id, line_no)
                 where i.payment_id = p.id) l
         where l.currency = p.currency) m
"""
_LOST: Final = f"""
select coalesce(sum(case when e.debit in {_LOSSES} then e.amount else 0 end
                    - case when e.credit in {_LOSSES} then e.amount else 0 end), 0) as settlements
  from (select debit, credit, amount, currency from ledger_entries where payment_id = p.id
         union all
        select e.debit, e.credit, e.amount, e.currency from discrepancies d
          join discrepancy_entries e on e.discrepancy_id = d.id where d.payment_id = p.id
         union all
        select e.debit, e.credit, e.amount, e.currency from discrepancies d
          join gateway_claim_entries e on e.discrepancy_id = d.id where d.payment_id = p.id) e
 where e.currency = p.currency
"""
_DISPUTED: Final = """
select coalesce(sum(m.taken - m.back), 0) as amount
  from disputes x join disputed_amounts(p.id, p.currency) m on m.dispute = x.id
 where x.payment_id = p.id and x.state = 'lost' and not m.of_refund
   and not exists (select from disputes o where o.payment_id = p.id and o.state = 'opened')
"""
AMOUNT: Final = f"""
cross join lateral ({_BY_LINES}) by_lines
 cross join lateral ({_LOST}) lost
 cross join lateral ({_DISPUTED}) disputed
 cross join lateral (select (
   case when p.state = 'SettlementFailed' or p.state = 'Refunded' and exists (
               select from payment_events e
                where e.payment_id = p.id and e.source = 'bank-reverses')
        then greatest(least(by_lines.settled - disputed.amount, lost.settlements), 0) else 0 end
   + greatest(disputed.amount - by_lines.taken, 0))::bigint as amount) lacking
"""
LACKING: Final = f"""
with booked as (
  select payment_id from ledger_entries
   where (debit like 'risk\\_loss:%' or credit like 'risk\\_loss:%')
     and debit in ('risk_loss:settlement_failed', 'risk_loss:settlement_reversed',
                   'risk_loss:reversed_after_refund')
     and at < db_now() - make_interval(days => $2) and at >= db_now() - make_interval(days => $3)
   union
  select payment_id from disputes
   where state = 'lost' and updated_at < db_now() - make_interval(days => $2)
     and updated_at >= db_now() - make_interval(days => $3))
select p.id as payment_id, p.currency, lacking.amount
  from booked b join payments p on p.id = b.payment_id and p.gateway = $1 {AMOUNT}
 where lacking.amount > 0
   and not exists (select from discrepancies d
                    where d.payment_id = p.id and d.status <> 'resolved')
 order by p.id
"""
LISTED: Final = f"""
select {COLUMNS} from discrepancies d join payments p on p.id = d.payment_id {AMOUNT}
 where d.gateway = $1 and d.kind = 'loss_not_listed' and d.status <> 'resolved'
   and lacking.amount = 0
 order by d.id for update of d
"""


class UnlistedLoss(msgspec.Struct, frozen=True):
    """What of a payment's losses no line has taken, in minor units of its currency."""

    payment_id: UUID
    currency: str
    amount: int


async def lacking(gateway: str, *, within: Connection) -> list[UnlistedLoss]:
    """Return a gateway's losses that lines should have taken by now."""
    about = (gateway, LISTED_WITHIN_DAYS, LOOK_BACK_DAYS)
    return await read_all(UnlistedLoss, within, LACKING, *about)


async def listed(gateway: str, *, within: Connection) -> list[Discrepancy]:
    """Lock and return the discrepancies of losses that lines have taken, or that are none."""
    return await read_all(Discrepancy, within, LISTED, gateway)

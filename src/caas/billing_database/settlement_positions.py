"""What records, lines and decisions say of the settlement of payments, beside each other.

Records say what came and what a bank took back; lines and decisions moved what they moved. What a
record announces waits for its line until one has come, or a person has decided that none will.

Rules a change must keep: one text for the balancing and its invariant; sums are over the whole life
of a discrepancy, so that entries which were taken back count for nothing.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import date
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.connection import Connection, Database
from caas.billing_database.rows import read_all, read_one
from caas.rules.discrepancies import DiscrepancyKind

_ELSEWHERE: Final = """('fee_drift', 'chargeback', 'chargeback_reversal', 'refund_mismatch',
                               'currency', 'delivered_not_captured', 'loss_not_listed')"""
"""In SQL, the kinds whose decisions move nothing of a payment's settlement."""
_TEXT: Final = f"""
with found as (
  select d.payment_id, d.id, d.kind, d.status, d.resolution, d.report_id, d.line_no
    from discrepancies d where within(d.payment_id) and d.kind not in {_ELSEWHERE}
   union all
  select i.payment_id, d.id, d.kind, d.status, d.resolution, d.report_id, d.line_no
    from identified_lines i join discrepancies d using (report_id, line_no)
   where within(i.payment_id) and d.payment_id is null
), lines as (
  select l.payment_id, l.report_id, l.line_no, l.type, l.gross, l.currency, l.posts
    from settlement_lines l where within(l.payment_id)
   union all
  select i.payment_id, l.report_id, l.line_no, l.type, l.gross, l.currency, l.posts
    from identified_lines i join settlement_lines l using (report_id, line_no)
   where within(i.payment_id)
), reported as (
  select l.payment_id, l.currency, sum(case when l.posts then -l.gross else 0 end) as moved,
         bool_or(l.type = 'settlement' and l.gross > 0 and (l.posts or f.id is not null)) as came,
         bool_or(l.type = 'settlement' and l.gross > 0 and (l.posts
                 or f.kind not in ('state_conflict', 'duplicate_line'))) as brought,
         bool_or(l.type = 'settlement_failure' and (l.posts or f.id is not null)) as went
    from lines l
    left join found f on f.report_id = l.report_id and f.line_no = l.line_no
     and f.status = 'resolved'
   where l.type not in ('refund', 'refund_reversal', 'chargeback', 'chargeback_reversal')
   group by 1, 2
), decided as (
  select f.payment_id, e.currency,
         sum(case 'settled_funds' when e.debit then e.amount when e.credit then -e.amount
             else 0 end)
           filter (where e.debit <> 'refunds_payable' and coalesce(l.type, '') not in
             ('refund', 'refund_reversal', 'chargeback', 'chargeback_reversal')) as moved,
         sum(case 'gateway_receivable' when e.debit then e.amount when e.credit then -e.amount
             else 0 end) as receivable
    from found f
    join lateral (select debit, credit, amount, currency from discrepancy_entries
                   where discrepancy_id = f.id) e on true
    left join settlement_lines l on l.report_id = f.report_id and l.line_no = f.line_no
   group by 1, 2
), recorded as (
  select payment_id,
         coalesce(sum(amount) filter (where debit = 'settled_funds'
                                        and credit = 'gateway_receivable'), 0) as came,
         coalesce(sum(amount) filter (where credit = 'settled_funds'
           and debit in ('risk_loss:settlement_reversed', 'risk_loss:reversed_after_refund')), 0)
           as went,
         coalesce(sum(case 'gateway_receivable' when debit then amount when credit then -amount
                      else 0 end), 0) as receivable
    from ledger_entries where within(payment_id) group by 1
), standing as (
  select payment_id, bool_or(status <> 'resolved') as is_open,
         bool_or(status = 'resolved' and resolution <> 'itself'
                 and kind in ('delayed_settlement', 'missing_at_gateway')) as is_missing
    from found group by 1
)
"""
_POSITION: Final = """
select p.id, r.came - r.went + coalesce(t.moved, 0) + coalesce(d.moved, 0) as settled_funds,
       r.receivable + coalesce(d.receivable, 0) as receivable,
       case when coalesce(t.came, false) or coalesce(s.is_missing, false) then 0 else r.came end
       - case when coalesce(t.went, false)
                or coalesce(t.came or s.is_missing, s.is_missing, false)
                   and not coalesce(t.brought, false)
                or r.went > 0 and exists (
                     select from payment_events e where e.payment_id = p.id
                        and e.event in ('Bank rejects', 'Bank reverses', 'Loss booked')
                        and e.facts->>'reported_by' like 'decision:%')
              then 0 else r.went end as waits,
       case when p.state = 'Capturing' then p.captured_amount - r.came else 0 end as due,
       coalesce(s.is_open, false) as is_open
  from payments p join recorded r on r.payment_id = p.id
  left join reported t on t.payment_id = p.id and t.currency = p.currency
  left join decided d on d.payment_id = p.id and d.currency = p.currency
  left join standing s on s.payment_id = p.id
 where within(p.id)
   and p.state in ('Capturing', 'Settled', 'Refunding', 'Refunded', 'SettlementFailed')
"""
POSITIONS: Final = f"{_TEXT} {_POSITION}"
"""In SQL, the positions of the payments `within`, as text of an invariant."""
POSITION: Final = (
    f"""
select settled_funds::bigint, receivable::bigint, waits::bigint, due::bigint, is_open
  from ({POSITIONS}) q
""".replace("within(p.id)", "p.id = $1")
    .replace("within(payment_id)", "payment_id = $1")
    .replace("within(d.payment_id)", "d.payment_id = $1")
    .replace("within(l.payment_id)", "l.payment_id = $1")
    .replace("within(i.payment_id)", "i.payment_id = $1")
)
# Standing decisions about a settlement, and what explained its position with each of them; what
# could not be explained on a sealed day has a discrepancy of its own, without a line.
DECISIONS: Final = f"""
select d.id, d.day, d.kind, d.resolution, exists (
         select from reconciliation_days y where y.gateway = d.gateway and y.day = d.day
            and y.sealed_at is not null) as is_sealed,
       coalesce((select jsonb_object_agg(account, amount) from (
         select b.key as account, sum(b.value::bigint) as amount
           from discrepancy_events e cross join jsonb_each_text(e.facts->'position') b
          where e.discrepancy_id = d.id and e.facts ? 'position' and e.seq > coalesce((
            select max(x.seq) from discrepancy_events x
             where x.discrepancy_id = d.id and x.event in ('resolved', 'approved')), 0)
          group by b.key) s), '{{}}') as explained
  from discrepancies d
 where d.payment_id = $1 and d.currency = $2 and d.status = 'resolved'
   and d.kind not in {_ELSEWHERE}
   and (d.resolution <> 'itself' or d.kind = 'failed_settlement' and d.report_id is null)
   and not exists (select from settlement_lines l
                    where l.report_id = d.report_id and l.line_no = d.line_no and l.type in
                      ('refund', 'refund_reversal', 'chargeback', 'chargeback_reversal'))
 order by d.updated_at, d.id
"""
HAS_DECISIONS: Final = """
select from discrepancies d
 where d.payment_id = $1 and d.status = 'resolved' and d.resolution <> 'itself' limit 1
"""
# Payments of a report whose position its lines may change: a person decided about them, or a bank
# took back what it may have held for a dispute before.
CHANGED_BY: Final = """
select distinct d.payment_id as id from discrepancies d
 where d.gateway = $1 and d.status = 'resolved' and d.resolution <> 'itself'
   and exists (select from settlement_lines l where l.payment_id = d.payment_id
                  and l.report_id = $2)
 union
select l.payment_id from settlement_lines l
 where l.report_id = $2 and l.type = 'settlement_failure' and l.payment_id is not null
"""
LAST_SEALED: Final = """
select coalesce(max(day) filter (where sealed_at is not null), min(day) - 1, db_now()::date - 1)
         as day
  from reconciliation_days where gateway = $1
"""


class FoundPosition(msgspec.Struct, frozen=True):
    """The balances of a payment's settlement, in minor units, and what may still come."""

    settled_funds: int
    receivable: int
    waits: int
    due: int
    is_open: bool


class StandingDecision(msgspec.Struct, frozen=True):
    """A decision about a settlement that stands; `explained` is by account, in minor units."""

    id: UUID
    day: date
    kind: DiscrepancyKind
    resolution: str
    is_sealed: bool
    explained: dict[str, int]


async def position_of(payment_id: UUID, *, within: Connection) -> FoundPosition | None:
    """Return the position of a payment's settlement; None if nothing was captured."""
    return await read_one(FoundPosition, within, POSITION, payment_id)


async def standing_decisions(
    payment_id: UUID, currency: str, *, within: Connection
) -> list[StandingDecision]:
    """Return the decisions about a payment's settlement that stand, the last one last."""
    return await read_all(StandingDecision, within, DECISIONS, payment_id, currency)


def explained_by(decisions: list[StandingDecision]) -> Mapping[str, int]:
    """Return what standing decisions explained, by account."""
    before: Counter[str] = Counter()
    for one in decisions:
        before.update(one.explained)
    return before


async def has_decisions(payment_id: UUID, *, within: Connection | Database) -> bool:
    """Return whether a decision of a person about a payment stands."""
    return await within.fetchrow(HAS_DECISIONS, payment_id) is not None


async def changed_by(gateway: str, report_id: UUID, *, within: Connection) -> list[UUID]:
    """Return the payments whose positions the lines of a report may change."""
    return [row["id"] for row in await within.fetch(CHANGED_BY, gateway, report_id)]


async def last_sealed(gateway: str, *, within: Connection) -> date:
    """Return the last day of a gateway that is sealed, or the one before all that are known."""
    found: date = await within.fetchval(LAST_SEALED, gateway)
    return found

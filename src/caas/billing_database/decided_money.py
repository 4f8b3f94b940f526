"""What decisions about discrepancies left of the money of a payment.

Rule a change must keep: sums are over the whole life of a discrepancy, so that entries which were
taken back count for nothing.
"""

from datetime import date
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.connection import Connection, Database
from caas.billing_database.discrepancies import Discrepancy
from caas.billing_database.discrepancy_statements import REFUNDED_BY_DECISIONS
from caas.billing_database.reconciliation_snapshot import REFUNDED
from caas.billing_database.rows import read_all
from caas.rules.postings import SETTLEMENT_LOSSES

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
# Reversals that were decided, and what the decision that stands found no loss for.
REVERSALS: Final = """
select d.id, coalesce((
         select sum((e.facts->>'amount')::bigint) from discrepancy_events e
          where e.discrepancy_id = d.id and e.facts ? 'reversal' and e.seq > (
            select max(x.seq) from discrepancy_events x
             where x.discrepancy_id = d.id and x.event = 'resolved')), 0)::bigint as of_none,
       exists (select from reconciliation_days y where y.gateway = d.gateway and y.day = d.day
                  and y.sealed_at is not null) as is_sealed
  from discrepancies d join settlement_lines l using (report_id, line_no)
 where {these} and d.status = 'resolved' and l.gross > 0
   and d.resolution in ('reinstate_the_payment', 'correct_by_entry')
 order by d.opened_at, d.id
"""
REVERSALS_OF: Final = REVERSALS.format(
    these="""d.payment_id = $1 and d.currency = $2
   and d.kind = any (case when $3 = 'refund_mismatch' then array['refund_mismatch']
                          else array['chargeback_reversal'] end)"""
)
EARLIER_REVERSALS: Final = "select id from ({}) r where of_none > 0 and not is_sealed".format(
    REVERSALS.format(
        these="""d.gateway = $1 and d.kind in ('chargeback_reversal', 'refund_mismatch')
   and exists (select from disputes x
                where x.payment_id = d.payment_id and x.updated_at > (
                  select max(e.at) from discrepancy_events e
                   where e.discrepancy_id = d.id and e.event = 'resolved'))"""
    )
)


GIVEN_UP: Final = """
select account, lost from (
  select e.account, sum(e.amount)::bigint as lost
    from (select unnest(array[debit, credit]) as account, unnest(array[amount, -amount]) as amount
            from ledger_entries where payment_id = $1 and currency = $2
           union all
          select unnest(array[x.debit, x.credit]), unnest(array[x.amount, -x.amount])
            from discrepancies d join discrepancy_entries x on x.discrepancy_id = d.id
           where d.payment_id = $1 and x.currency = $2
             and not ($4 and d.status <> 'resolved' and d.kind in (
               'delayed_settlement', 'missing_at_gateway', 'partial_settlement'))
           union all
          select unnest(array[x.debit, x.credit]), unnest(array[x.amount, -x.amount])
            from discrepancies d join gateway_claim_entries x on x.discrepancy_id = d.id
           where d.payment_id = $1 and x.currency = $2) e
   where e.account = any ($3) group by e.account) t
 where lost <> 0 order by account
"""


# Decisions about the line that booked a dispute, of days that can still change.
DECIDED_LOSS: Final = """
select d.id from discrepancies d
 where d.payment_id = $1 and 'line:' || d.report_id || ':' || d.line_no = $2
   and d.status = 'resolved' and d.kind in ('chargeback', 'refund_mismatch')
   and not exists (select from reconciliation_days y where y.gateway = d.gateway and y.day = d.day
                      and y.sealed_at is not null)
"""


# Standing decisions about disputed lines, and what each moved so that no loss is below zero; what
# could not be moved on a sealed day has a discrepancy of its own, without a line.
DECIDED_LINES: Final = """
select d.id, d.day, exists (select from reconciliation_days y where y.gateway = d.gateway
                        and y.day = d.day and y.sealed_at is not null) as is_sealed,
       coalesce((select jsonb_object_agg(account, amount) from (
         select b.key as account, sum(b.value::bigint) as amount
           from discrepancy_events e cross join jsonb_each_text(e.facts->'balanced') b
          where e.discrepancy_id = d.id and e.facts ? 'balanced' and e.seq > coalesce((
            select max(x.seq) from discrepancy_events x
             where x.discrepancy_id = d.id and x.event in ('resolved', 'approved')), 0)
          group by b.key) s), '{}') as balanced
  from discrepancies d
 where d.payment_id = $1 and d.currency = $2 and d.status = 'resolved'
   and case when d.report_id is null then d.kind = 'chargeback' else
         d.kind in ('chargeback', 'chargeback_reversal', 'refund_mismatch')
         and d.resolution in ('accept_loss', 'claim_from_gateway', 'correct_by_entry',
                              'reinstate_the_payment') end
 order by d.opened_at, d.id
"""


# The next day of a gateway that is not sealed: one that has reports already, if any.
NEXT_OPEN: Final = """
select coalesce(
  (select min(day) from reconciliation_days
    where gateway = $1 and day > $2 and sealed_at is null),
  (select min(o.day)::date
     from generate_series($2::date + 1, greatest($2, db_now()::date) + 2, '1 day') o(day)
    where not exists (select from reconciliation_days d where d.gateway = $1 and d.day = o.day)))
"""


# What refund lines took beyond the refunds, and the disputes of such lines, that are known. What a
# line brought back before one took it stands apart until then.
BROUGHT_BEFORE: Final = REVERSALS.format(
    these="d.payment_id = p.id and d.currency = p.currency and d.kind = 'refund_mismatch'"
)
UNEXPLAINED: Final = f"""
select greatest(coalesce((
         select -sum(l.gross) from (
           select * from settlement_lines where payment_id = p.id union all
           select s.* from identified_lines i join settlement_lines s using (report_id, line_no)
            where i.payment_id = p.id) l
          where l.currency = p.currency and l.type in ('refund', 'refund_reversal')
            and l.class <> 'duplicate_line' and (l.posts or exists (
              select from discrepancies d where d.report_id = l.report_id
                 and d.line_no = l.line_no and d.status = 'resolved'))), 0)
       + coalesce((select sum(of_none) from ({BROUGHT_BEFORE}) r), 0)
       - least({REFUNDED}, p.refunded_amount) - {REFUNDED_BY_DECISIONS}
       - (select coalesce(sum(m.taken - m.back), 0) from disputed_amounts(p.id, p.currency) m
           where m.of_refund), 0)::bigint as amount
  from payments p where p.id = $1
"""


class DecidedLine(msgspec.Struct, frozen=True):
    """A decision about a disputed line that stands; `balanced` is by account, in minor units."""

    id: UUID
    day: date
    is_sealed: bool
    balanced: dict[str, int]


class DecidedReversal(msgspec.Struct, frozen=True):
    """A reversal that was decided; `of_none` is what found no loss, in minor units."""

    id: UUID
    of_none: int
    is_sealed: bool


async def reversals_of(found: Discrepancy, *, within: Connection) -> list[DecidedReversal]:
    """Return the decided reversals of a discrepancy's payment, of its kind of money."""
    about = (found.payment_id, found.currency, found.kind)
    return await read_all(DecidedReversal, within, REVERSALS_OF, *about)


async def earlier_reversals(database: Database, gateway: str) -> list[UUID]:
    """Return a gateway's reversals that found no loss, and whose payments had disputes since."""
    rows = await database.fetch(EARLIER_REVERSALS, gateway)
    return [row["id"] for row in rows]


async def lost(payment_id: UUID, currency: str, account: str, *, within: Connection) -> int:
    """Return the balance of a payment's account in a currency, in minor units."""
    return int(await within.fetchval(LOST, payment_id, account, currency))


async def decided_losses(payment_id: UUID, dispute_id: str, *, within: Connection) -> list[UUID]:
    """Return the resolved discrepancy of the line that booked a dispute, if it can change."""
    return [row["id"] for row in await within.fetch(DECIDED_LOSS, payment_id, dispute_id)]


async def decided_lines(
    payment_id: UUID, currency: str, *, within: Connection
) -> list[DecidedLine]:
    """Return the standing decisions about what disputes and refunds took of a payment."""
    return await read_all(DecidedLine, within, DECIDED_LINES, payment_id, currency)


async def next_open_day(gateway: str, day: date, *, within: Connection) -> date:
    """Return the next day of a gateway after this one that is not sealed."""
    found: date = await within.fetchval(NEXT_OPEN, gateway, day)
    return found


async def given_up(
    payment_id: UUID, currency: str, *, with_claimed: bool = False, within: Connection | Database
) -> tuple[tuple[str, int], ...]:
    """Return the losses of a payment's settlement, by account, in minor units.

    Those that a claim has taken over until its line comes count `with_claimed`.
    """
    about = (payment_id, currency)
    losses = await settlement_losses(*about, with_claimed=with_claimed, within=within)
    return tuple((account, lost) for account, lost in losses.items() if lost > 0)


async def settlement_losses(
    payment_id: UUID, currency: str, *, with_claimed: bool = False, within: Connection | Database
) -> dict[str, int]:
    """Return what each loss of a payment's settlement stands at, in minor units, of any sign."""
    about = (payment_id, currency, list(SETTLEMENT_LOSSES), with_claimed)
    rows = await within.fetch(GIVEN_UP, *about)
    return {row["account"]: row["lost"] for row in rows}


async def not_brought(payment_id: UUID, currency: str, due: int, *, within: Connection) -> int:
    """Return what neither lines nor decisions brought of what is due, in minor units."""
    return int(await within.fetchval(NOT_BROUGHT, payment_id, currency, due))


async def refund_of(discrepancy_id: UUID, *, within: Connection) -> tuple[bool, bool]:
    """Return whether the decision's refund was made, and whether it may be on its way."""
    row = await within.fetchrow(REFUND_OF, discrepancy_id)
    assert row is not None, "two answers are one row"
    return row["made"], row["on_its_way"]


async def unexplained_refunds(payment_id: UUID, *, within: Connection | Database) -> int:
    """Return what refund lines of a payment took that no refund explains, in minor units."""
    row = await within.fetchrow(UNEXPLAINED, payment_id)
    assert row is not None, "a payment is one row"
    return int(row["amount"])

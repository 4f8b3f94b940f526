"""Invariants of the clearing accounts: lines and decisions move what payments account for.

A payment brings money onto `settled_funds`, and its lines take it to the bank. What waits for its
line stands there rightly; what a line took beyond the payment's records is never looked for again.
So lines are held against the records they are about, each direction by itself: settlements,
refunds, chargebacks and their reversals.

Rules a change must keep: a line is counted with what it left, as in `classification.sql`; keys are
the payments', because ids of discrepancies lie in other slices.
"""

from typing import Final

from caas.billing_database.discrepancy_statements import REFUNDED_BY_DECISIONS
from caas.billing_database.settlement_positions import POSITIONS
from caas.billing_database.unlisted_losses import AMOUNT, LISTED_WITHIN_DAYS, LOOK_BACK_DAYS

_WAITS = """exists (select from jobs w where w.subject = p.id
                                   and w.kind in ('late_settlement_line', 'fit_disputes'))
               or exists (select from jobs w join discrepancies d on d.id = w.subject
                           where d.payment_id = p.id and w.kind = 'carry_out_resolution')
               or exists (select from cases c where c.subject = p.id
                                       and c.kind = 'dispute_contradiction')
                  and (select coalesce(bool_or(x.origin = 'gateway'), true)
                         from disputes x where x.payment_id = p.id)"""
"""In SQL, what is still to be applied to a payment `p`, or was not believed.

Disputes reported by lines alone are believed: a person decided them.
"""

_DECIDED = """decided as (
             select d.payment_id, d.kind, d.report_id, d.line_no, e.*
               from discrepancies d join lateral (
                 select debit, credit, amount, currency from discrepancy_entries
                  where discrepancy_id = d.id) e on true
              where within(d.payment_id)
              union all
             select i.payment_id, d.kind, d.report_id, d.line_no, e.*
               from identified_lines i
               join discrepancies d on d.report_id = i.report_id and d.line_no = i.line_no
                and d.payment_id is null
               join lateral (
                 select debit, credit, amount, currency from discrepancy_entries
                  where discrepancy_id = d.id) e on true
              where within(i.payment_id))"""

_BY_LINES = f"""{_DECIDED},
           moved (payment_id, currency, family, amount) as (
             select l.payment_id, l.currency, case
                      when l.type in ('refund', 'refund_reversal') then 'refund'
                      when l.type in ('chargeback', 'chargeback_reversal') and l.gross < 0
                        then 'taken'
                      when l.type in ('chargeback', 'chargeback_reversal') then 'back'
                      else 'settlement' end,
                    -l.gross
               from settlement_lines l where within(l.payment_id) and l.posts
             union all
             select d.payment_id, d.currency, case
                      when coalesce(l.type, d.kind)
                           in ('refund', 'refund_reversal', 'refund_mismatch') then 'refund'
                      when l.type in ('chargeback', 'chargeback_reversal') and l.gross < 0
                        then 'taken'
                      when l.type in ('chargeback', 'chargeback_reversal') then 'back'
                      else 'settlement' end,
                    case when d.debit = 'settled_funds' then d.amount else -d.amount end
               from decided d
               left join settlement_lines l on l.report_id = d.report_id and l.line_no = d.line_no
              where 'settled_funds' in (d.debit, d.credit) and d.debit <> 'refunds_payable'),
           by_lines as (
             select payment_id, currency,
                    coalesce(sum(amount) filter (where family = 'refund'), 0) as refunds,
                    coalesce(sum(amount) filter (where family = 'taken'), 0) as taken,
                    coalesce(sum(amount) filter (where family = 'back'), 0) as back,
                    sum(amount) as amount
               from moved group by payment_id, currency)"""
"""In SQL, what lines and decisions moved on settled funds, by payment and direction."""

SETTLED_FUNDS: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "lines_move_what_payments_account_for",
        "Lines and decisions about refunds and disputes take what records say, and no more.",
        f"""with {_BY_LINES},
           by_decisions as (
             select payment_id, sum(amount) as refunded from decided
              where kind = 'amount' and debit = 'refunds_payable' and credit = 'settled_funds'
              group by payment_id)
           select p.id from by_lines t
             join payments p on p.id = t.payment_id and p.currency = t.currency and within(p.id)
             left join by_decisions b on b.payment_id = p.id
             cross join lateral (
               select coalesce(sum(m.taken) filter (where not m.of_refund), 0) as taken,
                      coalesce(sum(m.back) filter (where not m.of_refund), 0) as back,
                      coalesce(sum(m.taken - m.back) filter (where m.of_refund), 0) as of_refunds
                 from disputed_amounts(p.id, p.currency) m
                where t.refunds <> 0 or t.taken <> 0 or t.back <> 0) d
             cross join lateral (
               select coalesce(sum(f.amount), 0) as refunds from refunds f
                where f.payment_id = p.id and f.state <> 'waiting' and t.refunds <> 0) f
            where case when p.state in ('Voided', 'Failed') then t.amount <> 0 else
                  t.refunds < 0
                  or t.refunds > f.refunds + d.of_refunds + coalesce(b.refunded, 0)
                  or t.taken not between 0 and d.taken or -t.back not between 0 and d.back end
              and not ({_WAITS})""",
    ),
    (
        "disputes_of_lines_are_those_lines",
        "Disputes and refunds that lines alone reported hold what their lines left, to the cent.",
        f"""with {_BY_LINES},
           concerned as (
             select payment_id from disputes
              where within(payment_id) and gateway_dispute_id is null
             union
             select payment_id from by_lines where taken <> 0 or back <> 0 or refunds <> 0)
           select p.id from concerned k join payments p on p.id = k.payment_id and within(p.id)
             left join by_lines t on t.payment_id = p.id and t.currency = p.currency
             cross join lateral (
               select coalesce(sum(m.taken - m.back) filter (where not m.of_refund), 0) as taken,
                      coalesce(sum(m.taken - m.back) filter (where m.of_refund), 0) as of_refunds,
                      coalesce(bool_or(m.named), false) as is_named
                 from disputed_amounts(p.id, p.currency) m) d
            where p.state not in ('Voided', 'Failed')
              and (not d.is_named and coalesce(t.taken + t.back, 0) <> d.taken
                   or coalesce(t.refunds, 0) <> d.of_refunds and not exists (
                        select from refunds f where f.payment_id = p.id and f.state <> 'waiting'
                         union all
                        select from decided b where b.payment_id = p.id
                           and b.debit = 'refunds_payable' and b.credit = 'settled_funds'))
              and not ({_WAITS})""",
    ),
    (
        "disputes_in_another_currency_are_found",
        "A lost dispute in another currency than its payment has a discrepancy once a day closed.",
        """select p.id from payments p join disputes x on x.payment_id = p.id
            where within(p.id) and x.state = 'lost' and x.claimed_currency <> x.currency
              and x.amount > 0
              and exists (select from reconciliation_days y where y.gateway = p.gateway
                             and y.closed_at > x.updated_at + interval '10 minutes')
              and not exists (select from discrepancies d
                                join discrepancy_events e on e.discrepancy_id = d.id and e.seq = 1
                               where d.payment_id = p.id and d.kind = 'currency'
                                 and e.facts->>'dispute' = x.id)""",
    ),
    (
        "losses_without_a_line_are_found",
        "A booked loss that no line has taken in time has a discrepancy once a day closed.",
        f"""with booked as (
             select payment_id, max(at) as at from (
               select payment_id, at from ledger_entries
                where within(payment_id)
                  and debit in ('risk_loss:settlement_failed', 'risk_loss:settlement_reversed',
                                'risk_loss:reversed_after_refund')
               union all
               select payment_id, updated_at from disputes
                where within(payment_id) and state = 'lost') l
              where at > db_now() - make_interval(days => {LOOK_BACK_DAYS}) group by payment_id)
           select p.id from booked b join payments p on p.id = b.payment_id {AMOUNT}
            where lacking.amount > 0
              and not exists (select from discrepancies d where d.payment_id = p.id
                                 and (d.kind = 'loss_not_listed' or d.status <> 'resolved'))
              and exists (select from reconciliation_days y where y.gateway = p.gateway
                             and y.closed_at > interval '10 minutes' + greatest(
                               b.at + make_interval(days => {LISTED_WITHIN_DAYS}),
                               (select max(d.updated_at) from discrepancies d
                                 where d.payment_id = p.id)))""",
    ),
    (
        "reversals_cancel_their_losses",
        "A decided reversal that found no loss stands beside no lost dispute once a day closed.",
        """select d.payment_id from discrepancies d
             join settlement_lines l on l.report_id = d.report_id and l.line_no = d.line_no
             join disputes x on x.payment_id = d.payment_id and x.state = 'lost'
              and x.claimed_currency = d.currency
              and (x.origin = 'refund line') = (d.kind = 'refund_mismatch')
            where within(d.payment_id) and d.kind in ('chargeback_reversal', 'refund_mismatch')
              and d.status = 'resolved' and l.gross > 0
              and d.resolution in ('reinstate_the_payment', 'correct_by_entry')
              and exists (select from discrepancy_events e
                           where e.discrepancy_id = d.id and e.facts ? 'reversal' and e.seq > (
                             select max(r.seq) from discrepancy_events r
                              where r.discrepancy_id = d.id and r.event = 'resolved'))
              and exists (select from reconciliation_days y where y.gateway = d.gateway
                             and y.closed_at > x.updated_at + interval '10 minutes')
              and not exists (select from reconciliation_days y where y.gateway = d.gateway
                                 and y.day = d.day and y.sealed_at is not null)
              and not exists (select from jobs w join discrepancies o on o.id = w.subject
                               where o.payment_id = d.payment_id
                                 and w.kind = 'carry_out_resolution')""",
    ),
    (
        "losses_of_disputes_are_not_below_zero",
        "No loss of a payment by disputes is below zero, each cause by itself.",
        f"""with {_DECIDED},
           booked (payment_id, currency, account, amount) as (
             select payment_id, currency, unnest(array[debit, credit]),
                    unnest(array[amount, -amount])
               from ledger_entries where within(payment_id)
             union all
             select payment_id, currency, unnest(array[debit, credit]),
                    unnest(array[amount, -amount]) from decided
             union all
             select d.payment_id, c.currency, unnest(array[c.debit, c.credit]),
                    unnest(array[c.amount, -c.amount])
               from discrepancies d join gateway_claim_entries c on c.discrepancy_id = d.id
              where within(d.payment_id))
           select b.payment_id from booked b
            where b.account in ('risk_loss:chargeback', 'risk_loss:dispute_excess',
                                'risk_loss:refund_mismatch')
              and not exists (select from jobs w join discrepancies d on d.id = w.subject
                               where d.payment_id = b.payment_id
                                 and w.kind = 'carry_out_resolution')
            group by b.payment_id, b.currency, b.account having sum(b.amount) < 0""",
    ),
    (
        "positions_are_explained",
        "Money waits on the clearing accounts of a payment for its lines, or a decision is open.",
        f"""with q as materialized ({POSITIONS})
           select p.id from q p
            where (p.settled_funds <> p.waits or p.receivable <> p.due) and not p.is_open
              and not exists (select from jobs w where w.subject = p.id and w.paused_at is null
                                 and w.kind = 'late_settlement_line')
              and not exists (select from jobs w join discrepancies d on d.id = w.subject
                               where d.payment_id = p.id and w.paused_at is null
                                 and w.kind = 'carry_out_resolution')""",
    ),
    (
        "refunds_wait_for_lines_of_their_own",
        "A refund waits for its line only where no other line was decided to be none of it.",
        f"""with {_BY_LINES},
           judged as (
             select d.payment_id, max(e.at) as at
               from discrepancies d
               join settlement_lines l on l.report_id = d.report_id and l.line_no = d.line_no
               join discrepancy_events e on e.discrepancy_id = d.id
                and e.event in ('resolved', 'approved')
              where within(d.payment_id) and d.kind = 'refund_mismatch' and d.status = 'resolved'
                and d.resolution <> 'itself' and l.gross < 0
                and not exists (select from discrepancies o where o.payment_id = d.payment_id
                                   and o.kind = 'refund_mismatch' and o.status <> 'resolved')
              group by d.payment_id)
           select p.id from judged j join payments p on p.id = j.payment_id
             join by_lines t on t.payment_id = p.id and t.currency = p.currency
             cross join lateral (
               select coalesce(sum(amount), 0) as known,
                      coalesce(sum(amount) filter (where updated_at > j.at), 0) as since
                 from refunds where payment_id = p.id and state = 'succeeded') f
             cross join lateral (
               select coalesce(sum(m.taken - m.back) filter (where m.of_refund), 0) as taken
                 from disputed_amounts(p.id, p.currency) m) d
            where f.known + {REFUNDED_BY_DECISIONS} + d.taken - t.refunds > f.since
              and not exists (select from jobs w join discrepancies d on d.id = w.subject
                               where d.payment_id = p.id and w.paused_at is null
                                 and w.kind = 'carry_out_resolution')""",
    ),
)

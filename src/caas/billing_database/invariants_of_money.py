"""Invariants of money and the ledger: payments, entries, events, refunds and disputes agree.

`ENTRIES` is `rules.postings` as data: the entries that each event posts, and the source of their
amounts. Replaying a payment's events through it gives the balance of each account; any deviation in
the ledger is a violation.

Rules a change must keep: an amount that is stored in two places is compared; every transition with
entries has a row in `ENTRIES`.
"""

from typing import Final

from caas.rules.postings import ACCOUNTS, LOSS_CAUSES, OF_PROVIDER

_ACCOUNTS = ", ".join(f"('{account}')" for account in sorted(ACCOUNTS))
_OF_PROVIDER = ", ".join(f"('{kind}', '{account}')" for kind, account in OF_PROVIDER.items())

MONEY: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "ledger_agrees_with_payments",
        "Ledger balances equal each payment's held, captured, settled, refunded and lost amounts.",
        """select p.id from payments p left join (
             select payment_id,
               sum(amount) filter (where debit = 'authorized_holds') as authorized,
               sum(amount) filter (where debit = 'gateway_receivable') as captured,
               sum(amount) filter (where debit = 'settled_funds'
                                     and credit = 'gateway_receivable') as settled,
               sum(case debit when 'refunds_payable' then amount else -amount end) filter (where
                 array['settled_funds', 'refunds_payable'] <@ array[debit, credit]) as refunded,
               sum(case 'risk_loss:chargeback' when debit then amount when credit then -amount end)
                 as disputed
               from ledger_entries where within(payment_id) group by payment_id) l
               on l.payment_id = p.id
            where within(p.id)
              and (coalesce(l.authorized, 0), coalesce(l.captured, 0), coalesce(l.settled, 0),
                   coalesce(l.refunded, 0), coalesce(l.disputed, 0))
               is distinct from (p.authorized_amount, p.captured_amount, p.settled_amount,
                   p.refunded_amount, p.disputed_amount)""",
    ),
    (
        "amounts_are_folds_of_events",
        "A payment's amounts result from its events.",
        """select p.id from payments p left join (
             select e.payment_id, sum((a->>'authorized')::bigint) as authorized,
                    sum((a->>'captured')::bigint) as captured,
                    sum((a->>'settled')::bigint) as settled,
                    sum((a->>'refunded')::bigint) as refunded,
                    sum((a->>'disputed')::bigint) as disputed
               from payment_events e cross join lateral (select e.facts->'amounts' as a) f
              where within(e.payment_id) and e.facts ? 'amounts' group by e.payment_id) e
               on e.payment_id = p.id
            where within(p.id) and p.created_at > (select min(ran_at) from migrations)
              and (coalesce(e.authorized, 0), coalesce(e.captured, 0), coalesce(e.settled, 0),
                   coalesce(e.refunded, 0), coalesce(e.disputed, 0))
               is distinct from (p.authorized_amount, p.captured_amount, p.settled_amount,
                   p.refunded_amount, p.disputed_amount)""",
    ),
    (
        "outgoing_money_is_in_rows",
        "Refunds and disputes add up to the amounts of their payment and its ledger entries.",
        """select p.id from payments p left join (
             select payment_id, sum(amount) filter (where state = 'sent') as sent,
                    sum(amount) filter (where state = 'succeeded') as done
               from refunds where within(payment_id) group by payment_id) r on r.payment_id = p.id
             left join (
             select payment_id, sum(amount) filter (where state = 'opened') as held,
                    sum(amount) filter (where state = 'lost') as lost,
                    sum(excess) filter (where state in ('opened', 'lost')) as excess
               from disputes where within(payment_id) group by payment_id) d on d.payment_id = p.id
             left join (
             select payment_id,
               sum(case 'refunds_payable' when credit then amount when debit then -amount end)
                 as sent,
               sum(case 'disputed_funds' when debit then amount when credit then -amount end)
                 as held,
               sum(case 'risk_loss:dispute_excess' when debit then amount
                        when credit then -amount end) as excess
               from ledger_entries where within(payment_id) group by payment_id) l
               on l.payment_id = p.id
            where within(p.id) and ((coalesce(r.sent, 0), coalesce(r.done, 0), coalesce(d.held, 0),
                   coalesce(d.lost, 0), coalesce(d.excess, 0))
               is distinct from (coalesce(l.sent, 0), p.refunded_amount, coalesce(l.held, 0),
                   p.disputed_amount, coalesce(l.excess, 0))
               or (coalesce(d.excess, 0) > 0 and money_out(p.id) < p.captured_amount
                   and not exists (select from jobs o
                                    where o.subject = p.id and o.kind = 'fit_disputes')))""",
    ),
    (
        "accounts_match_the_rules",
        "The chart of accounts equals that of the rules, and every entry uses its accounts.",
        f"""with drawn (name) as (values {_ACCOUNTS})
            select a.name from (
              (table drawn except select name from ledger_accounts)
              union all (select name from ledger_accounts except table drawn)) a
            union all
            select used.name from (
              select debit as name from ledger_entries where within(payment_id)
              union select credit from ledger_entries where within(payment_id)
              union select debit from discrepancy_entries
              union select credit from discrepancy_entries
              union select debit from gateway_claim_entries
              union select credit from gateway_claim_entries) used
             where not exists (select from ledger_accounts a where a.name = used.name)""",
    ),
    (
        "losses_are_not_below_zero",
        "Losses of a payment, or a line without one, are not below zero: what is kept is income.",
        """with booked as (
             select payment_id as of, debit, credit, amount, currency from ledger_entries
              where within(payment_id)
             union all
             select payment_id, debit, credit, amount, currency from discrepancy_entries
              where within(payment_id)
             union all
             select d.payment_id, e.debit, e.credit, e.amount, e.currency
               from discrepancies d join gateway_claim_entries e on e.discrepancy_id = d.id
              where within(d.payment_id))
           select of from booked where 'risk_loss' in (split_part(debit, ':', 1),
                                                       split_part(credit, ':', 1))
            group by of, currency
           having sum(case when debit like 'risk\\_loss:%' then amount else 0 end
                      - case when credit like 'risk\\_loss:%' then amount else 0 end) < 0
           union all
           select d.id from discrepancies d join (
             select discrepancy_id, debit, credit, amount from discrepancy_entries
              where within(discrepancy_id)
             union all
             select discrepancy_id, debit, credit, amount from gateway_claim_entries
              where within(discrepancy_id)) e on e.discrepancy_id = d.id
            where d.payment_id is null and within(d.id)
            group by d.id
           having sum(case when e.debit like 'risk\\_loss:%' then e.amount else 0 end
                      - case when e.credit like 'risk\\_loss:%' then e.amount else 0 end) < 0""",
    ),
    (
        "provider_accounts_match_the_rules",
        "Every provider line class posts to the account that the rules assign.",
        f"""with drawn (class, account) as (values {_OF_PROVIDER})
            (table drawn except table provider_accounts)
            union all (table provider_accounts except table drawn)""",
    ),
    (
        "deposits_are_decided_once",
        "Every lost deposit was decided or held by the policy, and each decision has an event.",
        """select coalesce(d.payment_id, e.payment_id) from (
             select payment_id from deposit_decisions
              where within(payment_id) and state = 'agreed' and not by_policy) d
             full join (
             select payment_id from payment_events
              where within(payment_id) and event = 'Deposit decided') e
               on e.payment_id = d.payment_id
            where d.payment_id is null or e.payment_id is null
           union all
           select p.id from orders o join payments p on p.subject = o.id and p.type = 'reservation'
            where within(o.id) and o.state = 'reservation lost'
              and p.state in ('Capturing', 'Settled', 'Refunding')
              and 1 <> (select count(*) from payment_events e
                         where e.payment_id = p.id and e.event = 'Deposit held')
                     + (select count(*) from deposit_decisions d
                         where d.payment_id = p.id and d.by_policy)""",
    ),
    (
        "never_more_back_than_received",
        "Refunds plus open and lost disputes never exceed the amount captured.",
        """select id from payments
            where within(id) and (refunded_amount + disputed_amount > captured_amount
               or settled_amount > captured_amount)
           union all
           select p.id from payments p where within(p.id) and p.captured_amount <
             (select coalesce(sum(amount), 0) from refunds r
               where r.payment_id = p.id and r.state in ('sent', 'succeeded'))
             + (select coalesce(sum(amount), 0) from disputes d
                 where d.payment_id = p.id and d.state in ('opened', 'lost'))""",
    ),
    (
        "refunds_wait_for_money",
        "A refund waits only while its payment's money is held or expected.",
        """select r.id from refunds r join payments p on p.id = r.payment_id
            where within(r.id) and r.state = 'waiting'
              and p.state not in ('Capturing', 'Settled', 'Refunding')
              and not (p.state = 'SettlementFailed' and exists (select from discrepancies d
                where d.payment_id = p.id and d.resolution = 'reinstate_the_payment'))""",
    ),
    (
        "cases_of_unknown_outcomes_end",
        "A case for an unknown outcome is open only while the outcome is unknown.",
        """select c.id from cases c join payments p on p.id = c.subject
            where c.kind = 'gateway_outcome_unknown' and c.status = 'open' and p.outcome = 'known'
              and c.opened_at < db_now() - interval '1 minute' and not exists (
                select from jobs w where w.kind = 'probe' and w.subject = p.id)""",
    ),
    (
        "ledger_sums_to_zero",
        "The ledger sums to zero per payment and currency.",
        """select payment_id from ledger_lines where within(payment_id)
            group by payment_id, currency having sum(amount) <> 0""",
    ),
    (
        "provider_lines_sum_to_zero",
        "The entries of lines that belong to no payment sum to zero per currency.",
        """select currency from ledger_lines where payment_id is null group by currency
           having sum(amount) <> 0""",
    ),
)


EARNED: Final = "<earned>"
"""Placeholder: the revenue account of the payment's type."""
LOST: Final = "<lost>"
"""Placeholder: the account of the loss that the event names."""
NOT_OWED: Final = "<not owed>"
"""Placeholder: the account of the loss that a credit note reverses."""
COUNTED: Final = "<counted>"
"""Placeholder: the account that holds a dispute's money, open or lost."""

Row = tuple[str, str, str, str]

ENTRIES: Final[tuple[Row, ...]] = (
    ("Funds reserved", "authorized_holds", "authorized_holds_contra", "authorized"),
    ("Initiate settlement", "authorized_holds_contra", "authorized_holds", "held"),
    ("Initiate settlement", "gateway_receivable", EARNED, "captured"),
    ("Cancel before capture", "authorized_holds_contra", "authorized_holds", "held"),
    ("Authorization expired", "authorized_holds_contra", "authorized_holds", "held"),
    ("Bank confirms", "settled_funds", "gateway_receivable", "settled"),
    ("Bank confirms", LOST, "gateway_receivable", "lost"),
    ("Partially settled", "settled_funds", "gateway_receivable", "settled"),
    ("Capture refused", LOST, "gateway_receivable", "whole"),
    ("Bank rejects", "risk_loss:settlement_failed", "gateway_receivable", "unsettled"),
    ("Bank rejects", "risk_loss:settlement_reversed", "settled_funds", "kept"),
    ("Bank reverses", "risk_loss:settlement_reversed", "settled_funds", "kept"),
    ("Bank reverses", "risk_loss:reversed_after_refund", "settled_funds", "refunded before"),
    ("Loss booked", "risk_loss:subscription_declined", EARNED, "written off"),
    ("Loss booked", "risk_loss:settlement_reversed", "settled_funds", "kept"),
    ("Loss booked", "risk_loss:reversed_after_refund", "settled_funds", "refunded before"),
    ("Loss booked", EARNED, NOT_OWED, "not owed"),
    ("Loss booked", EARNED, "risk_loss:credited", "covered"),
    ("Loss booked", "risk_loss:credited", EARNED, "uncovered"),
    ("Refund requested", EARNED, "refunds_payable", "stated"),
    ("Reverse transaction", EARNED, "refunds_payable", "stated"),
    ("Refund complete", "refunds_payable", "settled_funds", "refunded"),
    ("Refund leaves remainder", "refunds_payable", "settled_funds", "refunded"),
    ("Refund failed", "refunds_payable", EARNED, "of the refund"),
    ("Refund returned", "settled_funds", "refunds_payable", "of the refund"),
    ("Refund returned", "refunds_payable", EARNED, "of the refund"),
    ("Dispute opened", "disputed_funds", "settled_funds", "stated"),
    ("Dispute opened", "risk_loss:dispute_excess", "settled_funds", "excess"),
    ("Dispute won", "settled_funds", "disputed_funds", "stated"),
    ("Dispute won", "settled_funds", "risk_loss:dispute_excess", "excess"),
    ("Dispute lost", "risk_loss:chargeback", "disputed_funds", "stated"),
    ("Dispute reversed", "settled_funds", "risk_loss:chargeback", "stated"),
    ("Dispute reversed", "settled_funds", "risk_loss:dispute_excess", "excess"),
    ("Dispute counted", COUNTED, "risk_loss:dispute_excess", "counted"),
    ("Deposit held", "customer_deposits", "reservation_held", "stated"),
    ("Deposit decided", "reservation_held", "customer_deposits", "stated"),
    ("Refund requested", "reservation_held", "customer_deposits", "released"),
    ("Reverse transaction", "reservation_held", "customer_deposits", "released"),
    ("Refund failed", "customer_deposits", "reservation_held", "held_again"),
    ("Refund returned", "customer_deposits", "reservation_held", "held_again"),
    ("Loss booked", "reservation_held", "customer_deposits", "released"),
    ("Loss booked", "customer_deposits", "reservation_held", "held_again"),
)
_ENTRIES = ", ".join(f"('{event}', '{d}', '{c}', '{how}')" for event, d, c, how in ENTRIES)
_RARE = "'Bank rejects', 'Bank reverses', 'Loss booked'"
_CAUSES = ", ".join(f"'{cause}'" for cause in sorted(LOSS_CAUSES))

_STATED: Final = f"""with since (at) as (select min(ran_at) from migrations),
 drawn (event, debit, credit, how) as (values {_ENTRIES}),
 reported as (
   select e.payment_id, e.seq, e.event, e.source, e.facts as f, e.facts->'amounts' as a, d.debit,
          d.credit, d.how, e.at, p.type, p.amount, p.authorized_amount, p.captured_amount
     from payment_events e join drawn d on d.event = e.event
     join payments p on p.id = e.payment_id cross join since
    where within(e.payment_id) and p.created_at > since.at
 ),
 stated as (
   select payment_id, seq,
          case debit
            when '{EARNED}' then earned
            when '{LOST}' then 'risk_loss:' || case
              when event = 'Bank confirms' then (
                select case when s.facts->>'resolution' = 'write_off' then 'write_off'
                            else d.kind end
                  from discrepancies d left join discrepancy_events s on s.discrepancy_id = d.id
                   and s.event in ('resolved', 'approved') and s.at <= t.at
                 where d.id = (f->>'discrepancy')::uuid order by s.seq desc limit 1)
              when f->>'because' in ({_CAUSES}) then f->>'because' else 'other' end
            when '{COUNTED}' then case when (
              select b.event from payment_events b
               where b.payment_id = t.payment_id and b.seq < t.seq
                 and b.facts->>'dispute' = f->>'dispute' and b.event <> 'Dispute counted'
               order by b.seq desc limit 1) = 'Dispute lost'
              then 'risk_loss:chargeback' else 'disputed_funds' end
            else debit end as debit,
          case credit
            when '{EARNED}' then earned
            when '{NOT_OWED}' then (
              select case w.because when 'payment failed' then 'risk_loss:subscription_declined'
                          else 'risk_loss:settlement_failed' end
                from invoices n join written_off_invoices w on w.invoice = n.corrects
               where n.id = (f->>'credit_note')::uuid)
            else credit end as credit,
          case how
            when 'authorized' then (a->>'authorized')::bigint
            when 'captured' then (a->>'captured')::bigint
            when 'settled' then (a->>'settled')::bigint
            when 'refunded' then (a->>'refunded')::bigint
            when 'stated' then (f->>'amount')::bigint
            when 'held' then authorized_amount
            when 'whole' then amount
            when 'written off' then case when source = 'written-off' then amount end
            when 'unsettled' then captured_amount - settled_before
            when 'kept' then case when source in ('bank-rejects', 'bank-reverses') then
              greatest(settled_before - refunded_before - held_before, 0) end
            when 'refunded before' then case when source = 'bank-reverses'
              then refunded_before end
            when 'not owed' then (select -n.gross from invoices n
                                   where n.id = (f->>'credit_note')::uuid)
            when 'of the refund' then (select r.amount from refunds r
                                        where r.id = (f->>'refund')::uuid)
            when 'counted' then (f->>'amount')::bigint - (
              select (b.facts->>'amount')::bigint from payment_events b
               where b.payment_id = t.payment_id and b.seq < t.seq
                 and b.facts->>'dispute' = f->>'dispute' order by b.seq desc limit 1)
            else (f->>how)::bigint
          end as amount
     from reported t
    cross join lateral (select case t.type
       when 'reservation' then 'customer_deposits' when 'final' then 'vehicle_sales'
       when 'service' then 'service_revenue' else 'subscription_revenue' end as earned) of_type
     left join lateral (
       select coalesce(sum((b.facts->'amounts'->>'settled')::bigint), 0) as settled_before,
              coalesce(sum((b.facts->'amounts'->>'refunded')::bigint), 0) as refunded_before,
              coalesce((select sum(h.amount) from (
                select distinct on (d.facts->>'dispute') d.event,
                       (d.facts->>'amount')::bigint as amount
                  from payment_events d where d.payment_id = t.payment_id and d.seq < t.seq
                   and d.event like 'Dispute %' and t.event in ({_RARE})
                 order by d.facts->>'dispute', d.seq desc) h
               where h.event not in ('Dispute won', 'Dispute reversed')), 0) as held_before
         from payment_events b
        where b.payment_id = t.payment_id and b.seq < t.seq and t.event in ({_RARE})
     ) before on true
 )"""

LEDGER: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "entries_follow_from_events",
        "The ledger contains exactly the entries that the payments' events require.",
        f"""{_STATED},
            due as (select payment_id, seq, debit, credit, sum(amount) as amount from stated
                     where amount <> 0 group by payment_id, seq, debit, credit),
            booked as (select l.payment_id, l.seq, l.debit, l.credit, sum(l.amount) as amount
                         from ledger_entries l left join payments p on p.id = l.payment_id
                        cross join since
                        where within(l.payment_id) and (p.id is null or p.created_at > since.at)
                          and 'output_vat' not in (l.debit, l.credit)
                        group by l.payment_id, l.seq, l.debit, l.credit)
            select payment_id from due full join booked using (payment_id, seq, debit, credit)
             where due.amount is distinct from booked.amount""",
    ),
    (
        "entries_match_their_event",
        "Every entry has the time of its event, or of the late tax calculation of its payment.",
        """select l.payment_id from ledger_entries l left join payments p on p.id = l.payment_id
              and within(p.id)
             left join payment_events e on e.payment_id = l.payment_id and e.seq = l.seq
            where within(l.payment_id) and (p.currency is distinct from l.currency
               or e.at is distinct from l.at and not ('output_vat' in (l.debit, l.credit)
                 and exists (select from payment_taxes t
                    where t.payment_id = l.payment_id and t.recorded_at = l.at)))""",
    ),
    (
        "decided_entries_follow_from_steps",
        "Entries for a discrepancy equal those of its resolution steps, in its currency.",
        """with since (at) as (select min(ran_at) from migrations),
           due as (
             select e.discrepancy_id, coalesce(e.facts->>'decision', '') as decision,
                    x->>0 as debit, x->>1 as credit, sum((x->>2)::bigint) as amount
               from discrepancy_events e cross join lateral jsonb_array_elements(
                    case when e.facts ? 'entries' then e.facts->'entries' else '[]' end) x
              where within(e.discrepancy_id) group by 1, 2, 3, 4),
           booked as (
             select b.discrepancy_id, coalesce(b.resolution_id::text, '') as decision, b.debit,
                    b.credit, sum(b.amount) as amount from discrepancy_entries b
               left join discrepancies d on d.id = b.discrepancy_id cross join since
              where within(b.discrepancy_id) and (d.opened_at is null or d.opened_at > since.at)
              group by 1, 2, 3, 4)
           select discrepancy_id from due
             full join booked using (discrepancy_id, decision, debit, credit)
            where due.amount is distinct from booked.amount
           union all
           select b.discrepancy_id from discrepancy_entries b
             left join discrepancies d on d.id = b.discrepancy_id
             left join discrepancy_resolutions r on r.id = b.resolution_id
            where within(b.discrepancy_id)
              and ((b.currency, b.payment_id) is distinct from (d.currency, d.payment_id)
                or b.resolution_id is not null and (r.discrepancy_id, r.state)
                   is distinct from (b.discrepancy_id, 'approved'))""",
    ),
)

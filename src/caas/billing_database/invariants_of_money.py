"""Invariants of money: payments, entries, events, refunds and disputes have the same amounts.

Rule a change must keep: an amount that is stored in two places is compared.
"""

from typing import Final

from caas.rules.postings import ACCOUNTS, OF_PROVIDER

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
               sum(amount) filter (where debit = 'refunds_payable'
                                     and credit = 'settled_funds') as refunded,
               sum(case 'risk_loss:chargeback' when debit then amount when credit then -amount end)
                 as disputed
               from ledger_entries group by payment_id) l on l.payment_id = p.id
            where (coalesce(l.authorized, 0), coalesce(l.captured, 0), coalesce(l.settled, 0),
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
              where e.facts ? 'amounts' group by e.payment_id) e on e.payment_id = p.id
            where p.created_at > (select min(ran_at) from migrations)
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
               from refunds group by payment_id) r on r.payment_id = p.id
             left join (
             select payment_id, sum(amount) filter (where state = 'opened') as held,
                    sum(amount) filter (where state = 'lost') as lost,
                    sum(excess) filter (where state in ('opened', 'lost')) as excess
               from disputes group by payment_id) d on d.payment_id = p.id
             left join (
             select payment_id,
               sum(case 'refunds_payable' when credit then amount when debit then -amount end)
                 as sent,
               sum(case 'disputed_funds' when debit then amount when credit then -amount end)
                 as held,
               sum(case 'risk_loss:dispute_excess' when debit then amount
                        when credit then -amount end) as excess
               from ledger_entries group by payment_id) l on l.payment_id = p.id
            where (coalesce(r.sent, 0), coalesce(r.done, 0), coalesce(d.held, 0),
                   coalesce(d.lost, 0), coalesce(d.excess, 0))
               is distinct from (coalesce(l.sent, 0), p.refunded_amount, coalesce(l.held, 0),
                   p.disputed_amount, coalesce(l.excess, 0))
               or (d.excess > 0 and money_out(p.id) < p.captured_amount
                   and not exists (select from jobs o
                                    where o.subject = p.id and o.kind = 'fit_disputes'))""",
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
              select debit as name from ledger_entries union select credit from ledger_entries
              union select debit from discrepancy_entries
              union select credit from discrepancy_entries
              union select debit from gateway_claim_entries
              union select credit from gateway_claim_entries) used
             where not exists (select from ledger_accounts a where a.name = used.name)""",
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
              where state = 'agreed' and not by_policy) d
             full join (
             select payment_id from payment_events where event = 'Deposit decided') e
               on e.payment_id = d.payment_id
            where d.payment_id is null or e.payment_id is null
           union all
           select p.id from orders o join payments p on p.subject = o.id and p.type = 'reservation'
            where o.state = 'reservation lost' and p.state in ('Capturing', 'Settled', 'Refunding')
              and 1 <> (select count(*) from payment_events e
                         where e.payment_id = p.id and e.event = 'Deposit held')
                     + (select count(*) from deposit_decisions d
                         where d.payment_id = p.id and d.by_policy)""",
    ),
    (
        "never_more_back_than_received",
        "Refunds plus open and lost disputes never exceed the amount received.",
        """select id from payments
            where refunded_amount + disputed_amount > captured_amount
               or settled_amount > captured_amount
           union all
           select p.id from payments p where p.captured_amount <
             (select coalesce(sum(amount), 0) from refunds r
               where r.payment_id = p.id and r.state in ('sent', 'succeeded'))
             + (select coalesce(sum(amount), 0) from disputes d
                 where d.payment_id = p.id and d.state in ('opened', 'lost'))""",
    ),
    (
        "refunds_wait_for_money",
        "A refund waits only while its payment's money is held or expected.",
        """select r.id from refunds r join payments p on p.id = r.payment_id
            where r.state = 'waiting' and p.state not in ('Capturing', 'Settled', 'Refunding')""",
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
        """select payment_id from ledger_lines group by payment_id, currency
           having sum(amount) <> 0""",
    ),
)

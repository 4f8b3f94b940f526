"""Invariants of reconciliation: lines, discrepancies and decisions agree on amounts.

Rule a change must keep: line classes and their types are those of `classification.sql`.
"""

from typing import Final

from caas.billing_database.discrepancy_statements import BOOKED_KINDS, REFUNDED_BY_DECISIONS
from caas.billing_database.quarantined_lines import IS_STORED

RECONCILIATION: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "lines_match_their_payment",
        "A posted line matches its payment's gateway, currency, and transaction or reference.",
        f"""select l.report_id from settlement_lines l
             left join payments p on p.id = l.payment_id and within(p.id)
             left join settlement_reports r on r.id = l.report_id
            where within(l.payment_id) and l.posts and l.payment_id is not null
              and (l.currency is distinct from p.currency or r.gateway is distinct from p.gateway
                  or not (coalesce(l.transaction_id = p.gateway_transaction_id, false)
                       or coalesce(l.reference = p.id::text, false)))
           union all
           select l.report_id from settlement_lines l
            where within(l.report_id) and (
               l.class = 'matched' and (l.payment_id is null or l.type not in
                    ('settlement', 'refund', 'refund_reversal', 'chargeback',
                     'chargeback_reversal', 'fee', 'settlement_failure'))
               or l.class = 'partial_settlement' and l.type <> 'settlement'
               or l.class in ('matched', 'given_back') and l.at_stake <> 0
               or (l.class = 'fee_drift') <> (l.fee_agreed is not null)
               or l.class = 'fee_drift' and l.at_stake <>
                    abs(coalesce(l.payout_fee, l.fee) - l.fee_agreed)
               or (l.class in ('provider_cost', 'provider_tax', 'provider_invoice', 'reserve',
                               'own_transfer', 'carried_balance', 'conversion'))
                  <> (l.type in ('cost', 'tax', 'invoice', 'reserve', 'transfer', 'carried',
                                 'conversion')))
           union all
           select l.report_id from settlement_lines l
             join payments p on p.id = l.payment_id and within(p.id)
            where within(l.payment_id) and l.class = 'matched' and case l.type
                when 'settlement' then l.gross <= 0
                when 'settlement_failure' then not exists (
                  select from payment_events e
                   where e.payment_id = p.id and e.to_state = 'SettlementFailed')
                when 'fee' then l.gross <> 0
                when 'refund' then l.gross >= 0 or {REFUNDED_BY_DECISIONS} = 0 and not exists (
                  select from refunds r where r.payment_id = p.id
                   union all
                  select from settlement_lines b
                   where b.payment_id = p.id and b.type = 'refund_reversal')
                when 'refund_reversal' then l.gross <= 0
                when 'chargeback' then l.gross >= 0 or not exists (
                  select from disputes d where d.payment_id = p.id)
                else l.gross <= 0 or not exists (
                  select from disputes d where d.payment_id = p.id) end
           union all
           select l.report_id from settlement_lines l
             left join settlement_reports r on r.id = l.report_id
             left join reconciliation_runs n on n.id = l.run_id
            where within(l.report_id)
              and (r.id is null or (n.gateway, n.day) is distinct from (r.gateway, r.day))
           union all
           select null from reconciliation_days d
             left join reconciliation_runs n on n.id = d.closed_by_run
            where d.closed_by_run is not null
              and (n.gateway, n.day, n.mode) is distinct from (d.gateway, d.day, 'close')
           union all
           select r.id from settlement_reports r left join reconciliation_days d
               on d.gateway = r.gateway and d.day = r.day
            where within(r.id) and d.day is null""",
    ),
    (
        "provider_rows_are_posted_once",
        "Each provider row is posted from one report only.",
        """select min(i.report_id::text) from (
             select r.gateway, r.format, l.report_id,
                    case when r.format not in ('canonical', 'adyen') and l.line_id is not null
                         then regexp_replace(l.line_id, ':(out|in)$', '')
                         else concat_ws('|', l.batch_id, l.line_id, l.transaction_id, l.reference,
                           l.type, l.gross, l.fee, l.net, l.currency, l.booked_at, l.value_date,
                           case when r.format = 'canonical' then l.line_no end) end as identity
               from settlement_lines l join settlement_reports r on r.id = l.report_id
              where (r.origin = 'file' or r.format <> 'canonical')
                and (l.posts or l.class in (select class from provider_accounts))) i
            group by i.gateway, i.format, i.identity having count(distinct i.report_id) > 1""",
    ),
    (
        "lines_kept_aside_end_by_that_line",
        "A line released by reconciliation is stored; a sealed day has no line kept aside.",
        f"""select q.report_id from quarantined_lines q
             join settlement_reports r on r.id = q.report_id
            where within(q.report_id) and q.released_by = 'reconciliation' and not {IS_STORED}
           union all
           select q.report_id from quarantined_lines q
             join settlement_reports r on r.id = q.report_id
             join reconciliation_days d on d.gateway = r.gateway and d.day = r.day
            where within(q.report_id) and q.released_at is null and d.sealed_at is not null""",
    ),
    (
        "refunds_are_explained_once",
        "No refund is posted without a line once lines explain the full refunded amount.",
        f"""select d.id from discrepancies d join payments p on p.id = d.payment_id
             join (select discrepancy_id,
                          sum(case 'settled_funds' when debit then amount when credit then -amount
                              else 0 end) as booked
                     from discrepancy_entries where within(discrepancy_id) group by 1) e
               on e.discrepancy_id = d.id
            where within(d.id) and d.kind = 'refund_mismatch' and d.report_id is null
              and e.booked <> 0
              and p.refunded_amount + {REFUNDED_BY_DECISIONS} + (select coalesce(sum(l.gross), 0)
                    from refund_lines_of(d.payment_id, d.currency) l) <= 0""",
    ),
    (
        "discrepancies_match_their_line",
        "A discrepancy has the day, kind, payment, amount and currency of its line.",
        f"""select d.id from discrepancies d
             left join settlement_lines l on l.report_id = d.report_id and l.line_no = d.line_no
             left join settlement_reports r on r.id = d.report_id
            where within(d.id) and d.report_id is not null and (
                  (r.gateway, l.currency) is distinct from (d.gateway, d.currency)
               or case when d.kind = 'fee_drift' then d.day < r.day else d.day <> r.day end
               or d.kind not in {BOOKED_KINDS}
                  and (d.kind, d.amount) is distinct from (l.class, l.at_stake)
               or l.payment_id is not null and l.payment_id is distinct from d.payment_id)
           union all
           select d.id from discrepancies d
             join discrepancy_events e on e.discrepancy_id = d.id and e.seq = 1
             left join settlement_lines l on l.report_id = d.report_id and l.line_no = d.line_no
            where within(d.id) and d.report_id is not null and e.facts ? 'type'
              and (e.facts->>'type', e.facts->>'gross', e.facts->>'fee', e.facts->>'net',
                   e.facts->>'transaction_id', e.facts->>'reference') is distinct from
                  (l.type, l.gross::text, l.fee::text, l.net::text, l.transaction_id,
                   l.reference)""",
    ),
    (
        "fees_of_decided_lines_are_compared",
        "A part, or a posted line of a decision, has a discrepancy where its fee is not as agreed.",
        """select d.id from discrepancies d
             join discrepancy_events e on e.discrepancy_id = d.id and e.seq = 1
             join settlement_lines l on l.report_id = d.report_id and l.line_no = d.line_no
            where within(d.id) and l.type = 'settlement' and l.gross > 0
              and d.payment_id is not null and d.kind not in ('currency', 'fee_drift')
              and (d.kind = 'partial_settlement'
                   or not l.posts and d.status = 'resolved' and d.resolution <> 'itself')
              and (e.facts->>'fee_agreed')::bigint <> coalesce(l.payout_fee, l.fee)
              and not exists (select from discrepancies f
                               where f.report_id = d.report_id and f.line_no = d.line_no
                                 and f.kind = 'fee_drift'
                                 and f.resolution is distinct from 'itself')""",
    ),
    (
        "provider_claims_balance",
        "The balance of the claims account equals the open claims, and we owe none of them.",
        """select coalesce(b.discrepancy_id, c.discrepancy_id)
             from (select discrepancy_id,
                          sum(case when debit = 'gateway_claims' then amount else -amount end)
                            as owed
                     from (select discrepancy_id, debit, credit, amount from discrepancy_entries
                            where within(discrepancy_id)
                           union all
                           select discrepancy_id, debit, credit, amount
                             from gateway_claim_entries where within(discrepancy_id)) e
                    where 'gateway_claims' in (debit, credit) group by 1) b
             full join (select * from gateway_claims where within(discrepancy_id)) c
               on c.discrepancy_id = b.discrepancy_id
            where case when coalesce(c.status, 'paid') in ('paid', 'refused', 'withdrawn')
                       then coalesce(b.owed, 0) <> 0 else coalesce(b.owed, 0) <= 0 end""",
    ),
    (
        "decisions_are_as_proposed",
        "A discrepancy's decision equals the proposal recorded in its steps.",
        """select r.id from discrepancy_resolutions r
             left join discrepancies d on d.id = r.discrepancy_id
            where within(r.discrepancy_id)
              and ((d.amount, d.currency) is distinct from (r.amount, r.currency)
               or not exists (select from discrepancy_events e
                    where e.discrepancy_id = r.discrepancy_id and e.event = 'proposed'
                      and e.by = r.proposed_by
                      and (e.facts->>'resolution', e.facts->>'note') = (r.resolution, r.note))
               or r.state = 'approved' and not exists (select from discrepancy_events e
                    where e.discrepancy_id = r.discrepancy_id and e.by = r.decided_by
                      and e.event in ('resolved', 'approved')))
           union all
           select d.id from discrepancies d left join (
             select distinct on (discrepancy_id) discrepancy_id, event, by, facts
               from discrepancy_events
              where within(discrepancy_id) and event in ('resolved', 'resolved itself', 'approved')
              order by discrepancy_id, seq desc) e on e.discrepancy_id = d.id
            where within(d.id) and d.status = 'resolved' and d.resolution is distinct from
                  case e.event when 'resolved itself' then 'itself' else e.facts->>'resolution' end
           union all
           select e.discrepancy_id from discrepancy_events e
             left join discrepancy_events b on b.discrepancy_id = e.discrepancy_id
              and b.seq = e.seq - 1
            where within(e.discrepancy_id) and (
                  (e.seq = 1) <> (e.event = 'opened') or e.seq > 1 and b.seq is null
               or e.event = 'rejected' and b.status <> 'proposed'
               or e.event = 'reopened' and b.status <> 'resolved'
               or e.status <> case e.event
                    when 'opened' then 'open' when 'rejected' then 'open'
                    when 'reopened' then 'open' when 'proposed' then 'proposed'
                    when 'approved' then 'waiting' when 'resolved' then 'resolved'
                    when 'resolved itself' then 'resolved' else b.status end)
           union all
           select c.discrepancy_id from gateway_claims c
             left join discrepancies d on d.id = c.discrepancy_id
             left join gateway_claim_events e on e.discrepancy_id = c.discrepancy_id
              and e.seq = c.version
            where within(c.discrepancy_id) and ((d.gateway, d.amount, d.currency) is distinct from
                  (c.gateway, c.amount, c.currency) or e.status is distinct from c.status
               or c.receipt is not null and not exists (select from gateway_claim_events x
                    where x.discrepancy_id = c.discrepancy_id and x.receipt = c.receipt))
           union all
           select d.id from discrepancies d
            where within(d.id) and d.resolution = 'claim_from_gateway'
              and not exists (select from gateway_claims c where c.discrepancy_id = d.id)
           union all
           select coalesce(x.id, e.discrepancy_id)
             from (select * from discrepancy_evidence where within(discrepancy_id)) x
             full join (select discrepancy_id, facts->>'document' as document
                          from discrepancy_events
                         where within(discrepancy_id) and event = 'evidence attached') e
               on e.document = x.id::text and e.discrepancy_id = x.discrepancy_id
            where x.id is null or e.document is null or x.digest <> sha256(x.content)""",
    ),
)

-- A webhook about a refund or a dispute that could not be applied yet, or not at all, is known to no
-- row: while its job stands, whatever it names holds back its money.
--
-- Rules a change must keep: a refund of ours, and one that is a case of its own, holds nothing back.
create function named_object(p_body jsonb) returns text language sql immutable as $$
  select coalesce(p_body->'data'->'object'->>'id', p_body->'data'->>'id')
$$;
create function tells_of_outgoing_money(p_body jsonb) returns boolean language sql immutable as $$
  select p_body->>'type' ~ '(^|[.])(dispute|refund)[.]' and p_body->>'type' not like '%refund.failed'
$$;
create function names_payment(p_body jsonb, p_payment uuid, p_transaction text)
returns boolean language sql immutable as $$
  select position(p_payment::text in p_body::text) > 0
      or coalesce(position(p_transaction in p_body::text) > 0, false)
$$;
create index disputes_told on webhook_inbox ((body->>'type'))
 where body->>'type' in ('dispute.opened', 'dispute.won', 'dispute.lost',
                         'charge.dispute.created', 'charge.dispute.closed');

create or replace function obstacle_to_refund(p_payment uuid) returns text language sql stable as $$
  select told.what from (
    select 'a dispute is open' as what from caas.disputes
     where payment_id = p_payment and state = 'opened'
    union all
    select 'the case "' || kind || '" is open' from caas.cases
     where subject = p_payment and status = 'open'
       and kind in ('dispute_contradiction', 'refund_contradiction', 'reversed_after_refund')
    union all
    select 'a webhook that names the payment was set aside: the case "' || c.kind || '" is open'
      from caas.cases c
      join caas.webhook_quarantine q on c.subject in (q.id, q.contradicts)
      join caas.payments p on p.id = p_payment
     where c.status = 'open' and c.kind in ('webhook_unreadable', 'webhook_contradiction')
       and (position(p.gateway_transaction_id in q.body) > 0
            or position(p.id::text in q.body) > 0)
    union all
    select 'a webhook about money that went out of it has not been applied'
      from caas.open_work w
      join caas.webhook_inbox n on n.id = w.subject
      join caas.payments p on p.id = p_payment
     where w.kind = 'apply_webhook' and caas.tells_of_outgoing_money(n.body)
       and caas.names_payment(n.body, p.id, p.gateway_transaction_id)
       and not exists (select from caas.refunds r
                        where r.payment_id = p.id and r.gateway_refund_id = caas.named_object(n.body))
       and not exists (select from caas.cases c
                        where c.subject = p.id and c.kind = 'refund_contradiction'
                          and c.facts->>'refund' = caas.named_object(n.body))
    union all
    select 'the discrepancy "' || d.kind || '" of ' || d.day || ' is not resolved'
      from caas.discrepancies d
      left join caas.settlement_lines l on l.report_id = d.report_id and l.line_no = d.line_no
     where d.payment_id = p_payment and d.status <> 'resolved'
       and (d.kind in ('chargeback', 'refund_mismatch', 'failed_settlement')
            or d.kind <> 'fee_drift' and l.type in
               ('refund', 'chargeback', 'chargeback_reversal', 'settlement_failure', 'adjustment'))
    union all
    select 'a decision about a settlement line is not carried out'
      from caas.open_work w join caas.discrepancies d on d.id = w.subject
     where w.kind = 'carry_out_resolution' and d.payment_id = p_payment
    union all
    select 'a chargeback was settled in another currency'
      from caas.discrepancies d
      join caas.settlement_lines l on l.report_id = d.report_id and l.line_no = d.line_no
     where d.payment_id = p_payment and d.kind = 'currency' and l.type = 'chargeback'
       and l.gross < 0
  ) told limit 1
$$;

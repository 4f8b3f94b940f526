-- A dispute that could not be read, or that contradicts another, is known to nobody: whatever names
-- a payment holds back its money until a person has closed the case.
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

-- Diagram 10, "Compare with internal records": every line of a settlement report, and every record
-- that should have had one, ends in exactly one class.
--
-- One text for three engines (DuckDB, PostgreSQL, Spark), so it uses only what the three share:
-- text and bigint columns, dates as ISO texts, no function but coalesce, cast, abs and the windows.
-- It is a pure function of its relations:
--   report_lines   the lines judged before ('seen'), those of open discrepancies ('again') and the
--                  'new' ones, in the order of `rank`, which is that in which they came; `counts` is
--                  the money that a line accounts for: its gross, less what a decision explained
--   book_payments  what the Billing Database knew, at one instant, of the payments concerned
--   run_terms      one row: the day judged by, and the fees agreed with the gateway
--   fee_terms      what was agreed for one payment method (or '*') and one type of line
--
-- Rules a change must keep: give it a new number in `rule_version`; a class is decided in one
-- `case`, the worst first; sums count a line once, and a copy never; every line comes out once.
with identified as (
  -- A line belongs to the payment of its transaction; to that of its reference only while that
  -- payment has not learnt its transaction, or the line names none.
  select l.rank, l.standing, l.type, l.gross, l.currency,
         coalesce(t.payment_id, r.payment_id) as payment_id,
         coalesce(t.payment_id, r.payment_id, l.transaction_id, l.reference, '') as whose,
         case when coalesce(t.payment_id, r.payment_id) is null
                or l.currency = coalesce(t.currency, r.currency)
              then l.counts else 0 end as weight
    from report_lines l
    left join book_payments t on t.transaction_id = l.transaction_id
    left join book_payments r on r.payment_id = l.reference and t.payment_id is null
     and (r.transaction_id is null or l.transaction_id is null)
), several as (
  select whose from identified group by whose having count(*) > 1
), copied as (
  select i.rank, i.standing, i.type, i.whose, i.weight,
         row_number() over (
           partition by l.type, l.transaction_id, l.reference, l.gross, l.fee, l.net, l.currency,
                        l.booked_at, l.batch_id, l.line_id
           order by l.rank) as copy
    from several s
    join identified i on i.whose = s.whose
    join report_lines l on l.rank = i.rank
), counted as (
  -- A refund that came back is money of its refund. A debit settles nothing and takes nothing
  -- back from what was settled: it is decided by itself. What was judged before counts as it was.
  select c.*, case when copy = 1 or standing = 'seen' then weight else 0 end as moved,
         case when type = 'refund_reversal' then 'refund'
              when type = 'settlement' and weight < 0 then 'debit' else type end as family
    from copied c
), summed as (
  -- What the lines of one payment come to, in all and up to each; most payments have one line
  -- and need no adding up.
  select rank, copy,
         sum(moved) over (partition by whose) as moved_in_all,
         sum(case when family = 'settlement' then moved else 0 end)
           over (partition by whose) as settled_in_all,
         sum(case when type in ('settlement', 'settlement_failure') then moved else 0 end)
           over (partition by whose) as settled_less_failed,
         sum(case when type = 'chargeback' and copy = 1 then 1 else 0 end)
           over (partition by whose) as chargeback_lines,
         sum(case when family = 'refund' then moved else 0 end)
           over (partition by whose) as refunded_in_all,
         sum(moved) over (partition by whose, family order by rank
                          rows between unbounded preceding and current row) as to_here,
         sum(case when copy = 1 then 1 else 0 end)
           over (partition by whose, family order by rank
                 rows between unbounded preceding and current row) as lines_to_here
    from counted
), weighed as (
  select l.*, i.payment_id, i.weight,
         coalesce(s.copy, 1) as copy,
         coalesce(s.moved_in_all, i.weight) as moved_in_all,
         coalesce(s.settled_in_all,
                  case when l.type = 'settlement' and i.weight > 0 then i.weight
                       else 0 end) as settled_in_all,
         coalesce(s.settled_less_failed,
                  case when l.type in ('settlement', 'settlement_failure') then i.weight
                       else 0 end) as settled_less_failed,
         coalesce(s.chargeback_lines,
                  case when l.type = 'chargeback' then 1 else 0 end) as chargeback_lines,
         coalesce(s.refunded_in_all,
                  case when l.type in ('refund', 'refund_reversal') then i.weight
                       else 0 end) as refunded_in_all,
         coalesce(s.to_here, i.weight) as to_here,
         coalesce(s.lines_to_here, 1) as lines_to_here,
         p.state, p.version, p.currency as book_currency, p.captured, p.settled,
         -- The bank owes no more for a payment that was settled for less.
         case when p.state in ('Settled', 'Refunding', 'Refunded') and p.settled < p.captured
              then p.settled else p.captured end as due,
         p.refunds_known,
         -- A refund on its way explains no money that went already.
         case when p.refunds_done < p.refunds_known then p.refunds_done else p.refunds_known end
           as refunds_told,
         p.disputes_known, p.disputes_count, p.disputes_back
    from report_lines l
    join identified i on i.rank = l.rank
    left join summed s on s.rank = l.rank
    left join book_payments p on p.payment_id = i.payment_id
   where l.standing <> 'seen'
), termed as (
  select w.rank, abs(w.gross) as moved, coalesce(m.kind, d.kind) as kind,
         coalesce(m.rate_ppm, d.rate_ppm) as rate_ppm, coalesce(m.fixed, d.fixed) as fixed,
         coalesce(m.tolerance, d.tolerance) as tolerance
    from weighed w
    left join fee_terms m on m.kind = w.type and m.method = w.method
    left join fee_terms d on d.kind = w.type and d.method = '*'
   where m.kind is not null or d.kind is not null
), agreed as (
  -- What the gateway should have kept of a line: per mille of a settlement, rounded half up, and
  -- a fixed part; a fixed fee for a dispute; nothing of anything else. A fee that was kept in the
  -- currency of the payout is held, at the line's own rate and to one unit of that currency, against
  -- what was agreed with its provider; the gateway's terms name no currency, and are no measure.
  select s.*, t.as_of,
         case when f.kind is not null and s.type <> 'fee' then f.fixed + cast(
                ((f.moved - f.moved % 1000000) / 1000000) as bigint) * f.rate_ppm + cast(
                ((f.moved % 1000000 * f.rate_ppm + 500000)
                 - (f.moved % 1000000 * f.rate_ppm + 500000) % 1000000) / 1000000 as bigint)
              when f.kind is not null then f.fixed
              when s.payout_fee is not null then s.payout_fee
              when t.fee_per_mille is null then s.fee
              when s.type = 'settlement' then t.fee_fixed + cast(
                ((s.gross * t.fee_per_mille + 500) - (s.gross * t.fee_per_mille + 500) % 1000)
                / 1000 as bigint)
              when s.type <> 'fee' then 0
              when s.payment_id is not null and s.lines_to_here <= (
                case when s.chargeback_lines > s.disputes_count
                     then s.chargeback_lines else s.disputes_count end) then t.dispute_fee
              else 0 end as fee_agreed,
         coalesce(f.tolerance, 0) + coalesce(s.payout_unit, 0) as tolerance,
         coalesce(s.payout_fee, s.fee) as kept
    from weighed s cross join run_terms t
    left join termed f on f.rank = s.rank
), judged as (
  select a.*,
         case
           when type = 'cost' then 'provider_cost'
           when type = 'tax' then 'provider_tax'
           when type = 'invoice' then 'provider_invoice'
           when type = 'reserve' then 'reserve'
           when type = 'transfer' then 'own_transfer'
           when type = 'carried' then 'carried_balance'
           when type = 'conversion' then 'conversion'
           when type = 'fee' and transaction_id is null and reference is null and gross = 0
             then 'provider_fee'
           when copy > 1 then 'duplicate_line'
           when type = 'fee' and transaction_id is null and reference is null then 'amount'
           when payment_id is null and moved_in_all = 0 and gross <> 0
            and transaction_id is not null then 'given_back'
           when payment_id is null then 'missing_in_book'
           when reference is not null and reference <> payment_id then 'state_conflict'
           when currency <> book_currency then 'currency'
           when state in ('Voided', 'Failed') then
             case when moved_in_all = 0 then 'given_back' else 'settled_though_voided' end
           when state = 'Authorized' and type = 'settlement' then 'captured_not_delivered'
           when state in ('Initiated', 'Pending', 'Authorized') then 'state_conflict'
           when type = 'settlement_failure' then
             case when state = 'SettlementFailed' and settled_less_failed = 0 then 'matched'
                  else 'failed_settlement' end
           when type = 'adjustment' then 'amount'
           when type = 'settlement' then
             case when state = 'SettlementFailed' and settled_less_failed <> 0 then 'state_conflict'
                  when gross <= 0 then 'amount'
                  when to_here - weight >= captured then 'duplicate_line'
                  when to_here > due then 'amount'
                  when settled_in_all < due then 'partial_settlement'
                  when abs(kept - fee_agreed) > tolerance then 'fee_drift'
                  else 'matched' end
           when type = 'refund' then
             case when gross >= 0
                    or - to_here > refunds_known and - refunded_in_all <> refunds_known
                    then 'refund_mismatch'
                  when abs(kept - fee_agreed) > tolerance then 'fee_drift'
                  else 'matched' end
           when type = 'refund_reversal' then
             case when gross <= 0 or - refunded_in_all <> refunds_known then 'refund_mismatch'
                  when abs(kept - fee_agreed) > tolerance then 'fee_drift'
                  else 'matched' end
           when type = 'chargeback' then
             case when gross > 0 then 'chargeback_reversal'
                  when gross = 0 or - to_here > disputes_known then 'chargeback'
                  when abs(kept - fee_agreed) > tolerance then 'fee_drift'
                  else 'matched' end
           when type = 'chargeback_reversal' then
             case when gross < 0 then 'chargeback'
                  when gross = 0 or to_here > disputes_back then 'chargeback_reversal'
                  when abs(kept - fee_agreed) > tolerance then 'fee_drift'
                  else 'matched' end
           when gross <> 0 then 'amount'
           when abs(kept - fee_agreed) > tolerance then 'fee_drift'
           else 'matched'
         end as class
    from agreed a
), paid as (
  select i.payment_id,
         -- Only its own money says that a payment was settled: not another currency, nor a debit.
         sum(case when i.currency = p.currency
                   and (i.type = 'settlement' and i.gross > 0 or i.type = 'settlement_failure')
                  then 1 else 0 end) as reported,
         -- A refund that waits for a person counts for no other line, but it was reported.
         sum(case when i.type not in ('refund', 'refund_reversal') then 0
                  when i.standing = 'again' and i.currency = p.currency
                    then case when coalesce(c.copy, 1) = 1 then i.gross else 0 end
                  else coalesce(c.moved, i.weight) end)
           as back_by_lines
    from book_payments p
    join identified i on i.payment_id = p.payment_id
    left join counted c on c.rank = i.rank
   where p.expected_on is not null or p.refund_expected_on is not null
   group by i.payment_id
), records as (
  select p.payment_id, p.transaction_id, p.currency, p.state, p.version, p.captured, p.settled,
         p.expected_on, p.missing_from, p.refund_expected_on, p.refunds_done, p.delivered_amount,
         coalesce(d.reported, 0) as reported, coalesce(d.back_by_lines, 0) as back_by_lines,
         t.as_of
    from book_payments p cross join run_terms t
    left join paid d on d.payment_id = p.payment_id
   where p.expected_on is not null or p.refund_expected_on is not null
      or p.delivered_amount is not null
), missed as (
  select payment_id, transaction_id, currency, state, version, settled, captured, missing_from,
         captured as at_stake,
         case when as_of > missing_from then 'missing_at_gateway'
              else 'delayed_settlement' end as class
    from records
   where as_of > expected_on and captured > 0 and reported = 0
     and state in ('Capturing', 'Settled', 'Refunding', 'Refunded')
  union all
  select payment_id, transaction_id, currency, state, version, settled, captured, null,
         refunds_done + back_by_lines, 'refund_mismatch'
    from records
   where as_of > refund_expected_on and refunds_done + back_by_lines > 0
  union all
  select payment_id, transaction_id, currency, state, version, settled, captured, null,
         delivered_amount,
         'delivered_not_captured'
    from records
   where delivered_amount is not null and captured = 0
)
select rank, standing, report, line_no, batch_id, line_id, transaction_id, reference, type, gross,
       fee, net, currency, booked_at, value_date, payment_id, class,
       cast(case class
         when 'matched' then 0
         when 'provider_fee' then 0
         when 'provider_cost' then 0
         when 'provider_tax' then 0
         when 'provider_invoice' then 0
         when 'reserve' then 0
         when 'own_transfer' then 0
         when 'carried_balance' then 0
         when 'conversion' then 0
         when 'given_back' then 0
         when 'fee_drift' then abs(kept - fee_agreed)
         when 'partial_settlement' then due - settled_in_all
         when 'amount' then case when type = 'settlement' and gross > 0
                                 then to_here - due
                                 when type = 'settlement' and gross = 0 and settled_in_all < due
                                 then due - settled_in_all
                                 when gross = 0 then abs(fee) else abs(gross) end
         when 'refund_mismatch' then
           case when gross = 0 then abs(fee)
                when type = 'refund' and gross < 0 and - to_here - refunds_told < - gross
                then - to_here - refunds_told
                else abs(gross) end
         when 'failed_settlement' then case when gross = 0 then captured else abs(gross) end
         else case when gross = 0 then abs(fee) else abs(gross) end
       end as bigint) as at_stake,
       cast(case when type = 'settlement' and to_here > captured then captured
                 when type = 'settlement' then to_here end as bigint) as settles,
       state, version, settled, captured,
       cast(case when abs(kept - fee_agreed) > tolerance then fee_agreed end as bigint)
         as fee_agreed,
       null as missing_from,
       method, commission, markup, scheme_fees, interchange, rate,
       payout_fee, payout_unit
  from judged
 union all
select null, 'book', null, null, null, null, transaction_id, null, null, null,
       null, null, currency, null, null, payment_id, class,
       cast(at_stake as bigint), null, state, version, settled, captured,
       null, missing_from, null, null, null, null, null, null, null, null
  from missed

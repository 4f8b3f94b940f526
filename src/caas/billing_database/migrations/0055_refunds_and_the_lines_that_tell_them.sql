-- What reports tell of a payment's refunds: lines that post, and those that our records lacked when
-- they came and took since then. A line that a person decided about is not among them.
create function refund_lines_of(p_payment uuid, p_currency text)
  returns table (report_id uuid, line_no bigint, class text, gross bigint, booked_at timestamptz)
  language sql stable as $$
  select l.report_id, l.line_no, l.class, l.gross, l.booked_at
    from (select s.report_id, s.line_no from settlement_lines s where s.payment_id = p_payment
           union
          select i.report_id, i.line_no from identified_lines i where i.payment_id = p_payment) k
    join settlement_lines l on l.report_id = k.report_id and l.line_no = k.line_no
   where l.currency = p_currency and l.type in ('refund', 'refund_reversal')
     and (l.posts or exists (
       select from discrepancies d where d.report_id = l.report_id and d.line_no = l.line_no
          and d.status = 'resolved' and d.resolution = 'itself'))
$$;

-- Refunds that no line told in time are few, and looked for with every line of a refund.
create index unlisted_refunds on discrepancies (payment_id)
  where kind = 'refund_mismatch' and report_id is null;

-- A document that is issued again, to a buyer whose details were wrong, names the one it replaces
-- (decision 188). Each is replaced once; what replaces it is for the same payment, amounts and tax,
-- and what is replaced is credited in full.
set lock_timeout = '5s';

alter table invoices add column replaces uuid references invoices (id);

alter table invoices add constraint invoices_replaces_key unique (replaces);

alter table invoices add constraint replaces_with_a_document
  check (replaces is null or kind = any (array['advance invoice'::text, 'vehicle invoice'::text, 'service invoice'::text]));

drop index one_document_per_payment;

create unique index one_document_per_payment on invoices (payment_id)
  where kind = any (array['advance invoice'::text, 'vehicle invoice'::text, 'service invoice'::text]) and replaces is null;

create function check_replacement() returns trigger
    language plpgsql
    as $$
declare v_old caas.invoices; v_credited bigint;
begin
  select * into v_old from caas.invoices where id = new.replaces;
  select coalesce(-sum(n.gross), 0) into v_credited from caas.invoices n where n.corrects = v_old.id;
  if v_credited <> v_old.gross
     or (new.customer, new.currency, new.gross, new.iva, new.tax_rate, new.market, new.supplied_on)
        is distinct from (v_old.customer, v_old.currency, v_old.gross, v_old.iva, v_old.tax_rate,
                          v_old.market, v_old.supplied_on) then
    raise exception 'document % does not replace document % as it was', new.id, v_old.id
      using errcode = 'check_violation';
  end if;
  return null;
end $$;

create constraint trigger replaces_what_is_credited after insert on invoices
  deferrable initially deferred for each row when (new.replaces is not null)
  execute function check_replacement();

alter table credit_note_decisions drop constraint credit_note_decisions_term_check;

alter table credit_note_decisions add constraint credit_note_decisions_term_check
  check (term = any (array['end', 'keep', 'reissue']));

create or replace view invoice_states as
 select i.id,
    i.series,
    i.number,
    i.kind,
    i.subscription,
    i.customer,
    i.month,
    i.service,
    i.vin,
    i.currency,
    i.lines,
    i.net,
    i.iva_basis_points,
    i.iva,
    i.gross,
    i.payment_id,
    i.corrects,
    i.correction,
    i.reason,
    i.issued_at,
    i.market,
    i.tax_rate,
    i.supplied_on,
    i.subject,
    i.refund,
    i.advance,
    i.simplified,
    i.language,
    i.seller,
    i.buyer_digest,
    i.digest,
    i.service_name,
    b.buyer,
    r.category as tax_category,
    r.reason as exempt_because,
    coalesce(i.service_name, (v.names ->> i.language), v.name) as service_called,
    p.id as last_payment,
    p.state as payment_state,
    p.decline_code,
    coalesce(c.credited, (0)::bigint) as credited,
        case
            when (i.kind = 'credit note'::text) then 'credit note'::text
            when (i.gross = 0) then 'nothing to pay'::text
            when (w.invoice is not null) then 'written off'::text
            when (p.captured_amount > 0) then 'paid'::text
            when (p.state = 'Failed'::text) then 'declined'::text
            else 'open'::text
        end as state,
    i.replaces,
    x.id as replaced_by
   from (((((((invoices i
     left join document_buyers b on ((b.invoice = i.id)))
     left join tax_rates r on ((r.id = i.tax_rate)))
     left join services v on ((v.code = i.service)))
     left join lateral ( select q.id,
            q.state,
            q.decline_code,
            q.captured_amount
           from ( select s.id,
                    s.type,
                    s.subject,
                    s.customer,
                    s.amount,
                    s.currency,
                    s.payment_method,
                    s.return_url,
                    s.state,
                    s.came_from,
                    s.outcome,
                    s.version,
                    s.event_hash,
                    s.decline_code,
                    s.gateway_transaction_id,
                    s.hosted_page_url,
                    s.capture_before,
                    s.authorized_amount,
                    s.captured_amount,
                    s.settled_amount,
                    s.refunded_amount,
                    s.disputed_amount,
                    s.created_at,
                    s.updated_at,
                    s.live
                   from payments s
                  where ((s.subject = i.id) and (s.type = 'subscription'::text) and (i.kind = 'invoice'::text))
                union all
                 select s.id,
                    s.type,
                    s.subject,
                    s.customer,
                    s.amount,
                    s.currency,
                    s.payment_method,
                    s.return_url,
                    s.state,
                    s.came_from,
                    s.outcome,
                    s.version,
                    s.event_hash,
                    s.decline_code,
                    s.gateway_transaction_id,
                    s.hosted_page_url,
                    s.capture_before,
                    s.authorized_amount,
                    s.captured_amount,
                    s.settled_amount,
                    s.refunded_amount,
                    s.disputed_amount,
                    s.created_at,
                    s.updated_at,
                    s.live
                   from payments s
                  where ((s.id = i.payment_id) and (i.kind <> 'invoice'::text))) q
          order by (q.captured_amount > 0) desc, q.created_at desc
         limit 1) p on (true))
     left join written_off_invoices w on ((w.invoice = i.id)))
     left join lateral ( select (- (sum(n.gross))::bigint) as credited
           from invoices n
          where (n.corrects = i.id)) c on (true))
     left join invoices x on ((x.replaces = i.id)));

-- Documents: every payment has its own, and every refund.
--
-- Read in this order: invoices (all kinds of documents by now), document_buyers (who a document is
-- made out to, as at its issue), documents_due (what is to be issued), the triggers that fill it.
--
-- Rules a change must keep: a document is written once, with a digest of all that it says; a series
-- has no gap; what must be documented is noted in the commit that makes it so.

alter table invoices
  alter column subscription drop not null,
  alter column month drop not null,
  alter column service drop not null,
  alter column vin drop not null,
  add column subject uuid,
  add column refund uuid unique,
  add column advance uuid references invoices,
  add column simplified boolean not null default true,
  add column language text,
  add column seller jsonb,
  add column buyer_digest bytea,
  add column digest bytea,
  drop constraint invoices_kind_check,
  drop constraint invoices_check1,
  drop constraint invoices_check2,
  add constraint is_of_a_kind check (kind in (
    'invoice', 'advance invoice', 'vehicle invoice', 'service invoice', 'credit note')),
  add constraint corrects_one check ((kind = 'credit note') = (correction > 0)),
  add constraint is_about_something check (
    case when kind = 'invoice' then subscription is not null and month is not null
         when kind <> 'credit note' then subscription is null and subject is not null else true end),
  add constraint deducts_an_advance check (advance is null or kind = 'vehicle invoice'),
  add constraint adds_or_takes_back check (
    case when kind <> 'credit note'
         then net >= 0 and iva >= 0 and corrects is null and reason is null and refund is null
              and (payment_id is null) = (gross = 0)
         else net <= 0 and iva <= 0 and gross < 0 and corrects is not null and reason is not null
              and payment_id is null end),
  add constraint is_in_a_series_of_its_kind check (series ~ case kind
    when 'invoice' then '^([A-Z0-9]{1,6}-)?[0-9]{4}$'
    when 'advance invoice' then '^([A-Z0-9]{1,6}-)?A[0-9]{4}$'
    when 'vehicle invoice' then '^([A-Z0-9]{1,6}-)?V[0-9]{4}$'
    when 'service invoice' then '^([A-Z0-9]{1,6}-)?S[0-9]{4}$'
    else '^([A-Z0-9]{1,6}-)?R[0-9]{4}$' end);
-- Documents of before go by the name that their customer has today, until it is erased.
alter table invoices alter column simplified drop default;
alter table invoice_series drop constraint invoice_series_series_check,
  add constraint invoice_series_series_check check (series ~ '^([A-Z0-9]{1,6}-)?[ARSV]?[0-9]{4}$');

create unique index one_document_per_payment on invoices (payment_id)
  where kind in ('advance invoice', 'vehicle invoice', 'service invoice');
create unique index one_correction_at_a_time on invoices (corrects, correction)
  where corrects is not null;
create index documents_in_time on invoices (issued_at desc, id desc);
create index invoices_of_customer on invoices (customer, issued_at desc, id desc);
create index invoices_of_subject on invoices ((coalesce(subject, subscription)), issued_at desc, id desc);

-- Erasing removes those of simplified documents, which need no name; the law keeps the others.
create table document_buyers (
  invoice uuid primary key references invoices,
  buyer jsonb not null check (jsonb_typeof(buyer) = 'object')
);

insert into document_buyers
  select i.id, jsonb_build_object('name', c.name) from invoices i
    join customers c on c.id = i.customer where c.name is not null;

create table documents_due (
  id bigint generated always as identity primary key,
  payment_id uuid not null references payments,
  refund uuid references refunds,
  at timestamptz not null
);

create function buyer_of(p_customer uuid) returns jsonb language sql stable as $$
  select case when b.customer is not null then jsonb_strip_nulls(jsonb_build_object(
                'name', b.name, 'street', b.street, 'postcode', b.postcode, 'city', b.city,
                'country', b.country, 'tax_id', b.tax_id))
              when c.name is not null then jsonb_build_object('name', c.name) end
    from customers c left join billing_details b on b.customer = c.id where c.id = p_customer
$$;

create function digest_of_document(p_document invoices) returns bytea language sql stable as $$
  select sha256(convert_to((jsonb_strip_nulls(to_jsonb(p_document)) - 'digest' - 'issued_at'
    || jsonb_build_object('issued_at', extract(epoch from p_document.issued_at)))::text, 'UTF8'))
$$;

create function seal_document() returns trigger language plpgsql as $$
begin
  new.subject := coalesce(new.subject, new.subscription);
  new.digest := caas.digest_of_document(new);
  return new;
end $$;
create trigger is_sealed before insert on invoices
  for each row execute function seal_document();

create function note_documents_due() returns trigger language plpgsql security definer
set search_path = caas, pg_temp as $$
begin
  insert into documents_due (payment_id, at)
  select n.payment_id, n.recorded_at from new_rows n join payments p on p.id = n.payment_id
   where p.type <> 'subscription' order by n.payment_id;
  return null;
end $$;
create trigger is_documented after insert on payment_taxes
  referencing new table as new_rows for each statement execute function note_documents_due();

create function note_credit_note_due() returns trigger language plpgsql security definer
set search_path = caas, pg_temp as $$
begin
  insert into documents_due (payment_id, refund, at)
  select new.payment_id, new.id, db_now()
   where exists (select from payment_taxes t where t.payment_id = new.payment_id)
     and not exists (select from invoices i where i.refund = new.id);
  return null;
end $$;
create trigger is_credited after insert on refunds for each row
  when (new.state = 'succeeded') execute function note_credit_note_due();
create trigger is_credited_in_the_end after update of state on refunds for each row
  when (new.state = 'succeeded' and old.state <> 'succeeded')
  execute function note_credit_note_due();

create trigger never_changed before update or truncate on document_buyers
  for each statement execute function refuse_change();

drop view invoice_states;
create view invoice_states as
  select i.*, b.buyer, r.category as tax_category, r.reason as exempt_because,
         p.id as last_payment, p.state as payment_state, p.decline_code,
         coalesce(c.credited, 0) as credited,
         case when i.kind = 'credit note' then 'credit note'
              when i.gross = 0 then 'nothing to pay'
              when w.invoice is not null then 'written off'
              when p.captured_amount > 0 then 'paid'
              when p.state = 'Failed' then 'declined'
              else 'open' end as state
    from invoices i
    left join document_buyers b on b.invoice = i.id
    left join tax_rates r on r.id = i.tax_rate
    left join lateral (
      select q.id, q.state, q.decline_code, q.captured_amount from (
        select * from payments s where s.subject = i.id and s.type = 'subscription'
           and i.kind = 'invoice'
         union all
        select * from payments s where s.id = i.payment_id and i.kind <> 'invoice') q
       order by q.captured_amount > 0 desc, q.created_at desc limit 1) p on true
    left join written_off_invoices w on w.invoice = i.id
    left join lateral (
      select -sum(n.gross)::bigint as credited from invoices n where n.corrects = i.id) c on true;

create or replace function clear_customer(p_customer uuid) returns void language sql security definer
set search_path = caas, pg_temp as $$
  delete from document_buyers b using invoices i
   where i.id = b.invoice and i.customer = p_customer and i.simplified;
  delete from billing_details where customer = p_customer;
  update customers set name = null, email = null, erased_at = coalesce(erased_at, db_now())
   where id = p_customer;
  update access_credentials set used_at = db_now() where customer = p_customer and used_at is null;
  delete from sessions where account in (select a.id from accounts a where a.customer = p_customer);
  update accounts set disabled_at = coalesce(disabled_at, db_now()) where customer = p_customer;
  update api_keys set revoked_at = db_now() where customer = p_customer and revoked_at is null;
  update notifications set not_sent_because = 'the customer was erased',
         facts = case when facts ? 'access_url' then facts || '{"access_url": ""}' else facts end
   where audience = 'customer' and recipient = p_customer::text and sent_at is null
     and not_sent_because is null;
  update payments set payment_method = null, return_url = null
   where customer = p_customer and came_from is not null
     and (payment_method is not null or return_url is not null);
  update subscriptions set payment_method = 'erased'
   where customer = p_customer and payment_method <> 'erased'
     and state not in ('verifying payment method', 'activating', 'active')
$$;

-- A correction that gives much back, proposed by one person and agreed to by another.
create table credit_note_decisions (
  id uuid primary key,
  invoice uuid not null references invoices,
  gross bigint not null check (gross > 0),
  reason text not null check (length(reason) between 1 and 200),
  state text not null check (state in ('proposed', 'agreed', 'withdrawn')),
  proposed_by text not null,
  proposed_account uuid references accounts,
  proposed_at timestamptz not null,
  decided_by text,
  decided_account uuid references accounts,
  decided_at timestamptz,
  check ((state = 'proposed') = (decided_by is null)),
  check ((decided_by is null) = (decided_at is null)),
  check (decided_by is not null or decided_account is null)
);
create unique index one_correction_proposed on credit_note_decisions (invoice)
  where state = 'proposed';
create trigger never_removed before delete or truncate on credit_note_decisions
  for each statement execute function refuse_change();
create trigger is_decided_once before update on credit_note_decisions for each row
  when (old.state <> 'proposed'
        or (new.id, new.invoice, new.gross, new.reason, new.proposed_by, new.proposed_account,
            new.proposed_at)
           is distinct from (old.id, old.invoice, old.gross, old.reason, old.proposed_by,
                             old.proposed_account, old.proposed_at))
  execute function refuse_other_decision();
create trigger two_people_decide before insert or update on credit_note_decisions for each row
  when (new.state = 'agreed') execute function refuse_one_person('proposed_account',
    'decided_account');

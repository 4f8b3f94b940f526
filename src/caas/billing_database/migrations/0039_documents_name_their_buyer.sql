-- A full invoice names its buyer, with the tax id where the market's law wants it: a document waits
-- until that is known, and is issued when it is. Buyers of documents are kept for the term of the
-- law and no longer. What was paid before documents existed gets its own.
--
-- Rules a change must keep: a document that waits has an open case, and is released by what it
-- waited for; the functions on the way of a capture are plpgsql, so that a session plans them once.

alter table markets
  add column buyer_tax_id boolean not null default false,
  add column documents_kept_years integer not null default 10
    check (documents_kept_years between 1 and 30);
update markets set buyer_tax_id = true where country in ('ES', 'CL');
update markets set documents_kept_years = 6 where country in ('ES', 'CL');

-- IPSI of Ceuta and Melilla has a category of its own in EN 16931.
alter table tax_rates drop constraint tax_rates_category_check,
  add constraint tax_rates_category_check check (category in ('S', 'Z', 'E', 'O', 'L', 'M')),
  drop constraint tax_rates_check,
  add constraint tax_rates_check check ((category in ('S', 'L', 'M')) = (basis_points > 0));

-- What a full invoice needs of its buyer and does not have; nothing for one that is complete.
create function lacking_details(p_details billing_details, p_market markets) returns text[]
language sql immutable as $$
  select case when (p_details).customer is null
              then '{street,postcode,city,country}'::text[] else '{}'::text[] end
      || case when (p_market).buyer_tax_id and (p_details).tax_id is null
              then '{tax_id}'::text[] else '{}'::text[] end
$$;

-- `held` waits for somebody: `case_kind` is the case that says for whom.
alter table documents_due
  add column held boolean not null default false,
  add column case_kind text,
  add constraint is_held_for_a_case check (not held or case_kind is not null);
create index documents_due_now on documents_due (id) where not held;
create index documents_due_of_payment on documents_due (payment_id);

create function release_documents() returns trigger language plpgsql security definer
set search_path = caas, pg_temp as $$
begin
  update documents_due d set held = false from payments p
   where p.customer = new.customer and d.payment_id = p.id and d.held
     and d.case_kind = 'buyer_details_missing';
  return null;
end $$;
create trigger releases_documents after insert or update on billing_details
  for each row execute function release_documents();

-- On the way of every capture: a function in SQL is planned at each call, one in plpgsql once.
create or replace function market_of_address(p_country text, p_postcode text) returns text
language plpgsql stable as $$
begin
  return (select m.code from markets m
           where m.country = p_country and (m.postcodes = '{}' or exists (
             select from unnest(m.postcodes) as beginning where starts_with(p_postcode, beginning)))
           order by m.postcodes = '{}', m.code limit 1);
end $$;

create or replace function market_of_sale(p_type text, p_subject uuid, p_customer uuid)
returns text language plpgsql stable as $$
declare v_market text; v_country text; v_postcode text;
begin
  if p_type in ('reservation', 'final') then
    select d.market into v_market from orders o join dealership_markets d
        on d.dealership = o.dealership where o.id = p_subject;
  else
    select b.country, b.postcode into v_country, v_postcode from billing_details b
     where b.customer = p_customer;
    if found then
      v_market := market_of_address(v_country, v_postcode);
    end if;
  end if;
  return coalesce(v_market, (select s.market from tax_settings s));
end $$;

-- As before, and of a payment from before taxes were written down: the rate of the day it was made.
drop function tax_of_payment(uuid);
create function tax_of_payment(p_id uuid, p_at timestamptz default db_now())
returns table (market text, rate bigint, supplied_on date, gross bigint, tax bigint, advance uuid)
language sql stable as $$
  select sale.market, r.id, day.of_supply, p.amount,
         case when i.id is not null then i.iva
              when deposit.payment_id is not null
                then tax_in(p.amount + deposit.gross, r.basis_points) - deposit.tax
              else tax_in(p.amount, r.basis_points) end,
         deposit.payment_id
    from payments p
    left join invoices i on i.id = p.subject and p.type = 'subscription'
    cross join lateral (
      select coalesce(i.market, market_of_sale(p.type, p.subject, p.customer)) as market) sale
    join markets m on m.code = sale.market
    cross join lateral (
      select coalesce(i.supplied_on, (coalesce(i.issued_at, p_at) at time zone m.zone)::date)
        as of_supply) day
    join tax_rates r on r.market = sale.market and r.valid @> day.of_supply
     and r.goods = case when p.type in ('reservation', 'final') then 'vehicle' else p.type end
    left join lateral (
      select t.payment_id, t.gross, t.tax from payments d join payment_taxes t on t.payment_id = d.id
       where d.subject = p.subject and d.type = 'reservation' and p.type = 'final'
         and t.rate = r.id and d.captured_amount > d.refunded_amount limit 1) deposit on true
   where p.id = p_id
$$;

-- A refund of what has its document has its credit note, from before taxes as well.
create or replace function note_credit_note_due() returns trigger language plpgsql security definer
set search_path = caas, pg_temp as $$
begin
  insert into documents_due (payment_id, refund, at)
  select new.payment_id, new.id, db_now()
   where (exists (select from payment_taxes t where t.payment_id = new.payment_id)
          or exists (select from invoices i where i.payment_id = new.payment_id))
     and not exists (select from invoices i where i.refund = new.id);
  return null;
end $$;

-- Notes what is not documented and not noted: of one payment, or of all; returns how much it is.
create function note_missing_documents(p_payment uuid default null) returns bigint
language sql security definer set search_path = caas, pg_temp as $$
  with paid as (
    insert into documents_due (payment_id, at)
    select p.id, db_now() from payments p
     where p.captured_amount > 0 and p.type <> 'subscription' and p.id = coalesce(p_payment, p.id)
       and not exists (select from invoices i where i.payment_id = p.id and i.kind <> 'invoice')
       and not exists (select from documents_due d where d.payment_id = p.id and d.refund is null)
     order by p.created_at, p.id returning 1
  ), refunded as (
    insert into documents_due (payment_id, refund, at)
    select f.payment_id, f.id, db_now() from refunds f
     where f.state = 'succeeded' and f.payment_id = coalesce(p_payment, f.payment_id)
       and f.reason not like 'credit note %'
       and not exists (select from invoices n where n.refund = f.id)
       and not exists (select from documents_due d where d.refund = f.id)
     order by f.updated_at, f.id returning 1
  )
  select (select count(*) from paid) + (select count(*) from refunded)
$$;

-- Whether the law still wants a document kept: to the end of the last year of its term.
create function is_kept_by_law(p_document invoices) returns boolean language sql stable as $$
  select (db_now() at time zone m.zone)::date < make_date(extract(year from
      p_document.issued_at at time zone m.zone)::integer + 1 + m.documents_kept_years, 1, 1)
    from markets m
   where m.code = coalesce(p_document.market, (select s.market from tax_settings s))
$$;

-- Removes who documents were made out to, of customers who were erased, when the term is over.
create function forget_buyers() returns bigint language sql security definer
set search_path = caas, pg_temp as $$
  with gone as (
    delete from document_buyers b using invoices i, customers c
     where i.id = b.invoice and c.id = i.customer and c.erased_at is not null
       and not is_kept_by_law(i) returning 1)
  select count(*) from gone
$$;

-- A document says what its service was called at its issue, in the language that it is written in.
alter table invoices add column service_name text;
drop view invoice_states;
create view invoice_states as
  select i.*, b.buyer, r.category as tax_category, r.reason as exempt_because,
         coalesce(i.service_name, v.names->>i.language, v.name) as service_called,
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
    left join services v on v.code = i.service
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

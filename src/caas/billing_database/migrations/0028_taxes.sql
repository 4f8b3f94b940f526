-- Taxes: what is owed on each kind of goods in each market and when, and the tax in what is earned.
--
-- Read in this order: markets, tax_rates (dated, never changed once they hold), dealership_markets,
-- billing_details (where a customer is), tax_settings (the market where nothing else says one),
-- payment_taxes (the rate that a payment fell under, once), and the trigger that keeps the tax in
-- what is earned on an account of its own. Markets and rates are written from markets.toml.
--
-- Rules a change must keep: a rate that has begun is never changed, another follows it; what is
-- earned stands net on its account, and its tax on output_vat, whatever statement wrote the entry.

create table markets (
  code text primary key check (code ~ '^[A-Z]{2}(-[A-Z0-9]{1,3})?$'),
  name text not null check (length(name) between 1 and 80),
  country text not null check (country ~ '^[A-Z]{2}$'),
  postcodes text[] not null default '{}' check (cardinality(postcodes) <= 20),
  zone text not null check (length(zone) between 1 and 64),
  currency text not null check (currency ~ '^[A-Z]{3}$'),
  simplified_up_to bigint not null check (simplified_up_to >= 0)
);

create table tax_rates (
  id bigint generated always as identity primary key,
  market text not null references markets,
  goods text not null check (goods in ('vehicle', 'service', 'subscription')),
  valid daterange not null check (not isempty(valid) and not lower_inf(valid)),
  category text not null check (category in ('S', 'Z', 'E', 'O', 'L')),
  basis_points integer not null check (basis_points = 0 or basis_points between 50 and 10000),
  name text not null check (length(name) between 1 and 40),
  reason text not null default '' check (length(reason) <= 200),
  recorded_at timestamptz not null,
  check ((category in ('S', 'L')) = (basis_points > 0)),
  check ((category in ('E', 'O')) = (reason <> '')),
  constraint one_rate_a_day exclude using gist (market with =, goods with =, valid with &&)
);

-- A dealership sells in a market; where none is written here, in the market of the settings.
create table dealership_markets (
  dealership text primary key check (length(dealership) between 1 and 120),
  market text not null references markets
);

-- What the law wants on an invoice, as the customer says it is today; cleared by erasing.
create table billing_details (
  customer uuid primary key references customers,
  name text not null check (length(name) between 1 and 200),
  street text not null check (length(street) between 1 and 200),
  postcode text not null check (length(postcode) between 1 and 20),
  city text not null check (length(city) between 1 and 100),
  country text not null check (country ~ '^[A-Z]{2}$'),
  tax_id text check (length(tax_id) between 3 and 40),
  updated_at timestamptz not null
);

-- Payments older than `since` were booked whole as earned, and stay so.
create table tax_settings (
  only_row boolean primary key default true check (only_row),
  market text not null,
  since timestamptz not null
);
insert into tax_settings (market, since) values ('ES', db_now());

create table payment_taxes (
  payment_id uuid primary key,
  market text not null references markets,
  rate bigint not null references tax_rates,
  supplied_on date not null,
  gross bigint not null check (gross > 0),
  tax bigint not null check (tax between 0 and gross),
  advance uuid,
  recorded_at timestamptz not null
);
create index payment_taxes_of_rate on payment_taxes (rate, supplied_on);

create function refuse_other_rate() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    if lower(new.valid) <= db_now()::date and exists (
      select from caas.tax_rates r where r.market = new.market and r.goods = new.goods) then
      raise exception 'a tax rate of % for % begins on a day to come', new.market, new.goods
        using errcode = 'check_violation';
    end if;
    return new;
  end if;
  if (old.market, old.goods, old.category, old.basis_points, old.name, old.reason)
     is distinct from (new.market, new.goods, new.category, new.basis_points, new.name, new.reason)
     or lower(new.valid) <> lower(old.valid) or not upper_inf(old.valid)
     or upper(new.valid) <= db_now()::date then
    raise exception 'the tax rate % of % for % never changes, it ends on a day to come', old.id,
      old.market, old.goods using errcode = 'check_violation';
  end if;
  return new;
end $$;
create trigger follows_the_last before insert or update on tax_rates
  for each row execute function refuse_other_rate();
create trigger never_removed before delete or truncate on tax_rates
  for each statement execute function refuse_change();
create trigger never_removed before delete or truncate on markets
  for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on payment_taxes
  for each statement execute function refuse_change();

-- rules/taxes.py in SQL.
create function tax_in(p_gross bigint, p_basis_points integer) returns bigint
language sql immutable as $$
  select (2 * p_gross * p_basis_points + 10000 + p_basis_points) / (2 * (10000 + p_basis_points))
$$;
create function tax_left(p_tax bigint, p_left bigint, p_of bigint) returns bigint
language sql immutable as $$
  select div(2 * p_tax::numeric * p_left + p_of, 2 * p_of::numeric)::bigint
$$;

create function market_of_address(p_country text, p_postcode text) returns text
language sql stable as $$
  select m.code from markets m
   where m.country = p_country and (m.postcodes = '{}' or exists (
     select from unnest(m.postcodes) as beginning where starts_with(p_postcode, beginning)))
   order by m.postcodes = '{}', m.code limit 1
$$;

-- Vehicles are supplied where their dealership hands them over, services where their customer is.
create function market_of_sale(p_type text, p_subject uuid, p_customer uuid) returns text
language sql stable as $$
  select coalesce(
    case when p_type in ('reservation', 'final')
         then (select d.market from orders o join dealership_markets d
                  on d.dealership = o.dealership where o.id = p_subject)
         else (select market_of_address(b.country, b.postcode) from billing_details b
                where b.customer = p_customer) end,
    (select s.market from tax_settings s))
$$;

-- What the billing run found out about a month stands on its invoice.
alter table invoices add column market text, add column tax_rate bigint,
  add column supplied_on date;

-- Under which rate a payment falls that is earned now. The vehicle's price is taxed as one sum: of
-- a final payment the tax is that of the price, less what the deposit's was, where both fall under
-- one rate.
create function tax_of_payment(p_id uuid)
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
      select coalesce(i.supplied_on, (coalesce(i.issued_at, db_now()) at time zone m.zone)::date)
        as of_supply) day
    join tax_rates r on r.market = sale.market and r.valid @> day.of_supply
     and r.goods = case when p.type in ('reservation', 'final') then 'vehicle' else p.type end
    left join lateral (
      select t.payment_id, t.gross, t.tax from payments d join payment_taxes t on t.payment_id = d.id
       where d.subject = p.subject and d.type = 'reservation' and p.type = 'final'
         and t.rate = r.id and d.captured_amount > d.refunded_amount limit 1) deposit on true
   where p.id = p_id
$$;

-- After each statement that posts to what is earned: the tax in what is left there moves along.
create function tax_what_is_earned() returns trigger language plpgsql security definer
set search_path = caas, pg_temp as $$
declare
  v_earned constant text[] := array['customer_deposits', 'vehicle_sales', 'service_revenue',
                                    'subscription_revenue', 'reservation_held'];
begin
  if not exists (select from new_rows n where 'output_vat' not in (n.debit, n.credit)
                   and (n.debit = any (v_earned) or n.credit = any (v_earned))) then
    return null;
  end if;
  insert into payment_taxes
  select p.id, t.market, t.rate, t.supplied_on, t.gross, t.tax, t.advance, db_now()
    from (select distinct n.payment_id from new_rows n where n.credit = any (v_earned)
             and 'output_vat' not in (n.debit, n.credit)) e
    join payments p on p.id = e.payment_id
    join tax_settings s on p.created_at >= s.since
    cross join lateral tax_of_payment(p.id) t
  on conflict do nothing;
  insert into ledger_entries (payment_id, seq, debit, credit, amount, currency, at)
  select b.payment_id, b.seq, case when b.owed > b.booked then b.account else 'output_vat' end,
         case when b.owed > b.booked then 'output_vat' else b.account end,
         abs(b.owed - b.booked), b.currency, b.at
    from (
      select x.payment_id, l.account, max(x.seq) as seq, max(x.at) as at,
             max(l.currency) as currency, coalesce(sum(l.amount) filter (where l.is_tax), 0) as booked,
             tax_left(t.tax, greatest(coalesce(
               -sum(l.amount) filter (where not l.is_tax), 0), 0)::bigint, t.gross) as owed
        from (select n.payment_id, max(n.seq) as seq, max(n.at) as at from new_rows n
               where 'output_vat' not in (n.debit, n.credit)
                 and (n.debit = any (v_earned) or n.credit = any (v_earned))
               group by n.payment_id) x
        join payment_taxes t on t.payment_id = x.payment_id and t.tax > 0
        cross join lateral (
          select side.account, side.amount, e.currency, 'output_vat' in (e.debit, e.credit) as is_tax
            from ledger_entries e cross join lateral (
              values (e.debit, e.amount), (e.credit, -e.amount)) side(account, amount)
           where e.payment_id = x.payment_id and side.account = any (v_earned)) l
       group by x.payment_id, l.account, t.tax, t.gross) b
   where b.owed <> b.booked;
  return null;
end $$;
create trigger taxes_what_is_earned after insert on ledger_entries
  referencing new table as new_rows for each statement execute function tax_what_is_earned();

-- What an accountant asks for: the tax by market, rate and month of supply, as the ledger has it.
create view output_tax as
  select t.market, r.goods, r.name, r.category, r.basis_points,
         to_char(t.supplied_on, 'YYYY-MM') as month, e.currency,
         sum(case when e.credit = 'output_vat' then e.amount else -e.amount end)::bigint as tax
    from ledger_entries e
    join payment_taxes t on t.payment_id = e.payment_id
    join tax_rates r on r.id = t.rate
   where 'output_vat' in (e.debit, e.credit)
   group by t.market, r.goods, r.name, r.category, r.basis_points, 6, e.currency;

-- Prices of subscriptions were told without their tax. From now on they contain it, and nobody pays
-- more than before: a whole month costs what it did, in whole units rounded down.
alter table subscriptions disable trigger keeps_its_terms;
update subscriptions s set monthly_fee = monthly_fee + monthly_fee * 2100 / 10000,
  metered = (select coalesce(jsonb_agg(m || jsonb_build_object('unit_price',
      (m->>'unit_price')::bigint + (m->>'unit_price')::bigint * 2100 / 10000) order by place), '[]')
    from jsonb_array_elements(s.metered) with ordinality as e(m, place));
alter table subscriptions enable always trigger keeps_its_terms;
update services s set monthly_fee = monthly_fee + monthly_fee * 2100 / 10000,
  metered = (select coalesce(jsonb_agg(m || jsonb_build_object('unit_price',
      (m->>'unit_price')::bigint + (m->>'unit_price')::bigint * 2100 / 10000) order by place), '[]')
    from jsonb_array_elements(s.metered) with ordinality as e(m, place))
 where kind = 'subscription';

create or replace function clear_customer(p_customer uuid) returns void language sql security definer
set search_path = caas, pg_temp as $$
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

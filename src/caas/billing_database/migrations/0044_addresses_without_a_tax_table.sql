-- An address in no market that has a table of tax rates falls under nobody's rates: neither the
-- settings' market nor the rest of its country stands in for it.
--
-- Rule a change must keep: only of a customer who gave no address does the settings' market decide.

-- A part of a country comes before all of it, and of two markets the one that has rates.
create or replace function market_of_address(p_country text, p_postcode text) returns text
language plpgsql stable as $$
begin
  return (select m.code from markets m
           where m.country = p_country and (m.postcodes = '{}' or exists (
             select from unnest(m.postcodes) as beginning where starts_with(p_postcode, beginning)))
           order by m.postcodes = '{}',
                 not exists (select from tax_rates r where r.market = m.code), m.code limit 1);
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
      return market_of_address(v_country, v_postcode);
    end if;
  end if;
  return coalesce(v_market, (select s.market from tax_settings s));
end $$;

-- The country and postcode of a customer whose address has no rate today for something we sell.
create function address_without_tax_table(p_customer uuid) returns text
language plpgsql stable as $$
declare v_country text; v_postcode text; v_market text;
begin
  select b.country, b.postcode into v_country, v_postcode from billing_details b
   where b.customer = p_customer;
  if not found then
    return null;
  end if;
  v_market := market_of_address(v_country, v_postcode);
  if (select count(*) from markets m join tax_rates r on r.market = m.code
         and r.valid @> (db_now() at time zone m.zone)::date
       where m.code = v_market) = 3 then
    return null;
  end if;
  return v_country || ', postcode ' || v_postcode;
end $$;

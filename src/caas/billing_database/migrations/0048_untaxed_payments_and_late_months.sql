-- What could not be documented when it should have been, and how it is made good: a payment that was
-- captured where there was no tax rate waits behind a case until it is taxed; a month that could not
-- be invoiced is, when its run is begun again.
--
-- Rule a change must keep: nothing that was taxed, invoiced or charged is so a second time.

-- Posts the tax in what is left of these payments, less what stands there already.
create function book_output_tax(p_payments uuid[], p_seqs integer[], p_at timestamptz[])
returns void language plpgsql security definer set search_path = caas, pg_temp as $$
declare
  v_earned constant text[] := array['customer_deposits', 'vehicle_sales', 'service_revenue',
                                    'subscription_revenue', 'reservation_held'];
begin
  insert into ledger_entries (payment_id, seq, debit, credit, amount, currency, at)
  select b.payment_id, b.seq, case when b.owed > b.booked then b.account else 'output_vat' end,
         case when b.owed > b.booked then 'output_vat' else b.account end,
         abs(b.owed - b.booked), b.currency, b.at
    from (
      select x.payment_id, l.account, x.seq, x.at,
             max(l.currency) as currency, coalesce(sum(l.amount) filter (where l.is_tax), 0) as booked,
             tax_left(t.tax, greatest(coalesce(
               -sum(l.amount) filter (where not l.is_tax), 0), 0)::bigint, t.gross) as owed
        from unnest(p_payments, p_seqs, p_at) as x(payment_id, seq, at)
        join payment_taxes t on t.payment_id = x.payment_id and t.tax > 0
        cross join lateral (
          select side.account, side.amount, e.currency, 'output_vat' in (e.debit, e.credit) as is_tax
            from ledger_entries e cross join lateral (
              values (e.debit, e.amount), (e.credit, -e.amount)) side(account, amount)
           where e.payment_id = x.payment_id and side.account = any (v_earned)) l
       group by x.payment_id, x.seq, x.at, l.account, t.tax, t.gross) b
   where b.owed <> b.booked;
end $$;

-- Notes what was earned where we had no rate, so that somebody hears of it.
create function note_untaxed(p_payments uuid[]) returns void
language sql security definer set search_path = caas, pg_temp as $$
  insert into documents_due (payment_id, at)
  select p.id, db_now() from payments p join tax_settings s on p.created_at >= s.since
   where p.id = any (p_payments)
     and not exists (select from payment_taxes t where t.payment_id = p.id)
     and not exists (select from documents_due d where d.payment_id = p.id)
   order by p.id
$$;

-- As before; each question is asked only where the posting makes it one.
create or replace function tax_what_is_earned() returns trigger language plpgsql security definer
set search_path = caas, pg_temp as $$
declare
  v_earned constant text[] := array['customer_deposits', 'vehicle_sales', 'service_revenue',
                                    'subscription_revenue', 'reservation_held'];
  v_payments uuid[]; v_seqs integer[]; v_at timestamptz[]; v_credited uuid[]; v_taxed bigint;
begin
  select array_agg(x.payment_id), array_agg(x.seq), array_agg(x.at),
         array_agg(x.payment_id) filter (where x.is_credited)
    into v_payments, v_seqs, v_at, v_credited
    from (select n.payment_id, max(n.seq) as seq, max(n.at) as at,
                 bool_or(n.credit = any (v_earned)) as is_credited from new_rows n
           where 'output_vat' not in (n.debit, n.credit)
             and (n.debit = any (v_earned) or n.credit = any (v_earned))
           group by n.payment_id) x;
  if v_payments is null then
    return null;
  end if;
  if v_credited is not null then
    insert into payment_taxes
    select p.id, t.market, t.rate, t.supplied_on, t.gross, t.tax, t.advance, db_now()
      from payments p join tax_settings s on p.created_at >= s.since
      cross join lateral tax_of_payment(p.id) t
     where p.id = any (v_credited)
    on conflict do nothing;
    get diagnostics v_taxed = row_count;
    if v_taxed < cardinality(v_credited) then
      perform note_untaxed(v_credited);
    end if;
  end if;
  perform book_output_tax(v_payments, v_seqs, v_at);
  return null;
end $$;

-- Taxes a payment that was captured where there was no rate, by the day of its capture; says whether
-- it is taxed now. Its document is released.
create function tax_captured_payment(p_payment uuid) returns boolean
language plpgsql security definer set search_path = caas, pg_temp as $$
declare v_seq integer; v_at constant timestamptz := db_now();
begin
  insert into payment_taxes
  select p.id, t.market, t.rate, t.supplied_on, t.gross, t.tax, t.advance, v_at
    from payments p join tax_settings s on p.created_at >= s.since
    join payment_events e on e.payment_id = p.id and e.event = 'Initiate settlement'
    cross join lateral tax_of_payment(p.id, e.at) t
   where p.id = p_payment and p.captured_amount > 0
   order by e.seq limit 1
  on conflict do nothing;
  if not found then
    return exists (select from payment_taxes t where t.payment_id = p_payment);
  end if;
  select max(e.seq) into v_seq from ledger_entries e where e.payment_id = p_payment;
  perform book_output_tax(array[p_payment], array[v_seq], array[v_at]);
  update documents_due d set held = false
   where d.payment_id = p_payment and d.held and d.case_kind = 'payment_without_tax_rate';
  perform note_missing_documents(p_payment);
  return true;
end $$;

-- A run that was finished may be begun again: it looks at every subscription once more, and invoices
-- and charges what it could not before.
alter table billing_runs add column begun_again integer not null default 0;
drop trigger is_finished_once on billing_runs;
create trigger is_finished_once before update on billing_runs for each row
  when (not (old.finished_at is not null and new.finished_at is null and new.invoiced_at is null
             and new.seen = 0 and new.begun_again = old.begun_again + 1
             and (new.month, new.series, new.first_number, new.started_at, new.invoices,
                  new.charges, new.charged_series, new.charged_number)
                 is not distinct from
                 (old.month, old.series, old.first_number, old.started_at, old.invoices,
                  old.charges, old.charged_series, old.charged_number))
        and (old.finished_at is not null or new.begun_again <> old.begun_again
             or (old.month, old.series, old.first_number, old.started_at)
                is distinct from (new.month, new.series, new.first_number, new.started_at)
             or old.invoiced_at is not null and new.invoiced_at is distinct from old.invoiced_at
             or new.seen < old.seen or new.invoices < old.invoices or new.charges < old.charges))
  execute function refuse_other_run();
select keep_checksum('billing_runs', array['month', 'series', 'first_number', 'started_at']);

-- The country and postcode of a customer whose address has no rate today for something we sell, with
-- the market that lacks it where there is one.
create or replace function address_without_tax_table(p_customer uuid) returns text
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
  return v_country || ', postcode ' || v_postcode || coalesce(' (market ' || v_market || ')', '');
end $$;

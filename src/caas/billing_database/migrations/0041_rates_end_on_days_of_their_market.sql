-- A rate begins and ends at midnight where it is charged, which is not midnight in UTC.
create or replace function refuse_other_rate() returns trigger language plpgsql as $$
declare
  today constant date := (select (caas.db_now() at time zone m.zone)::date
                            from caas.markets m where m.code = new.market);
begin
  if tg_op = 'INSERT' then
    if lower(new.valid) <= today and exists (
      select from caas.tax_rates r where r.market = new.market and r.goods = new.goods) then
      raise exception 'a tax rate of % for % begins on a day to come', new.market, new.goods
        using errcode = 'check_violation';
    end if;
    return new;
  end if;
  if (old.market, old.goods, old.category, old.basis_points, old.name, old.reason)
     is distinct from (new.market, new.goods, new.category, new.basis_points, new.name, new.reason)
     or lower(new.valid) <> lower(old.valid) or not upper_inf(old.valid)
     or upper(new.valid) <= today then
    raise exception 'the tax rate % of % for % never changes, it ends on a day to come', old.id,
      old.market, old.goods using errcode = 'check_violation';
  end if;
  return new;
end $$;

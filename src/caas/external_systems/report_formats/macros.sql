-- How amounts, identifiers, times and rates are read off a file: major units of either decimal sign,
-- with a currency or its sign beside them; a rate is only shown, and never calculated with.
create macro units(t, factor) as
  case when coalesce(t, '') = '' then 0
       when regexp_full_match(t, '-?\d{1,13}(\.\d{1,6})?')
        and cast(t as decimal(28, 6)) * factor = round(cast(t as decimal(28, 6)) * factor, 0)
       then cast(cast(t as decimal(28, 6)) * factor as bigint) end;
create macro plain(t) as
  case when not regexp_matches(t, '[^0-9.-]') then t
       when not regexp_full_match(t,
         '\s*([A-Z]{3}|[€$£])?\s*[+-]?\s*[0-9][0-9.,]*\s*([A-Z]{3}|[€$£])?\s*') then t
       when regexp_matches(t, ',[0-9]*[^0-9.,]*$')
       then replace(regexp_replace(t, '[^0-9,-]', '', 'g'), ',', '.')
       else regexp_replace(t, '[^0-9.-]', '', 'g') end;
-- A cell without an amount is no zero where an amount must stand.
create macro is_blank(t) as trim(coalesce(t, '')) = '';
-- An amount that names another currency than its row's is none of its row.
create macro code_in(t, otherwise) as
  case when regexp_matches(t, '[A-Z]{3}') then regexp_extract(t, '[A-Z]{3}')
       when contains(t, '€') then 'EUR' when contains(t, '£') then 'GBP'
       when contains(t, '$') and otherwise in ('EUR', 'GBP', 'CHF', 'PLN', 'JPY') then 'USD'
       else otherwise end;
create macro amount_in(t, code, factor) as
  if(code_in(t, code) is distinct from code, null, units(plain(t), factor));
create macro identifier(t) as
  nullif(regexp_extract(regexp_replace(trim(t), '[^!-~]+', '_', 'g'),
    '^[A-Za-z0-9][!-~]{0,199}$'), '');
create macro offset_of(t) as
  case when regexp_matches(t, '[+-]\d\d:\d\d$')
       then cast(t[-6] || '1' as integer)
          * (cast(t[-5:-4] as integer) * 60 + cast(t[-2:] as integer)) else 0 end;
create macro rate_of(amount, factor, other, other_factor) as
  cast(round(abs(amount) * other_factor / nullif(abs(other) * factor, 0), 8) as varchar);
-- An amount of the payout in the currency of the payment, by what the whole row is in both; and what
-- one unit of the payout is in it, rounded up: finer than that nothing can be compared.
create macro in_currency(amount, own, paid) as
  cast(coalesce(round(amount * (abs(own) / nullif(abs(paid), 0))), 0) as bigint);
create macro unit_in_currency(own, paid) as
  cast(coalesce(ceil(abs(own) / nullif(abs(paid), 0)), 1) as bigint);

-- The canonical settlement report (decision 33): minor units, RFC 3339, one line a row.
-- Nearly every instant ends in Z; what its offset takes to be read is spared then.
create view reported as
from raw
select place, formula, line_no, batch_id, $line_id as line_id, transaction_id, reference, type,
       gross, fee, net, currency,
       case when regexp_full_match(booked_at,
              '\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,6})?[Zz]')
            then try_cast(left(booked_at, -1) as timestamp)
            when regexp_full_match(booked_at,
              '\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,6})?[+-]\d\d:\d\d')
            then try_cast(left(booked_at, -6) as timestamp)
               - to_minutes(offset_of(booked_at)) end as booked_at,
       case when regexp_full_match(value_date, '\d{4}-\d\d-\d\d')
            then try_cast(value_date as date) end as value_date,
       null::date as dated, null::date as also_dated,
       $method as method, null::bigint as commission, null::bigint as markup,
       null::bigint as scheme_fees, null::bigint as interchange, null::varchar as rate,
       null::bigint as payout_fee, null::bigint as payout_unit,
       null::varchar as refused

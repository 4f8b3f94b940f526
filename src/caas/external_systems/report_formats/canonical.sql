-- The canonical settlement report (decision 33): minor units, RFC 3339 in UTC, one line a row.
create view told as
from raw
select place, formula, line_no, batch_id, $line_id as line_id, transaction_id, reference, type,
       gross, fee, net, currency,
       case when regexp_full_match(booked_at,
              '\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|\+00:00)')
            then try_cast(left(booked_at, if(ends_with(booked_at, 'Z'), -1, -6)) as timestamp)
            end as booked_at,
       case when regexp_full_match(value_date, '\d{4}-\d\d-\d\d')
            then try_cast(value_date as date) end as value_date,
       null::date as also_dated,
       null::varchar as refused

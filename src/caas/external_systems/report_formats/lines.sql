-- The lines of a report that are well formed, as text and bigint.
create temp view placed_lines as
from checked
select place, cast(line_no as bigint) as line_no, batch_id, line_id, transaction_id, reference,
       type, cast(gross as bigint) as gross, cast(fee as bigint) as fee, cast(net as bigint) as net,
       currency, strftime(booked_at, '%Y-%m-%dT%H:%M:%S.%fZ') as booked_at,
       cast(value_date as varchar) as value_date,
       case when regexp_full_match(method, '[a-z0-9][a-z0-9_-]{0,39}') then method end as method,
       commission, markup, scheme_fees, interchange,
       case when regexp_full_match(rate, '\d{1,9}(\.\d{1,12})?') then rate end as rate,
       payout_fee, payout_unit
 where reason is null;
create temp view fresh_lines as
from placed_lines select * exclude (place)

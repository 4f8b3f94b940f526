-- The lines of a report that are well formed, as text and bigint.
create view fresh_lines as
from checked
select cast(line_no as bigint) as line_no, batch_id, line_id, transaction_id, reference,
       type, cast(gross as bigint) as gross, cast(fee as bigint) as fee, cast(net as bigint) as net,
       currency, strftime(booked_at, '%Y-%m-%dT%H:%M:%S.%fZ') as booked_at,
       cast(value_date as varchar) as value_date
 where reason is null

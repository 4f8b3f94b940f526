-- Stripe's itemized balance and payout reconciliation reports: major units with a decimal point,
-- currencies in lower case, times in UTC without saying so. Payouts move no payment's money.
create view told as
from raw left join currencies c on c.code = upper(currency)
select place, formula, cast(place - 1 as varchar) as line_no,
       coalesce($payout, 'balance') as batch_id, balance_transaction_id as line_id,
       coalesce($payment_intent, $charge) as transaction_id, $reference as reference,
       case reporting_category
         when 'charge' then 'settlement'
         when 'refund' then 'refund'
         when 'dispute' then 'chargeback'
         when 'dispute_reversal' then 'chargeback_reversal'
         when 'charge_failure' then 'settlement_failure'
         when 'fee' then 'fee'
         else 'adjustment' end as type,
       cast(if(reporting_category = 'fee', 0, units(gross, c.factor)) as varchar) as gross,
       cast(if(reporting_category = 'fee', - units(net, c.factor), units(fee, c.factor))
            as varchar) as fee,
       cast(units(net, c.factor) as varchar) as net,
       upper(currency) as currency,
       case when regexp_full_match($created, '\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\dZ?')
            then try_cast(left($created, 19) as timestamp) end as booked_at,
       case when regexp_full_match($available, '\d{4}-\d\d-\d\d.*')
            then try_cast(left($available, 10) as date) end as value_date,
       try_cast(left($effective, 10) as date) as also_dated,
       null::varchar as refused
 where reporting_category not in ('payout', 'payout_reversal')
    or reporting_category is null

-- Stripe's itemized balance and payout reconciliation reports: major units, currencies in lower
-- case, times in UTC without saying so. Payouts move no payment's money. A row that is paid out in
-- another currency than the customer's is three lines: the settlement in the customer's currency,
-- and the conversion out of it and into the other, with its rate.
create view reported as
with typed as (
  select raw.*, c.code, c.factor, f.code as facing_code, f.factor as facing_factor,
         case reporting_category
           when 'charge' then 'settlement'
           when 'refund' then 'refund'
           when 'refund_failure' then 'refund_reversal'
           when 'dispute' then 'chargeback'
           when 'dispute_reversal' then 'chargeback_reversal'
           when 'charge_failure' then 'settlement_failure'
           when 'fee' then 'fee'
           when 'network_cost' then 'cost'
           when 'contribution' then 'cost'
           when 'climate_order_purchase' then 'cost'
           when 'climate_order_refund' then 'cost'
           when 'tax' then 'tax'
           when 'risk_reserved_funds' then 'reserve'
           when 'connect_reserved_funds' then 'reserve'
           when 'payout_minimum_balance_hold' then 'reserve'
           when 'payout_minimum_balance_release' then 'reserve'
           when 'topup' then 'transfer'
           when 'topup_reversal' then 'transfer'
           when 'transfer' then 'transfer'
           when 'transfer_reversal' then 'transfer'
           when 'connect_collection_transfer' then 'transfer'
           when 'advance' then 'transfer'
           when 'advance_funding' then 'transfer'
           when 'anticipation_repayment' then 'transfer'
           when 'financing_payout' then 'transfer'
           when 'financing_payout_reversal' then 'transfer'
           when 'financing_paydown' then 'transfer'
           when 'financing_paydown_reversal' then 'transfer'
           else 'adjustment' end as line_type,
         amount_in(gross, c.code, c.factor) as gross_units, amount_in(fee, c.code, c.factor) as fee_units,
         amount_in(net, c.code, c.factor) as net_units,
         amount_in($facing_amount, f.code, f.factor) as facing_units
    from raw left join currencies c on c.code = upper(currency)
    left join currencies f on f.code = upper($facing_currency)
   where reporting_category not in ('payout', 'payout_reversal') or reporting_category is null
), split as (
  select typed.*, p.part, p.suffix,
         case when line_type in ('fee', 'cost', 'tax') then 0 else gross_units end as moved,
         case when gross_units < 0 then - abs(facing_units) else abs(facing_units) end as faced,
         coalesce(facing_code <> code, false) and line_type in
           ('settlement', 'refund', 'refund_reversal', 'chargeback', 'chargeback_reversal')
           as converted
    from typed cross join parts p
   where p.part = 0 or (facing_code <> code and line_type in
           ('settlement', 'refund', 'refund_reversal', 'chargeback', 'chargeback_reversal'))
)
select place, formula, cast(place - 1 + part * 1000000000 as varchar) as line_no,
       coalesce(nullif($payout, ''), 'balance') as batch_id,
       balance_transaction_id || suffix as line_id,
       if(part > 0, null, coalesce(nullif($payment_intent, ''), nullif($charge, '')))
         as transaction_id,
       if(part > 0, null, nullif($reference, '')) as reference,
       if(part > 0, 'conversion', line_type) as type,
       cast(case when part = 1 then - faced when part = 2 then gross_units
                 when converted then faced else moved end as varchar) as gross,
       cast(case when part = 1 then 0 when part = 2 then fee_units when converted then 0
                 when line_type in ('fee', 'cost', 'tax') then - net_units
                 else fee_units end as varchar) as fee,
       cast(case when part = 1 then - faced when part = 2 then net_units
                 when converted then faced else net_units end as varchar) as net,
       if(part < 2 and converted, facing_code, upper(currency)) as currency,
       case when regexp_full_match($created, '\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?Z?')
            then try_cast(left($created, 19) as timestamp) end as booked_at,
       case when regexp_full_match($available, '\d{4}-\d\d-\d\d.*')
            then try_cast(left($available, 10) as date) end as value_date,
       try_cast(left($dated, 10) as date) as dated,
       if(nullif($payout, '') is null, null, try_cast(left($effective, 10) as date)) as also_dated,
       lower($method) as method,
       null::bigint as commission, null::bigint as markup, null::bigint as scheme_fees,
       null::bigint as interchange,
       if(part > 0, rate_of(gross_units, factor, faced, facing_factor), null) as rate,
       if(part = 0 and converted, in_currency(fee_units, faced, gross_units), null) as payout_fee,
       if(part = 0 and converted, unit_in_currency(faced, gross_units), null) as payout_unit,
       case when is_blank(gross) and line_type not in ('fee', 'cost', 'tax')
            then 'its gross is missing'
            when is_blank(net) then 'its net is missing'
            when converted and is_blank($facing_amount)
            then 'its amount for the customer is missing' end as refused
  from split

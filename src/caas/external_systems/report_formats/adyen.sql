-- Adyen's settlement details report: debit and credit in columns of their own, major units, times
-- in the account's zone. What is not paid out in the currency it was charged in cannot be held
-- against our book. The type says which way the money went: published samples have it in the
-- debit column of a settled payment. The payout to the bank is no line but the control total.
create view told as
from (
  from raw
  left join currencies c on c.code = "Net Currency"
  left join zones z on z.code = upper("TimeZone")
  select *,
         units("Net Credit (NC)", c.factor) - units("Net Debit (NC)", c.factor) as net_units,
         case when "Type" in ('Fee', 'MiscCosts', 'PaymentCost') then 0
              when "Type" in ('Settled', 'ChargebackReversed')
                then units("Gross Credit (GC)", c.factor) + units("Gross Debit (GC)", c.factor)
              when "Type" in ('Refunded', 'Chargeback', 'SecondChargeback')
                then - units("Gross Credit (GC)", c.factor) - units("Gross Debit (GC)", c.factor)
              else units("Gross Credit (GC)", c.factor) - units("Gross Debit (GC)", c.factor)
         end as gross_units
) r
select place, formula, cast(place - 1 as varchar) as line_no, "Batch Number" as batch_id,
       nullif("Modification Reference", '') as line_id,
       nullif("Psp Reference", '') as transaction_id,
       nullif("Merchant Reference", '') as reference,
       case "Type"
         when 'Settled' then 'settlement'
         when 'Refunded' then 'refund'
         when 'Chargeback' then 'chargeback'
         when 'SecondChargeback' then 'chargeback'
         when 'ChargebackReversed' then 'chargeback_reversal'
         when 'Fee' then 'fee'
         when 'MiscCosts' then 'fee'
         when 'PaymentCost' then 'fee'
         else 'adjustment' end as type,
       cast(gross_units as varchar) as gross,
       cast(gross_units - net_units as varchar) as fee,
       cast(net_units as varchar) as net,
       "Net Currency" as currency,
       case when regexp_full_match("Creation Date", '\d{4}-\d\d-\d\d \d\d:\d\d:\d\d')
            then try_cast("Creation Date" as timestamp) - to_minutes(r.minutes) end as booked_at,
       case when regexp_full_match("Creation Date", '\d{4}-\d\d-\d\d.*')
            then try_cast(left("Creation Date", 10) as date) end as value_date,
       null::date as also_dated,
       case when nullif("Gross Currency", '') <> "Net Currency"
            then 'it is paid out in another currency than it was charged in' end as refused
 where "Type" <> 'MerchantPayout' or "Type" is null

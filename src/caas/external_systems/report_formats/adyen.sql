-- Adyen's settlement details report: debit and credit in columns of their own, major units, times
-- in the account's zone. The type says which way the money went: published samples have it in the
-- debit column of a settled payment. The payout to the bank is no line but the control total. What
-- is paid out in another currency than it was charged in is three lines: the settlement in the
-- currency of the charge, and the conversion out of it and into the other, with its rate. Columns
-- may be chosen: without the gross, it is the net and the costs that were kept of it; without its
-- currency, it is that of the net; without a zone, times are CET.
create view reported as
with typed as (
  select raw.*, n.code, n.factor, g.code as gross_code, g.factor as gross_factor, z.minutes,
         k.name as zone_name,
         amount_in("Net Credit (NC)", n.code, n.factor) - amount_in("Net Debit (NC)", n.code, n.factor)
           as net_units,
         amount_in($gross_credit, coalesce(g.code, n.code), coalesce(g.factor, n.factor)) as credit,
         amount_in($gross_debit, coalesce(g.code, n.code), coalesce(g.factor, n.factor)) as debit,
         amount_in($commission_nc, n.code, n.factor) as commission,
         amount_in($markup_nc, n.code, n.factor) as markup,
         amount_in($scheme_fees_nc, n.code, n.factor) as scheme_fees,
         amount_in($interchange_nc, n.code, n.factor) as interchange,
         case "Type"
           when 'Settled' then 'settlement'
           when 'SettledBulk' then 'settlement'
           when 'SettledInInstallments' then 'settlement'
           when 'SettledReversed' then 'settlement_failure'
           when 'Refunded' then 'refund'
           when 'RefundedBulk' then 'refund'
           when 'RefundedReversed' then 'refund_reversal'
           when 'Chargeback' then 'chargeback'
           when 'SecondChargeback' then 'chargeback'
           when 'ChargebackReversed' then 'chargeback_reversal'
           when 'Fee' then 'fee'
           when 'CashOutFee' then 'fee'
           when 'AdvancementCommissionFee' then 'fee'
           when 'AuthorizationSchemeFee' then 'fee'
           when 'MiscCosts' then 'cost'
           when 'PaymentCost' then 'cost'
           when 'InvoiceDeduction' then 'invoice'
           when 'DepositCorrection' then 'reserve'
           when 'Balancetransfer' then 'carried'
           when 'InternalCompanyPayout' then 'transfer'
           when 'MerchantPayin' then 'transfer'
           when 'MatchedStatement' then 'transfer'
           when 'BankInstructionReturned' then 'transfer'
           else 'adjustment' end as line_type
    from raw
    left join currencies n on n.code = "Net Currency"
    left join currencies g on g.code = $gross_currency
    left join zones z on z.code = upper(coalesce($zone, 'CET'))
    left join pg_timezone_names() k on k.name = $zone and z.code is null
   where "Type" <> 'MerchantPayout' or "Type" is null
), moved as (
  select *,
         case when line_type in ('fee', 'cost', 'invoice') then 0
              when line_type in ('reserve', 'carried', 'transfer') then net_units
              when not $has_gross_credit and not $has_gross_debit
                then net_units + commission + markup + scheme_fees + interchange
              when line_type in ('settlement', 'chargeback_reversal', 'refund_reversal')
                then credit + debit
              when line_type in ('refund', 'chargeback', 'settlement_failure') then - credit - debit
              else credit - debit end as gross_units,
         coalesce(gross_code <> code, false) and line_type in
           ('settlement', 'refund', 'refund_reversal', 'chargeback', 'chargeback_reversal',
            'settlement_failure') as converted
    from typed
), split as (
  select moved.*, p.part, p.suffix,
         net_units + case when net_units < 0 then 0 else 1 end
           * (commission + markup + scheme_fees + interchange) as converted_gross
    from moved cross join parts p where p.part = 0 or moved.converted
)
select place, formula, cast(place - 1 + part * 1000000000 as varchar) as line_no,
       "Batch Number" as batch_id,
       identifier($modification) || suffix as line_id,
       if(part > 0, null, nullif("Psp Reference", '')) as transaction_id,
       if(part > 0, null, nullif($reference, '')) as reference,
       if(part > 0, 'conversion', line_type) as type,
       cast(case part when 1 then - gross_units when 2 then converted_gross else gross_units end
         as varchar) as gross,
       cast(case when part = 2 then converted_gross - net_units when part = 1 or converted then 0
                 else gross_units - net_units end as varchar) as fee,
       cast(case when part = 1 then - gross_units when part = 2 then net_units
                 when converted then gross_units else net_units end as varchar) as net,
       if(part < 2 and converted, gross_code, "Net Currency") as currency,
       case when regexp_full_match("Creation Date", '\d{4}-\d\d-\d\d \d\d:\d\d:\d\d')
            then coalesce(try_cast("Creation Date" as timestamp) - to_minutes(minutes),
              timezone('UTC', timezone(zone_name, try_cast("Creation Date" as timestamp))))
            end as booked_at,
       case when regexp_full_match("Creation Date", '\d{4}-\d\d-\d\d.*')
            then try_cast(left("Creation Date", 10) as date) end as value_date,
       value_date as dated, null::date as also_dated, lower(nullif($method, '')) as method,
       if(part = 1, null, commission) as commission, if(part = 1, null, markup) as markup,
       if(part = 1, null, scheme_fees) as scheme_fees, if(part = 1, null, interchange)
         as interchange,
       case when part > 0 then coalesce(nullif(plain($exchange_rate), ''),
              rate_of(converted_gross, factor, gross_units, gross_factor)) end as rate,
       if(part = 0 and converted,
          in_currency(converted_gross - net_units, gross_units, converted_gross), null)
         as payout_fee,
       if(part = 0 and converted, unit_in_currency(gross_units, converted_gross), null)
         as payout_unit,
       case when is_blank($gross_credit) and is_blank($gross_debit)
             and ($has_gross_credit or $has_gross_debit)
             and line_type in ('settlement', 'refund', 'refund_reversal', 'chargeback',
                               'chargeback_reversal', 'settlement_failure')
            then 'its gross is missing'
            when is_blank("Net Credit (NC)") and is_blank("Net Debit (NC)")
            then 'its net is missing' end as refused
  from split

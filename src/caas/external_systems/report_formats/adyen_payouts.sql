-- The control total of Adyen's report: with the payouts, everything that was credited was debited.
from raw left join currencies c on c.code = "Net Currency"
select cast(count(*) filter (where "Type" = 'MerchantPayout') as bigint) as payouts,
       cast(sum(units("Net Credit (NC)", c.factor) - units("Net Debit (NC)", c.factor)) as bigint)
         as left_over

-- The control total of Adyen's report, by currency: with the payouts and what is carried over,
-- everything that was credited was debited.
from raw left join currencies c on c.code = "Net Currency"
select "Net Currency" as currency,
       cast(count(*) filter (where "Type" in ('MerchantPayout', 'Balancetransfer')) as bigint)
         as closings,
       cast(sum(amount_in("Net Credit (NC)", c.code, c.factor)
              - amount_in("Net Debit (NC)", c.code, c.factor)) as bigint) as left_over
 where c.code is not null
 group by 1 order by 1

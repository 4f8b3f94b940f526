-- The first amount of Adyen's report that none can be read of, where its currency is known.
from (
  from raw r join currencies c on c.code = "Net Currency"
  cross join lateral (values ("Net Debit (NC)", 'Net Debit (NC)'),
                             ("Net Credit (NC)", 'Net Credit (NC)')) a(cell, col)
  select place, cell, col, c.code, amount_in(cell, c.code, c.factor) as units)
select place, cell, col, code where units is null order by place limit 1

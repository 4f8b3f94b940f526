"""Invariants of taxes: every earned payment has one rate, and its tax is posted."""

from typing import Final

EARNED: Final = (
    "('customer_deposits', 'vehicle_sales', 'service_revenue', 'subscription_revenue',"
    " 'reservation_held')"
)

TAXES: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "earned_payments_are_taxed",
        "A captured payment has the tax rate of its goods, market and date, or waits for one.",
        """select p.id from payments p join tax_settings s on p.created_at >= s.since
             left join payment_taxes t on t.payment_id = p.id
             left join tax_rates r on r.id = t.rate
            where p.captured_amount > 0 and (t.payment_id is null and not exists (
                 select from documents_due d where d.payment_id = p.id and d.refund is null)
               or t.gross <> p.amount
               or r.market <> t.market or not r.valid @> t.supplied_on or r.goods <>
                  case when p.type in ('reservation', 'final') then 'vehicle' else p.type end)""",
    ),
    (
        "output_vat_is_the_tax_on_revenue",
        "The output tax account equals the tax in each payment's revenue.",
        f"""select t.payment_id from payment_taxes t left join lateral (
             select sum(owed) as owed, sum(booked) as booked from (
               select tax_left(t.tax, greatest(-coalesce(sum(side.amount)
                        filter (where not l.is_tax), 0), 0)::bigint, t.gross) as owed,
                      coalesce(sum(side.amount) filter (where l.is_tax), 0) as booked
                 from (select e.*, 'output_vat' in (e.debit, e.credit) as is_tax
                         from ledger_entries e where e.payment_id = t.payment_id) l
                cross join lateral (
                  values (l.debit, l.amount), (l.credit, -l.amount)) side(account, amount)
                where side.account in {EARNED} group by side.account) a) b on true
            where coalesce(b.owed, 0) <> coalesce(b.booked, 0)
           union all
           select e.payment_id from ledger_entries e
            where 'output_vat' in (e.debit, e.credit)
              and not exists (select from payment_taxes t where t.payment_id = e.payment_id)""",
    ),
    (
        "every_day_has_one_rate",
        "In every market, each kind of goods has a current rate, and rates have no gaps.",
        """select m.code || ' ' || g.goods from markets m
            cross join unnest(array['vehicle', 'service', 'subscription']) as g(goods)
            where m.code in (select market from tax_settings
                             union select market from dealership_markets)
              and not exists (select from tax_rates r where r.market = m.code
                and r.goods = g.goods and r.valid @> (db_now() at time zone m.zone)::date)
           union all
           select r.market || ' ' || r.goods from (
             select market, goods, valid,
                    lead(valid) over (partition by market, goods order by valid) as following
               from tax_rates) r
            where r.following is not null and upper(r.valid) <> lower(r.following)
           union all
           select s.market from tax_settings s
            where not exists (select from markets m where m.code = s.market)""",
    ),
)

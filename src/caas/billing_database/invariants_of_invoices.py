"""Invariants of invoices: they bill only delivered service and recorded usage at agreed prices.

Rule a change must keep: calculations are those of `rules.mes_vencido`.
"""

from typing import Final

INVOICES: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "invoices_add_up",
        "An invoice's total is the sum of its lines, and its tax is correct.",
        """select i.id from invoices i cross join lateral (
             select coalesce(sum((l->>'gross')::numeric), 0) as gross,
                    coalesce(sum((l->>'net')::numeric), 0) as net,
                    coalesce(bool_or(coalesce(l->>'gross', l->>'net')::numeric <> case
                      when l->'out_of' = 'null' then
                        (l->>'quantity')::numeric * (l->>'unit_price')::numeric
                      else floor((l->>'quantity')::numeric * (l->>'unit_price')::numeric
                                 / (l->>'out_of')::numeric) end), false) as wrong
               from jsonb_array_elements(i.lines) l) told
            where i.kind = 'invoice' and (told.wrong or case when i.market is null
                then told.net <> i.net
                     or i.iva <> (2 * i.net * i.iva_basis_points + 10000) / 20000
                else told.gross <> i.gross or i.iva <> tax_in(i.gross, i.iva_basis_points) end)
           union all
           select id from invoices where gross <> net + iva""",
    ),
    (
        "invoices_match_their_subscription",
        "An invoice has the vehicle, service, currency and prices of its subscription.",
        """select i.id from invoices i join subscriptions s on s.id = i.subscription
            where (i.customer, i.vin, i.service, i.currency) is distinct from
                  (s.customer, s.vin, s.service, s.currency)
               or i.kind = 'invoice' and i.market is not null and exists (
                 select from jsonb_array_elements(i.lines) l
                  where l->>'kind' = 'fixed fee' and (l->>'unit_price')::bigint <> s.monthly_fee
                     or l->>'kind' = 'metered usage' and not exists (
                       select from jsonb_array_elements(s.metered) m
                        where (m->>'unit', m->>'unit_price') = (l->>'unit', l->>'unit_price')))
           union all
           select n.id from invoices n left join invoices i on i.id = n.corrects
            where n.kind = 'credit note' and (i.kind is null or i.kind = 'credit note'
                  or i.iva_basis_points <> n.iva_basis_points)
           union all
           select i.id from invoices i join invoices n on n.corrects = i.id
            group by i.id having -sum(n.gross) > i.gross or -sum(n.net) > i.net
               or max(n.correction) <> count(*) or min(n.correction) <> 1""",
    ),
    (
        "taxes_are_as_documented",
        "A payment's market, tax rate, day of supply and tax equal those on its document.",
        """select t.payment_id from payment_taxes t join invoices i on i.payment_id = t.payment_id
            where (t.market, t.rate, t.supplied_on, t.tax) is distinct from
                  (i.market, i.tax_rate, i.supplied_on, i.iva)
           union all
           select b.invoice from document_buyers b
            where not exists (select from invoices i where i.id = b.invoice)""",
    ),
    (
        "months_are_billed_by_their_run",
        "A billing run started after its month ended, and its invoices and payments are complete.",
        """select coalesce(r.month, i.month) from billing_runs r full join (
             select month, count(*) as issued from invoices where kind = 'invoice'
              group by month) i on i.month = r.month
            where r.month is null or coalesce(i.issued, 0) <> r.invoices
               or r.finished_at is not null and r.seen < r.invoices or r.charges > r.invoices
           union all
           select i.id::text from invoices i left join billing_runs r on r.month = i.month
            where i.issued_at > db_now()
               or i.issued_at < ((r.month || '-01')::timestamp + interval '1 month')
                                at time zone r.zone
           union all
           select i.id::text from invoices i join billing_runs r on r.month = i.month
            where r.finished_at is not null and i.payment_id is not null
              and not exists (select from payments p where p.id = i.payment_id)
           union all
           select u.invoice::text from usage_records u join invoices i on i.id = u.invoice
             join billing_runs r on r.month = i.month
             join subscriptions s on s.id = u.subscription
            where u.at < s.activated_at
               or u.at >= ((r.month || '-01')::timestamp + interval '1 month')
                          at time zone r.zone
           union all
           select u.subscription::text from usage_records u
            where not exists (select from subscriptions s where s.id = u.subscription)
           union all
           select d.subscription::text from usage_disputes d
            where not exists (select from usage_records u where u.subscription = d.subscription
                                 and u.source_id = d.source_id)
           union all
           select w.invoice::text from written_off_invoices w
             left join payments p on p.id = w.payment_id
            where p.subject is distinct from w.invoice
           union all
           select i.id::text from invoices i
            where not exists (select from invoice_series s where s.series = i.series)
               or i.kind = 'credit note' and i.refund is null and i.subscription is not null
                  and not exists (select from notifications n
                    where n.subject = i.id and n.template = 'credit_note_sent')""",
    ),
    (
        "usage_disputes_end_as_decided",
        "Disputed usage is cancelled exactly when its dispute was decided that way.",
        """select d.id from usage_disputes d
            where d.outcome = 'cancelled' and not exists (
                    select from usage_records c
                     where c.subscription = d.subscription and c.cancels = d.source_id)
               or d.outcome = 'billed' and exists (
                    select from usage_records c
                     where c.subscription = d.subscription and c.cancels = d.source_id
                       and c.source_id in ('dispute ' || d.id, d.ended_by))""",
    ),
    (
        "days_are_billed_as_delivered",
        "A month bills exactly the days of delivered service, each day once (decision 47).",
        """with months as (
             select r.month, r.zone, (r.month || '-01')::date as first,
                    ((r.month || '-01')::date + interval '1 month')::date as next
               from billing_runs r),
           billed as (
             select i.id, i.month, i.vin, i.service, i.subscription,
                    (l->>'quantity')::bigint as days, (l->>'out_of')::bigint as out_of
               from invoices i cross join lateral jsonb_array_elements(i.lines) l
              where i.kind = 'invoice' and l->>'kind' = 'fixed fee')
           select min(b.id::text) from billed b left join months m on m.month = b.month
            group by b.vin, b.service, b.month
           having sum(b.days) > min(m.next - m.first) or min(b.out_of) <> max(m.next - m.first)
               or max(b.out_of) <> max(m.next - m.first)
           union all
           select i.id::text from invoices i join months m on m.month = i.month
             join subscriptions s on s.id = i.subscription
             left join billed b on b.id = i.id
             left join entitlement_terms t on t.subscription = s.id
            cross join lateral (
              select greatest(s.activated_at, t.starts_at, m.first::timestamp at time zone m.zone)
                       as start_at,
                     least(s.cancelled_at, s.deactivated_at, m.next::timestamp at time zone m.zone)
                       as end_at) d
             left join lateral (
               select max(((o.ends_at - interval '1 microsecond') at time zone m.zone)::date)
                        as billed_through
                 from entitlement_terms o left join subscriptions x on x.id = o.subscription
                where o.entitlement = t.entitlement and o.starts_at < t.starts_at
                  and o.ends_at > o.starts_at and o.state in ('granted', 'ended')
                  and coalesce(x.cancelled_because, 'customer') = 'customer') before on true
            where i.kind = 'invoice' and m.zone is not null and s.monthly_fee > 0
              and coalesce(b.days, 0) <> case when d.start_at < d.end_at then greatest(0,
                greatest(((d.end_at - interval '1 microsecond') at time zone m.zone)::date, m.first)
                - greatest((d.start_at at time zone m.zone)::date, m.first,
                           before.billed_through + 1) + 1) else 0 end""",
    ),
)

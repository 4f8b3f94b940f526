"""Invariants of monthly invoices and of the usage that they bill.

Numbers have no gaps, a month has one invoice, and recorded usage is billed once and as recorded.

Rule a change must keep: an invoice that was not charged, and usage that was not billed, has a case.
"""

from typing import Final

USAGE: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "one_invoice_per_month",
        "A subscription has at most one invoice per month.",
        """select min(id::text) from invoices where kind = 'invoice' and within(subscription)
            group by subscription, month having count(*) > 1""",
    ),
    (
        "no_gap_in_invoice_numbers",
        "Invoice numbers of a series are consecutive from one.",
        """select s.series from invoice_series s
            where s.next - 1 <> coalesce((
              select i.number from invoices i where i.series = s.series
               order by i.number desc limit 1), 0)
           union all
           select i.series from invoices i
            where within(i.id) and i.number > 1 and not exists (
              select from invoices b where b.series = i.series and b.number = i.number - 1)""",
    ),
    (
        "every_invoice_has_its_subscription",
        "An invoice belongs to a subscription, and its credit notes to the same one.",
        """select i.id from invoices i left join subscriptions s on s.id = i.subscription
             left join invoices c on c.id = i.corrects
            where within(i.id)
              and (i.subscription is not null and s.customer is distinct from i.customer
                or i.corrects is not null and (c.subscription, c.month) is distinct from
                                              (i.subscription, i.month))""",
    ),
    (
        "usage_is_billed_as_recorded",
        "Billed usage equals recorded usage, and each record is on one invoice.",
        """select coalesce(billed.id, used.invoice) from (
             select i.id, l->>'unit' as unit, sum((l->>'quantity')::numeric) as quantity
               from invoices i cross join lateral jsonb_array_elements(i.lines) l
              where i.kind = 'invoice' and l->>'kind' = 'metered usage' and within(i.subscription)
              group by 1, 2) billed
             full join (
             select invoice, unit, sum(quantity) as quantity from usage_records
              where invoice is not null and within(subscription)
              group by 1, 2 having sum(quantity) <> 0) used
               on used.invoice = billed.id and used.unit = billed.unit
            where billed.quantity is distinct from used.quantity
           union all
           select u.subscription from usage_records u left join invoices i on i.id = u.invoice
            where within(u.subscription)
              and u.invoice is not null and i.subscription is distinct from u.subscription""",
    ),
    (
        "usage_is_cancelled_in_full",
        "A usage cancellation reverses its record in full, and both are billed or neither.",
        """select c.subscription::text || ' ' || c.source_id from usage_records c
             left join usage_records u on u.subscription = c.subscription
                                      and u.source_id = c.cancels
            where within(c.subscription) and c.cancels is not null
              and ((u.quantity, u.unit, u.at) is distinct from (-c.quantity, c.unit, c.at)
                   or u.invoice is distinct from c.invoice)""",
    ),
    (
        "disputed_usage_is_not_billed",
        "No invoice bills usage while it is disputed.",
        """select d.id from usage_disputes d
             join usage_records u on u.subscription = d.subscription and u.source_id = d.source_id
             join invoices i on i.id = u.invoice
            where within(d.subscription) and i.issued_at >= d.opened_at
              and (d.ended_at is null or i.issued_at < d.ended_at)""",
    ),
    (
        "no_usage_is_unbilled",
        "Usage of a billed month is on an invoice or has an open case.",
        """with last as (
             select month, started_at from billing_runs where finished_at is not null
              order by month desc limit 1)
           select u.subscription::text || ' ' || u.source_id from last r
             join usage_records u on u.invoice is null and u.cancels is null
              and u.recorded_at < r.started_at and u.at < to_date(r.month, 'YYYY-MM')
             join subscriptions s on s.id = u.subscription and s.activated_at <= u.at
              and (least(s.cancelled_at, s.deactivated_at) > u.at
                   or least(s.cancelled_at, s.deactivated_at) is null)
              and coalesce(s.cancelled_because, 'customer') = 'customer'
            where not exists (select from usage_records c where c.subscription = u.subscription
                                 and c.cancels = u.source_id)
              and not exists (select from usage_disputes d where d.subscription = u.subscription
                  and d.source_id = u.source_id
                  and (d.ended_at is null or d.ended_at > r.started_at))
              and not exists (select from cases k where k.subject = s.id and k.status = 'open')""",
    ),
    (
        "every_invoice_is_charged",
        "After a completed billing run, every invoice with an amount has a payment.",
        """select i.id from invoices i join billing_runs r on r.month = i.month
            where within(i.id) and i.kind = 'invoice' and i.gross > 0
              and r.finished_at is not null
              and not exists (select from payments p where p.subject = i.id)""",
    ),
    (
        "written_off_invoices_are_not_charged",
        "Nothing was charged for an invoice whose payment finally failed (decision 26).",
        """select w.invoice from written_off_invoices w join payments p on p.subject = w.invoice
            where within(w.invoice) and w.because = 'payment failed' and p.captured_amount > 0""",
    ),
)

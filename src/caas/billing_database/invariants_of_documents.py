"""Invariants of documents, taxes and invoices.

Every payment has its document, which agrees with the ledger; every earned payment has one tax rate,
and its tax is posted; invoices bill only delivered service and recorded usage at agreed prices.

Rule a change must keep: calculations are those of `rules.mes_vencido`.
"""

from typing import Final

from caas.billing_database.invoices import STANDING

DUE: Final = "exists (select from documents_due d where d.payment_id = p.id)"
"""A document of this payment is still due, now or once its open case is resolved."""
MONEY_MOVES: Final = """
  (exists (select from refunds f where f.payment_id = p.id and f.state in ('waiting', 'sent'))
   or exists (select from jobs w where w.kind = 'refund_credit_note'
                and w.subject in (select n.id from invoices n join invoices c on c.id = n.corrects
                  where c.payment_id = p.id or c.id = p.subject))
   or exists (select from jobs w where w.kind = 'promised_refund'
                and w.payload->>'payment' = p.id::text))
"""
"""Refunds that are taxed when sent but documented only when they succeed."""
OF_PAYMENT: Final = """
  select i.id from invoices i where i.payment_id = p.id and i.kind <> 'invoice'
   union all select i.id from invoices i where i.id = p.subject and p.type = 'subscription'
"""

DOCUMENTS: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "every_payment_has_its_document",
        "A captured payment has its document, a refund a credit note, a returned one a debit note.",
        f"""select p.id from payments p join payment_taxes t on t.payment_id = p.id
            where within(p.id) and p.captured_amount > 0 and not {DUE}
              and 1 <> (select count(*) from invoices i
                         where i.id = any (array({OF_PAYMENT})) and i.gross = p.captured_amount
                           and not exists (select from invoices y where y.replaces = i.id))
           union all
           select f.id from refunds f join payments p on p.id = f.payment_id
             join payment_taxes t on t.payment_id = p.id
            where within(f.id) and f.state = 'succeeded' and not {DUE}
              and not exists (select from invoices n where n.refund = f.id)
           union all
           select f.id from refunds f join payments p on p.id = f.payment_id
             join payment_events e on e.payment_id = f.payment_id
              and e.source = 'refund-returned:' || f.id
            where within(f.id) and not {DUE} and exists (select from credited_by(f.id))
              and not exists (select from invoices b where b.returned = f.id)
           union all
           select b.id from invoices b join refunds f on f.id = b.returned
             left join payment_events e on e.payment_id = f.payment_id
              and e.source = 'refund-returned:' || f.id
            where within(b.id) and (e.seq is null or b.gross > f.amount)""",
    ),
    (
        "held_documents_have_a_case",
        "Every document on hold has an open case that names who must act.",
        """select d.payment_id from documents_due d
            where d.held and not exists (select from cases c
              where c.kind = d.case_kind and c.subject = d.payment_id and c.status = 'open')""",
    ),
    (
        "full_documents_name_their_buyer",
        "A full invoice names its buyer, with the tax id where the market requires it.",
        """select i.id from invoices i join markets m on m.code = i.market
             left join document_buyers b on b.invoice = i.id
            where within(i.id) and i.issued_at > (select min(ran_at) from migrations)
              and i.kind in ('advance invoice', 'vehicle invoice', 'service invoice')
              and not i.simplified and is_kept_by_law(i)
              and (not coalesce(b.buyer ?& array['name', 'street', 'postcode', 'city', 'country'],
                                false) or m.buyer_tax_id and not b.buyer ? 'tax_id')""",
    ),
    (
        "every_document_was_sent",
        "Every document of a payment or refund was sent to its customer on issue.",
        """select i.id from invoices i
            where within(i.id) and i.issued_at > (select min(ran_at) from migrations)
              and i.kind <> 'invoice'
              and not exists (select from notifications n
                where n.subject = i.id and n.template in ('document_sent', 'credit_note_sent'))""",
    ),
    (
        "every_document_has_its_payment",
        "A payment document is of a captured payment; one issued again replaces a credited one.",
        """select i.id from invoices i left join payments p on p.id = i.payment_id
            where within(i.id) and i.kind not in ('invoice', 'credit note', 'debit note')
              and (p.customer is distinct from i.customer
                   or p.subject <> i.subject and p.type <> 'subscription'
                   or p.captured_amount < i.gross or p.currency <> i.currency)
           union all
           select n.id from invoices n left join invoices i on i.id = n.corrects
            where within(n.id) and n.kind in ('credit note', 'debit note')
              and (i.kind is null or i.kind in ('credit note', 'debit note')
                   or n.currency <> i.currency
                   or n.customer <> i.customer)
           union all
           select i.id from invoices i join invoices n on n.corrects = i.id
            where within(i.id)
            group by i.id having i.gross + sum(n.gross) < 0 or i.iva + sum(n.iva) < 0
           union all
           select r.id from invoices r join invoices i on i.id = r.replaces
             left join lateral (select sum(n.gross) as gross, sum(n.iva) as iva
                                  from invoices n where n.corrects = i.id) k on true
            where within(r.id)
              and ((r.gross, r.iva, r.customer, r.supplied_on, r.tax_rate) is distinct from
                   (i.gross, i.iva, i.customer, i.supplied_on, i.tax_rate)
                or (-k.gross, -k.iva) is distinct from (i.gross, i.iva))""",
    ),
    (
        "tax_on_documents_is_output_vat",
        "The tax on a payment's documents equals its balance on the output tax account.",
        f"""select p.id from payments p join payment_taxes t on t.payment_id = p.id
             left join lateral (
               select sum(case when e.credit = 'output_vat' then e.amount else -e.amount end) as tax
                 from ledger_entries e
                where e.payment_id = p.id and 'output_vat' in (e.debit, e.credit)) l on true
             left join lateral (
               select sum(i.iva) as tax from invoices i
                where i.id = any (array({OF_PAYMENT}))
                   or i.corrects = any (array({OF_PAYMENT}))) d on true
            where within(p.id) and not {DUE} and not {MONEY_MOVES}
              and coalesce(l.tax, 0) <> coalesce(d.tax, 0)""",
    ),
    (
        "credit_notes_are_paid_back",
        "The amount of every credit note is refunded, promised or covered by a loss.",
        f"""select n.id from ({STANDING}) n
            where within(n.id) and (n.owed <> n.given_back + n.promised + n.covered
              and not exists (select from cases c
                where c.subject = n.payment_id and c.kind = 'refund_failed')
              or n.covered < 0)""",
    ),
    (
        "documents_are_as_issued",
        "Every document and its recipient are unchanged since issue.",
        """select i.id from invoices i
            where within(i.id) and i.digest is not null and i.digest <> digest_of_document(i)
           union all
           select i.id from invoices i join document_buyers b on b.invoice = i.id
            where within(i.id) and i.digest is not null
              and i.buyer_digest is distinct from sha256(convert_to(b.buyer::text, 'UTF8'))
           union all
           select i.id from invoices i
            where within(i.id) and not i.simplified and i.buyer_digest is not null
              and is_kept_by_law(i)
              and not exists (select from document_buyers b where b.invoice = i.id)""",
    ),
)


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
            where within(p.id) and p.captured_amount > 0 and (t.payment_id is null and not exists (
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
            where within(t.payment_id) and coalesce(b.owed, 0) <> coalesce(b.booked, 0)
           union all
           select e.payment_id from ledger_entries e
            where within(e.payment_id) and 'output_vat' in (e.debit, e.credit)
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
               from jsonb_array_elements(i.lines) l) listed
            where within(i.id) and i.kind = 'invoice'
              and (listed.wrong or case when i.market is null
                then listed.net <> i.net
                     or i.iva <> (2 * i.net * i.iva_basis_points + 10000) / 20000
                else listed.gross <> i.gross or i.iva <> tax_in(i.gross, i.iva_basis_points) end)
           union all
           select id from invoices where within(id) and gross <> net + iva""",
    ),
    (
        "invoices_match_their_subscription",
        "An invoice has the vehicle, service, currency and prices of its subscription.",
        """select i.id from invoices i join subscriptions s on s.id = i.subscription
            where within(i.id) and ((i.customer, i.vin, i.service, i.currency) is distinct from
                  (s.customer, s.vin, s.service, s.currency)
               or i.kind = 'invoice' and i.market is not null and exists (
                 select from jsonb_array_elements(i.lines) l
                  where l->>'kind' = 'fixed fee' and (l->>'unit_price')::bigint <> s.monthly_fee
                     or l->>'kind' = 'metered usage' and not exists (
                       select from jsonb_array_elements(s.metered) m
                        where (m->>'unit', m->>'unit_price') = (l->>'unit', l->>'unit_price'))))
           union all
           select n.id from invoices n left join invoices i on i.id = n.corrects
            where within(n.id) and n.kind in ('credit note', 'debit note')
              and (i.kind is null or i.kind in ('credit note', 'debit note')
                  or i.iva_basis_points <> n.iva_basis_points)
           union all
           select i.id from invoices i join invoices n on n.corrects = i.id
            where within(i.id)
            group by i.id having -sum(n.gross) > i.gross or -sum(n.net) > i.net
               or max(n.correction) <> count(*) or min(n.correction) <> 1""",
    ),
    (
        "taxes_are_as_documented",
        "A payment's market, tax rate, day of supply and tax equal those on its document.",
        """select t.payment_id from payment_taxes t join invoices i on i.payment_id = t.payment_id
            where within(t.payment_id) and (t.market, t.rate, t.supplied_on, t.tax) is distinct from
                  (i.market, i.tax_rate, i.supplied_on, i.iva)
           union all
           select b.invoice from document_buyers b
            where within(b.invoice)
              and not exists (select from invoices i where i.id = b.invoice)""",
    ),
    (
        "runs_count_their_invoices",
        "The counts of a billing run equal the invoices of its month.",
        """select coalesce(r.month, i.month) from billing_runs r full join (
             select month, count(*) as issued from invoices where kind = 'invoice'
              group by month) i on i.month = r.month
            where r.month is null or coalesce(i.issued, 0) <> r.invoices
               or r.finished_at is not null and r.seen < r.invoices or r.charges > r.invoices""",
    ),
    (
        "months_are_billed_by_their_run",
        "A billing run started after its month ended, and its invoices and payments are complete.",
        """select i.id::text from invoices i left join billing_runs r on r.month = i.month
            where within(i.id) and (i.issued_at > db_now()
               or i.issued_at < ((r.month || '-01')::timestamp + interval '1 month')
                                at time zone r.zone)
           union all
           select i.id::text from invoices i join billing_runs r on r.month = i.month
            where within(i.id) and r.finished_at is not null and i.payment_id is not null
              and not exists (select from payments p where p.id = i.payment_id)
           union all
           select u.invoice::text from usage_records u join invoices i on i.id = u.invoice
             join billing_runs r on r.month = i.month
             join subscriptions s on s.id = u.subscription
            where within(u.subscription) and (u.at < s.activated_at
               or u.at >= ((r.month || '-01')::timestamp + interval '1 month')
                          at time zone r.zone)
           union all
           select u.subscription::text from usage_records u
            where within(u.subscription)
              and not exists (select from subscriptions s where s.id = u.subscription)
           union all
           select d.subscription::text from usage_disputes d
            where within(d.subscription)
              and not exists (select from usage_records u where u.subscription = d.subscription
                                 and u.source_id = d.source_id)
           union all
           select w.invoice::text from written_off_invoices w
             left join payments p on p.id = w.payment_id
            where within(w.invoice) and p.subject is distinct from w.invoice
           union all
           select i.id::text from invoices i
            where within(i.id) and (
                  not exists (select from invoice_series s where s.series = i.series)
               or i.kind = 'credit note' and i.refund is null and i.subscription is not null
                  and not exists (select from notifications n
                    where n.subject = i.id
                      and n.template in ('credit_note_sent', 'document_sent')))""",
    ),
    (
        "usage_disputes_end_as_decided",
        "Disputed usage is cancelled exactly when its dispute was decided that way.",
        """select d.id from usage_disputes d
            where within(d.subscription) and (d.outcome = 'cancelled' and not exists (
                    select from usage_records c
                     where c.subscription = d.subscription and c.cancels = d.source_id)
               or d.outcome = 'billed' and exists (
                    select from usage_records c
                     where c.subscription = d.subscription and c.cancels = d.source_id
                       and c.source_id in ('dispute ' || d.id, d.ended_by)))""",
    ),
    (
        "days_are_billed_as_delivered",
        "A month bills exactly the days of delivered service, each day once (decision 47).",
        """with months as (
             select r.month, r.zone, (r.month || '-01')::date as first,
                    ((r.month || '-01')::date + interval '1 month')::date as next
               from billing_runs r),
           billed as not materialized (
             select i.id, i.month, i.vin, i.service, i.subscription,
                    (l->>'quantity')::bigint as days, (l->>'out_of')::bigint as out_of
               from invoices i cross join lateral jsonb_array_elements(i.lines) l
              where i.kind = 'invoice' and l->>'kind' = 'fixed fee')
           select min(b.id::text) from billed b left join months m on m.month = b.month
            where within(b.vin) group by b.vin, b.service, b.month
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
            where within(i.id) and i.kind = 'invoice' and m.zone is not null and s.monthly_fee > 0
              and coalesce(b.days, 0) <> case when d.start_at < d.end_at then greatest(0,
                greatest(((d.end_at - interval '1 microsecond') at time zone m.zone)::date, m.first)
                - greatest((d.start_at at time zone m.zone)::date, m.first,
                           before.billed_through + 1) + 1) else 0 end""",
    ),
)

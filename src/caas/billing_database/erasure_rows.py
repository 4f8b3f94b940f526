"""Customer erasure: open items that prevent it, and clearing of all copies.

Rules a change must keep: anything that can still charge, refund or reach the customer counts as
open; clearing is one database function, `clear_customer`; retained data is listed.
"""

from datetime import date
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.connection import Connection, Database
from caas.billing_database.invoices import full_number
from caas.billing_database.vehicles import cancel_pending_terms
from caas.rules.payment_states import AT_REST

OPEN_MAX: Final = 100
KEPT_MAX: Final = 500
LOCK: Final = "select erased_at from customers where id = $1 for update"
SEND_ACCESS_LINKS: Final = "send_access_links"
ERASE_AT_GATEWAYS: Final = "erase_at_gateways"
FORGET_REQUESTS: Final = f"""
delete from jobs w using customers c
 where c.id = $1 and w.kind = '{SEND_ACCESS_LINKS}' and w.payload ->> 'email' = lower(c.email)
"""
CLEAR: Final = "select clear_customer($1)"
OPEN: Final = """
with mine as (select * from payments where customer = $1),
     bought as (select * from orders where customer = $1),
     subscribed as (select * from subscriptions where customer = $1)
select 'order' as kind, id::text, state from bought
 where state in ('reserved', 'factory order placed', 'ready', 'fully paid', 'registered',
                 'delivery scheduled')
union all
select 'unpaid order', o.id::text, o.state from bought o
 where o.state = 'awaiting reservation payment'
   and exists (select from mine p where p.subject = o.id and p.live)
union all
select 'vehicle', a.vin, o.state from bought o join vehicle_assignments a on a.order_id = o.id
 where a.active and o.state = 'withdrawn'
union all
select case when p.state = 'Pending' and p.outcome = 'known' and p.hosted_page_url is not null
              and p.type <> 'final' and not exists (select from invoices i where i.id = p.subject)
            then 'page' else 'payment' end, p.id::text, p.state
  from mine p where not p.state = any ($2)
union all
select 'subscription', id::text, state from subscribed
 where state in ('verifying payment method', 'activating', 'active')
union all
select 'last month', s.id::text, s.state from subscribed s
 where exists (select from jobs w
                where w.kind = 'credit_withdrawn_subscription' and w.subject = s.id)
union all
select 'last month', s.id::text, s.state from subscribed s
 where s.cancelled_at is not null and s.activated_at is not null
   and coalesce(s.cancelled_because, 'customer') = 'customer'
   and not exists (select from billing_runs r where r.finished_at is not null
     and r.month = to_char(least(s.cancelled_at, s.deactivated_at) at time zone $3, 'YYYY-MM'))
union all
select 'usage dispute', d.id::text, 'open' from usage_disputes d
  join subscribed s on s.id = d.subscription where d.ended_at is null
union all
select 'use', s.id::text, 'not billed' from subscribed s
 where s.state = 'cancelled' and s.cancelled_because = 'customer'
   and exists (select from usage_records u
                where u.subscription = s.id and u.invoice is null and u.cancels is null
                  and not exists (select from usage_records b
                                   where b.subscription = s.id and b.cancels = u.source_id))
union all
select 'refund', r.id::text, r.state from refunds r join mine p on p.id = r.payment_id
 where r.state in ('waiting', 'sent')
union all
select 'dispute', d.id, d.state from disputes d join mine p on p.id = d.payment_id
 where d.state = 'opened'
union all
select 'invoice', i.id::text, i.state from invoice_states i
 where i.customer = $1 and i.kind = 'invoice' and i.state in ('open', 'declined')
union all
select 'document', p.id::text, 'due' from documents_due d join mine p on p.id = d.payment_id
union all
select 'case', c.id::text, c.kind from cases c
 where c.status = 'open'
   and c.subject in (select id from mine union select id from bought
                     union select id from subscribed)
union all
select 'discrepancy', d.id::text, d.kind from discrepancies d join mine p on p.id = d.payment_id
 where d.status <> 'resolved'
order by 1, 2 limit $4
"""
# Recipients of documents, and their legal retention (record 146).
KEPT: Final = """
select i.id, i.series, i.number, array(select jsonb_object_keys(b.buyer) order by 1) as fields,
       make_date(extract(year from i.issued_at at time zone m.zone)::integer
                 + m.documents_kept_years, 12, 31) as until
  from document_buyers b join invoices i on i.id = b.invoice
  join markets m on m.code = coalesce(i.market, (select s.market from tax_settings s))
 where i.customer = $1 order by i.issued_at, i.id limit $2
"""
EVIDENCE: Final = """
select v.id from payments p join discrepancies d on d.payment_id = p.id
  join discrepancy_evidence v on v.discrepancy_id = d.id
 where p.customer = $1 order by v.attached_at, v.id limit $2
"""
THE_ERASED: Final = (
    "erased_customers_have_nothing_active",
    "An erased customer has nothing active, no later charge and no remaining access.",
    """select c.id from customers c where c.erased_at is not null and (
  exists (select from subscriptions s where s.customer = c.id
    and s.state in ('verifying payment method', 'activating', 'active'))
  or exists (select from payments p where p.customer = c.id
    and p.created_at > c.erased_at and p.captured_amount > 0)
  or exists (select from usage_disputes d join subscriptions s on s.id = d.subscription
    where s.customer = c.id and d.ended_at is null)
  or exists (select from invoices i where i.customer = c.id and i.kind = 'invoice'
    and i.subscription is not null and i.issued_at > c.erased_at)
  or exists (select from accounts a where a.customer = c.id and a.disabled_at is null)
  or exists (select from access_credentials l where l.customer = c.id
    and l.used_at is null and l.expires_at > db_now())
  or coalesce(c.name, c.email) is not null
  or exists (select from billing_details b where b.customer = c.id)
  or exists (select from invoices i join document_buyers b on b.invoice = i.id
    where i.customer = c.id and i.simplified))""",
)
"""The invariant on erased customers: its name, sentence and query."""


class OpenKind(StrEnum):
    """Kinds of open items."""

    ORDER = "order"
    UNPAID_ORDER = "unpaid order"
    VEHICLE = "vehicle"
    PAGE = "page"
    PAYMENT = "payment"
    SUBSCRIPTION = "subscription"
    LAST_MONTH = "last month"
    USAGE_DISPUTE = "usage dispute"
    USE = "use"
    REFUND = "refund"
    DISPUTE = "dispute"
    INVOICE = "invoice"
    DOCUMENT = "document"
    CASE = "case"
    DISCREPANCY = "discrepancy"


class OpenThing(msgspec.Struct, frozen=True):
    """An open item of the customer; `id` is a VIN or a gateway id for some kinds."""

    kind: OpenKind
    id: str
    state: str


class KeptDocument(msgspec.Struct, frozen=True):
    """A document that keeps these buyer fields until the end of a date."""

    id: UUID
    number: str
    fields: list[str]
    until: date


async def kept_of(by: Database, customer: UUID) -> list[KeptDocument]:
    """Return the documents that name a customer, oldest first, at most `KEPT_MAX`."""
    rows = await by.fetch(KEPT, customer, KEPT_MAX)
    return [
        KeptDocument(
            row["id"], full_number(row["series"], row["number"]), row["fields"], row["until"]
        )
        for row in rows
    ]


async def evidence_of(by: Database, customer: UUID) -> list[UUID]:
    """Return documents attached to discrepancies of a customer, at most `KEPT_MAX`."""
    return [row["id"] for row in await by.fetch(EVIDENCE, customer, KEPT_MAX)]


async def open_of(
    database: Database, customer: UUID, *, zone: str, within: Connection | None = None
) -> list[OpenThing]:
    """Return a customer's open items, at most `OPEN_MAX`; months end in this time zone."""
    rows = await (within or database).fetch(
        OPEN, customer, [state.value for state in AT_REST], zone, OPEN_MAX
    )
    return [OpenThing(OpenKind(row["kind"]), row["id"], row["state"]) for row in rows]


async def clear(customer: UUID, *, within: Connection) -> None:
    """Clear every copy of a customer's personal data, pending jobs included."""
    await within.execute(FORGET_REQUESTS, customer)
    await cancel_pending_terms(customer, None, "its customer was erased", within=within)
    await within.execute(CLEAR, customer)


async def lock(customer: UUID, *, within: Connection) -> bool:
    """Lock a customer's row; return whether the customer was already erased."""
    row = await within.fetchrow(LOCK, customer)
    return row is not None and row["erased_at"] is not None

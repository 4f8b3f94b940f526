"""Documents: what is due, and the statement that issues them (record 123).

Rules a change must keep: a document, its number and the removal of its due row commit together;
series are locked in name order; a payment has one document, a refund one credit note, and one
debit note if it failed after it had succeeded; a held
document has an open case.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Any, Final
from uuid import UUID

import msgspec

from caas.billing_database.connection import Connection, Database, Row
from caas.billing_database.invoices import full_number

UNTAXED: Final = "payment_without_tax_rate"
DUE: Final = """
select id, payment_id, refund, case_kind from documents_due where not held
 order by id limit $1 for update skip locked
"""
LOCK_BUYERS: Final = """
select c.id from customers c
 where c.id in (select p.customer from payments p where p.id = any ($1)) order by c.id for share
"""
HOLD: Final = """
update documents_due d set held = true, case_kind = $2 from payments p
  left join payment_taxes t on t.payment_id = p.id
  join markets m on m.code = coalesce(t.market, market_of_sale(p.type, p.subject, p.customer))
  left join billing_details b on b.customer = p.customer
 where p.id = any ($1) and d.payment_id = p.id and lacking_details(b, m) <> '{}'
returning d.id, d.payment_id, p.customer
"""
HOLD_UNTAXED: Final = """
update documents_due d set held = true, case_kind = $2 from payments p
  join tax_settings s on p.created_at >= s.since
 where p.id = any ($1) and d.payment_id = p.id and d.refund is null
   and not exists (select from payment_taxes t where t.payment_id = p.id)
   and not exists (select from invoices i where i.payment_id = p.id or i.id = p.subject)
returning d.payment_id
"""
TAX_CAPTURED: Final = "select tax_captured_payment($1)"
TAX_HELD: Final = """
select tax_captured_payment(d.payment_id) from documents_due d where d.held and d.case_kind = $1
"""
HOLD_BEHIND: Final = """
update documents_due d set held = true, case_kind = x.case_kind from documents_due x
 where d.id = any ($1) and d.refund is not null
   and x.payment_id = d.payment_id and x.refund is null and x.held
returning d.id
"""
HOLD_ONE: Final = "update documents_due set held = true, case_kind = $2 where id = $1"
RELEASE: Final = "update documents_due set held = false where payment_id = $1 and held"
HELD: Final = """
select case_kind from documents_due where payment_id = $1 and held order by id limit 1
"""
NOTE_MISSING: Final = "select note_missing_documents($1)"
FORGET_BUYERS: Final = "select forget_buyers()"
BUYER_NOW: Final = """
select buyer_of(c.id) as buyer, lacking_details(b, m) as lacking
  from customers c left join billing_details b on b.customer = c.id
  join markets m on m.code = coalesce($2, (select s.market from tax_settings s))
 where c.id = $1 for share of c
"""
DONE: Final = "delete from documents_due where id = any ($1)"
PAID: Final = """
select p.id as payment_id, p.type, p.subject, p.customer, p.currency, t.gross, t.tax,
       t.supplied_on, t.market, t.rate, r.category, r.basis_points, r.reason as exempt_because,
       m.simplified_up_to, lacking_details(b, m) as lacking, coalesce(o.vin, s.vin) as vin,
       o.model, s.service, s.duration_days,
       coalesce(v.names->>c.language, v.name) as service_name, c.language,
       buyer_of(p.customer) as buyer, a.id as advance,
       a.series as advance_series, a.number as advance_number, a.issued_at as advance_at,
       a.gross - coalesce(k.gross, 0) as advance_gross, a.iva - coalesce(k.iva, 0) as advance_iva,
       x.category as advance_category, x.basis_points as advance_basis_points,
       x.reason as advance_exempt_because
  from payments p cross join lateral (
    select s.gross, s.tax, s.supplied_on, s.market, s.rate from payment_taxes s
     where s.payment_id = p.id
    union all
    select o.gross, o.tax, o.supplied_on, o.market, o.rate from payment_events e
     cross join lateral tax_of_payment(p.id, e.at) o
     where e.payment_id = p.id and e.event = 'Initiate settlement'
       and not exists (select from payment_taxes s where s.payment_id = p.id)) t
  join tax_rates r on r.id = t.rate join markets m on m.code = t.market
  join customers c on c.id = p.customer left join billing_details b on b.customer = p.customer
  left join orders o on o.id = p.subject and p.type in ('reservation', 'final')
  left join service_orders s on s.id = p.subject and p.type = 'service'
  left join services v on v.code = s.service
  left join payments d on p.type = 'final' and d.subject = p.subject and d.type = 'reservation'
   and d.captured_amount > d.refunded_amount
  left join invoices a on a.payment_id = d.id and a.kind = 'advance invoice'
   and not exists (select from invoices y where y.replaces = a.id)
  left join tax_rates x on x.id = a.tax_rate
  left join lateral (select -sum(n.gross)::bigint as gross, -sum(n.iva)::bigint as iva
                       from invoices n where n.corrects = a.id) k on true
 where p.id = any ($1) and p.type = any ($2)
   and not exists (select from invoices i where i.payment_id = p.id and i.kind <> 'invoice')
 order by p.id
"""
REFUNDED: Final = """
select f.id as refund, f.amount, f.reason, f.payment_id, i.id as invoice
  from refunds f join payments p on p.id = f.payment_id
  join invoices i on i.kind <> 'credit note' and case when p.type = 'subscription'
    then i.id = p.subject or i.payment_id = p.id and i.kind <> 'invoice'
    else i.payment_id = p.id end
   and not exists (select from invoices y where y.replaces = i.id)
 where f.id = any ($1) and f.state = 'succeeded'
   and not exists (select from invoices n where n.refund = f.id)
 order by f.updated_at, f.id
"""
RETURNED: Final = """
select f.id as refund, f.amount, n.corrects as invoice, n.series, n.number
  from refunds f cross join lateral credited_by(f.id) n
 where f.id = any ($1) and f.state = 'failed'
   and not exists (select from invoices b where b.returned = f.id)
 order by f.updated_at, f.id
"""
TAKE_NUMBERS: Final = """
insert into invoice_series as s (series, next) values ($1, 1 + $2::bigint)
on conflict (series) do update set next = s.next + $2 returning next - $2
"""
ISSUE: Final = """
with given as materialized (
  select * from jsonb_to_recordset($1) as n(id uuid, series text, number bigint, kind text,
    subscription uuid, subject uuid, customer uuid, month text, service text, service_name text,
    vin text, currency text, lines jsonb, net bigint, iva_basis_points integer, iva bigint,
    gross bigint,
    payment_id uuid, corrects uuid, correction integer, refund uuid, advance uuid, reason text,
    market text, tax_rate bigint, supplied_on date, simplified boolean, language text,
    seller jsonb, buyer jsonb, replaces uuid, returned uuid)
), written as (
  insert into invoices (id, series, number, kind, subscription, subject, customer, month, service,
      service_name, vin, currency, lines, net, iva_basis_points, iva, gross, payment_id, corrects,
      correction,
      refund, advance, reason, market, tax_rate, supplied_on, simplified, language, seller,
      buyer_digest, replaces, returned, issued_at)
  select id, series, number, kind, subscription, subject, customer, month, service, service_name,
         vin, currency, lines, net, iva_basis_points, iva, gross, payment_id, corrects, correction,
         refund,
         advance, reason, market, tax_rate, supplied_on, simplified, language, seller,
         sha256(convert_to(buyer::text, 'UTF8')), replaces, returned, db_now()
    from given
)
insert into document_buyers (invoice, buyer) select id, buyer from given where buyer is not null
"""


class NewDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A document to issue; its number is assigned on issue."""

    id: UUID
    series: str
    kind: str
    customer: UUID
    currency: str
    lines: list[dict[str, Any]]
    net: int
    iva_basis_points: int
    iva: int
    gross: int
    subject: UUID | None = None
    subscription: UUID | None = None
    month: str | None = None
    service: str | None = None
    service_name: str | None = None
    vin: str | None = None
    payment_id: UUID | None = None
    corrects: UUID | None = None
    correction: int
    refund: UUID | None = None
    advance: UUID | None = None
    reason: str | None = None
    market: str | None = None
    tax_rate: int | None = None
    supplied_on: date | None = None
    simplified: bool
    language: str
    seller: dict[str, str]
    buyer: dict[str, str] | None = None
    replaces: UUID | None = None
    returned: UUID | None = None


class DocumentRows:
    """The tables of documents."""

    def __init__(self, database: Database) -> None:
        """Read through this database; writes run in the caller's transactions."""
        self._database = database

    async def due(self, rows_max: int, *, within: Connection) -> list[Row]:
        """Lock and return due documents, oldest first: `id`, `payment_id` and the refund, if any.

        `case_kind` is the case for which it was held before.
        """
        return list(await within.fetch(DUE, rows_max))

    async def hold(self, payments: Sequence[UUID], kind: str, *, within: Connection) -> list[Row]:
        """Hold the documents of payments whose buyer data is incomplete: `id`, `customer`, ...

        Buyers are locked before they are read, so that concurrent billing details are either seen
        or release the hold.
        """
        await within.execute(LOCK_BUYERS, list(payments))
        return list(await within.fetch(HOLD, list(payments), kind))

    async def hold_untaxed(self, payments: Sequence[UUID], *, within: Connection) -> set[UUID]:
        """Hold the documents of payments captured without a tax rate."""
        rows = await within.fetch(HOLD_UNTAXED, list(payments), UNTAXED)
        return {row["payment_id"] for row in rows}

    async def tax_held(self) -> None:
        """Calculate the tax of a held payment if there is a rate now."""
        await self._database.fetch(TAX_HELD, UNTAXED)

    async def hold_behind(self, due: Sequence[Row], *, within: Connection) -> list[Row]:
        """Hold the credit notes of payments whose own document is held."""
        return list(await within.fetch(HOLD_BEHIND, [row["id"] for row in due]))

    async def hold_one(self, due: Row, kind: str, *, within: Connection) -> None:
        """Hold a document that cannot be issued until a person releases it."""
        await within.execute(HOLD_ONE, due["id"], kind)

    async def release(self, payment_id: UUID) -> None:
        """Release the documents of a payment, and add its missing ones."""

        async def together(connection: Connection) -> None:
            await connection.execute(TAX_CAPTURED, payment_id)
            await connection.execute(RELEASE, payment_id)
            await connection.execute(NOTE_MISSING, payment_id)

        await self._database.in_transaction(together)

    async def held(self, payment_id: UUID) -> str | None:
        """Return the kind of case for which a payment's document is held, or None."""
        row = await self._database.fetchrow(HELD, payment_id)
        return None if row is None else str(row["case_kind"])

    async def note_missing(self) -> int:
        """Add a due row for every payment and refund without a document; return their number."""
        row = await self._database.fetchrow(NOTE_MISSING, None)
        assert row is not None, "a count is one row"
        noted: int = row[0]
        return noted

    async def forget_buyers(self) -> None:
        """Remove erased buyers from documents past the legal retention period."""
        await self._database.fetch(FORGET_BUYERS)

    async def done(self, due: Sequence[Row], *, within: Connection) -> None:
        """Remove due rows."""
        await within.execute(DONE, [row["id"] for row in due])

    async def paid(
        self, payments: Sequence[UUID], types: Sequence[str], *, within: Connection
    ) -> list[Row]:
        """Return the document data of these payments, except those already documented."""
        return list(await within.fetch(PAID, list(payments), list(types)))

    async def buyer_now(
        self, customer: UUID, market: str | None, *, within: Connection
    ) -> tuple[dict[str, str] | None, list[str]]:
        """Return a customer's billing details, locked, and what of them a full invoice lacks."""
        row = await within.fetchrow(BUYER_NOW, customer, market)
        assert row is not None, "a document is of a customer"
        return row["buyer"], list(row["lacking"])

    async def refunded(self, refunds: Sequence[UUID], *, within: Connection) -> list[Row]:
        """Return refunds without a credit note, each with the document it corrects."""
        return list(await within.fetch(REFUNDED, list(refunds)))

    async def returned(self, refunds: Sequence[UUID], *, within: Connection) -> list[Row]:
        """Return refunds that failed after their credit note, without a debit note."""
        return list(await within.fetch(RETURNED, list(refunds)))

    async def issue(self, documents: Sequence[NewDocument], *, within: Connection) -> list[str]:
        """Issue documents under the next numbers of their series; return them in order."""
        if not documents:
            return []
        counted = Counter(document.series for document in documents)
        following = {
            series: await within.fetchval(TAKE_NUMBERS, series, counted[series])
            for series in sorted(counted)
        }
        rows = []
        for document in documents:
            number = following[document.series]
            following[document.series] += 1
            rows.append({**msgspec.to_builtins(document), "number": number})
        await within.execute(ISSUE, rows)
        return [full_number(row["series"], row["number"]) for row in rows]

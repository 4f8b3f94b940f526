"""Invoices and credit notes as rows, and what was written off (decisions 26, 30).

Rules a change must keep: an invoice is never changed, a credit note corrects it; a number is taken
under the lock of its series and in the commit of its row, so that none is missing; what is written
off is never charged again.
"""

import dataclasses
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from caas.billing_database.connection import Connection, Database, Row
from caas.errors import NotFoundError

PAGE_ROWS_MAX: Final = 200
INVOICE: Final = "invoice"
CREDIT_NOTE: Final = "credit note"

ONE: Final = "select * from invoice_states where id = $1"
LISTED: Final = """
select * from invoice_states
 where ($1::uuid is null
        or subscription in (select s.id from subscriptions s where s.customer = $1))
   and ($2::uuid is null or subscription = $2)
   and ($3::text is null or month = $3) and ($4::uuid is null or corrects = $4)
   and ($5::uuid is null or id < $5) order by id desc limit $6
"""
LOCKED: Final = """
select s.id from invoices i join subscriptions s on s.id = i.subscription
 where i.id = $1 for update of s
"""
CHARGEABLE: Final = """
select not exists (select from written_off_invoices w where w.invoice = $1)
   and not exists (select from payments p where p.subject = $1 and p.captured_amount > 0)
"""
FAILED_CHARGES: Final = """
select count(*) filter (where decline_code is distinct from 'abandoned') as declined,
       count(*) filter (where decline_code = 'abandoned') as abandoned
  from payments where subject = $1 and state = 'Failed'
"""
WRITE_OFF: Final = """
insert into written_off_invoices (invoice, payment_id, because, at) values ($1, $2, $3, db_now())
on conflict do nothing returning invoice
"""
NOW: Final = "select db_now()"
NEXT_NUMBER: Final = """
insert into invoice_series as s (series, next) values ($1, 2)
on conflict (series) do update set next = s.next + 1 returning next - 1
"""
LEFT: Final = """
select i.net + coalesce(sum(n.net), 0)::bigint as net,
       i.iva + coalesce(sum(n.iva), 0)::bigint as iva
  from invoices i left join invoices n on n.subscription = i.subscription and n.month = i.month
   and n.corrects = i.id
 where i.id = $1 group by i.id
"""
CREDIT: Final = """
insert into invoices (id, series, number, kind, subscription, customer, month, service, vin,
    currency, lines, net, iva_basis_points, iva, gross, corrects, correction, reason, issued_at)
select $2, $3, $4, 'credit note', subscription, customer, month, service, vin, currency, $5, $6,
    iva_basis_points, $7, $6::bigint + $7::bigint, id, (
      select max(n.correction) + 1 from invoices n
       where n.subscription = i.subscription and n.month = i.month), $8, db_now()
  from invoices i where id = $1
"""


class InvoiceNotFoundError(NotFoundError):
    """No invoice has this id."""

    code = "invoice_not_found"


@dataclass(frozen=True, slots=True)
class Invoice:
    """An invoice or a credit note, and where it stands; amounts in minor units of `currency`.

    `lines`: `{"kind", "unit", "quantity", "out_of", "unit_price", "net"}`, as `ChargeLine` says.
    `credited` is what credit notes took back of it, IVA included.
    """

    id: UUID
    series: str
    number: int
    kind: str
    subscription: UUID
    customer: UUID
    month: str
    service: str
    vin: str
    currency: str
    lines: list[dict[str, Any]]
    net: int
    iva_basis_points: int
    iva: int
    gross: int
    payment_id: UUID | None
    corrects: UUID | None
    reason: str | None
    issued_at: datetime
    last_payment: UUID | None
    payment_state: str | None
    decline_code: str | None
    credited: int
    state: str

    @property
    def full_number(self) -> str:
        """How the invoice is called: its series and its number, "2026-000007"."""
        return f"{self.series}-{self.number:06}"


@dataclass(frozen=True, slots=True)
class FailedCharges:
    """How often an invoice's charge was declined, and how often its customer did not confirm it."""

    declined: int
    abandoned: int


@dataclass(frozen=True, slots=True)
class Left:
    """What of an invoice no credit note has taken back, in minor units."""

    net: int
    iva: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCreditNote:
    """What a credit note takes back: amounts below zero, in the currency of its invoice."""

    id: UUID
    corrects: UUID
    series: str
    lines: list[dict[str, Any]]
    net: int
    iva: int
    reason: str


class InvoiceRows:
    """The tables of invoices."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database

    async def find(self, invoice_id: UUID, *, within: Connection | None = None) -> Invoice | None:
        """Return an invoice as it stands, or None."""
        row = await (within or self._database).fetchrow(ONE, invoice_id)
        return None if row is None else _invoice(row)

    async def get(self, invoice_id: UUID, *, within: Connection | None = None) -> Invoice:
        """Return an invoice as it stands.

        Raises:
            InvoiceNotFoundError: there is none with this id.
        """
        invoice = await self.find(invoice_id, within=within)
        if invoice is None:
            raise InvoiceNotFoundError(f"No invoice has the id {invoice_id}.")
        return invoice

    async def listed(
        self,
        *,
        customer: UUID | None = None,
        subscription: UUID | None = None,
        month: str | None = None,
        corrects: UUID | None = None,
        before: UUID | None = None,
    ) -> list[Invoice]:
        """Return invoices and credit notes, newest first, at most a page of them."""
        rows = await self._database.fetch(
            LISTED, customer, subscription, month, corrects, before, PAGE_ROWS_MAX
        )
        return [_invoice(row) for row in rows]

    async def chargeable(self, invoice_id: UUID, *, within: Connection) -> bool:
        """Say whether an invoice may still be charged: neither paid nor written off."""
        return bool(await within.fetchval(CHARGEABLE, invoice_id))

    async def failed_charges(self, invoice_id: UUID, *, within: Connection) -> FailedCharges:
        """Count the charges of an invoice that were declined, or never confirmed."""
        row = await within.fetchrow(FAILED_CHARGES, invoice_id)
        assert row is not None, "a count is one row"
        return FailedCharges(*row.values())

    async def write_off(
        self, invoice_id: UUID, payment_id: UUID, *, because: str, within: Connection
    ) -> bool:
        """Write an invoice off for good; False when it was already."""
        row = await within.fetchrow(WRITE_OFF, invoice_id, payment_id, because)
        return row is not None

    async def now(self, *, within: Connection | None = None) -> datetime:
        """Return the database's time."""
        row = await (within or self._database).fetchrow(NOW)
        assert row is not None, "the time is one row"
        moment: datetime = row[0]
        return moment

    async def lock(self, invoice_id: UUID, *, within: Connection) -> None:
        """Let nobody else correct an invoice until the transaction ends."""
        await within.execute(LOCKED, invoice_id)

    async def left(self, invoice: Invoice, *, within: Connection) -> Left:
        """Return what of an invoice no credit note has taken back yet."""
        row = await within.fetchrow(LEFT, invoice.id)
        assert row is not None, "an invoice that was read is there"
        return Left(row["net"], row["iva"])

    async def credit(self, note: NewCreditNote, *, within: Connection) -> None:
        """Issue a credit note under the next number of its series."""
        number = await within.fetchval(NEXT_NUMBER, note.series)
        await within.execute(
            CREDIT,
            note.corrects,
            note.id,
            note.series,
            number,
            note.lines,
            note.net,
            note.iva,
            note.reason,
        )


def _invoice(row: Row) -> Invoice:
    return Invoice(**{field.name: row[field.name] for field in dataclasses.fields(Invoice)})

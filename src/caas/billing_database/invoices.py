"""Invoices, credit notes, write-offs (decisions 26, 30), and the payout of credit notes.

The amount of a credit note is refunded, promised, or covered by a loss.

Rules a change must keep: invoices are immutable and corrected by credit notes; a number is assigned
under the lock of its series in the transaction of its row, so that there are no gaps; a written-off
invoice is never charged; the covered amount is derived from the payment's events, never stored
separately.
"""

from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from caas.billing_database.connection import Connection, Database, Row
from caas.billing_database.filters import composed
from caas.billing_database.rows import PAGE_ROWS_MAX, read_all, read_one
from caas.errors import NotFoundError

INVOICE: Final = "invoice"
ADVANCE: Final = "advance invoice"
VEHICLE: Final = "vehicle invoice"
SERVICE: Final = "service invoice"
CREDIT_NOTE: Final = "credit note"
DEBIT_NOTE: Final = "debit note"

ONE: Final = "select * from invoice_states where id = $1"
NUMBER_DIGITS_MAX: Final = 18
LISTED: Final = """
select * from invoice_states i
 where {given} order by issued_at desc, id desc limit $1
"""
BEFORE: Final = "(issued_at, id) < (select c.issued_at, c.id from invoices c where c.id = $)"
LOCKED: Final = "select id from invoices where id = $1 for update"
CHARGEABLE: Final = """
select not exists (select from written_off_invoices w where w.invoice = $1)
   and not exists (select from payments p where p.subject = $1 and p.captured_amount > 0)
"""
FAILED_CHARGES: Final = """
select count(*) filter (where is_decline(decline_code)) as declined,
       count(*) filter (where decline_code = 'abandoned') as abandoned,
       count(*) filter (where decline_code is distinct from 'abandoned'
                          and not is_decline(decline_code)) as otherwise
  from payments where subject = $1 and state = 'Failed'
"""
WRITE_OFF: Final = """
insert into written_off_invoices (invoice, payment_id, because, at) values ($1, $2, $3, db_now())
on conflict do nothing returning invoice
"""
NOW: Final = "select db_now()"
LEFT: Final = """
select i.net + coalesce(sum(n.net), 0)::bigint as net,
       i.iva + coalesce(sum(n.iva), 0)::bigint as iva, coalesce(max(n.correction), 0) + 1 as next
  from invoices i left join invoices n on n.corrects = i.id
 where i.id = $1 group by i.id
"""
WRITTEN_OFF: Final = "select payment_id, because from written_off_invoices where invoice = $1"


OTHER_SELLER: Final = """
select i.seller->>'vat_id' as vat_id from invoice_series s
  cross join lateral (select seller from invoices i where i.series = s.series and seller is not null
                       order by number desc limit 1) i
 where regexp_replace(s.series, '[ARSV]?[0-9]{4}$', '') = $1 and i.seller->>'vat_id' <> $2 limit 1
"""


def full_number(series: str, number: int) -> str:
    """Return the full number of a document."""
    return f"{series}-{number:06}"


def series_and_number(text: str) -> tuple[str, int]:
    """Split a full number such as "2026-000007"; 0 is never a document's number."""
    series, _, digits = text.strip().rpartition("-")
    is_number = digits.isascii() and digits.isdecimal() and len(digits) <= NUMBER_DIGITS_MAX
    return series, int(digits) if is_number else 0


class InvoiceNotFoundError(NotFoundError):
    """No invoice has this id."""

    code = "invoice_not_found"


class Invoice(msgspec.Struct, frozen=True):
    """An invoice or credit note with its status; amounts in minor units of `currency`.

    `lines`: `{"kind", "unit", "quantity", "out_of", "unit_price", "gross"}`, as in `ChargeLine`;
    `net` instead of `gross` if prices exclude tax. `service_name` is the service's name at issue;
    `service_called` is that or, for older documents, its current name. `credited` is the total of
    its credit notes less its debit notes. `replaces` is the document that this one was issued again
    for; `returned` is the refund of a debit note, which failed after it had succeeded.
    """

    id: UUID
    series: str
    number: int
    kind: str
    subject: UUID | None
    subscription: UUID | None
    customer: UUID
    month: str | None
    service: str | None
    service_name: str | None
    vin: str | None
    currency: str
    lines: list[dict[str, Any]]
    net: int
    iva_basis_points: int
    iva: int
    gross: int
    payment_id: UUID | None
    corrects: UUID | None
    refund: UUID | None
    reason: str | None
    market: str | None
    tax_rate: int | None
    tax_category: str | None
    service_called: str | None
    exempt_because: str | None
    supplied_on: date | None
    simplified: bool
    language: str | None
    seller: dict[str, str] | None
    buyer: dict[str, str] | None
    digest: bytes | None
    issued_at: datetime
    last_payment: UUID | None
    payment_state: str | None
    decline_code: str | None
    credited: int
    state: str
    advance: UUID | None = None
    replaces: UUID | None = None
    returned: UUID | None = None
    replaced_by: UUID | None = None

    @property
    def of_subscription(self) -> UUID:
        """The subscription of a monthly invoice."""
        assert self.subscription is not None, "a month's invoice is of a subscription"
        return self.subscription

    @property
    def full_number(self) -> str:
        """The full number, "2026-000007"."""
        return full_number(self.series, self.number)


class FailedCharges(msgspec.Struct, frozen=True):
    """The charges of an invoice that were declined, never confirmed, or failed otherwise."""

    declined: int
    abandoned: int
    otherwise: int


class Left(msgspec.Struct, frozen=True):
    """The part of an invoice not yet credited, in minor units; `next` numbers the next note."""

    net: int
    iva: int
    next: int

    @property
    def gross(self) -> int:
        """The amount that can still be credited, including tax."""
        return self.net + self.iva


class InvoiceRows:
    """The tables of invoices."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database

    async def find(self, invoice_id: UUID, *, within: Connection | None = None) -> Invoice | None:
        """Return an invoice, or None."""
        row = await (within or self._database).fetchrow(ONE, invoice_id)
        return None if row is None else _invoice(row)

    async def get(self, invoice_id: UUID, *, within: Connection | None = None) -> Invoice:
        """Return an invoice.

        Raises:
            InvoiceNotFoundError: no invoice has this id.
        """
        invoice = await self.find(invoice_id, within=within)
        if invoice is None:
            raise InvoiceNotFoundError(f"No invoice has the id {invoice_id}.")
        return invoice

    async def listed(  # noqa: PLR0913  # what documents are searched by, by name
        self,
        *,
        customer: UUID | None = None,
        subject: UUID | None = None,
        month: str | None = None,
        corrects: UUID | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        before: UUID | None = None,
        rows_max: int = PAGE_ROWS_MAX,
        named: str | None = None,
    ) -> list[Invoice]:
        """Return a page of documents, newest first; `until` is exclusive.

        `named` is a full document number; an invalid one finds nothing.
        """
        series, number = (None, None) if named is None else series_and_number(named)
        query, arguments = composed(
            LISTED,
            rows_max,
            given={
                "customer = $": customer,
                "coalesce(subject, subscription) = $": subject,
                "month = $": month,
                "corrects = $": corrects,
                "issued_at >= $": since,
                "issued_at < $": until,
                BEFORE: before,
                "series = upper($)": series,
                "number = $": number,
            },
        )
        return [_invoice(row) for row in await self._database.fetch(query, *arguments)]

    async def chargeable(self, invoice_id: UUID, *, within: Connection) -> bool:
        """Return whether an invoice can still be charged: neither paid nor written off."""
        return bool(await within.fetchval(CHARGEABLE, invoice_id))

    async def failed_charges(self, invoice_id: UUID, *, within: Connection) -> FailedCharges:
        """Count the failed charges of an invoice."""
        row = await within.fetchrow(FAILED_CHARGES, invoice_id)
        assert row is not None, "a count is one row"
        return FailedCharges(*row.values())

    async def write_off(
        self, invoice_id: UUID, payment_id: UUID, *, because: str, within: Connection
    ) -> bool:
        """Write an invoice off; return False if it already was."""
        row = await within.fetchrow(WRITE_OFF, invoice_id, payment_id, because)
        return row is not None

    async def now(self, *, within: Connection | None = None) -> datetime:
        """Return the database's time."""
        row = await (within or self._database).fetchrow(NOW)
        assert row is not None, "the time is one row"
        moment: datetime = row[0]
        return moment

    async def lock(self, invoice_id: UUID, *, within: Connection) -> None:
        """Lock an invoice against other corrections until the transaction ends."""
        await within.execute(LOCKED, invoice_id)

    async def left(self, invoice: Invoice, *, within: Connection) -> Left:
        """Return the part of an invoice not yet credited."""
        row = await within.fetchrow(LEFT, invoice.id)
        assert row is not None, "an invoice that was read is there"
        return Left(row["net"], row["iva"], row["next"])

    async def other_seller(self, series: str, vat_id: str) -> str | None:
        """Return the VAT id of another seller that uses these series, or None."""
        row = await self._database.fetchrow(OTHER_SELLER, series, vat_id)
        return None if row is None else row["vat_id"]

    async def written_off(self, invoice: Invoice, *, within: Connection) -> tuple[UUID, str] | None:
        """Return the payment that finally failed, and how, or None."""
        row = await within.fetchrow(WRITTEN_OFF, invoice.id)
        return None if row is None else (row["payment_id"], row["because"])


def _invoice(row: Row) -> Invoice:
    return Invoice(**{field.name: row[field.name] for field in msgspec.structs.fields(Invoice)})


# A credit note that gives money back, not one that a refund was made before; its payment, and the
# reason that all its refunds have.
NOTE: Final = """
select n.id, f.payment_id, f.reason,
       -n.gross - coalesce((select sum(b.gross) from invoices b join refunds r on r.id = b.returned
                             where r.payment_id = f.payment_id
                               and r.reason = f.reason), 0)::bigint as owed
  from invoices n join refunds f on f.id = n.refund
   and f.reason = 'credit note ' || n.series || '-' || lpad(n.number::text, 6, '0')
 where n.kind = 'credit note'
"""
STANDING: Final = f"""
select n.id, n.payment_id, n.owed, n.reason,
       coalesce((select sum(r.amount) from refunds r
                  where r.payment_id = n.payment_id and r.reason = n.reason
                    and r.state <> 'failed'), 0)::bigint as given_back,
       coalesce((select sum((w.payload->>'amount')::bigint) from jobs w
                  where w.kind = 'promised_refund' and w.payload->>'reason' = n.reason
                    and w.payload->>'payment' = n.payment_id::text), 0)::bigint as promised,
       coalesce((select sum(coalesce((e.facts->>'covered')::bigint, 0)
                            - coalesce((e.facts->>'uncovered')::bigint, 0))
                   from payment_events e
                  where e.payment_id = n.payment_id and e.event = 'Loss booked'
                    and e.facts->>'covered_note' = n.id::text), 0)::bigint as covered,
       (select count(*) from payment_events e
         where e.payment_id = n.payment_id and e.event = 'Loss booked'
           and e.facts->>'covered_note' = n.id::text) as times
  from ({NOTE}) n
"""
OF_REASON: Final = f"{STANDING} where n.payment_id = $1 and n.reason = $2"
OF_PAYMENT: Final = f"{STANDING} where n.payment_id = $1 order by n.id"
OF_NOTE: Final = f"{STANDING} where n.id = $1"


class StandingNote(msgspec.Struct, frozen=True):
    """A credit note to pay out; amounts in minor units of its payment's currency.

    `covered` is what a bank took back or never paid and so is not refunded; `times` counts how
    often that changed.
    """

    id: UUID
    payment_id: UUID
    owed: int
    reason: str
    given_back: int
    promised: int
    covered: int
    times: int


async def of_reason(by: Connection, payment_id: UUID, reason: str) -> StandingNote | None:
    """Return the payment's credit note whose refunds have this reason."""
    return await read_one(StandingNote, by, OF_REASON, payment_id, reason)


async def of_payment(by: Connection, payment_id: UUID) -> list[StandingNote]:
    """Return the payment's credit notes to pay out."""
    return await read_all(StandingNote, by, OF_PAYMENT, payment_id)


async def of_note(by: Database, note_id: UUID) -> StandingNote | None:
    """Return the payout status of a credit note, or None if nothing is paid out."""
    return await read_one(StandingNote, by, OF_NOTE, note_id)

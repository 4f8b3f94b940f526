"""Payment search by id or by attributes.

An id is looked up in the index of each table that may contain it. Payments of a customer or subject
use their index. Other filters scan back from the newest payment, at most `WINDOW_ROWS_MAX` per
page; the next page continues there.

Rules a change must keep: every branch uses an index and has a limit; nothing is searched by name or
address.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from caas.billing_database.connection import Database
from caas.billing_database.payments import Payment, columns_of_payment, payment_of
from caas.rules.payment_states import PaymentState
from caas.rules.payment_types import PaymentType

PAGE_ROWS: Final = 50
WINDOW_ROWS_MAX: Final = 20_000
FOUND_MAX: Final = 200
EXPORT_ROWS_MAX: Final = 10_000

BY_ID: Final = """
select id from payments where id = $1
union (select id from payments where subject = $1 limit 200)
union (select id from payments where customer = $1 order by created_at desc limit 200)
union (select payment_id from refunds where id = $1)
union (select p.id from invoices i join payments p on p.subject = i.id
        where i.subscription = $1 limit 200)
union (select p.id from ota_commands k join payments p on p.id = k.subject
        where k.command_id = $1)
union (select p.id from cases c join payments p on p.id = c.subject where c.id = $1)
union (select payment_id from discrepancies where id = $1 and payment_id is not null)
"""
BY_TEXT: Final = """
select id from payments where gateway_transaction_id = $1
union (select payment_id from disputes where id = $1)
union (select payment_id from refunds where gateway_refund_id = $1)
union (select p.id from orders o join payments p on p.subject = o.id
        where o.vin = $2 limit 200)
union (select p.id from service_orders s join payments p on p.subject = s.id
        where s.vin = $2 order by s.created_at desc limit 200)
union (select p.id from invoices i join payments p on p.subject = i.id
        where i.vin = $2 order by i.issued_at desc limit 200)
union (select p.id from invoices i join payments p on p.subject = i.id
        where i.series = $3 and i.number = $4)
"""
THESE: Final = (
    f"select {columns_of_payment()} from payments where id = any ($1) order by id desc limit $2"
)
LISTED: Final = f"""
with seen as materialized (
  select * from payments
   where ($1::uuid is null or id < $1) and ($2::uuid is null or id < $2)
     and ($3::uuid is null or id >= $3)
   order by id desc limit $4
)
select {columns_of_payment()}, (select min(id::text)::uuid from seen) as seen_to,
       (select count(*) from seen) as seen_rows
  from seen
 where ($5::text is null or type = $5) and ($6::text is null or state = $6)
   and ($7::text is null or outcome = $7)
 order by id desc limit $8
"""
# The subjects of payments, each by its own index; unused filters are left out.
OF_SUBJECT: Final = "p.subject = $1::uuid"
OF_CUSTOMER: Final = "p.customer = $2::uuid"
OF_VIN: Final = """p.subject in (
    select o.id from orders o where o.vin = $3 union
    select s.id from service_orders s where s.vin = $3 union
    select s.id from subscriptions s where s.vin = $3 union
    select i.id from invoices i where i.vin = $3)"""
OF_DEALERSHIP: Final = """p.type in ('reservation', 'final') and p.subject in (
    select o.id from orders o where o.dealership = $4)"""
BELONGING: Final = """
select {columns} from payments p
 where {belonging} and num_nonnulls($1::uuid, $2::uuid, $3::text, $4::text) > 0
   and ($5::text is null or type = $5) and ($6::text is null or state = $6)
   and ($7::text is null or outcome = $7)
   and ($8::uuid is null or id < $8) and ($9::timestamptz is null or created_at < $9)
   and ($10::timestamptz is null or created_at >= $10)
 order by id desc limit $11
"""
BESIDE: Final = frozenset({"seen_to", "seen_rows"})
SEEN_TO: Final = """
select min(id::text)::uuid as seen_to, count(*) as seen_rows from (
  select id from payments
   where ($1::uuid is null or id < $1) and ($2::uuid is null or id < $2)
     and ($3::uuid is null or id >= $3)
   order by id desc limit $4) seen
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Filters for payments; None means any. Times are half open: [since, until)."""

    subject: UUID | None = None
    customer: UUID | None = None
    vin: str | None = None
    dealership: str | None = None
    payment_type: PaymentType | None = None
    state: PaymentState | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A page of payments, newest first, and the id where the next page starts, or None."""

    payments: list[Payment]
    below: UUID | None


async def found_by(database: Database, text: str) -> list[Payment]:
    """Return the payments related to an id of any kind.

    A payment, its subject (order, service order, invoice, subscription), customer, refund, command,
    case or discrepancy; a gateway transaction, refund or dispute; a VIN; an invoice number as
    `series-number`.
    """
    try:
        rows = await database.fetch(BY_ID, UUID(text))
    except ValueError:
        series, _, number = text.rpartition("-")
        known = int(number) if number.isascii() and number.isdigit() and len(number) < 18 else 0  # noqa: PLR2004  # a bigint
        rows = await database.fetch(BY_TEXT, text, text.upper(), series, known)
    ids = [row[0] for row in rows]
    if not ids:
        return []
    return [payment_of(row) for row in await database.fetch(THESE, ids, FOUND_MAX)]


async def listed(
    database: Database, wanted: Wanted, *, below: UUID | None = None, rows_max: int = PAGE_ROWS
) -> Found:
    """Return a page of matching payments, newest first."""
    belongs = _belonging(wanted)
    if belongs:
        return await _belonging_to(database, wanted, belongs, below, rows_max)
    window = (below, _id_at(wanted.until), _id_at(wanted.since), WINDOW_ROWS_MAX)
    rows = await database.fetch(
        LISTED, *window, wanted.payment_type, wanted.state, wanted.outcome,
        min(rows_max, EXPORT_ROWS_MAX) + 1,
    )  # fmt: skip
    payments = [
        payment_of({name: row[name] for name in dict(row) if name not in BESIDE})
        for row in rows[:rows_max]
    ]
    if len(rows) > rows_max:
        return Found(payments, payments[-1].id)
    seen = rows[0] if rows else await database.fetchrow(SEEN_TO, *window)
    assert seen is not None, "a count is one row"
    cut = seen["seen_rows"] == WINDOW_ROWS_MAX
    return Found(payments, seen["seen_to"] if cut else None)


def _belonging(wanted: Wanted) -> list[str]:
    asked = {
        OF_SUBJECT: wanted.subject,
        OF_CUSTOMER: wanted.customer,
        OF_VIN: wanted.vin,
        OF_DEALERSHIP: wanted.dealership,
    }
    return [condition for condition, value in asked.items() if value is not None]


async def _belonging_to(
    database: Database, wanted: Wanted, belongs: list[str], below: UUID | None, rows_max: int
) -> Found:
    rows = await database.fetch(
        BELONGING.format(columns=columns_of_payment(), belonging=" and ".join(belongs)),
        wanted.subject, wanted.customer, wanted.vin, wanted.dealership,
        wanted.payment_type, wanted.state, wanted.outcome,
        below, wanted.until, wanted.since, min(rows_max, EXPORT_ROWS_MAX) + 1,
    )  # fmt: skip
    payments = [payment_of(row) for row in rows[:rows_max]]
    return Found(payments, payments[-1].id if len(rows) > rows_max else None)


def _id_at(at: datetime | None) -> UUID | None:
    """Return the smallest id that can be created at this time."""
    if at is None:
        return None
    return UUID(int=max(int(at.timestamp() * 1000), 0) << 80)

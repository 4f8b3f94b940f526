"""Payment search by id or by attributes.

An id is looked up in the index of each table that may contain it. Payments of a customer or subject
use their index. Other filters scan back from the newest payment, at most `WINDOW_ROWS_MAX` per
page; the next page continues there.

Rules a change must keep: every branch uses an index and has a limit; nothing is searched by name or
address.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.connection import Database
from caas.billing_database.filters import composed
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
select id from payments where gateway in (select gateways_of_payments())
    and gateway_transaction_id = $1
union (select payment_id from disputes
        where gateway in (select gateways_of_payments()) and id = $1)
union (select payment_id from refunds
        where gateway in (select gateways_of_payments()) and gateway_refund_id = $1)
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
LISTED: Final = (
    f"select {columns_of_payment()} from payments p where {{given}} order by id desc limit $1"
)
EDGE: Final = "select id from payments p where {given} order by id desc offset $1 limit 1"
"""The last payment of a window: found in the index, without reading the payments before it."""
# The subjects of payments, each by its own index.
OF_VIN: Final = """p.subject in (
    select o.id from orders o where o.vin = $ union
    select s.id from service_orders s where s.vin = $ union
    select s.id from subscriptions s where s.vin = $ union
    select i.id from invoices i where i.vin = $)"""
# A dealership has more payments than a page may read, so it is looked up for each payment.
OF_DEALERSHIP: Final = """case when p.type in ('reservation', 'final') then
    (select o.dealership from orders o where o.id = p.subject) = $ end"""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Filters for payments; None means any. Times are half open: [since, until)."""

    subject: UUID | None = None
    customer: UUID | None = None
    vin: str | None = None
    dealership: str | None = None
    payment_type: PaymentType | None = None
    state: PaymentState | None = None
    outcome: str | None = None
    gateway: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Found(msgspec.Struct, frozen=True):
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
    belongs = {
        "p.subject = $": wanted.subject,
        "p.customer = $": wanted.customer,
        OF_VIN: wanted.vin,
    }
    attributes, edge = _attributes(wanted), None
    if any(belongs.values()):
        within: dict[str, object] = {
            "p.id < $": below,
            "p.created_at < $": wanted.until,
            "p.created_at >= $": wanted.since,
        }
    else:
        ends = [one for one in (below, _id_at(wanted.until)) if one is not None]
        within = {"p.id < $": min(ends, default=None), "p.id >= $": _id_at(wanted.since)}
        if any(attributes.values()):
            query, arguments = composed(EDGE, WINDOW_ROWS_MAX - 1, given=within)
            last = await database.fetchrow(query, *arguments)
            edge = last["id"] if last is not None else None
            within |= {} if edge is None else {"p.id >= $": edge}
    query, arguments = composed(
        LISTED, min(rows_max, EXPORT_ROWS_MAX) + 1, given=belongs | within | attributes
    )
    rows = await database.fetch(query, *arguments)
    payments = [payment_of(row) for row in rows[:rows_max]]
    return Found(payments, payments[-1].id if len(rows) > rows_max else edge)


def _attributes(wanted: Wanted) -> dict[str, object]:
    return {
        "p.type = $": wanted.payment_type,
        "p.state = $": wanted.state,
        "p.outcome = $": wanted.outcome,
        "p.gateway = $": wanted.gateway,
        OF_DEALERSHIP: wanted.dealership,
    }


def _id_at(at: datetime | None) -> UUID | None:
    """Return the smallest id that can be created at this time."""
    if at is None:
        return None
    return UUID(int=max(int(at.timestamp() * 1000), 0) << 80)

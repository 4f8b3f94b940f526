"""Payment search: by ID or filter, paged by cursor, exported as CSV.

Rules a change must keep: a search uses an index; a page and a file have a limit; a CSV cell that a
spreadsheet could interpret as a formula is written as text.
"""

import csv
import io
from datetime import date, datetime, time, timedelta
from typing import Final
from urllib.parse import urlencode

from caas.billing_database.payment_search import (
    EXPORT_ROWS_MAX,
    Found,
    Wanted,
    found_by,
    listed,
)
from caas.billing_database.payments import Payment
from caas.console.context import Console
from caas.console.page_routes import OPERATIONS, PageRoute, get
from caas.console.payment_view import view_of
from caas.console.request import PageRequest
from caas.errors import NotFoundError
from caas.rules.money import Money, format_plain
from caas.rules.payment_states import PaymentState
from caas.rules.payment_types import PaymentType
from caas.web.response import NO_STORE, OK, Response, see_other

SEARCH_CHARS_MAX: Final = 100
OUTCOMES: Final = ("known", "unknown")
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")
COLUMNS: Final = (
    "payment", "type", "state", "outcome", "amount", "currency", "captured", "settled", "refunded",
    "disputed", "customer", "subject", "gateway", "gateway transaction", "decline code",
    "created", "moved",
)  # fmt: skip


async def payments(console: Console, request: PageRequest) -> Response:
    """List the payments that match; a single match of an id search opens at once."""
    text = " ".join(request.query.get("q", "").split())[:SEARCH_CHARS_MAX]
    chosen = _chosen(console, request)
    found = await _found(console, request, text)
    vin = await _vin(console, text)
    if text and len(found.payments) == 1 and not any(chosen.values()) and vin is None:
        return see_other(f"/operations/payments/{found.payments[0].id}")
    asked = urlencode({name: value for name, value in {"q": text, **chosen}.items() if value})
    return console.page(
        request, "operations/payments.html",
        views=[view_of(payment) for payment in found.payments], text=text, chosen=chosen,
        asked=asked, below=found.below, vin=vin, types=list(PaymentType), states=list(PaymentState),
        outcomes=OUTCOMES, filtered=any(chosen.values()),
        gateways=console.platform.reconciliation.gateways,
    )  # fmt: skip


async def payments_csv(console: Console, request: PageRequest) -> Response:
    """Return the payments that match as a file."""
    text = " ".join(request.query.get("q", "").split())[:SEARCH_CHARS_MAX]
    found = await _found(console, request, text, rows_max=EXPORT_ROWS_MAX)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    writer.writerows([defused(cell) for cell in _cells(payment)] for payment in found.payments)
    return attachment(file.getvalue().encode(), "payments.csv", b"text/csv; charset=utf-8")


def attachment(content: bytes, name: str, media_type: bytes) -> Response:
    """Return content as a download."""
    disposition = f'attachment; filename="{name}"'.encode()
    headers = ((b"content-type", media_type), (b"content-disposition", disposition), NO_STORE)
    return Response(OK, content, headers)


def defused(cell: str) -> str:
    """Return a cell that spreadsheets do not interpret as a formula; numbers are unchanged."""
    is_number = cell.lstrip("-").replace(".", "", 1).isdigit()
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) and not is_number else cell


async def _found(
    console: Console, request: PageRequest, text: str, *, rows_max: int | None = None
) -> Found:
    database, wanted = console.platform.tables.database, _wanted(console, request)
    if text:
        by_id = await found_by(database, text)
        return Found([payment for payment in by_id if _is_wanted(payment, wanted)], None)
    rows = {} if rows_max is None else {"rows_max": rows_max}
    return await listed(database, wanted, below=request.place("below"), **rows)


async def _vin(console: Console, text: str) -> str | None:
    """Return the VIN in the search if one of our vehicles has it."""
    try:
        return (
            (await console.platform.order_management.vehicles.get(text.upper())).vin
            if text
            else None
        )
    except NotFoundError:
        return None


def _chosen(console: Console, request: PageRequest) -> dict[str, str]:
    """Return the valid filters as written in the query."""
    query, gateways = request.query, console.platform.reconciliation.gateways
    return {
        "type": query.get("type", "") if query.get("type") in set(PaymentType) else "",
        "state": query.get("state", "") if query.get("state") in set(PaymentState) else "",
        "outcome": query.get("outcome", "") if query.get("outcome") in OUTCOMES else "",
        "gateway": query.get("gateway", "") if query.get("gateway") in gateways else "",
        "from": query.get("from", "") if _day(query.get("from", "")) else "",
        "to": query.get("to", "") if _day(query.get("to", "")) else "",
    }


def _wanted(console: Console, request: PageRequest) -> Wanted:
    chosen = _chosen(console, request)
    first, last = _day(chosen["from"]), _day(chosen["to"])

    def midnight(day: date) -> datetime:
        return datetime.combine(day, time.min, console.settings.zone)

    return Wanted(
        payment_type=PaymentType(chosen["type"]) if chosen["type"] else None,
        state=PaymentState(chosen["state"]) if chosen["state"] else None,
        outcome=chosen["outcome"] or None,
        gateway=chosen["gateway"] or None,
        since=midnight(first) if first else None,
        until=midnight(last + timedelta(days=1)) if last else None,
    )


def _is_wanted(payment: Payment, wanted: Wanted) -> bool:
    return (
        wanted.payment_type in (None, payment.type)
        and wanted.state in (None, payment.state)
        and wanted.outcome in (None, payment.outcome)
        and wanted.gateway in (None, payment.gateway)
        and (wanted.since is None or payment.created_at >= wanted.since)
        and (wanted.until is None or payment.created_at < wanted.until)
    )


def _day(text: str) -> date | None:
    """Parse a date of this millennium, such as "2026-11-26"."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if 2000 <= day.year < 2200 else None  # noqa: PLR2004  # what a clock can hold


def _cells(payment: Payment) -> list[str]:
    def plain(amount: int) -> str:
        return format_plain(Money(amount, payment.currency))

    return [
        str(payment.id), payment.type.value, payment.state.value, payment.outcome,
        plain(payment.amount), payment.currency, plain(payment.captured_amount),
        plain(payment.settled_amount), plain(payment.refunded_amount),
        plain(payment.disputed_amount), str(payment.customer), str(payment.subject),
        payment.gateway, payment.gateway_transaction_id or "", payment.decline_code or "",
        payment.created_at.isoformat(timespec="seconds"),
        payment.updated_at.isoformat(timespec="seconds"),
    ]  # fmt: skip


OPERATIONS_PAYMENTS_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/operations/payments", payments, OPERATIONS),
    get("/operations/payments.csv", payments_csv, OPERATIONS),
)

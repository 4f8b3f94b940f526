"""Documents in the console: searched, read, sent, corrected, and corrections agreed to.

Rules a change must keep: a search goes by an index and a page has a limit; whether money moves and
whether a second person is needed is for the room to say, and the page says it before it is done;
what is corrected is shown back as an amount before it counts.
"""

from collections.abc import Awaitable, Callable
from datetime import date
from typing import Final
from urllib.parse import urlencode
from uuid import UUID

from caas.billing.credit_notes import CORRECTABLE, CreditNotes
from caas.billing_database.invoices import CREDIT_NOTE, SERVICE, Invoice
from caas.channels.acting import acted, told
from caas.channels.amounts import amount_typed
from caas.channels.confirmation import asks, has_seen, seen
from caas.channels.formats import written
from caas.channels.operations_payments import attachment
from caas.channels.operations_refunds import TERMS
from caas.channels.page_routes import OPERATIONS, NothingHereError, PageRoute, get, post
from caas.channels.rooms import Channels
from caas.channels.sending_once import new_key
from caas.channels.visit import Visit
from caas.errors import NotFoundError, RefusedError
from caas.rules.discrepancies import is_large
from caas.rules.money import Money
from caas.web.response import Response

PATH: Final = "/operations/invoices"
ROWS: Final = 50


async def invoices(channels: Channels, visit: Visit) -> Response:
    """Show the documents that are asked for, the newest first."""
    first, last = _day(visit.query.get("from", "")), _day(visit.query.get("to", ""))
    number = visit.query.get("number", "").strip()
    about, of_customer = visit.place("about"), visit.place("customer")
    page = await channels.rooms.invoices.invoices(
        customer=of_customer, subject=about, since=first, until=last,
        before=visit.place("below"), rows_max=ROWS + 1, number=number or None,
    )  # fmt: skip
    asked = {"number": number, "customer": of_customer, "about": about, "from": first, "to": last}
    chosen = {name: "" if value is None else str(value) for name, value in asked.items()}
    filters = urlencode({name: value for name, value in chosen.items() if value})
    return channels.page(
        visit, "operations/invoices.html", invoices=page[:ROWS], money_of=Money,
        chosen=chosen, asked=filters,
        below=page[ROWS - 1].id if len(page) > ROWS else None,
    )  # fmt: skip


async def invoice(channels: Channels, visit: Visit) -> Response:
    """Show one document: what it says, and what can be done about it."""
    one = await _invoice(channels, visit)
    left = one.gross - one.credited
    of_order = one.subject if one.kind == SERVICE else None
    term = await channels.rooms.books.entitlements.of_order(of_order) if of_order else None
    return channels.page(
        visit, "operations/invoice.html", invoice=one, money_of=Money, left=left,
        document=await channels.rooms.invoices.document(one.id),
        proposal=await channels.rooms.invoices.credit_notes.proposed(one.id),
        correctable=one.kind != CREDIT_NOTE and one.state in CORRECTABLE and left > 0,
        needs_second=one.state == "paid" and is_large(Money(left, one.currency)),
        asks_term=term is not None and term.state == "granted" and term.lasts,
        after=told(channels, visit), key=new_key(), me=visit.by.account,
    )  # fmt: skip


async def invoice_pdf(channels: Channels, visit: Visit) -> Response:
    """Give a document as a file."""
    file = await channels.rooms.invoices.pdf((await _invoice(channels, visit)).id)
    return attachment(file.content, file.name, b"application/pdf")


async def correct(channels: Channels, visit: Visit) -> Response:
    """Issue a credit note, or propose it where a second person is needed."""
    one = await _invoice(channels, visit)
    reason, term = visit.form.get("reason", ""), visit.form.get("term", "")

    async def act(desk: CreditNotes, invoice_id: UUID) -> None:
        await desk.correct(
            invoice_id, reason=reason, gross=_gross(visit, one),
            term=term if term in TERMS else None, by=visit.by.actor,
        )  # fmt: skip

    if reason.strip() and _is_to_ask(visit, one):
        return _asks(channels, visit, one)
    return await _acted(channels, visit, act)


async def agree(channels: Channels, visit: Visit) -> Response:
    """Agree to a credit note as the second person."""
    me = visit.by.actor
    return await _acted(channels, visit, lambda desk, it: desk.agree(it, by=me))


async def withdraw(channels: Channels, visit: Visit) -> Response:
    """Take the proposal of a credit note back."""
    me = visit.by.actor
    return await _acted(channels, visit, lambda desk, it: desk.withdraw(it, by=me))


async def send(channels: Channels, visit: Visit) -> Response:
    """Send a document to its customer."""
    return await _acted(channels, visit, lambda _, it: channels.rooms.invoices.send(it))


async def _acted(
    channels: Channels, visit: Visit, act: Callable[[CreditNotes, UUID], Awaitable[object]]
) -> Response:
    one = await _invoice(channels, visit)
    desk = channels.rooms.invoices.credit_notes
    return await acted(channels, visit, f"{PATH}/{one.id}", lambda: act(desk, one.id))


async def _invoice(channels: Channels, visit: Visit) -> Invoice:
    try:
        return await channels.rooms.invoices.invoice(visit.ids["invoice_id"])
    except NotFoundError as error:
        raise NothingHereError from error


def _gross(visit: Visit, one: Invoice) -> int | None:
    """Return the amount that was typed, None for all that is left."""
    text = visit.form.get("amount", "").strip()
    return amount_typed(text, one.currency, visit.language).amount if text else None


def _corrected(visit: Visit, one: Invoice) -> int:
    return _gross(visit, one) or one.gross - one.credited


def _is_to_ask(visit: Visit, one: Invoice) -> bool:
    """Say whether the form can be read, and what was read was not shown back yet."""
    try:
        return not has_seen(visit, _corrected(visit, one))
    except RefusedError:
        return False


def _asks(channels: Channels, visit: Visit, one: Invoice) -> Response:
    amount = _corrected(visit, one)
    fields = {name: visit.form.get(name, "") for name in ("amount", "reason", "term")}
    name = f"{one.full_number} · {written(Money(amount, one.currency), visit.language)}"
    return asks(
        channels, visit, "credit_note", back=f"{PATH}/{one.id}", name=name,
        fields=fields | seen(amount),
    )  # fmt: skip


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


_ONE: Final = f"{PATH}/{{invoice_id:uuid}}"

OPERATIONS_INVOICE_ROUTES: Final[tuple[PageRoute, ...]] = (
    get(PATH, invoices, OPERATIONS),
    get(_ONE, invoice, OPERATIONS),
    get(f"{_ONE}.pdf", invoice_pdf, OPERATIONS),
    post(f"{_ONE}/credit-notes", correct, OPERATIONS),
    post(f"{_ONE}/credit-notes/approval", agree, OPERATIONS),
    post(f"{_ONE}/credit-notes/rejection", withdraw, OPERATIONS),
    post(f"{_ONE}/sending", send, OPERATIONS),
)

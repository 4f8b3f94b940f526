"""Documents in the console: search, download, resend, and credit notes with approval.

Rules a change must keep: a search uses an index and a page has a limit; the page states whether
money moves and whether a second person must approve before the form is sent; a corrected amount is
shown back before it takes effect.
"""

from collections.abc import Awaitable, Callable
from datetime import date
from typing import Final
from urllib.parse import urlencode
from uuid import UUID

from caas.billing.credit_notes import CORRECTABLE, CreditNotes
from caas.billing.reissues import REISSUE, is_reissuable
from caas.billing_database.invoices import CREDIT_NOTE, SERVICE, Invoice
from caas.console.context import Console
from caas.console.form_actions import acted, asks, form_result, has_seen, new_key, seen
from caas.console.formats import amount_typed, written
from caas.console.operations_payments import attachment
from caas.console.operations_refunds import TERMS
from caas.console.page_routes import OPERATIONS, NothingHereError, PageRoute, get, post
from caas.console.request import PageRequest
from caas.errors import NotFoundError, RefusedError
from caas.rules.discrepancies import is_large
from caas.rules.money import Money
from caas.web.response import Response

PATH: Final = "/operations/invoices"
ROWS: Final = 50


async def invoices(console: Console, request: PageRequest) -> Response:
    """List the documents that match the filter, newest first."""
    first, last = _day(request.query.get("from", "")), _day(request.query.get("to", ""))
    number = request.query.get("number", "").strip()
    about, of_customer = request.place("about"), request.place("customer")
    page = await console.platform.invoices.invoices(
        customer=of_customer, subject=about, since=first, until=last,
        before=request.place("below"), rows_max=ROWS + 1, number=number or None,
    )  # fmt: skip
    asked = {"number": number, "customer": of_customer, "about": about, "from": first, "to": last}
    chosen = {name: "" if value is None else str(value) for name, value in asked.items()}
    filters = urlencode({name: value for name, value in chosen.items() if value})
    return console.page(
        request, "operations/invoices.html", invoices=page[:ROWS], money_of=Money,
        chosen=chosen, asked=filters,
        below=page[ROWS - 1].id if len(page) > ROWS else None,
    )  # fmt: skip


async def invoice(console: Console, request: PageRequest) -> Response:
    """Show a document, its content and the possible actions."""
    one = await _invoice(console, request)
    left = one.gross - one.credited
    of_order = one.subject if one.kind == SERVICE else None
    term = await console.platform.tables.entitlements.of_order(of_order) if of_order else None
    return console.page(
        request, "operations/invoice.html", invoice=one, money_of=Money, left=left,
        document=await console.platform.invoices.document(one.id),
        proposal=await console.platform.invoices.credit_notes.proposed(one.id),
        correctable=one.kind != CREDIT_NOTE and one.state in CORRECTABLE and left > 0,
        reissuable=is_reissuable(one), REISSUE=REISSUE,
        needs_second=one.state == "paid" and is_large(Money(left, one.currency)),
        asks_term=term is not None and term.state == "granted" and term.lasts,
        after=form_result(console, request), key=new_key(), me=request.by.account,
    )  # fmt: skip


async def invoice_pdf(console: Console, request: PageRequest) -> Response:
    """Return a document as a file."""
    file = await console.platform.invoices.pdf((await _invoice(console, request)).id)
    return attachment(file.content, file.name, b"application/pdf")


async def correct(console: Console, request: PageRequest) -> Response:
    """Issue a credit note, or propose it if a second person must approve."""
    one = await _invoice(console, request)
    reason, term = request.form.get("reason", ""), request.form.get("term", "")

    async def act(investigation: CreditNotes, invoice_id: UUID) -> None:
        await investigation.correct(
            invoice_id, reason=reason, gross=_gross(request, one),
            term=term if term in TERMS else None, by=request.by.actor,
        )  # fmt: skip

    if reason.strip() and _is_to_ask(request, one):
        return _confirmation(console, request, one)
    return await _acted(console, request, act)


async def reissue(console: Console, request: PageRequest) -> Response:
    """Issue a document again to its customer's billing details, or propose it."""
    one = await _invoice(console, request)
    reason, me = request.form.get("reissue-reason", ""), request.by.actor
    if reason.strip() and not has_seen(request, one.gross):
        name = f"{one.full_number} · {written(Money(one.gross, one.currency), request.language)}"
        return asks(
            console, request, "reissue", back=f"{PATH}/{one.id}", name=name,
            fields={"reissue-reason": reason} | seen(one.gross),
        )  # fmt: skip
    return await _acted(console, request, lambda notes, it: notes.reissue(it, reason=reason, by=me))


async def agree(console: Console, request: PageRequest) -> Response:
    """Approve a credit note as the second person."""
    me = request.by.actor
    return await _acted(console, request, lambda investigation, it: investigation.agree(it, by=me))


async def withdraw(console: Console, request: PageRequest) -> Response:
    """Withdraw a proposed credit note."""
    me = request.by.actor
    return await _acted(
        console, request, lambda investigation, it: investigation.withdraw(it, by=me)
    )


async def send(console: Console, request: PageRequest) -> Response:
    """Send a document to its customer."""
    return await _acted(console, request, lambda _, it: console.platform.invoices.send(it))


async def _acted(
    console: Console, request: PageRequest, act: Callable[[CreditNotes, UUID], Awaitable[object]]
) -> Response:
    one = await _invoice(console, request)
    investigation = console.platform.invoices.credit_notes
    return await acted(console, request, f"{PATH}/{one.id}", lambda: act(investigation, one.id))


async def _invoice(console: Console, request: PageRequest) -> Invoice:
    try:
        return await console.platform.invoices.invoice(request.ids["invoice_id"])
    except NotFoundError as error:
        raise NothingHereError from error


def _gross(request: PageRequest, one: Invoice) -> int | None:
    """Return the typed amount, None for the whole remaining amount."""
    text = request.form.get("amount", "").strip()
    return amount_typed(text, one.currency, request.language).amount if text else None


def _corrected(request: PageRequest, one: Invoice) -> int:
    return _gross(request, one) or one.gross - one.credited


def _is_to_ask(request: PageRequest, one: Invoice) -> bool:
    """Return whether to confirm: the form is valid, and its amount was not shown back yet."""
    try:
        return not has_seen(request, _corrected(request, one))
    except RefusedError:
        return False


def _confirmation(console: Console, request: PageRequest, one: Invoice) -> Response:
    amount = _corrected(request, one)
    fields = {name: request.form.get(name, "") for name in ("amount", "reason", "term")}
    name = f"{one.full_number} · {written(Money(amount, one.currency), request.language)}"
    return asks(
        console, request, "credit_note", back=f"{PATH}/{one.id}", name=name,
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
    post(f"{_ONE}/reissues", reissue, OPERATIONS),
    post(f"{_ONE}/credit-notes/approval", agree, OPERATIONS),
    post(f"{_ONE}/credit-notes/rejection", withdraw, OPERATIONS),
    post(f"{_ONE}/sending", send, OPERATIONS),
)

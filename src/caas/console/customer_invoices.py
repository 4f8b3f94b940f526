"""A customer's invoices and credit notes, as PDF (decision 30).

Rule a change must keep: an invoice is given to its customer alone, under its own number.
"""

from datetime import date
from typing import Final
from uuid import UUID

from caas.billing_database.invoices import Invoice
from caas.console.context import Console
from caas.console.page_routes import CUSTOMERS, NothingHereError, PageRoute, get
from caas.console.request import PageRequest
from caas.errors import NotFoundError
from caas.rules.mes_vencido import Month
from caas.rules.money import Money
from caas.web.response import NO_STORE, OK, Response

KINDS: Final = {"paid": "good", "open": "busy", "declined": "bad"}


async def invoices(console: Console, request: PageRequest) -> Response:
    """Show invoices and credit notes, newest first."""
    listed = await console.platform.invoices.invoices(customer=request.customer)
    return console.page(
        request,
        "customer/invoices.html",
        invoices=listed,
        money_of=Money,
        day_of=first_day_of,
        kinds=KINDS,
    )


async def invoice_pdf(console: Console, request: PageRequest) -> Response:
    """Give an invoice as a file."""
    invoice = await _own_invoice(console, request)
    pdf = await console.platform.invoices.pdf(invoice.id)
    disposition = f'attachment; filename="{pdf.name}"'.encode()
    headers = ((b"content-type", b"application/pdf"), (b"content-disposition", disposition))
    return Response(OK, pdf.content, (*headers, NO_STORE))


def first_day_of(key: str) -> date:
    """Return the first day of a month that is written "2026-11"."""
    month = Month.parse(key)
    return date(month.year, month.number, 1)


async def _own_invoice(console: Console, request: PageRequest) -> Invoice:
    invoice_id: UUID = request.ids["invoice_id"]
    try:
        found = await console.platform.invoices.invoice(invoice_id)
    except NotFoundError as error:
        raise NothingHereError from error
    if found.customer != request.customer:
        raise NothingHereError
    return found


CUSTOMER_INVOICE_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/invoices", invoices, CUSTOMERS),
    get("/invoices/{invoice_id:uuid}.pdf", invoice_pdf, CUSTOMERS),
)

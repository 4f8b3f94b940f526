"""A customer's payments: list, details, and the redirect to the gateway.

Rules a change must keep: the address of the gateway's page is the one the gateway gave for this
payment, and is shown to its customer alone; the life of a payment is told in plain words, without
what only operations need.

The return from the gateway's page: queries the gateway and shows the result.

Whoever comes back has often paid a moment ago, and the gateway's webhook is still under way. Until
it is known how the payment ended, the page says that it is being confirmed with the bank.

Rules a change must keep: nobody who comes back is asked to pay again before the gateway was asked;
the page reveals nothing about a payment, because anybody with the address can open it; it gives up
after `LOOKS_MAX` looks and leads to what the payment is for.

Names of what a customer's payments are for: car, service or subscription.

A subscription's payment is for the invoice of a month, or it verifies a payment method and is for
the subscription itself.

Rule a change must keep: only what is the customer's own is looked at.

A customer's invoices and credit notes, as PDF (decision 30).

Rule a change must keep: an invoice is given to its customer alone, under its own number.
"""

from dataclasses import dataclass, field
from datetime import date
from typing import Final, assert_never
from uuid import UUID

from caas.billing_database.invoices import Invoice
from caas.billing_database.payments import Payment, TimelineEvent
from caas.billing_database.rows import PAGE_ROWS_MAX
from caas.console.context import Console
from caas.console.page_routes import CUSTOMERS, EVERYBODY, NothingHereError, PageRoute, get
from caas.console.payment_view import AT_REST, PaymentView, Situation, view_of
from caas.console.request import PageRequest
from caas.errors import NotFoundError
from caas.rules.mes_vencido import Month
from caas.rules.money import Money
from caas.rules.payment_types import PaidFor, PaymentType, paid_for
from caas.web.response import NO_STORE, OK, Response, nothing_new, see_other


@dataclass(frozen=True, slots=True)
class Subjects:
    """What a customer has: the names of all things, and which month belongs to what."""

    names: dict[UUID, str] = field(default_factory=dict)
    subscriptions: frozenset[UUID] = frozenset()
    subscription_of_invoice: dict[UUID, UUID] = field(default_factory=dict)

    def view(self, payment: Payment) -> PaymentView:
        """Return how a payment stands, and whether it only verified a payment method."""
        return view_of(payment, verifies=payment.subject in self.subscriptions)

    def name(self, payment: Payment) -> str:
        """Return what a payment is for, as its customer calls it."""
        subject = self.subscription_of_invoice.get(payment.subject, payment.subject)
        return self.names.get(subject, "")

    def path(self, payment: Payment) -> str:
        """Return the page of what a payment is for."""
        match paid_for(payment.type):
            case PaidFor.ORDER:
                return f"/car/{payment.subject}"
            case PaidFor.SERVICE_ORDER:
                return f"/service-orders/{payment.subject}"
            case PaidFor.INVOICE:
                subject = self.subscription_of_invoice.get(payment.subject, payment.subject)
                return f"/subscriptions/{subject}" if subject in self.subscriptions else "/invoices"


async def subjects_of(console: Console, request: PageRequest) -> Subjects:
    """Return what a customer has, as far as their lists show it."""
    platform, customer = console.platform, request.customer
    services = await platform.service_catalog.names(request.language)
    orders = await platform.order_management.orders(customer=customer)
    bought = await platform.service_catalog.service_orders(customer=customer)
    subscriptions = await platform.subscriptions.subscriptions(customer=customer)
    invoices = await platform.invoices.invoices(customer=customer)
    return Subjects(
        names={
            **{order.id: order.model for order in orders},
            **{one.id: services.get(one.service, one.service) for one in bought},
            **{one.id: services.get(one.service, one.service) for one in subscriptions},
        },
        subscriptions=frozenset(one.id for one in subscriptions),
        subscription_of_invoice={one.id: one.subscription for one in invoices if one.subscription},
    )


async def to_gateway(console: Console, request: PageRequest) -> Response:
    """Redirect to the gateway's page, or to the purchase if it is already paid."""
    payment = await own_payment(console, request)
    subjects = await subjects_of(console, request)
    view = subjects.view(payment)
    if view.situation is not Situation.AT_GATEWAY:
        return see_other(subjects.path(payment))
    return console.page(request, "customer/to_gateway.html", view=view)


async def payments(console: Console, request: PageRequest) -> Response:
    """Show every payment, newest first."""
    listed = await console.platform.tables.payments.listed(
        customer=request.customer, before=request.place("before")
    )
    subjects = await subjects_of(console, request)
    return console.page(
        request,
        "customer/payments.html",
        views=[subjects.view(payment) for payment in listed],
        about=subjects.name,
        more=listed[-1].id if len(listed) == PAGE_ROWS_MAX else None,
    )


async def payment(console: Console, request: PageRequest) -> Response:
    """Show a payment, its life and what was given back of it, live."""
    return await _shown(console, request, "customer/payment.html")


async def payment_live(console: Console, request: PageRequest) -> Response:
    """Show the living part again, if anything has changed."""
    found = await own_payment(console, request)
    view = (await subjects_of(console, request)).view(found)
    if request.query.get("seen") == view.version:
        return nothing_new()
    return await _shown(console, request, "customer/payment_live.html")


async def _shown(console: Console, request: PageRequest, template: str) -> Response:
    found = await own_payment(console, request)
    status = await console.platform.payment_processing.query_payment_status(found.id)
    subjects = await subjects_of(console, request)
    view = subjects.view(status.payment)
    return console.page(
        request,
        template,
        view=view,
        open=view.situation not in AT_REST,
        about=subjects.name(found),
        transitions=[event for event in status.events if event.from_state != event.to_state],
        refunds=[(refund, Money(refund.amount, refund.currency)) for refund in status.refunds],
        subject_path=subjects.path(found),
        slug=_slug,
    )


async def own_payment(console: Console, request: PageRequest) -> Payment:
    """Return the payment of the address, if it is the customer's.

    Raises:
        NothingHereError: there is none, or it belongs to another customer.
    """
    payment_id: UUID = request.ids["payment_id"]
    try:
        found = await console.platform.tables.payments.get(payment_id)
    except NotFoundError as error:
        raise NothingHereError from error
    if found.customer != request.customer:
        raise NothingHereError
    return found


def _slug(event: TimelineEvent) -> str:
    """Return the state an event led to as a key of the catalogue of words."""
    return event.to_state.lower()


CUSTOMER_PAYMENT_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/pay/{payment_id:uuid}", to_gateway, CUSTOMERS),
    get("/payments", payments, CUSTOMERS),
    get("/payments/{payment_id:uuid}", payment, CUSTOMERS),
    get("/payments/{payment_id:uuid}/live", payment_live, CUSTOMERS),
)


LOOKS_MAX: Final = 15


async def returned(console: Console, request: PageRequest) -> Response:
    """Have the gateway asked, and say so until its answer is there."""
    found = await console.platform.tables.payments.listed(subject=request.ids["subject"])
    if not found:
        raise NothingHereError
    looks = _looks(request)
    if not _waits_for_the_gateway(found[0]) or looks >= LOOKS_MAX:
        return see_other(f"{_leads_to(found[0].type)}/{found[0].subject}")
    await console.platform.payment_processing.customer_returned(found[0].id)
    console.platform.jobs.wake()
    return console.page(request, "returned.html", again=f"{request.path}?looks={looks + 1}")


def _leads_to(payment_type: PaymentType) -> str:
    """Return the page of what payments of this type are for."""
    match payment_type:
        case PaymentType.RESERVATION:
            return "/paid"
        case PaymentType.FINAL:
            return "/car"
        case PaymentType.SERVICE:
            return "/service-orders"
        case PaymentType.SUBSCRIPTION:
            return "/subscriptions"
    assert_never(payment_type)


def _waits_for_the_gateway(payment: Payment) -> bool:
    return view_of(payment).situation in (Situation.AT_GATEWAY, Situation.PROCESSING)


def _looks(request: PageRequest) -> int:
    text = request.query.get("looks", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 3 else 0  # noqa: PLR2004


RETURNING_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/returned/{subject:uuid}", returned, EVERYBODY),
)


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

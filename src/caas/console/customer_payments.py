"""A customer's payments and documents: lists, details, gateway redirect and return, PDFs.

A customer who returns from the gateway's page has often just paid, before the gateway's webhook
arrives, or has entered nothing. While the gateway's page is open, the page of return says so and
leads back to it; afterwards it says that the bank is confirming the payment.

A subscription payment is for a month's invoice, or it verifies a payment method and belongs to the
subscription itself. Invoices and credit notes are PDF files (decision 30); an invoice is
issued again to corrected billing details (decision 188).

Rules a change must keep: customers see only their own payments and documents, each document under
its own number; the redirect uses the address that the gateway issued for this payment; the page
describes a payment in plain words, without details for operations; the return page queries the
gateway before it offers another payment, reveals nothing about the payment, because the address is
open to everyone, and redirects to the payment's subject after `LOOKS_MAX` attempts.
"""

from datetime import date
from typing import Final, assert_never
from uuid import UUID

import msgspec

from caas.billing.document_xml import labels
from caas.billing.reissues import is_reissuable
from caas.billing_database.accounts import Role
from caas.billing_database.customers import BillingDetails
from caas.billing_database.invoices import Invoice
from caas.billing_database.payments import Payment, TimelineEvent
from caas.billing_database.rows import PAGE_ROWS_MAX
from caas.console.context import Console
from caas.console.customer_billing_details import known_buyer
from caas.console.form_actions import acted, form_result, new_key
from caas.console.page_routes import CUSTOMERS, EVERYBODY, NothingHereError, PageRoute, get, post
from caas.console.payment_view import AT_REST, PaymentView, Situation, view_of
from caas.console.request import PageRequest
from caas.errors import NotFoundError
from caas.rules.mes_vencido import Month
from caas.rules.money import Money
from caas.rules.payment_types import PaidFor, PaymentType, paid_for
from caas.web.response import NO_STORE, OK, Response, nothing_new, see_other

BUYER_FIELDS: Final = ("name", "street", "postcode", "city", "country", "tax_id")


class Subjects(msgspec.Struct, frozen=True):
    """The names of a customer's purchases, and the subscription of each invoice."""

    names: dict[UUID, str] = msgspec.field(default_factory=dict)
    subscriptions: frozenset[UUID] = frozenset()
    subscription_of_invoice: dict[UUID, UUID] = msgspec.field(default_factory=dict)

    def view(self, payment: Payment) -> PaymentView:
        """Return the payment's view, also for one that only verified a payment method."""
        return view_of(payment, verifies=payment.subject in self.subscriptions)

    def name(self, payment: Payment) -> str:
        """Return the name of the payment's subject, as customers know it."""
        subject = self.subscription_of_invoice.get(payment.subject, payment.subject)
        return self.names.get(subject, "")

    def path(self, payment: Payment) -> str:
        """Return the path of the payment's subject."""
        match paid_for(payment.type):
            case PaidFor.ORDER:
                return f"/car/{payment.subject}"
            case PaidFor.SERVICE_ORDER:
                return f"/service-orders/{payment.subject}"
            case PaidFor.INVOICE:
                subject = self.subscription_of_invoice.get(payment.subject, payment.subject)
                return f"/subscriptions/{subject}" if subject in self.subscriptions else "/invoices"


async def subjects_of(console: Console, request: PageRequest) -> Subjects:
    """Return the purchases of a customer, as far as their lists show them."""
    platform, customer = console.platform, request.customer
    services = await platform.service_catalog.names(request.language)
    orders = await platform.order_management.orders.listed(customer=customer)
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
    """List all payments, newest first."""
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
    """Show a payment, its events and its refunds, with live updates."""
    return await _shown(console, request, "customer/payment.html")


async def payment_live(console: Console, request: PageRequest) -> Response:
    """Return the live fragment if anything has changed."""
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
    """Return the payment in the path if it is the customer's.

    Raises:
        NothingHereError: it does not exist or belongs to another customer.
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
    """Return the target state of an event as a catalogue key."""
    return event.to_state.lower()


CUSTOMER_PAYMENT_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/pay/{payment_id:uuid}", to_gateway, CUSTOMERS),
    get("/payments", payments, CUSTOMERS),
    get("/payments/{payment_id:uuid}", payment, CUSTOMERS),
    get("/payments/{payment_id:uuid}/live", payment_live, CUSTOMERS),
)


LOOKS_MAX: Final = 15
LOOKS_BEFORE_OPEN: Final = 2
"""How often the gateway is asked before the page is called open: a report may be on its way."""


async def returned(console: Console, request: PageRequest) -> Response:
    """Query the gateway; until the outcome is known, show that the payment is being confirmed."""
    found = await console.platform.tables.payments.listed(subject=request.ids["subject"])
    if not found:
        raise NothingHereError
    looks = _looks(request)
    if not _waits_for_the_gateway(found[0]) or looks >= LOOKS_MAX:
        return see_other(f"{_subject_page(found[0].type)}/{found[0].subject}")
    await console.platform.payment_processing.customer_returned(found[0].id)
    console.platform.jobs.wake()
    return console.page(
        request, "returned.html", again=f"{request.path}?looks={looks + 1}",
        words=_words(found[0], looks), onwards=_onwards(request, found[0]),
    )  # fmt: skip


def _words(payment: Payment, looks: int) -> str:
    """Return the key of what is known; a page counts as open only once the gateway was asked."""
    if view_of(payment).situation is not Situation.AT_GATEWAY:
        return "confirming"
    return "open" if looks >= LOOKS_BEFORE_OPEN else "asking"


def _onwards(request: PageRequest, payment: Payment) -> str | None:
    """Return where the payer continues; None: the payer has the link of the page."""
    if payment.type is not PaymentType.RESERVATION:
        return f"/pay/{payment.id}"
    is_sales = request.session is not None and request.session.role is Role.SALES
    return f"/intranet/orders/{payment.subject}" if is_sales else None


def _subject_page(payment_type: PaymentType) -> str:
    """Return the path prefix of the page for payments of this type."""
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
    """List invoices and credit notes, newest first."""
    listed = await console.platform.invoices.invoices(customer=request.customer)
    details = await known_buyer(console, request.customer)
    return console.page(
        request,
        "customer/invoices.html",
        invoices=listed,
        reissuable={one.id for one in listed if has_other_buyer(one, details)},
        after=form_result(console, request),
        key=new_key(),
        money_of=Money,
        day_of=first_day_of,
        kinds=KINDS,
    )


async def reissue_invoice(console: Console, request: PageRequest) -> Response:
    """Issue an invoice again to the details that its customer has corrected, or propose it."""
    invoice = await _own_invoice(console, request)
    reason = labels(invoice.language or request.language)["corrected buyer"]
    return await acted(
        console, request, "/invoices",
        lambda: console.platform.invoices.credit_notes.reissue(
            invoice.id, reason=reason, by=request.by.actor
        ),
    )  # fmt: skip


def has_other_buyer(invoice: Invoice, details: BillingDetails | None) -> bool:
    """Return whether an invoice may be issued again to details that it does not show."""
    if details is None or not is_reissuable(invoice):
        return False
    shown = invoice.buyer or {}
    return invoice.simplified or any(
        shown.get(name) != getattr(details, name) for name in BUYER_FIELDS
    )


async def invoice_pdf(console: Console, request: PageRequest) -> Response:
    """Return an invoice as a file."""
    invoice = await _own_invoice(console, request)
    pdf = await console.platform.invoices.pdf(invoice.id)
    disposition = f'attachment; filename="{pdf.name}"'.encode()
    headers = ((b"content-type", b"application/pdf"), (b"content-disposition", disposition))
    return Response(OK, pdf.content, (*headers, NO_STORE))


def first_day_of(key: str) -> date:
    """Return the first day of a month in the form "2026-11"."""
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
    post("/invoices/{invoice_id:uuid}/reissues", reissue_invoice, CUSTOMERS),
)

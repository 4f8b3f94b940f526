"""A customer's payments: list, details, and the redirect to the gateway.

Rules a change must keep: the address of the gateway's page is the one the gateway gave for this
payment, and is shown to its customer alone; the life of a payment is told in plain words, without
what only operations need.
"""

from typing import Final
from uuid import UUID

from caas.billing_database.payments import Payment, TimelineEvent
from caas.billing_database.rows import PAGE_ROWS_MAX
from caas.console.context import Console
from caas.console.page_routes import CUSTOMERS, NothingHereError, PageRoute, get
from caas.console.payment_subjects import subjects_of
from caas.console.payment_view import AT_REST, Situation
from caas.console.request import PageRequest
from caas.errors import NotFoundError
from caas.rules.money import Money
from caas.web.response import Response, nothing_new, see_other


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

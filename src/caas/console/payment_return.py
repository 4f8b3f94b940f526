"""The return from the gateway's page: queries the gateway and shows the result.

Whoever comes back has often paid a moment ago, and the gateway's webhook is still under way. Until
it is known how the payment ended, the page says that it is being confirmed with the bank.

Rules a change must keep: nobody who comes back is asked to pay again before the gateway was asked;
the page reveals nothing about a payment, because anybody with the address can open it; it gives up
after `LOOKS_MAX` looks and leads to what the payment is for.
"""

from typing import Final, assert_never

from caas.billing_database.payments import Payment
from caas.console.context import Console
from caas.console.page_routes import EVERYBODY, NothingHereError, PageRoute, get
from caas.console.payment_view import Situation, view_of
from caas.console.request import PageRequest
from caas.rules.payment_types import PaymentType
from caas.web.response import Response, see_other

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

"""The buyer of an order, entered by sales: address and tax ID for the vehicle invoice.

Rule a change must keep: sales see and change it only for customers whom their dealership knows.
"""

from typing import Final

from caas.console.buyer_fields import filled_in, known_buyer, put_buyer, typed
from caas.console.context import Console
from caas.console.form_actions import acted, form_result
from caas.console.idempotent_forms import new_key
from caas.console.intranet_order import known_customer, own_order
from caas.console.page_routes import SALES, NothingHereError, PageRoute, get, post
from caas.console.request import PageRequest
from caas.web.response import Response

PATH: Final = "/intranet/orders/{order_id:uuid}/buyer"


async def buyer(console: Console, request: PageRequest) -> Response:
    """Show whom the documents of an order are made out to, to be changed."""
    order = await own_order(console, request)
    if await known_customer(console, order) is None:
        raise NothingHereError
    known = await known_buyer(console, order.customer)
    return console.page(
        request,
        "intranet/buyer.html",
        order=order,
        after=form_result(console, request),
        key=new_key(),
        details=filled_in(request, request.path, known),
        lacking=await console.platform.order_management.fulfilment.lacking_of_buyer(order),
    )


async def put(console: Console, request: PageRequest) -> Response:
    """Keep what sales say of the buyer; documents that waited for it are issued."""
    order = await own_order(console, request)
    if await known_customer(console, order) is None:
        raise NothingHereError
    entered = typed(request.form)
    return await acted(
        console, request, f"/intranet/orders/{order.id}/buyer",
        lambda: put_buyer(console, order.customer, entered),
    )  # fmt: skip


BUYER_ROUTES: Final[tuple[PageRoute, ...]] = (get(PATH, buyer, SALES), post(PATH, put, SALES))

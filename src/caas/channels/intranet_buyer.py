"""The buyer of an order, entered by sales: address and tax id, as the vehicle's invoice names them.

Rule a change must keep: sales see and change it only for customers whom their dealership knows.
"""

from typing import Final

from caas.channels.acting import acted, told
from caas.channels.buyer_fields import filled_in, known_buyer, put_buyer, typed
from caas.channels.intranet_order import known_customer, own_order
from caas.channels.page_routes import SALES, NothingHereError, PageRoute, get, post
from caas.channels.rooms import Channels
from caas.channels.sending_once import new_key
from caas.channels.visit import Visit
from caas.web.response import Response

PATH: Final = "/intranet/orders/{order_id:uuid}/buyer"


async def buyer(channels: Channels, visit: Visit) -> Response:
    """Show whom the documents of an order are made out to, to be changed."""
    order = await own_order(channels, visit)
    if await known_customer(channels, order) is None:
        raise NothingHereError
    known = await known_buyer(channels, order.customer)
    return channels.page(
        visit, "intranet/buyer.html", order=order, after=told(channels, visit), key=new_key(),
        details=filled_in(visit, visit.path, known),
        lacking=await channels.rooms.order_management.lacking_of_buyer(order),
    )  # fmt: skip


async def put(channels: Channels, visit: Visit) -> Response:
    """Keep what sales say of the buyer; documents that waited for it are issued."""
    order = await own_order(channels, visit)
    if await known_customer(channels, order) is None:
        raise NothingHereError
    said = typed(visit.form)
    return await acted(
        channels, visit, f"/intranet/orders/{order.id}/buyer",
        lambda: put_buyer(channels, order.customer, said),
    )  # fmt: skip


BUYER_ROUTES: Final[tuple[PageRoute, ...]] = (get(PATH, buyer, SALES), post(PATH, put, SALES))

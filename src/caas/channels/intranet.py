"""The Corporate Intranet (Diagram 1): what dealership sales work with."""

from typing import Final

from caas.channels.page_routes import SALES, PageRoute, get
from caas.channels.replies import Reply
from caas.channels.rooms import Channels
from caas.channels.visit import Visit


async def home(channels: Channels, visit: Visit) -> Reply:
    """Show the dealership's orders."""
    orders = await channels.rooms.order_management.orders(dealership=visit.dealership)
    return channels.page(visit, "intranet/home.html", orders=orders)


INTRANET_ROUTES: Final[tuple[PageRoute, ...]] = (get("/intranet", home, SALES),)

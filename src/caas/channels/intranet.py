"""The Corporate Intranet (Diagram 1): what dealership sales work with.

Here are the overview, the stock with what is sin asignar, and the list of orders; reserving stands
in `intranet_reserving`, one order in `intranet_order`.

Rules a change must keep: a dealership sees its own orders and customers and nobody else's; of a
vehicle that somebody else has reserved it sees that it is taken, and not by whom.
"""

from typing import Final

from caas.billing_database.dealership_counts import counts_of
from caas.billing_database.rows import PAGE_ROWS_MAX
from caas.channels.intranet_buyer import BUYER_ROUTES
from caas.channels.intranet_order import ORDER_ROUTES
from caas.channels.intranet_reserving import RESERVING_ROUTES
from caas.channels.order_view import KINDS, slug
from caas.channels.page_routes import SALES, PageRoute, get
from caas.channels.rooms import Channels
from caas.channels.visit import Visit
from caas.rules.order_states import OrderState
from caas.rules.vehicle_states import VehicleState
from caas.web.response import Response

ORDERS_SHOWN: Final = 8
FILTERS: Final = {
    "paying": OrderState.AWAITING_RESERVATION_PAYMENT,
    "failed": OrderState.RESERVATION_FAILED,
    "building": OrderState.FACTORY_ORDER_PLACED,
    "ready": OrderState.READY,
    "delivered": OrderState.DELIVERED,
    "lost": OrderState.RESERVATION_LOST,
}


async def home(channels: Channels, visit: Visit) -> Response:
    """Show what is in stock, what waits for somebody, and the newest orders."""
    newest = await channels.rooms.order_management.orders(dealership=visit.dealership)
    counts = await counts_of(channels.rooms.books.database, visit.dealership)
    return channels.page(
        visit,
        "intranet/home.html",
        stock=counts.sin_asignar,
        counts=counts.orders,
        states=OrderState,
        orders=newest[:ORDERS_SHOWN],
        slug=slug,
        kinds=KINDS,
    )


async def stock(channels: Channels, visit: Visit) -> Response:
    """Show vehicles: those that are sin asignar, or all."""
    everything = visit.query.get("show") == "all"
    model = visit.query.get("model") or None
    vehicles = await channels.rooms.order_management.vehicles(
        state=None if everything else VehicleState.SIN_ASIGNAR,
        model=model,
        after=visit.query.get("after"),
    )
    return channels.page(
        visit,
        "intranet/stock.html",
        vehicles=vehicles,
        everything=everything,
        model=model,
        sin_asignar=VehicleState.SIN_ASIGNAR,
    )


async def orders(channels: Channels, visit: Visit) -> Response:
    """Show the dealership's orders, newest first."""
    chosen = visit.query.get("show", "")
    listed = await channels.rooms.order_management.orders(
        dealership=visit.dealership, state=FILTERS.get(chosen), before=visit.place("before")
    )
    return channels.page(
        visit,
        "intranet/orders.html",
        orders=listed,
        filters=FILTERS,
        more=listed[-1].id if len(listed) == PAGE_ROWS_MAX else None,
        chosen=chosen if chosen in FILTERS else "",
        slug=slug,
        kinds=KINDS,
    )


INTRANET_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/intranet", home, SALES),
    get("/intranet/stock", stock, SALES),
    get("/intranet/orders", orders, SALES),
    *RESERVING_ROUTES,
    *ORDER_ROUTES,
    *BUYER_ROUTES,
)

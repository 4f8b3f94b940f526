"""Routes of the Corporate Intranet (Diagram 1) for dealership sales.

This file has the overview, the stock including vehicles sin asignar, and the list of orders;
`intranet_reserving` has the reservation and `intranet_order` the page of an order.

Rules a change must keep: a dealership sees only its own orders and customers; of a vehicle that
another dealership reserved it sees that it is taken, not by whom.
"""

from typing import Final

from caas.billing_database.operations_counts import counts_of
from caas.billing_database.rows import PAGE_ROWS_MAX
from caas.console.context import Console
from caas.console.intranet_order import BUYER_ROUTES, ORDER_ROUTES
from caas.console.intranet_reserving import RESERVING_ROUTES
from caas.console.order_view import KINDS, slug
from caas.console.page_routes import SALES, PageRoute, get
from caas.console.request import PageRequest
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


async def home(console: Console, request: PageRequest) -> Response:
    """Show the stock, what needs attention, and the newest orders."""
    newest = await console.platform.order_management.orders.listed(dealership=request.dealership)
    counts = await counts_of(console.platform.tables.database, request.dealership)
    return console.page(
        request,
        "intranet/home.html",
        stock=counts.sin_asignar,
        counts=counts.orders,
        states=OrderState,
        orders=newest[:ORDERS_SHOWN],
        slug=slug,
        kinds=KINDS,
    )


async def stock(console: Console, request: PageRequest) -> Response:
    """List vehicles: those sin asignar, or all."""
    everything = request.query.get("show") == "all"
    model = request.query.get("model") or None
    vehicles = await console.platform.order_management.vehicles.listed(
        state=None if everything else VehicleState.SIN_ASIGNAR,
        model=model,
        after=request.query.get("after"),
    )
    return console.page(
        request,
        "intranet/stock.html",
        vehicles=vehicles,
        everything=everything,
        model=model,
        sin_asignar=VehicleState.SIN_ASIGNAR,
    )


async def orders(console: Console, request: PageRequest) -> Response:
    """List the dealership's orders, newest first."""
    chosen = request.query.get("show", "")
    listed = await console.platform.order_management.orders.listed(
        dealership=request.dealership, state=FILTERS.get(chosen), before=request.place("before")
    )
    return console.page(
        request,
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

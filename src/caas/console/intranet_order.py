"""An order for dealership sales: payment, status, buyer and notifications.

Diagram 2, "Reservation Complete", "Payment Failed" and "Send Access Credentials". Sales enter the
buyer's address and tax ID for the vehicle's invoice here.

Rules a change must keep: an order of another dealership is reported as not found; a poll makes at
most two queries if nothing has changed, and a finished order is not polled; sales see and change
the buyer only of customers that their dealership knows.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.accounts import Role
from caas.billing_database.customers import Customer
from caas.billing_database.orders import Order
from caas.billing_database.vehicles import dealership_knows
from caas.console.context import Console
from caas.console.customer_billing_details import filled_in, known_buyer, put_buyer, typed
from caas.console.entitlement_view import VehicleService, services_of_vehicle
from caas.console.form_actions import acted, asks, form_result, new_key, once
from caas.console.intranet_reserving import initiate
from caas.console.order_view import OrderView, order_view
from caas.console.page_routes import (
    EVERYBODY,
    HOMES,
    SALES,
    NothingHereError,
    PageRoute,
    get,
    post,
)
from caas.console.request import PageRequest
from caas.errors import NotFoundError
from caas.notifications import Message
from caas.rules.order_states import AWAITS_RESERVATION, OrderState
from caas.web.response import Response, nothing_new, see_other

CREDENTIALS: Final = "access_credentials"


class SalesView(msgspec.Struct, frozen=True):
    """An order as sales see it; `customer` is None if the dealership does not know them."""

    view: OrderView
    customer: Customer | None
    has_access: bool
    credentials: Message | None
    awaits_return: bool

    @property
    def version(self) -> str:
        """A value that changes with everything the page shows."""
        sent = self.credentials.sent_at if self.credentials else None
        facts = (self.has_access, sent is not None, self.awaits_return)
        return f"{self.view.version}.{''.join(str(int(fact)) for fact in facts)}"


async def order_page(console: Console, request: PageRequest) -> Response:
    """Show an order, with live updates."""
    seen = await _seen(console, request)
    services = await _services(console, request, seen)
    return _page(console, request, seen, "intranet/order.html", services)


async def order_live(console: Console, request: PageRequest) -> Response:
    """Return the live fragment of an order if anything has changed."""
    seen = await _seen(console, request)
    if request.query.get("seen") == seen.version:
        return nothing_new()
    return _page(console, request, seen, "intranet/order_live.html")


async def pay_again(console: Console, request: PageRequest) -> Response:
    """Request another reservation payment after a failed one."""
    order = await own_order(console, request)

    async def work() -> str:
        await initiate(console, request, order)
        return f"/intranet/orders/{order.id}"

    return await once(console, request, work)


async def send_access_again(console: Console, request: PageRequest) -> Response:
    """Send the customer another access link."""
    order = await own_order(console, request)

    async def work() -> str:
        await console.platform.access_links.send(
            order.customer, order.id, by=request.by.account, address=request.address
        )
        return f"/intranet/orders/{order.id}?sent=1"

    return await once(console, request, work)


async def about_to_take_back(console: Console, request: PageRequest) -> Response:
    """Ask to confirm the return of a vehicle, and state its consequences."""
    order = await own_order(console, request)
    back = f"/intranet/orders/{order.id}"
    if order.vin is None or not await console.platform.order_management.withdrawal.awaits_return(
        order
    ):
        return see_other(back)
    return asks(console, request, "take_back", back=back, name=order.vin)


async def vehicle_returned(console: Console, request: PageRequest) -> Response:
    """Record the return of a withdrawn order's vehicle; it is in stock again."""
    order = await own_order(console, request)
    if order.vin is None:
        raise NothingHereError

    async def work() -> str:
        await console.platform.order_management.withdrawal.vehicle_returned(order.vin or "")
        return f"/intranet/orders/{order.id}"

    return await once(console, request, work)


async def paid(console: Console, request: PageRequest) -> Response:
    """Handle the return from the gateway's page, by sales or on the customer's phone."""
    session, order_id = request.session, request.ids["order_id"]
    if session is not None and session.role is Role.SALES:
        return see_other(f"/intranet/orders/{order_id}")
    if session is not None:
        return see_other(HOMES[session.role])
    return console.page(request, "intranet/paid.html")


async def own_order(console: Console, request: PageRequest) -> Order:
    """Return the order in the path if it is the dealership's.

    Raises:
        NothingHereError: it does not exist or belongs to another dealership.
    """
    order_id: UUID = request.ids["order_id"]
    try:
        order = await console.platform.order_management.orders.get(order_id)
    except NotFoundError as error:
        raise NothingHereError from error
    if order.dealership != request.dealership:
        raise NothingHereError
    return order


async def _seen(console: Console, request: PageRequest) -> SalesView:
    order = await own_order(console, request)
    reported = await console.platform.notifications.inbox(order.customer, language=request.language)
    return SalesView(
        view=await order_view(console, order),
        customer=await known_customer(console, order),
        has_access=await console.accounts.has_account(order.customer),
        credentials=next((one for one in reported if one.template == CREDENTIALS), None),
        awaits_return=await console.platform.order_management.withdrawal.awaits_return(order),
    )


async def known_customer(console: Console, order: Order) -> Customer | None:
    """Return an order's customer if the dealership created them or they paid there."""
    database = console.platform.tables.database
    if not await dealership_knows(database, order.dealership, order.customer):
        return None
    return await console.platform.order_management.customers.get(order.customer)


async def _services(
    console: Console, request: PageRequest, seen: SalesView
) -> list[VehicleService]:
    """Return the services bought for the order's vehicle while the customer has it."""
    order = seen.view.order
    if order.vin is None or not (order.state is OrderState.DELIVERED or seen.awaits_return):
        return []
    return await services_of_vehicle(
        console, order.vin, language=request.language, customer=order.customer
    )


def _page(
    console: Console,
    request: PageRequest,
    seen: SalesView,
    template: str,
    services: Sequence[VehicleService] = (),
) -> Response:
    return console.page(
        request,
        template,
        seen=seen,
        view=seen.view,
        order=seen.view.order,
        awaits_reservation=seen.view.order.state in AWAITS_RESERVATION,
        just_sent="sent" in request.query,
        key=new_key(),
        services=services,
    )


ORDER_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/intranet/orders/{order_id:uuid}", order_page, SALES),
    get("/intranet/orders/{order_id:uuid}/live", order_live, SALES),
    post("/intranet/orders/{order_id:uuid}/reservation-payment", pay_again, SALES),
    post("/intranet/orders/{order_id:uuid}/access", send_access_again, SALES),
    get("/intranet/orders/{order_id:uuid}/return", about_to_take_back, SALES),
    post("/intranet/orders/{order_id:uuid}/return", vehicle_returned, SALES),
    get("/paid/{order_id:uuid}", paid, EVERYBODY),
)


PATH: Final = "/intranet/orders/{order_id:uuid}/buyer"


async def buyer(console: Console, request: PageRequest) -> Response:
    """Show the form for the buyer on the order's documents."""
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
    """Store the buyer and issue the documents that waited for it."""
    order = await own_order(console, request)
    if await known_customer(console, order) is None:
        raise NothingHereError
    entered = typed(request.form)
    return await acted(
        console, request, f"/intranet/orders/{order.id}/buyer",
        lambda: put_buyer(console, order.customer, entered),
    )  # fmt: skip


BUYER_ROUTES: Final[tuple[PageRoute, ...]] = (get(PATH, buyer, SALES), post(PATH, put, SALES))

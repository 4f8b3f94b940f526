"""One order as dealership sales see it: its payment, its way, its customer, what the customer got.

Diagram 2, "Reservation Complete", "Payment Failed" and "Send Access Credentials".

Rules a change must keep: an order of another dealership is not there; a live part asks for no more
than two reads while nothing moves, and for nothing when the order is at rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from caas.billing_database.accounts import Role
from caas.billing_database.customers import Customer
from caas.billing_database.eligibility import dealership_knows
from caas.billing_database.orders import Order
from caas.channels.confirmation import asks
from caas.channels.entitlement_view import VehicleService, services_of_vehicle
from caas.channels.intranet_reserving import initiate
from caas.channels.order_view import OrderView, order_view
from caas.channels.page_routes import (
    EVERYBODY,
    HOMES,
    SALES,
    NothingHereError,
    PageRoute,
    get,
    post,
)
from caas.channels.rooms import Channels
from caas.channels.sending_once import new_key, once
from caas.channels.visit import Visit
from caas.errors import NotFoundError
from caas.notifications import Told
from caas.rules.order_states import AWAITS_RESERVATION, OrderState
from caas.web.response import Response, nothing_new, see_other

CREDENTIALS: Final = "access_credentials"


@dataclass(frozen=True, slots=True)
class SalesView:
    """What sales see of an order; `customer` is None while the dealership does not know them."""

    view: OrderView
    customer: Customer | None
    has_access: bool
    credentials: Told | None
    awaits_return: bool

    @property
    def version(self) -> str:
        """What changes when anything of this changes."""
        sent = self.credentials.sent_at if self.credentials else None
        facts = (self.has_access, sent is not None, self.awaits_return)
        return f"{self.view.version}.{''.join(str(int(fact)) for fact in facts)}"


async def order_page(channels: Channels, visit: Visit) -> Response:
    """Show an order, live."""
    seen = await _seen(channels, visit)
    services = await _services(channels, visit, seen)
    return _page(channels, visit, seen, "intranet/order.html", services)


async def order_live(channels: Channels, visit: Visit) -> Response:
    """Show the living part of an order again, if anything has changed."""
    seen = await _seen(channels, visit)
    if visit.query.get("seen") == seen.version:
        return nothing_new()
    return _page(channels, visit, seen, "intranet/order_live.html")


async def pay_again(channels: Channels, visit: Visit) -> Response:
    """Begin another reservation payment after one that failed."""
    order = await own_order(channels, visit)

    async def work() -> str:
        await initiate(channels, visit, order)
        return f"/intranet/orders/{order.id}"

    return await once(channels, visit, work)


async def send_access_again(channels: Channels, visit: Visit) -> Response:
    """Send the customer another access link."""
    order = await own_order(channels, visit)

    async def work() -> str:
        await channels.rooms.access_links.send(
            order.customer, order.id, by=visit.by.account, address=visit.address
        )
        return f"/intranet/orders/{order.id}?sent=1"

    return await once(channels, visit, work)


async def about_to_take_back(channels: Channels, visit: Visit) -> Response:
    """Say what taking a vehicle back does, and ask."""
    order = await own_order(channels, visit)
    back = f"/intranet/orders/{order.id}"
    if order.vin is None or not await channels.rooms.order_management.awaits_return(order):
        return see_other(back)
    return asks(channels, visit, "take_back", back=back, name=order.vin)


async def vehicle_returned(channels: Channels, visit: Visit) -> Response:
    """Take back the vehicle of a withdrawn order: in stock again, for anybody to buy."""
    order = await own_order(channels, visit)
    if order.vin is None:
        raise NothingHereError

    async def work() -> str:
        await channels.rooms.order_management.vehicle_returned(order.vin or "")
        return f"/intranet/orders/{order.id}"

    return await once(channels, visit, work)


async def paid(channels: Channels, visit: Visit) -> Response:
    """Receive whoever comes back from the gateway's page: sales, or the customer's telephone."""
    session, order_id = visit.session, visit.ids["order_id"]
    if session is not None and session.role is Role.SALES:
        return see_other(f"/intranet/orders/{order_id}")
    if session is not None:
        return see_other(HOMES[session.role])
    return channels.page(visit, "intranet/paid.html")


async def own_order(channels: Channels, visit: Visit) -> Order:
    """Return the order of the address, if it is the dealership's.

    Raises:
        NothingHereError: there is none, or it is another dealership's.
    """
    order_id: UUID = visit.ids["order_id"]
    try:
        order = await channels.rooms.order_management.order(order_id)
    except NotFoundError as error:
        raise NothingHereError from error
    if order.dealership != visit.dealership:
        raise NothingHereError
    return order


async def _seen(channels: Channels, visit: Visit) -> SalesView:
    order = await own_order(channels, visit)
    told = await channels.rooms.notifications.inbox(order.customer, language=visit.language)
    return SalesView(
        view=await order_view(channels, order),
        customer=await known_customer(channels, order),
        has_access=await channels.accounts.has_account(order.customer),
        credentials=next((one for one in told if one.template == CREDENTIALS), None),
        awaits_return=await channels.rooms.order_management.awaits_return(order),
    )


async def known_customer(channels: Channels, order: Order) -> Customer | None:
    """Return an order's customer, if the dealership created them or they paid there."""
    database = channels.rooms.books.database
    if not await dealership_knows(database, order.dealership, order.customer):
        return None
    return await channels.rooms.order_management.customer(order.customer)


async def _services(channels: Channels, visit: Visit, seen: SalesView) -> list[VehicleService]:
    """Return what this order's customer bought for its vehicle, while it is with them."""
    order = seen.view.order
    if order.vin is None or not (order.state is OrderState.DELIVERED or seen.awaits_return):
        return []
    return await services_of_vehicle(
        channels, order.vin, language=visit.language, customer=order.customer
    )


def _page(
    channels: Channels,
    visit: Visit,
    seen: SalesView,
    template: str,
    services: Sequence[VehicleService] = (),
) -> Response:
    return channels.page(
        visit,
        template,
        seen=seen,
        view=seen.view,
        order=seen.view.order,
        awaits_reservation=seen.view.order.state in AWAITS_RESERVATION,
        just_sent="sent" in visit.query,
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

"""One-time services (Diagram 4): choose service and duration, pay, watch the car confirm it.

Rules a change must keep: services are bought for a car that was delivered to this customer; the
price is the catalogue's; the page says that nothing is charged until the car has confirmed, and
says so again when it never did.
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from caas.billing_database.orders import Order
from caas.billing_database.services import Service, ServiceOrder
from caas.channels.order_view import payments_of
from caas.channels.page_routes import CUSTOMERS, NothingHereError, PageRoute, get, post
from caas.channels.payment_view import AT_REST, UNDER_WAY, PaymentView, Situation, last_of
from caas.channels.replies import Reply, nothing_new
from caas.channels.rooms import Channels
from caas.channels.sending_once import Asked, initiated, new_key, once
from caas.channels.visit import Visit
from caas.errors import NotFoundError
from caas.rules.money import Money
from caas.rules.order_states import OrderState
from caas.rules.payment_types import PaymentType
from caas.service_catalog import ONE_TIME, SUBSCRIPTION

REFUSED: Final = 422
AWAITING: Final = "awaiting payment"
KINDS: Final = {"active": "good", "activating": "busy", "activation failed": "", "cancelled": "bad"}


@dataclass(frozen=True, slots=True)
class ServiceOrderView:
    """A bought service as pages show it."""

    order: ServiceOrder
    name: str
    payment: PaymentView | None

    @property
    def slug(self) -> str:
        """The key of the words for the state; what nobody knows yet is told as such."""
        paying = self.payment.situation if self.payment else None
        if self.order.state == AWAITING and paying is not None:
            return str(paying if paying in UNDER_WAY else Situation.PROCESSING)
        if self.order.state == "cancelled" and paying is Situation.ABANDONED:
            return str(paying)
        return self.order.state.replace(" ", "_")

    @property
    def kind(self) -> str:
        """Which colour the badge has."""
        return KINDS.get(self.order.state, "busy")

    @property
    def price(self) -> Money:
        """What it costs."""
        return Money(self.order.amount, self.order.currency)

    @property
    def version(self) -> str:
        """What changes when anything of this changes."""
        return f"{self.slug}-{self.payment.version if self.payment else 0}"

    @property
    def is_open(self) -> bool:
        """Whether anything can still happen to it by itself."""
        return (
            self.payment is None
            or self.payment.situation not in AT_REST
            or self.order.state == AWAITING  # it has not heard yet what became of its payment
        )


async def services(channels: Channels, visit: Visit) -> Reply:
    """Show what can be bought for the car, and what was bought."""
    catalog = channels.rooms.service_catalog
    offered = await catalog.services()
    bought = await catalog.service_orders(customer=visit.customer)
    names = await catalog.names(visit.language)
    return channels.page(
        visit,
        "customer/services.html",
        cars=await own_cars(channels, visit),
        offered=[service for service in offered if service.kind == ONE_TIME],
        monthly=[service for service in offered if service.kind == SUBSCRIPTION],
        subscriptions=await channels.rooms.subscriptions.subscriptions(customer=visit.customer),
        names=names,
        money_of=Money,
        bought=[ServiceOrderView(one, names.get(one.service, one.service), None) for one in bought],
        lowest=lowest_price,
    )


async def service(channels: Channels, visit: Visit) -> Reply:
    """Show one service, its durations and prices."""
    return await _service_page(channels, visit, await _offered(channels, visit))


async def buy(channels: Channels, visit: Visit) -> Reply:
    """Write the order down and go on to pay for it."""
    offer = await _offered(channels, visit)
    car = next(
        (car for car in await own_cars(channels, visit) if car.vin == visit.form.get("vin")), None
    )
    days = visit.form.get("days", "")
    if car is None or car.vin is None or not days.isdecimal():
        return await _service_page(channels, visit, offer, nothing_chosen=True)
    vin = car.vin

    async def ordered() -> Asked:
        order = await channels.rooms.service_catalog.create_service_order(
            customer=visit.customer, vin=vin, service=offer.code, duration_days=int(days)
        )
        due = Money(order.amount, order.currency)
        return Asked(order.id, order.customer, due, f"/returned/{order.id}")

    async def work() -> str:
        pay = channels.rooms.payment_processing.initiate_service_payment
        payment = await initiated(channels, visit, pay, ordered)
        return f"/pay/{payment.id}"

    return await once(channels, visit, work)


async def service_order(channels: Channels, visit: Visit) -> Reply:
    """Show a bought service, live."""
    view = await own_service_order(channels, visit)
    return channels.page(visit, "customer/service_order.html", view=view, order=view.order)


async def service_order_live(channels: Channels, visit: Visit) -> Reply:
    """Show the living part again, if anything has changed."""
    view = await own_service_order(channels, visit)
    if visit.query.get("seen") == view.version:
        return nothing_new()
    return channels.page(visit, "customer/service_order_live.html", view=view, order=view.order)


async def own_service_order(channels: Channels, visit: Visit) -> ServiceOrderView:
    """Return the service order of the address, if it is the customer's.

    Raises:
        NothingHereError: there is none, or it is somebody else's.
    """
    order_id: UUID = visit.ids["order_id"]
    catalog = channels.rooms.service_catalog
    try:
        order = await catalog.service_order(order_id)
    except NotFoundError as error:
        raise NothingHereError from error
    if order.customer != visit.customer:
        raise NothingHereError
    payments = await payments_of(channels, order.id)
    name = (await catalog.service(order.service)).named(visit.language)
    return ServiceOrderView(order, name, last_of(payments, PaymentType.SERVICE))


async def own_cars(channels: Channels, visit: Visit) -> list[Order]:
    """Return the orders whose cars were delivered to this customer."""
    return await channels.rooms.order_management.orders(
        customer=visit.customer, state=OrderState.DELIVERED
    )


def lowest_price(service: Service) -> Money:
    """Return what a service costs at least."""
    return Money(min(price["amount"] for price in service.prices), service.currency)


async def _offered(channels: Channels, visit: Visit) -> Service:
    try:
        found = await channels.rooms.service_catalog.service(visit.ids["code"])
    except NotFoundError as error:
        raise NothingHereError from error
    if found.kind != ONE_TIME or not found.offered:
        raise NothingHereError
    return found


async def _service_page(
    channels: Channels, visit: Visit, offer: Service, *, nothing_chosen: bool = False
) -> Reply:
    return channels.page(
        visit,
        "customer/service.html",
        service=offer,
        prices=[
            (price["duration_days"], Money(price["amount"], offer.currency))
            for price in offer.prices
        ],
        cars=await own_cars(channels, visit),
        nothing_chosen=nothing_chosen,
        key=new_key(),
        status=REFUSED if nothing_chosen else 200,
    )


_ORDER: Final = "/service-orders/{order_id:uuid}"
CUSTOMER_SERVICE_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/services", services, CUSTOMERS),
    get("/services/{code}", service, CUSTOMERS),
    post("/services/{code}", buy, CUSTOMERS),
    get(_ORDER, service_order, CUSTOMERS),
    get(f"{_ORDER}/live", service_order_live, CUSTOMERS),
)

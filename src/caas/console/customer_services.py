"""One-time services (Diagram 4): choose a service and a duration, or extend a running one.

Rules a change must keep: services are sold only for a vehicle that was delivered to this customer;
the price is the catalogue's; a running service is extended and never offered as new.
"""

from typing import Final

import msgspec

from caas.billing_database.customers import BillingDetailsRequiredError, NoTaxTableError
from caas.billing_database.orders import Order
from caas.billing_database.services import Service
from caas.console.context import Console
from caas.console.customer_billing_details import PATH as BILLING_DETAILS
from caas.console.customer_service_orders import (
    ServiceOrderView,
    own_cars,
    owns,
    payment_of,
    pays_once,
)
from caas.console.entitlement_view import (
    IN_THE_WAY,
    EntitlementView,
    Standing,
    entitlements_in,
)
from caas.console.form_actions import SHOWN, form_result, keyed, new_key, price_field, shown_price
from caas.console.page_routes import CUSTOMERS, NothingHereError, PageRoute, get, post
from caas.console.request import PageRequest
from caas.errors import NotFoundError
from caas.payment_processing import PaymentRequest
from caas.rules.agreed_price import AgreedPrice
from caas.rules.money import Money
from caas.service_catalog import ONE_TIME, SUBSCRIPTION
from caas.web.response import Response, see_other

REFUSED: Final = 422
OVER: Final = frozenset({"expired", "withdrawn", "ended", "activation failed", "cancelled"})
PAST_SHOWN: Final = 6


class Offer(msgspec.Struct, frozen=True):
    """A service of the catalogue and its state in each of the customer's vehicles."""

    service: Service
    standings: list[EntitlementView]

    @property
    def is_new(self) -> bool:
        """Whether at least one vehicle lacks the service."""
        return not self.standings or any(one.standing is Standing.FREE for one in self.standings)

    @property
    def follows(self) -> EntitlementView | None:
        """The paid term that a purchase would extend, in a vehicle that has the service."""
        return next((one for one in self.standings if one.standing is Standing.EXTENDS), None)


class Chosen(msgspec.Struct, frozen=True):
    """The customer's vehicles, the selected one, and a service in it."""

    cars: list[Order]
    car: Order | None
    view: EntitlementView | None


async def services(console: Console, request: PageRequest) -> Response:
    """Show the services in the customer's vehicles, and those that can be bought."""
    catalog = console.platform.service_catalog
    cars = await own_cars(console, request)
    views = [
        view
        for car in cars
        for view in (await entitlements_of(console, request, car.vin or "")).values()
    ]
    offers = [
        Offer(service, [view for view in views if view.service == service.code])
        for service in await catalog.services()
    ]
    bought = await catalog.service_orders(customer=request.customer)
    names = await catalog.names(request.language)
    return console.page(
        request,
        "customer/services.html",
        cars=cars,
        car_of={car.vin: car for car in cars},
        mine=[view for view in views if view.terms],
        offered=[one for one in offers if one.service.kind == ONE_TIME and one.is_new],
        monthly=[
            one
            for one in offers
            if one.service.kind == SUBSCRIPTION and (one.is_new or one.follows)
        ],
        subscriptions=await console.platform.subscriptions.subscriptions(customer=request.customer),
        names=names,
        money_of=Money,
        past=[
            ServiceOrderView(one, names.get(one.service, one.service), None)
            for one in bought
            if one.state in OVER
        ][:PAST_SHOWN],
        lowest=lowest_price,
    )


async def service(console: Console, request: PageRequest) -> Response:
    """Show one service in one vehicle: its state, durations and prices."""
    return await _service_page(console, request, request.query.get("vin", ""))


async def buy(console: Console, request: PageRequest) -> Response:
    """Store the order and continue to its payment; show what prevents the purchase."""
    offer = await _in_catalogue(console, request)
    if not _is_sold(offer):
        raise NothingHereError
    vin, days = request.form.get("vin", ""), request.form.get("days", "")
    if not await owns(console, request, vin) or not days.isdecimal():
        return await _service_page(console, request, vin, nothing_chosen=True)

    async def ordered() -> PaymentRequest:
        order = await console.platform.service_catalog.create_service_order(
            customer=request.customer, vin=vin, service=offer.code, duration_days=int(days),
            request_key=keyed(request).order_key,
            shown=shown_price(request, f"{SHOWN}.{days}"),
        )  # fmt: skip
        return payment_of(console, request, order)

    try:
        return await pays_once(console, request, ordered)
    except (BillingDetailsRequiredError, NoTaxTableError) as refusal:
        return see_other(f"{BILLING_DETAILS}?refused={refusal.code}")
    except IN_THE_WAY as refusal:
        return see_other(f"/services/{offer.code}?vin={vin}&days={days}&refused={refusal.code}")


async def entitlements_of(
    console: Console, request: PageRequest, vin: str
) -> dict[str, EntitlementView]:
    """Return the services that are sold for, or active in, one of the customer's vehicles."""
    return await entitlements_in(console, vin, customer=request.customer, language=request.language)


async def chosen(console: Console, request: PageRequest, code: str, *, vin: str) -> Chosen:
    """Return the vehicle that the page is about, and the state of the service in it.

    It is the vehicle in the query, else one that lacks the service.
    """
    cars = await own_cars(console, request)
    views = [
        (car, (await entitlements_of(console, request, car.vin or "")).get(code)) for car in cars
    ]
    asked = (one for one in views if one[0].vin == vin)
    free = (one for one in views if one[1] is None or one[1].standing is Standing.FREE)
    car, view = next(asked, None) or next(free, None) or next(iter(views), (None, None))
    return Chosen(cars, car, view)


def lowest_price(service: Service) -> Money:
    """Return the lowest price of a service."""
    return Money(min(price["amount"] for price in service.prices), service.currency)


async def _in_catalogue(console: Console, request: PageRequest) -> Service:
    try:
        return await console.platform.service_catalog.service(request.ids["code"])
    except NotFoundError as error:
        raise NothingHereError from error


def _is_sold(offer: Service) -> bool:
    return offer.kind == ONE_TIME and offer.offered


async def _service_page(
    console: Console, request: PageRequest, vin: str, *, nothing_chosen: bool = False
) -> Response:
    offer = await _in_catalogue(console, request)
    of = await chosen(console, request, offer.code, vin=vin)
    view = of.view
    if not _is_sold(offer) and (view is None or not view.terms):
        raise NothingHereError
    prices = offer.prices if _is_sold(offer) else []
    return console.page(
        request,
        "customer/service.html",
        service=offer,
        prices=[
            (
                price["duration_days"],
                Money(price["amount"], offer.currency),
                view.extended(price["duration_days"]) if view else None,
                price_field(AgreedPrice(price["amount"], offer.currency)),
            )
            for price in prices
        ],
        cars=of.cars,
        car=of.car,
        view=view,
        after=form_result(console, request),
        nothing_chosen=nothing_chosen,
        key=new_key(),
        status=REFUSED if nothing_chosen else 200,
    )


CUSTOMER_SERVICE_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/services", services, CUSTOMERS),
    get("/services/{code:word}", service, CUSTOMERS),
    post("/services/{code:word}", buy, CUSTOMERS),
)

"""The Service Catalog Subsystem (Diagrams 1, 4 and 6): what can be bought for a vehicle, by whom.

One-time services have a price for each duration; subscriptions a monthly fee and metered units.

Rules a change must keep: a service order is written before its payment begins and never changes,
its state is read off its payment; prices are taken from the catalogue, never from the caller.
"""

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any, Final
from uuid import UUID

from caas.billing_database.connection import Connection
from caas.billing_database.customers import Customers
from caas.billing_database.eligibility import may_still_be_sold
from caas.billing_database.free_text import refuse_identifying
from caas.billing_database.identifiers import new_id
from caas.billing_database.services import Service, ServiceOrder, Services, WantedService
from caas.billing_database.tables import BillingDatabase
from caas.errors import NotFoundError, RefusedError
from caas.rules.money import Money
from caas.service_catalog.eligibility import check_buyer, check_eligible

ONE_TIME: Final = "one_time"
SUBSCRIPTION: Final = "subscription"
DURATION_DAYS_MAX: Final = 3660
PRICES_MAX: Final = 50
FRESH_ORDERS_MAX: Final = 10_000
FRESH_SECONDS: Final = 20.0
"""How long a reservation needs no second look; shorter than it takes to lapse."""
EXTEND: Final = "extend"
REFUSE: Final = "refuse"


class ServiceNotFoundError(NotFoundError):
    """The catalogue has no service with this code."""

    code = "service_not_found"


class ServiceOrderNotFoundError(NotFoundError):
    """No service order has this id."""

    code = "service_order_not_found"


class NotSoldLikeThisError(RefusedError):
    """The service is not sold in this way; look at its prices in the catalogue."""

    code = "not_sold_like_this"


class VehicleNotConnectedError(RefusedError):
    """The vehicle is not known here with a key, so it could not confirm a service."""

    code = "vehicle_not_connected"


class InvalidServiceError(RefusedError):
    """The service is not described as the catalogue needs it."""

    code = "invalid_service"


class ServiceCatalog:
    """The catalogue and its orders."""

    def __init__(self, *, tables: BillingDatabase) -> None:
        """Keep the catalogue in these books."""
        self._database = tables.database
        self._services = Services(tables.database)
        self._entitlements = tables.entitlements
        self._fresh_orders: dict[UUID, float] = {}
        self._customers = Customers(tables.database)

    async def put_service(  # noqa: PLR0913  # the columns of the catalogue
        self,
        *,
        code: str,
        name: str,
        kind: str,
        currency: str,
        prices: Sequence[dict[str, Any]] = (),
        monthly_fee: int | None = None,
        metered: Sequence[dict[str, Any]] = (),
        offered: bool = True,
        names: Mapping[str, str] | None = None,
        repeat_purchase: str = EXTEND,
    ) -> Service:
        """Put a service into the catalogue, or change it for those who buy from now on.

        `names` says what it is called in languages in which it is not called `name`. Bought again
        while it runs it is extended, unless `repeat_purchase` is "refuse".

        Raises:
            InvalidServiceError: prices do not fit the kind of service.
            UnknownCurrencyError: the currency is not one people pay in.
        """
        service = Service(
            code, name, kind, currency, list(prices), monthly_fee, list(metered), offered,
            dict(names or {}), repeat_purchase,
        )  # fmt: skip
        _check(service)
        refuse_identifying(name, *(names or {}).values(), *(str(it["unit"]) for it in metered))
        await self._services.put(service)
        return service

    async def service(self, code: str) -> Service:
        """Return a service.

        Raises:
            ServiceNotFoundError: the catalogue has none with this code.
        """
        service = await self._services.service(code)
        if service is None:
            raise ServiceNotFoundError(f"The catalogue has no service '{code}'.")
        return service

    async def services(self) -> list[Service]:
        """Return what is on offer."""
        return await self._services.offered()

    async def names(self, language: str) -> dict[str, str]:
        """Return what services are called in a language, those not offered any more too."""
        return await self._services.names(language)

    async def create_service_order(  # what is bought, by name
        self,
        *,
        customer: UUID,
        vin: str,
        service: str,
        duration_days: int,
        by_fleet: bool = False,
        request_key: bytes | None = None,
    ) -> ServiceOrder:
        """Write down that a customer wants a service in a vehicle ("Select Service + Duration").

        The request with this key gets the order that it placed before, if it did.

        Raises:
            CustomerNotFoundError: no such customer; CustomerErasedError: not any more.
            VehicleNotTheirsError: the vehicle was not delivered to them; `by_fleet` sells it all
                the same.
            ServiceNotFoundError: the catalogue has no such service.
            NotSoldLikeThisError: it is not sold once, or not for this duration.
            BillingDetailsRequiredError: its invoice must name its buyer, and could not.
            VehicleNotConnectedError: the vehicle could not confirm anything.
            PurchasePendingError: another purchase of it is under way for the vehicle.
            AlreadyRunningError: it runs by a subscription, or is not sold again while it runs.
        """
        await self._customers.buyer(customer)
        await check_eligible(self._database, customer=customer, vin=vin, by_fleet=by_fleet)
        if not await self._services.can_be_reached(vin):
            raise VehicleNotConnectedError(
                f"No vehicle {vin} with a key of its own is known; it could not confirm a service."
            )
        offer = await self.service(service)
        price = _price_of(offer, duration_days)
        await check_buyer(self._database, customer=customer, price=price)
        order = await self._services.add_order(
            WantedService(
                id=new_id(),
                customer=customer,
                vin=vin,
                service=service,
                duration_days=duration_days,
                amount=price,
                currency=offer.currency,
            ),
            by_fleet=by_fleet,
            request_key=request_key,
        )
        self.remember_reserved([order.id])
        return order

    def remember_reserved(self, order_ids: Sequence[UUID]) -> None:
        """Keep in mind that these orders have just been written with their reservations."""
        if len(self._fresh_orders) >= FRESH_ORDERS_MAX:
            self._fresh_orders.clear()
        self._fresh_orders.update(dict.fromkeys(order_ids, monotonic()))

    def was_just_reserved(self, order_id: UUID) -> bool:
        """Say, once, whether this process has just written the order with its reservation."""
        reserved_at = self._fresh_orders.pop(order_id, None)
        return reserved_at is not None and monotonic() - reserved_at < FRESH_SECONDS

    async def reserve_term(self, order: WantedService, *, within: Connection) -> None:
        """Make sure that the next term of the service is reserved for this order.

        Raises:
            VehicleNotTheirsError: the vehicle is not its customer's any more.
            PurchasePendingError: another purchase is under way; it is named.
            AlreadyRunningError: the service runs and cannot be bought on top of that.
            OrderUsedError: the order had its term already.
        """
        await self._entitlements.reserve(
            vin=order.vin,
            service=order.service,
            customer=order.customer,
            service_order=order.id,
            duration_days=order.duration_days,
            within=within,
        )

    async def may_still_be_sold(self, order_id: UUID) -> bool:
        """Say whether the vehicle of an order is still its customer's, or a fleet's."""
        return await may_still_be_sold(self._database, order_id)

    async def service_order(self, order_id: UUID) -> ServiceOrder:
        """Return a service order as it stands.

        Raises:
            ServiceOrderNotFoundError: there is none with this id.
        """
        order = await self._services.order(order_id)
        if order is None:
            raise ServiceOrderNotFoundError(f"No service order has the id {order_id}.")
        return order

    async def wanted(self, order_id: UUID) -> WantedService:
        """Return what a service order asks for; where it stands is `service_order`.

        Raises:
            ServiceOrderNotFoundError: there is none with this id.
        """
        wanted = await self._services.wanted(order_id)
        if wanted is None:
            raise ServiceOrderNotFoundError(f"No service order has the id {order_id}.")
        return wanted

    async def service_orders(
        self, *, customer: UUID | None = None, vin: str | None = None, before: UUID | None = None
    ) -> list[ServiceOrder]:
        """Return service orders, newest first."""
        return await self._services.orders(customer=customer, vin=vin, before=before)


def _price_of(offer: Service, duration_days: int) -> int:
    price = next((p["amount"] for p in offer.prices if p["duration_days"] == duration_days), None)
    if offer.kind != ONE_TIME or price is None or not offer.offered:
        sold = ", ".join(str(p["duration_days"]) for p in offer.prices) or "none"
        raise NotSoldLikeThisError(
            f"'{offer.code}' is not sold for {duration_days} days; durations on offer: {sold}."
        )
    return int(price)


def _check(service: Service) -> None:
    if service.kind not in {ONE_TIME, SUBSCRIPTION}:
        raise InvalidServiceError("A service is of the kind 'one_time' or 'subscription'.")
    if service.repeat_purchase not in {EXTEND, REFUSE}:
        raise InvalidServiceError("A service that runs is bought again by 'extend' or 'refuse'.")
    _check_prices(service)


def _check_prices(service: Service) -> None:
    if len(service.prices) > PRICES_MAX or len(service.metered) > PRICES_MAX:
        raise InvalidServiceError(f"A service has at most {PRICES_MAX} prices.")
    if service.kind == ONE_TIME and (not service.prices or service.monthly_fee is not None):
        raise InvalidServiceError("A one-time service has prices by duration and no monthly fee.")
    if service.kind == SUBSCRIPTION and (service.prices or service.monthly_fee is None):
        raise InvalidServiceError("A subscription has a monthly fee and no price by duration.")
    for price in service.prices:
        Money(price["amount"], service.currency)
        if not 1 <= price["duration_days"] <= DURATION_DAYS_MAX or price["amount"] <= 0:
            raise InvalidServiceError("A price is above zero, for 1 to 3660 days.")
    for unit in service.metered:
        Money(unit["unit_price"], service.currency)

"""The Service Catalog Subsystem (Diagrams 1, 4 and 6): services, prices and service orders.

One-time services have a price per duration; subscriptions have a monthly fee and metered units.

Rules a change must keep: a service order is created before its payment and never changes, its state
is derived from its payment; prices come from the catalogue, never from the caller.
"""

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any, Final
from uuid import UUID

from caas.billing_database.connection import Connection
from caas.billing_database.customers import Customers
from caas.billing_database.free_text import refuse_identifying
from caas.billing_database.identifiers import new_id
from caas.billing_database.services import Service, ServiceOrder, Services, WantedService
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.vehicles import may_still_be_sold
from caas.errors import NotFoundError, RefusedError
from caas.rules.agreed_price import AgreedPrice, check_agreed
from caas.rules.money import Money
from caas.service_catalog.eligibility import check_buyer, check_eligible

ONE_TIME: Final = "one_time"
SUBSCRIPTION: Final = "subscription"
DURATION_DAYS_MAX: Final = 3660
PRICES_MAX: Final = 50
FRESH_ORDERS_MAX: Final = 10_000
FRESH_SECONDS: Final = 20.0
"""How long a new reservation is trusted without a second check; shorter than its expiry."""
EXTEND: Final = "extend"
REFUSE: Final = "refuse"


class ServiceNotFoundError(NotFoundError):
    """The catalogue has no service with this code."""

    code = "service_not_found"


class ServiceOrderNotFoundError(NotFoundError):
    """No service order has this id."""

    code = "service_order_not_found"


class NotSoldLikeThisError(RefusedError):
    """The service is not sold in this way. Check its prices in the catalogue."""

    code = "not_sold_like_this"


class VehicleNotConnectedError(RefusedError):
    """The vehicle has no stored key, so it cannot confirm a service."""

    code = "vehicle_not_connected"


class InvalidServiceError(RefusedError):
    """The service description is invalid."""

    code = "invalid_service"


class ServiceCatalog:
    """The catalogue of services, and service orders."""

    def __init__(self, *, tables: BillingDatabase) -> None:
        """Use these tables."""
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
        """Add a service to the catalogue, or change it for future purchases.

        `names` maps languages to localized names. A repeated purchase extends the running term,
        unless `repeat_purchase` is "refuse".

        Raises:
            InvalidServiceError: the prices do not fit the kind of service.
            UnknownCurrencyError: the currency is not supported.
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
            ServiceNotFoundError: no service has this code.
        """
        service = await self._services.service(code)
        if service is None:
            raise ServiceNotFoundError(f"The catalogue has no service '{code}'.")
        return service

    async def services(self) -> list[Service]:
        """Return the services on offer."""
        return await self._services.offered()

    async def names(self, language: str) -> dict[str, str]:
        """Return the localized names of all services, including those no longer offered."""
        return await self._services.names(language)

    async def create_service_order(  # noqa: PLR0913  # a service order, by name
        self,
        *,
        customer: UUID,
        vin: str,
        service: str,
        duration_days: int,
        by_fleet: bool = False,
        request_key: bytes | None = None,
        shown: AgreedPrice | None = None,
    ) -> ServiceOrder:
        """Create a service order ("Select Service + Duration").

        A repeated request key returns its order. `shown` is what the customer agreed to, if known.

        Raises:
            PriceChangedError: the price is not `shown` any more.
            CustomerNotFoundError: no such customer; CustomerErasedError: the customer was erased.
            VehicleNotTheirsError: the vehicle was not delivered to the customer and `by_fleet` is
                not set.
            ServiceNotFoundError: no service has this code.
            NotSoldLikeThisError: the service is not sold once, or not for this duration.
            BillingDetailsRequiredError: the buyer's details for the invoice are incomplete.
            VehicleNotConnectedError: the vehicle cannot confirm a service.
            PurchasePendingError: another purchase for the vehicle is in progress.
            AlreadyRunningError: a subscription covers it, or it cannot be bought again while it
                runs.
        """
        await self._customers.buyer(customer)
        await check_eligible(self._database, customer=customer, vin=vin, by_fleet=by_fleet)
        await self._check_reachable(vin)
        offer = await self.service(service)
        price = _price_of(offer, duration_days)
        check_agreed(AgreedPrice(price, offer.currency), shown)
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

    async def _check_reachable(self, vin: str) -> None:
        if not await self._services.can_be_reached(vin):
            raise VehicleNotConnectedError(
                f"The vehicle {vin} has no stored key, so it cannot confirm a service."
            )

    def remember_reserved(self, order_ids: Sequence[UUID]) -> None:
        """Remember that these orders were just created with their reservations."""
        if len(self._fresh_orders) >= FRESH_ORDERS_MAX:
            self._fresh_orders.clear()
        self._fresh_orders.update(dict.fromkeys(order_ids, monotonic()))

    def was_just_reserved(self, order_id: UUID) -> bool:
        """Return, once, whether this process just created the order with its reservation."""
        reserved_at = self._fresh_orders.pop(order_id, None)
        return reserved_at is not None and monotonic() - reserved_at < FRESH_SECONDS

    async def reserve_term(self, order: WantedService, *, within: Connection) -> None:
        """Reserve the next term of the service for this order; idempotent.

        Raises:
            VehicleNotTheirsError: the vehicle no longer belongs to the customer.
            PurchasePendingError: another purchase is in progress; its id is given.
            AlreadyRunningError: the service runs and cannot be extended.
            OrderUsedError: the order already had its term.
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
        """Return whether the order's vehicle still belongs to its customer or a fleet."""
        return await may_still_be_sold(self._database, order_id)

    async def service_order(self, order_id: UUID) -> ServiceOrder:
        """Return a service order with its state.

        Raises:
            ServiceOrderNotFoundError: no service order has this id.
        """
        order = await self._services.order(order_id)
        if order is None:
            raise ServiceOrderNotFoundError(f"No service order has the id {order_id}.")
        return order

    async def wanted(self, order_id: UUID) -> WantedService:
        """Return what a service order requests, without its state.

        Raises:
            ServiceOrderNotFoundError: no service order has this id.
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
        raise InvalidServiceError("A service's kind is 'one_time' or 'subscription'.")
    if service.repeat_purchase not in {EXTEND, REFUSE}:
        raise InvalidServiceError("`repeat_purchase` is 'extend' or 'refuse'.")
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
            raise InvalidServiceError("A price must be above zero, for 1 to 3660 days.")
    for unit in service.metered:
        Money(unit["unit_price"], service.currency)

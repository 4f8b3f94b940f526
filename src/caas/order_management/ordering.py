"""Customers, vehicles and orders before payment (Diagram 2, "Customer Data + Amount").

Rules a change must keep: an order's price is set when it is created, never by the caller; a deposit
is less than the price, in the same currency; a vehicle's key is never replaced, because its
holder's signature decides what is charged.
"""

import hmac
from typing import Final
from uuid import UUID

from caas.billing_database.connection import Connection
from caas.billing_database.customers import Access, Customer
from caas.billing_database.identifiers import new_id
from caas.billing_database.orders import NewOrder, Order
from caas.billing_database.vehicles import NewVehicle, Vehicle
from caas.errors import ConflictError, NotFoundError, RefusedError
from caas.order_management.order_tables import OrderTables
from caas.rules.agreed_price import AgreedPrice, check_agreed
from caas.rules.money import Money
from caas.rules.vehicle_states import VehicleState

ED25519_KEY_BYTES: Final = 32


class ModelNotSoldError(NotFoundError):
    """This model has no price."""

    code = "model_not_sold"


class VehicleNotFreeError(ConflictError):
    """The vehicle is already reserved or sold."""

    code = "vehicle_not_free"


class VehicleDiffersError(ConflictError):
    """The vehicle is stored with another model or another public key."""

    code = "vehicle_differs"


class UnsafeVehicleKeyError(RefusedError):
    """This public key is unsafe: anyone can sign for it. Generate a new key pair."""

    code = "unsafe_vehicle_key"


class DepositError(RefusedError):
    """The deposit must be above zero, below the vehicle's price, and in the same currency."""

    code = "invalid_deposit"


class NothingOrderedError(RefusedError):
    """An order must name a VIN or a model."""

    code = "nothing_ordered"


class AccessLinkError(RefusedError):
    """The link was already used, has expired, or is unknown. Ask the dealership for a new one."""

    code = "access_link_invalid"


class Ordering:
    """Creates customers, vehicles and orders."""

    def __init__(self, order_tables: OrderTables) -> None:
        """Use these tables."""
        self._tables = order_tables

    async def create_customer(
        self, *, name: str, email: str, language: str, dealership: str | None = None
    ) -> Customer:
        """Create a customer with a pseudonymous id, visible to `dealership`."""
        customers = self._tables.customers
        return await customers.add(
            new_id(), name=name, email=email, language=language, dealership=dealership
        )

    async def open_access(self, token: str) -> Access:
        """Use up an access link.

        Raises:
            AccessLinkError: the link was used, has expired, or is unknown.
        """
        access = await self._tables.customers.use_link(token)
        if access is None:
            raise AccessLinkError
        return access

    async def put_vehicle(self, vehicle: NewVehicle) -> Vehicle:
        """Add a vehicle to stock, or change the price of a known one.

        Raises:
            VehicleDiffersError: its model or public key differs, or the factory has yet to provide
                its key.
        """

        async def put(connection: Connection) -> Vehicle:
            known = await self._tables.vehicles.locked(vehicle.vin, within=connection)
            if known is not None and key_differs(known, vehicle.public_key):
                raise VehicleDiffersError(vin=vehicle.vin)
            if known is not None and vehicle.public_key and _factory_sends_key(known):
                raise VehicleDiffersError(
                    f"The key of the vehicle {vehicle.vin} is provided by the "
                    "factory with 'vehicle.ready' and cannot be set before."
                )
            if not await self._tables.vehicles.put(vehicle, within=connection):
                raise VehicleDiffersError(vin=vehicle.vin)
            return await self._tables.vehicles.get(vehicle.vin, within=connection)

        return await self._tables.billing.database.in_transaction(put)

    async def create_order(
        self,
        *,
        customer: UUID,
        vin: str | None,
        model: str | None,
        dealership: str,
        deposit: Money,
        shown: AgreedPrice | None = None,
    ) -> Order:
        """Create an order that awaits its reservation payment.

        `shown` is the price that the customer agreed to, if it is known (decision 251).

        Raises:
            PriceChangedError: the vehicle's price is not `shown` any more.
            NothingOrderedError: neither a VIN nor a model is given.
            CustomerNotFoundError: no such customer; CustomerErasedError: the customer was erased.
            VehicleNotFoundError: no such vehicle; VehicleNotFreeError: it is reserved or sold.
            ModelNotSoldError: the model has no price.
            DepositError: the deposit is not between zero and the price.
        """
        await self._tables.customers.buyer(customer)
        model, price = await self._offer(vin, model)
        check_agreed(AgreedPrice(price.amount, price.currency), shown)
        if deposit.currency != price.currency or not 0 < deposit.amount < price.amount:
            raise DepositError(
                f"The deposit must be above zero and below the price of {price}, but is {deposit}."
            )
        order = NewOrder(
            id=new_id(),
            customer=customer,
            model=model,
            vin=vin,
            dealership=dealership,
            deposit=deposit,
            price=price,
        )
        return await self._tables.orders.add(order)

    async def _offer(self, vin: str | None, model: str | None) -> tuple[str, Money]:
        if vin is not None:
            return await self._offered_vehicle(vin, model)
        if model is None:
            raise NothingOrderedError
        price = await self._tables.vehicles.price_of_model(model)
        if price is None:
            raise ModelNotSoldError(f"The model '{model}' has no price.")
        return model, price

    async def _offered_vehicle(self, vin: str, model: str | None) -> tuple[str, Money]:
        vehicle = await self._tables.vehicles.get(vin)
        if model not in (None, vehicle.model):
            raise VehicleDiffersError(f"The vehicle {vin} is a {vehicle.model}, not a {model}.")
        if vehicle.state is not VehicleState.SIN_ASIGNAR:
            raise VehicleNotFreeError(vin=vin, state=vehicle.state.value)
        return vehicle.model, vehicle.price


def key_differs(vehicle: Vehicle, public_key: bytes | None) -> bool:
    """Return whether a public key differs from the vehicle's stored one."""
    if public_key is None or vehicle.public_key is None:
        return False
    return not hmac.compare_digest(public_key, vehicle.public_key)


def _factory_sends_key(vehicle: Vehicle) -> bool:
    return vehicle.public_key is None and not vehicle.finished

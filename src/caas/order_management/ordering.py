"""Customers, vehicles and orders before any payment (Diagram 2, "Customer Data + Amount").

Rules a change must keep: the price of an order is the one of the moment it was made, never the
caller's; a deposit is less than the price, in its currency; a vehicle's key is never replaced in
silence, because the word of whoever holds it decides what is charged.
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
from caas.rules.money import Money
from caas.rules.vehicle_states import VehicleState

ED25519_KEY_BYTES: Final = 32


class ModelNotSoldError(NotFoundError):
    """No vehicle of this model was ever offered here, so it has no price."""

    code = "model_not_sold"


class VehicleNotFreeError(ConflictError):
    """The vehicle is not sin asignar: somebody has reserved or bought it."""

    code = "vehicle_not_free"


class VehicleDiffersError(ConflictError):
    """The vehicle is known as another model, or with another public key."""

    code = "vehicle_differs"


class UnsafeVehicleKeyError(RefusedError):
    """Anybody can sign with this public key; make a key pair for the vehicle and send its own."""

    code = "unsafe_vehicle_key"


class DepositError(RefusedError):
    """A deposit is above zero, below the vehicle's price, and in the same currency."""

    code = "invalid_deposit"


class NothingOrderedError(RefusedError):
    """An order names a vehicle by its VIN, or a model."""

    code = "nothing_ordered"


class AccessLinkError(RefusedError):
    """The link was used already, is too old, or never was one of ours; ask the dealership."""

    code = "access_link_invalid"


class Ordering:
    """The parts of Order Management that no payment has reached yet."""

    def __init__(self, order_tables: OrderTables) -> None:
        """Work in these books."""
        self._tables = order_tables

    async def create_customer(
        self, *, name: str, email: str, language: str, dealership: str | None = None
    ) -> Customer:
        """Write down a customer under a pseudonymous id; `dealership` knows them from now on."""
        customers = self._tables.customers
        return await customers.add(
            new_id(), name=name, email=email, language=language, dealership=dealership
        )

    async def open_access(self, token: str) -> Access:
        """Use up the link of the access credentials.

        Raises:
            AccessLinkError: the link was used, is too old, or unknown.
        """
        access = await self._tables.customers.use_link(token)
        if access is None:
            raise AccessLinkError
        return access

    async def put_vehicle(self, vehicle: NewVehicle) -> Vehicle:
        """Put a vehicle into stock, or change what a known one costs.

        Raises:
            VehicleDiffersError: it is known as another model, or with another public key, or its
                key is still to come from the factory.
        """

        async def put(connection: Connection) -> Vehicle:
            known = await self._tables.vehicles.locked(vehicle.vin, within=connection)
            if known is not None and other_key(known, vehicle.public_key):
                raise VehicleDiffersError(vin=vehicle.vin)
            if known is not None and vehicle.public_key and _factory_sends_key(known):
                raise VehicleDiffersError(
                    f"The key of the vehicle {vehicle.vin} comes from the factory, with "
                    "'vehicle.ready'; it cannot be set before."
                )
            if not await self._tables.vehicles.put(vehicle, within=connection):
                raise VehicleDiffersError(vin=vehicle.vin)
            return await self._tables.vehicles.get(vehicle.vin, within=connection)

        return await self._tables.billing.database.in_transaction(put)

    async def create_order(
        self, *, customer: UUID, vin: str | None, model: str | None, dealership: str, deposit: Money
    ) -> Order:
        """Write down an order that awaits its reservation payment.

        Raises:
            NothingOrderedError: neither a vehicle nor a model is named.
            CustomerNotFoundError: no such customer; CustomerErasedError: not any more.
            VehicleNotFoundError: no such vehicle; VehicleNotFreeError: somebody has it.
            ModelNotSoldError: the model has no price here.
            DepositError: the deposit does not fit the price.
        """
        await self._tables.customers.buyer(customer)
        model, price = await self._offer(vin, model)
        if deposit.currency != price.currency or not 0 < deposit.amount < price.amount:
            raise DepositError(
                f"The deposit must be less than the price of {price} and above zero, not {deposit}."
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
            raise ModelNotSoldError(f"No vehicle of the model '{model}' was ever offered here.")
        return model, price

    async def _offered_vehicle(self, vin: str, model: str | None) -> tuple[str, Money]:
        vehicle = await self._tables.vehicles.get(vin)
        if model not in (None, vehicle.model):
            raise VehicleDiffersError(f"The vehicle {vin} is a {vehicle.model}, not a {model}.")
        if vehicle.state is not VehicleState.SIN_ASIGNAR:
            raise VehicleNotFreeError(vin=vin, state=vehicle.state.value)
        return vehicle.model, vehicle.price


def other_key(vehicle: Vehicle, public_key: bytes | None) -> bool:
    """Say whether this key contradicts the one the vehicle is known by."""
    if public_key is None or vehicle.public_key is None:
        return False
    return not hmac.compare_digest(public_key, vehicle.public_key)


def _factory_sends_key(vehicle: Vehicle) -> bool:
    return vehicle.public_key is None and not vehicle.finished

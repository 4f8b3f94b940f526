"""Events from the factory and the transport: vehicle ready, delivery completed.

Rules a change must keep: events may be duplicated, late, or arrive before the response to our own
call; an event for an unknown order or delivery is rejected with an error that makes the sender
retry; a finished vehicle without an order goes to stock.
"""

from typing import Final
from uuid import UUID

from caas.billing_database.connection import Connection
from caas.billing_database.orders import Learnt, Order
from caas.billing_database.vehicles import NewVehicle, Vehicle
from caas.errors import ConflictError, NotFoundError
from caas.order_management.order_tables import OrderTables
from caas.order_management.ordering import VehicleDiffersError, key_differs
from caas.order_management.reservation import PLACE_FACTORY_ORDER, Reservation
from caas.rules.order_states import OrderEvent, OrderState
from caas.rules.vehicle_states import VehicleEvent, VehicleState

BEING_BUILT: Final = frozenset({OrderState.RESERVED, OrderState.FACTORY_ORDER_PLACED})
UNBUILT: Final = frozenset(
    {VehicleState.SIN_ASIGNAR, VehicleState.RESERVED, VehicleState.IN_PRODUCTION}
)


class FactoryOrderNotFoundError(NotFoundError):
    """No order has this factory order id. Retry the event later."""

    code = "factory_order_not_found"


class DeliveryNotFoundError(NotFoundError):
    """No order has this delivery id. Retry the event later."""

    code = "delivery_not_found"


class NotYetPossibleError(ConflictError):
    """The event cannot be applied yet. Retry it later."""

    code = "not_yet_possible"


class PartnerEvents:
    """Applies events from the factory and the transport."""

    def __init__(self, order_tables: OrderTables, *, reservation: Reservation) -> None:
        """Use these tables."""
        self._tables = order_tables
        self._reservation = reservation

    async def vehicle_ready(
        self,
        *,
        vin: str,
        public_key: bytes | None,
        factory_order_id: str | None = None,
        order_id: UUID | None = None,
    ) -> Order:
        """Record that a vehicle is built and notify the customer; return its order.

        Raises:
            FactoryOrderNotFoundError: no order has this factory order id.
            VehicleDiffersError: the vehicle or its key differs from the stored one.
            NotYetPossibleError: the order has no reservation yet.
        """
        known = await self._order_of(factory_order_id, order_id)

        async def ready(connection: Connection) -> Order:
            order = await self._tables.orders.get_locked(known.id, within=connection)
            if order.state in {
                OrderState.AWAITING_RESERVATION_PAYMENT,
                OrderState.RESERVATION_FAILED,
            }:
                raise NotYetPossibleError(order=str(order.id), state=order.state.value)
            if order.vin not in (None, vin):
                raise VehicleDiffersError(f"The order {order.id} is for {order.vin}, not {vin}.")
            vehicle = await self._built_vehicle(order, vin, public_key, within=connection)
            holder = await self._holder(order, vehicle, within=connection)
            await self._mark_ready(vehicle, holder, (public_key, factory_order_id), connection)
            return await self._tables.orders.get(order.id, within=connection)

        return await self._tables.billing.database.in_transaction(ready)

    async def delivery_completed(self, delivery_id: str) -> Order:
        """Record that the vehicle was delivered; idempotent.

        Raises:
            DeliveryNotFoundError: no order has this delivery id.
        """
        known = await self._tables.orders.of_delivery(delivery_id)
        if known is None:
            raise DeliveryNotFoundError(f"No order has the delivery {delivery_id}.")
        order_id = known.id

        async def completed(connection: Connection) -> Order:
            order = await self._tables.orders.get_locked(order_id, within=connection)
            if order.state is OrderState.DELIVERY_SCHEDULED:
                return await self._delivered(order, within=connection)
            if order.state is not OrderState.DELIVERED and order.delivered_at is None:
                await self._tables.notifications.alert(
                    "delivered_after_withdrawal",
                    order.id,
                    (
                        f"The vehicle {order.vin} was delivered although the order "
                        f"{order.id} is {order.state}. Arrange its return."
                    ),
                    within=connection,
                )
            return order

        return await self._tables.billing.database.in_transaction(completed)

    async def _order_of(self, factory_order_id: str | None, order_id: UUID | None) -> Order:
        if order_id is not None:
            known = await self._tables.orders.get(order_id)
        else:
            found = await self._tables.orders.of_factory_order(factory_order_id or "")
            if found is None:
                raise FactoryOrderNotFoundError(
                    f"No order has the factory order {factory_order_id}."
                )
            known = found
        if factory_order_id and known.factory_order_id not in (None, factory_order_id):
            raise VehicleDiffersError(
                f"The factory order of {known.id} is {known.factory_order_id}, not "
                f"{factory_order_id}."
            )
        return known

    async def _built_vehicle(
        self, order: Order, vin: str, public_key: bytes | None, *, within: Connection
    ) -> Vehicle:
        """Return the locked vehicle, creating it if the factory assigned its VIN."""
        vehicle = await self._tables.vehicles.locked(vin, within=within)
        if vehicle is None:
            new = NewVehicle(vin=vin, model=order.model, price=order.price, public_key=public_key)
            await self._tables.vehicles.put(new, within=within)
            vehicle = await self._tables.vehicles.locked(vin, within=within)
        assert vehicle is not None, "the vehicle was just stored"
        if vehicle.model != order.model or key_differs(vehicle, public_key):
            raise VehicleDiffersError(vin=vin)
        return vehicle

    async def _holder(self, order: Order, vehicle: Vehicle, *, within: Connection) -> Order | None:
        """Return the order that holds the vehicle, assigning it to the one it was built for."""
        assignment = await self._tables.vehicles.assignment(vehicle.vin, within=within)
        if assignment is None and order.state in BEING_BUILT:
            await self._tables.vehicles.assign(
                vehicle.vin, order_id=order.id, customer=order.customer, within=within
            )
            return order
        if assignment is None:
            return None
        if assignment.order_id != order.id and order.vin is None and order.state in BEING_BUILT:
            raise VehicleDiffersError(f"The vehicle {vehicle.vin} belongs to another order.")
        return await self._tables.orders.get_locked(assignment.order_id, within=within)

    async def _mark_ready(
        self,
        vehicle: Vehicle,
        holder: Order | None,
        reported: tuple[bytes | None, str | None],
        within: Connection,
    ) -> None:
        """Mark the vehicle and its order as ready."""
        if vehicle.state not in UNBUILT or (holder is None and vehicle.finished):
            return
        for_order = holder.id if holder is not None else None
        if holder is not None and vehicle.state is VehicleState.SIN_ASIGNAR:
            vehicle = await self._tables.vehicles.transition(
                vehicle, VehicleEvent.MARK_VEHICLE_RESERVED, order_id=for_order, within=within
            )
        await self._tables.vehicles.transition(
            vehicle,
            VehicleEvent.VEHICLE_READY,
            order_id=for_order,
            reported=reported,
            within=within,
        )
        if holder is not None:
            await self._ready(holder, vehicle.vin, reported[1], within=within)

    async def _ready(
        self, order: Order, vin: str, factory_order_id: str | None, *, within: Connection
    ) -> None:
        await self._tables.billing.jobs.end(PLACE_FACTORY_ORDER, order.id, within=within)
        order = await self._tables.orders.transition(
            order,
            OrderEvent.VEHICLE_READY,
            learnt=Learnt(vin=vin, factory_order_id=factory_order_id),
            within=within,
        )
        await self._reservation.reservation_complete(order, within=within)
        await self._reservation.vehicle_ready(order, within=within)

    async def _delivered(self, order: Order, *, within: Connection) -> Order:
        assert order.vin is not None, "a delivered order has its vehicle"
        vehicle = await self._tables.vehicles.locked(order.vin, within=within)
        assert vehicle is not None, "an order's vehicle is stored"
        await self._tables.vehicles.transition(
            vehicle, VehicleEvent.DELIVERY_COMPLETED, order_id=order.id, within=within
        )
        order = await self._tables.orders.transition(
            order, OrderEvent.DELIVERY_COMPLETED, within=within
        )
        await self._tables.notify_customer(order, "vehicle_delivered", within=within, vin=order.vin)
        return order

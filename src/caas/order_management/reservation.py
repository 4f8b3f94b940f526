"""Order Management's part of the reservation payment (Diagram 2): "Mark Vehicle Reserved".

Rules a change must keep: all changes are made in the payment's transaction; if the vehicle is
taken, nothing is reserved and the caller gets False (decision 20); a vehicle already built or
ordered is not ordered again.
"""

import secrets
from collections.abc import Callable
from typing import Final
from uuid import UUID

from caas.billing_database.audit_events import AuditType, Outsider, audit
from caas.billing_database.connection import Connection
from caas.billing_database.customers import Access, BillingDetailsRows, buyer_unknown
from caas.billing_database.orders import Learnt, Order
from caas.billing_database.vehicles import Vehicle
from caas.errors import ConflictError, RefusedError
from caas.order_management.order_tables import OrderTables, amount_of
from caas.rules.money import Money
from caas.rules.order_states import AWAITS_RESERVATION, OrderEvent, OrderState
from caas.rules.payment_types import PaymentType
from caas.rules.vehicle_states import VehicleEvent, VehicleState

PLACE_FACTORY_ORDER: Final = "place_factory_order"
SAFETY_NET_SECONDS: Final = 75.0
ACCESS_LINK_SECONDS: Final = 7 * 24 * 3600.0
TOKEN_BYTES: Final = 32


class NotDueError(ConflictError):
    """The order's state does not allow this payment."""

    code = "payment_not_due"


class NotTheSumDueError(RefusedError):
    """The amount, currency or customer differs from what is due for the order."""

    code = "not_the_sum_due"


class Reservation:
    """Reserves vehicles for orders whose reservation payment is authorized."""

    def __init__(self, order_tables: OrderTables, *, access_url: Callable[[str], str]) -> None:
        """Use these tables; `access_url` builds an access link."""
        self._tables = order_tables
        self._access_url = access_url

    async def check_due(
        self, order_id: UUID, *, customer: UUID, amount: Money, within: Connection
    ) -> None:
        """Check that a reservation payment is due for this order, customer and amount.

        Raises:
            OrderNotFoundError: no order has this id.
            NotDueError: the order awaits no reservation payment.
            NotTheSumDueError: the amount, currency or customer differs.
            CustomerErasedError: the customer was erased.
            BillingDetailsRequiredError: the buyer's details for the advance invoice are incomplete.
        """
        order = await self._tables.orders.get_locked(order_id, within=within)
        if order.state not in AWAITS_RESERVATION:
            raise NotDueError(
                f"The order {order_id} is {order.state}; no reservation payment is due."
            )
        await self._tables.customers.buyer(customer, within=within)
        check_sum(order, order.deposit, customer=customer, amount=amount)
        missing = await BillingDetailsRows(self._tables.billing.database).missing_fields(
            customer, sale=PaymentType.RESERVATION.value, subject=order_id,
            amount=order.deposit.amount, within=within,
        )  # fmt: skip
        if missing:
            raise buyer_unknown(customer, missing)

    async def mark_vehicle_reserved(
        self, order_id: UUID, *, paid: Money, within: Connection
    ) -> bool:
        """Reserve the order's vehicle or a future one of its model; return False if it is taken."""
        order = await self._tables.orders.locked(order_id, within=within)
        if order is None or order.state not in AWAITS_RESERVATION or paid != order.deposit:
            return False
        vehicle = await self._free_vehicle(order, within=within)
        if vehicle is None and order.vin is not None:
            await self._tables.orders.transition(order, OrderEvent.VEHICLE_TAKEN, within=within)
            return False
        if vehicle is None:
            order = await self._tables.orders.transition(
                order, OrderEvent.MARK_VEHICLE_RESERVED, within=within
            )
        else:
            order = await self._reserve(order, vehicle, within=within)
        await self._what_comes_next(order, within=within)
        return True

    async def payment_failed(self, order_id: UUID, *, within: Connection) -> Order | None:
        """Record that the attempt failed: no vehicle reservation (Diagram 7)."""
        order = await self._tables.orders.locked(order_id, within=within)
        if order is None or order.state not in AWAITS_RESERVATION:
            return order
        return await self._tables.orders.transition(order, OrderEvent.PAYMENT_FAILED, within=within)

    async def reservation_complete(self, order: Order, *, within: Connection) -> None:
        """Notify the dealership and send the customer's access credentials, once."""
        await self._tables.notify_dealership(
            order, "reservation_complete", within=within, **amount_of(order.deposit)
        )
        token = secrets.token_urlsafe(TOKEN_BYTES)
        reported = await self._tables.notify_customer(
            order, "access_credentials", within=within, access_url=self._access_url(token)
        )
        if reported:
            await self._tables.customers.add_link(
                token,
                Access(order.customer, order.id),
                valid_seconds=self._tables.time_scale.seconds(ACCESS_LINK_SECONDS),
                within=within,
            )
            await audit(
                AuditType.LINK_MADE, by=Outsider.PLATFORM, subject=order.customer, within=within
            )

    async def vehicle_ready(self, order: Order, *, within: Connection) -> None:
        """Notify the customer that the final payment is due, and what a decline costs."""
        await self._tables.notify_customer(
            order, "vehicle_ready", within=within, vin=order.vin, **amount_of(order.rest)
        )

    async def _free_vehicle(self, order: Order, *, within: Connection) -> Vehicle | None:
        vehicles = self._tables.vehicles
        if order.vin is None:
            return await vehicles.from_stock(order.model, within=within)
        vehicle = await vehicles.locked(order.vin, within=within)
        free = vehicle is not None and vehicle.state is VehicleState.SIN_ASIGNAR
        return vehicle if free else None

    async def _reserve(self, order: Order, vehicle: Vehicle, *, within: Connection) -> Order:
        vehicles, orders = self._tables.vehicles, self._tables.orders
        assigned = await vehicles.assign(
            vehicle.vin, order_id=order.id, customer=order.customer, within=within
        )
        assert assigned, "a locked vehicle that is sin asignar is unassigned"
        vehicle = await vehicles.transition(
            vehicle, VehicleEvent.MARK_VEHICLE_RESERVED, order_id=order.id, within=within
        )
        order = await orders.transition(
            order,
            OrderEvent.MARK_VEHICLE_RESERVED,
            learnt=Learnt(vin=vehicle.vin),
            within=within,
        )
        if vehicle.finished:
            await vehicles.transition(
                vehicle, VehicleEvent.VEHICLE_READY, order_id=order.id, within=within
            )
            return await orders.transition(order, OrderEvent.VEHICLE_READY, within=within)
        if vehicle.factory_order_id is not None:
            await vehicles.transition(
                vehicle, VehicleEvent.ORDER_CONFIRMATION, order_id=order.id, within=within
            )
            return await orders.transition(
                order,
                OrderEvent.ORDER_CONFIRMATION,
                learnt=Learnt(factory_order_id=vehicle.factory_order_id),
                within=within,
            )
        return order

    async def _what_comes_next(self, order: Order, *, within: Connection) -> None:
        if order.state is OrderState.RESERVED:
            await self._tables.billing.jobs.add(
                PLACE_FACTORY_ORDER,
                order.id,
                due_in=self._tables.time_scale.seconds(SAFETY_NET_SECONDS),
                within=within,
            )
            return
        await self.reservation_complete(order, within=within)
        if order.state is OrderState.READY:
            await self.vehicle_ready(order, within=within)


def check_sum(order: Order, due: Money, *, customer: UUID, amount: Money) -> None:
    """Compare a requested charge with what is due.

    Raises:
        NotTheSumDueError: they differ.
    """
    if amount != due or customer != order.customer:
        raise NotTheSumDueError(
            (
                f"The order {order.id} requires a payment of {due} from its customer; "
                f"requested was {amount}."
            ),
            due=due.amount,
            currency=due.currency,
        )

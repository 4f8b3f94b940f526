"""Order Management's side of the reservation payment (Diagram 2): "Mark Vehicle Reserved".

Rules a change must keep: everything here runs in the transaction of the payment's own move; who
finds the vehicle taken is told so and has reserved nothing (decision 20); a vehicle that is built
already, or ordered at the factory already, is not ordered again.
"""

import secrets
from collections.abc import Callable
from typing import Final
from uuid import UUID

from caas.billing_database.audit_events import AuditType, Outsider, audit
from caas.billing_database.billing_details import BillingDetailsRows, buyer_unknown
from caas.billing_database.connection import Connection
from caas.billing_database.customers import Access
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
    """This payment is not due for the order in the state it is in."""

    code = "payment_not_due"


class NotTheSumDueError(RefusedError):
    """The amount, the currency or the customer is not what is due for the order."""

    code = "not_the_sum_due"


class Reservation:
    """Reserves vehicles for orders whose reservation payment holds funds."""

    def __init__(self, order_tables: OrderTables, *, access_url: Callable[[str], str]) -> None:
        """Work in these books; `access_url` makes the link of an access token."""
        self._tables = order_tables
        self._access_url = access_url

    async def check_due(
        self, order_id: UUID, *, customer: UUID, amount: Money, within: Connection
    ) -> None:
        """Let a reservation payment begin only for what is due.

        Raises:
            OrderNotFoundError: no such order.
            NotDueError: the order awaits no reservation payment.
            NotTheSumDueError: another amount, currency or customer.
            CustomerErasedError: the customer was erased.
            BillingDetailsRequiredError: its advance invoice could not name its buyer.
        """
        order = await self._tables.orders.get_locked(order_id, within=within)
        if order.state not in AWAITS_RESERVATION:
            raise NotDueError(f"The order {order_id} is {order.state}; no reservation is due.")
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
        """Give the order its vehicle, or the promise of one; False when it cannot have it."""
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
        """No vehicle reservation (Diagram 7): record that this attempt came to nothing."""
        order = await self._tables.orders.locked(order_id, within=within)
        if order is None or order.state not in AWAITS_RESERVATION:
            return order
        return await self._tables.orders.transition(order, OrderEvent.PAYMENT_FAILED, within=within)

    async def reservation_complete(self, order: Order, *, within: Connection) -> None:
        """Tell the dealership, and send the customer's access credentials, once."""
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
        """Tell the customer that the final payment is due, and what a declined one costs."""
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
        assert assigned, "a locked vehicle that is sin asignar is nobody's"
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
    """Compare what is asked to be charged with what is due.

    Raises:
        NotTheSumDueError: they differ.
    """
    if amount != due or customer != order.customer:
        raise NotTheSumDueError(
            f"For the order {order.id} its customer owes {due}; asked was {amount}.",
            due=due.amount,
            currency=due.currency,
        )

"""Tables, notifications and refund jobs shared by the modules of Order Management (Diagram 1).

ORDER_MGT queries the payment's status in the Billing Database. Order Management decides that an
order's money is refunded (a refused factory order, a lost reservation, desistimiento) and adds the
job; `caas.payment_processing.promised_refunds`, a layer above, performs it.

Rules a change must keep: `release` is the only way to end an assignment; a notification is enqueued
in the transaction it reports; a refund job is added in the commit that makes the refund necessary.
"""

from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.connection import Connection
from caas.billing_database.customers import Customers
from caas.billing_database.orders import Order, Orders
from caas.billing_database.payments import Payment
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.vehicles import Vehicle, Vehicles
from caas.jobs import JobQueue
from caas.notifications import Notifications
from caas.rules.money import Money
from caas.rules.payment_types import PaymentType
from caas.rules.time_scale import TimeScale
from caas.rules.vehicle_states import VehicleEvent

CUSTOMER: Final = "customer"
DEALERSHIP: Final = "dealership"


class OrderTables(msgspec.Struct, frozen=True, kw_only=True):
    """The tables of a vehicle purchase, the notifications, and the job queue."""

    billing: BillingDatabase
    customers: Customers
    vehicles: Vehicles
    orders: Orders
    notifications: Notifications
    queue: JobQueue
    time_scale: TimeScale

    async def notify_customer(
        self, order: Order, template: str, *, within: Connection, **facts: object
    ) -> bool:
        """Notify an order's customer, once per order and template."""
        return await self.notifications.notify(
            audience=CUSTOMER,
            recipient=order.customer,
            template=template,
            facts={"order": str(order.id), **facts},
            subject=order.id,
            within=within,
        )

    async def notify_dealership(
        self, order: Order, template: str, *, within: Connection, **facts: object
    ) -> bool:
        """Notify the dealership that sold an order, once per order and template."""
        return await self.notifications.notify(
            audience=DEALERSHIP,
            recipient=order.dealership,
            template=template,
            facts={"order": str(order.id), **facts},
            subject=order.id,
            within=within,
        )

    async def payments_of(
        self,
        order: Order,
        payment_type: PaymentType | None = None,
        *,
        within: Connection | None = None,
    ) -> list[Payment]:
        """Return an order's payments, newest first."""
        payments = await self.billing.payments.listed(subject=order.id, within=within)
        return [p for p in payments if payment_type in (None, p.type)]

    async def release(self, order: Order, event: VehicleEvent, *, within: Connection) -> None:
        """End the order's assignment: the vehicle is sin asignar and back in stock."""
        if order.vin is None:
            return
        vehicle = await self.vehicles.locked(order.vin, within=within)
        assignment = await self.vehicles.assignment(order.vin, within=within)
        if vehicle is None or assignment is None or assignment.order_id != order.id:
            return
        await self.mark_vehicle_sin_asignar(vehicle, event, order_id=order.id, within=within)
        await self.add_to_stock_inventory(vehicle.vin, within=within)

    async def mark_vehicle_sin_asignar(
        self, vehicle: Vehicle, event: VehicleEvent, *, order_id: UUID, within: Connection
    ) -> None:
        """Mark Vehicle Sin Asignar (Diagram 3)."""
        await self.vehicles.end_assignment(vehicle.vin, because=event, within=within)
        await self.vehicles.transition(vehicle, event, order_id=order_id, within=within)

    async def add_to_stock_inventory(self, vin: str, *, within: Connection) -> None:
        """Add to Stock Inventory (Diagram 3)."""
        await self.vehicles.add_to_stock(vin, within=within)


def amount_of(money: Money) -> dict[str, object]:
    """Return an amount as notification facts."""
    return {"amount": money.amount, "currency": money.currency}


REFUND_ORDER: Final = "refund_order"
FACTORY_REFUSED: Final = "factory_refused"
RESERVATION_LOST: Final = "reservation_lost"
DESISTIMIENTO: Final = "desistimiento"


async def will_refund(
    order_tables: OrderTables, order: Order, reason: str, *, within: Connection
) -> None:
    """Enqueue the refund of all of the order's money, due at once.

    The caller wakes `OrderTables.queue` after the commit.
    """
    await order_tables.billing.jobs.add(
        REFUND_ORDER, order.id, payload={"reason": reason}, within=within
    )

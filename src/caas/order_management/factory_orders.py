"""Places factory orders (Diagram 2, "Place Factory Order"; decision 22).

Rules a change must keep: one order has at most one factory order (F-R3); a refusal by the factory
ends the order, returns the vehicle to stock and enqueues the refund in one transaction; a missing
response ends nothing.
"""

from uuid import UUID

from caas.billing_database.connection import Connection
from caas.billing_database.job_rows import Job
from caas.billing_database.orders import Learnt, Order
from caas.external_systems.factory import Factory, FactoryOrder, FactoryOrderConfirmation
from caas.jobs import Answer, Done
from caas.order_management import partner_calls
from caas.order_management.order_tables import FACTORY_REFUSED, OrderTables, amount_of, will_refund
from caas.order_management.partner_calls import Confirmed, PartnerRejection
from caas.order_management.reservation import PLACE_FACTORY_ORDER, Reservation
from caas.rules.order_states import OrderEvent, OrderState
from caas.rules.vehicle_states import VehicleEvent


class FactoryOrders:
    """Places factory orders, immediately or in a job."""

    def __init__(
        self,
        order_tables: OrderTables,
        *,
        factory: Factory,
        reservation: Reservation,
    ) -> None:
        """Use this factory."""
        self._tables = order_tables
        self._factory = factory
        self._reservation = reservation

    async def place(self, order_id: UUID) -> None:
        """Place the factory order of a reserved vehicle, and retry in a job if that fails."""
        answer = await self._placed(order_id, attempt=partner_calls.FIRST_ATTEMPT)
        await partner_calls.reschedule(self._tables, PLACE_FACTORY_ORDER, order_id, answer)

    async def due(self, job: Job) -> Answer:
        """Run the job: place a factory order that is still open."""
        return await self._placed(job.subject, attempt=job.attempts + 1)

    async def _placed(self, order_id: UUID, *, attempt: int) -> Answer:
        order = await self._tables.orders.get(order_id)
        if order.state is not OrderState.RESERVED:
            return Done()
        wanted = FactoryOrder(
            order_id=str(order.id), model=order.model, vin=order.vin, dealership=order.dealership
        )
        reported = await partner_calls.ask(
            lambda: self._factory.place_factory_order(wanted),
            lambda: self._factory.find_factory_orders(wanted.order_id),
            attempt=attempt,
        )
        match reported:
            case PartnerRejection(because):
                await self._refused(order_id, because)
            case Confirmed(confirmation, copies):
                await self._confirmed(order_id, confirmation, copies=copies)
            case _:
                return await partner_calls.retry_or_alert(
                    self._tables,
                    PLACE_FACTORY_ORDER,
                    order_id,
                    attempt=attempt,
                    because=reported.because,
                )
        return Done()

    async def _confirmed(
        self, order_id: UUID, confirmation: FactoryOrderConfirmation, *, copies: int
    ) -> None:
        """Apply the order confirmation: vehicle in production, reservation complete."""

        async def confirm(connection: Connection) -> None:
            order = await self._tables.orders.get_locked(order_id, within=connection)
            await self._tables.billing.jobs.end(PLACE_FACTORY_ORDER, order_id, within=connection)
            if order.state is OrderState.RESERVED:
                await self._in_production(order, confirmation, within=connection)
                return
            await self._tables.orders.remember_factory_order(
                order_id, confirmation.factory_order_id, within=connection
            )

        await self._tables.billing.database.in_transaction(confirm)
        if copies > 1:
            await self._tables.notifications.alert(
                "factory_order_twice",
                order_id,
                (
                    f"The factory has {copies} orders for the order {order_id}; only "
                    "one was intended."
                ),
            )

    async def _in_production(
        self, order: Order, confirmation: FactoryOrderConfirmation, *, within: Connection
    ) -> None:
        factory_order_id = confirmation.factory_order_id
        if order.vin is not None:
            vehicle = await self._tables.vehicles.locked(order.vin, within=within)
            assert vehicle is not None, "an order's vehicle is stored"
            await self._tables.vehicles.transition(
                vehicle,
                VehicleEvent.ORDER_CONFIRMATION,
                order_id=order.id,
                reported=(None, factory_order_id),
                within=within,
            )
        order = await self._tables.orders.transition(
            order,
            OrderEvent.ORDER_CONFIRMATION,
            learnt=Learnt(factory_order_id=factory_order_id),
            within=within,
        )
        await self._reservation.reservation_complete(order, within=within)

    async def _refused(self, order_id: UUID, because: str) -> None:
        """Compensate: release the vehicle, notify customer and dealership, enqueue the refund."""

        async def end(connection: Connection) -> None:
            order = await self._tables.orders.get_locked(order_id, within=connection)
            await self._tables.billing.jobs.end(PLACE_FACTORY_ORDER, order_id, within=connection)
            if order.state is not OrderState.RESERVED:
                return
            order = await self._tables.orders.transition(
                order, OrderEvent.FACTORY_REFUSES_ORDER, within=connection
            )
            await self._tables.release(order, VehicleEvent.FACTORY_REFUSES_ORDER, within=connection)
            deposit = amount_of(order.deposit)
            await self._tables.notify_customer(order, FACTORY_REFUSED, within=connection, **deposit)
            await self._tables.notify_dealership(
                order, FACTORY_REFUSED, within=connection, **deposit
            )
            await will_refund(self._tables, order, FACTORY_REFUSED, within=connection)

        await self._tables.billing.database.in_transaction(end)
        self._tables.queue.wake()
        await self._tables.notifications.alert(FACTORY_REFUSED, order_id, because, case=False)

"""From the final payment to delivery (Diagram 3): matriculation, transport, delivery.

Rules a change must keep: an order becomes fully paid in the transaction of its final payment; later
failures are retried, then raise an alert, and never change the payment (decision 23); each step
enqueues the next one in its own transaction.
"""

from typing import Final
from uuid import UUID

from caas.billing_database.connection import Connection
from caas.billing_database.customers import BillingDetailsRows, buyer_unknown
from caas.billing_database.job_rows import Job
from caas.billing_database.orders import Learnt, Order
from caas.errors import ConflictError
from caas.external_systems.admin_registration import (
    AdminRegistration,
    Matriculation,
    MatriculationRequest,
)
from caas.external_systems.transport_system import (
    DeliveryRequest,
    ScheduledDelivery,
    TransportSystem,
)
from caas.jobs import Answer, Done
from caas.order_management import partner_calls
from caas.order_management.order_tables import OrderTables
from caas.order_management.partner_calls import Confirmed, NoPartnerResponse, PartnerRejection
from caas.order_management.reservation import NotDueError, check_sum
from caas.rules.money import Money
from caas.rules.order_states import OrderEvent, OrderState
from caas.rules.payment_types import PaymentType
from caas.rules.vehicle_states import VehicleEvent

REGISTER_VEHICLE: Final = "register_vehicle"
SCHEDULE_DELIVERY: Final = "schedule_delivery"
SAFETY_NET_SECONDS: Final = 75.0


class VehicleNotReadyError(ConflictError):
    """The vehicle is not ready yet, so the final payment is not due."""

    code = "vehicle_not_ready"


class ReservationLostError(ConflictError):
    """The final payment failed and the reservation is lost. A second attempt is not possible."""

    code = "reservation_lost"


class Fulfilment:
    """Registers and delivers paid vehicles, immediately or in jobs."""

    def __init__(
        self,
        order_tables: OrderTables,
        *,
        admin_registration: AdminRegistration,
        transport_system: TransportSystem,
    ) -> None:
        """Use these partners."""
        self._tables = order_tables
        self._admin = admin_registration
        self._transport = transport_system

    async def check_due(
        self, order_id: UUID, *, customer: UUID, amount: Money, within: Connection
    ) -> None:
        """Check that a final payment is due for this order, customer and amount.

        Raises:
            OrderNotFoundError: no order has this id.
            ReservationLostError: an earlier final payment failed.
            VehicleNotReadyError: the payment is not due yet; NotDueError: it is no longer due.
            NotTheSumDueError: the amount, currency or customer differs.
            BillingDetailsRequiredError: the buyer's invoice details are incomplete.
            NoTaxTableError: no tax rates exist for the buyer's market.
        """
        order = await self._tables.orders.get_locked(order_id, within=within)
        match order.state:
            case OrderState.READY:
                check_sum(order, order.rest, customer=customer, amount=amount)
                await self._check_buyer(order, within=within)
            case OrderState.RESERVATION_LOST:
                raise ReservationLostError(order=str(order_id))
            case OrderState.RESERVED | OrderState.FACTORY_ORDER_PLACED:
                raise VehicleNotReadyError(order=str(order_id))
            case _:
                raise NotDueError(f"The order {order_id} is {order.state}; no payment is due.")

    async def lacking_of_buyer(
        self, order: Order, *, within: Connection | None = None
    ) -> list[str]:
        """Return the buyer details that the vehicle's invoice needs and that are missing."""
        return await BillingDetailsRows(self._tables.billing.database).missing_fields(
            order.customer, sale=PaymentType.FINAL.value, subject=order.id, within=within
        )

    async def _check_buyer(self, order: Order, *, within: Connection) -> None:
        await self._tables.customers.buyer(order.customer, within=within)
        missing = await self.lacking_of_buyer(order, within=within)
        if missing:
            raise buyer_unknown(order.customer, missing)

    async def mark_fully_paid(self, order_id: UUID, *, paid: Money, within: Connection) -> bool:
        """Mark Fully Paid; return False if the order can no longer be paid."""
        order = await self._tables.orders.locked(order_id, within=within)
        if order is None or order.state is not OrderState.READY or paid != order.rest:
            return False
        await self._transition(
            order, OrderEvent.MARK_FULLY_PAID, VehicleEvent.MARK_FULLY_PAID, within=within
        )
        await self._add_jobs(REGISTER_VEHICLE, order_id, within=within)
        return True

    async def register_vehicle(self, order_id: UUID) -> None:
        """Register Vehicle (Matriculation) and schedule its delivery, or retry in a job."""
        answer = await self._registered(order_id, attempt=partner_calls.FIRST_ATTEMPT)
        await partner_calls.reschedule(self._tables, REGISTER_VEHICLE, order_id, answer)

    async def registration_due(self, job: Job) -> Answer:
        """Run the job: register a vehicle that is not registered yet."""
        return await self._registered(job.subject, attempt=job.attempts + 1)

    async def schedule_delivery(self, order_id: UUID) -> None:
        """Schedule Delivery; retry in a job if that fails."""
        answer = await self._scheduled(order_id, attempt=partner_calls.FIRST_ATTEMPT)
        await partner_calls.reschedule(self._tables, SCHEDULE_DELIVERY, order_id, answer)

    async def delivery_due(self, job: Job) -> Answer:
        """Run the job: schedule a delivery that is not scheduled yet."""
        return await self._scheduled(job.subject, attempt=job.attempts + 1)

    async def _registered(self, order_id: UUID, *, attempt: int) -> Answer:
        order = await self._tables.orders.get(order_id)
        if order.state is not OrderState.FULLY_PAID:
            return Done()
        assert order.vin is not None, "a fully paid order has its vehicle"
        request = MatriculationRequest(
            order_id=str(order.id), vin=order.vin, customer_reference=str(order.customer)
        )
        confirmed = await partner_calls.ask(
            lambda: self._admin.register_vehicle(request),
            lambda: self._admin.find_matriculations(request.order_id),
            attempt=attempt,
        )
        if isinstance(confirmed, Confirmed):
            await self._registration_complete(order_id, confirmed.confirmed)
            await self.schedule_delivery(order_id)
            return Done()
        return await self._not_done(REGISTER_VEHICLE, order_id, confirmed, attempt=attempt)

    async def _scheduled(self, order_id: UUID, *, attempt: int) -> Answer:
        order = await self._tables.orders.get(order_id)
        if order.state is not OrderState.REGISTERED:
            return Done()
        assert order.vin is not None, "a registered order has its vehicle"
        request = DeliveryRequest(
            order_id=str(order.id), vin=order.vin, destination=order.dealership
        )
        confirmed = await partner_calls.ask(
            lambda: self._transport.schedule_delivery(request),
            lambda: self._transport.find_deliveries(request.order_id),
            attempt=attempt,
        )
        if isinstance(confirmed, Confirmed):
            await self._delivery_scheduled(order_id, confirmed.confirmed)
            return Done()
        return await self._not_done(SCHEDULE_DELIVERY, order_id, confirmed, attempt=attempt)

    async def _not_done(
        self,
        kind: str,
        order_id: UUID,
        confirmed: PartnerRejection | NoPartnerResponse,
        *,
        attempt: int,
    ) -> Answer:
        if isinstance(confirmed, PartnerRejection) and attempt > partner_calls.FIRST_ATTEMPT:
            return await partner_calls.alert_and_pause(
                self._tables, kind, order_id, because=confirmed.because
            )
        return await partner_calls.retry_or_alert(
            self._tables, kind, order_id, attempt=attempt, because=confirmed.because
        )

    async def _registration_complete(self, order_id: UUID, confirmed: Matriculation) -> None:
        async def complete(connection: Connection) -> None:
            order = await self._tables.orders.get_locked(order_id, within=connection)
            await self._tables.billing.jobs.end(REGISTER_VEHICLE, order_id, within=connection)
            if order.state is not OrderState.FULLY_PAID:
                return
            partner_data = Learnt(plate=confirmed.plate, registered_at=confirmed.registered_at)
            await self._transition(
                order,
                OrderEvent.REGISTRATION_COMPLETE,
                VehicleEvent.REGISTRATION_COMPLETE,
                partner_data=partner_data,
                within=connection,
            )
            await self._add_jobs(SCHEDULE_DELIVERY, order_id, within=connection)

        await self._tables.billing.database.in_transaction(complete)

    async def _delivery_scheduled(self, order_id: UUID, confirmed: ScheduledDelivery) -> None:
        async def scheduled(connection: Connection) -> None:
            order = await self._tables.orders.get_locked(order_id, within=connection)
            await self._tables.billing.jobs.end(SCHEDULE_DELIVERY, order_id, within=connection)
            if order.state is not OrderState.REGISTERED:
                return
            partner_data = Learnt(
                delivery_id=confirmed.delivery_id, delivery_scheduled_for=confirmed.scheduled_for
            )
            order = await self._transition(
                order,
                OrderEvent.SCHEDULE_DELIVERY,
                VehicleEvent.SCHEDULE_DELIVERY,
                partner_data=partner_data,
                within=connection,
            )
            await self._tables.notify_customer(
                order,
                "delivery_scheduled",
                within=connection,
                vin=order.vin,
                scheduled_for=confirmed.scheduled_for.isoformat(),
            )

        await self._tables.billing.database.in_transaction(scheduled)

    async def _transition(
        self,
        order: Order,
        event: OrderEvent,
        vehicle_event: VehicleEvent,
        *,
        within: Connection,
        partner_data: Learnt | None = None,
    ) -> Order:
        """Move an order and its vehicle together."""
        assert order.vin is not None, "an order whose vehicle is ready has its vehicle"
        vehicle = await self._tables.vehicles.locked(order.vin, within=within)
        assert vehicle is not None, "an order's vehicle is stored"
        await self._tables.vehicles.transition(
            vehicle, vehicle_event, order_id=order.id, within=within
        )
        return await self._tables.orders.transition(
            order, event, learnt=partner_data or Learnt(), within=within
        )

    async def _add_jobs(self, kind: str, order_id: UUID, *, within: Connection) -> None:
        await self._tables.billing.jobs.add(
            kind,
            order_id,
            due_in=self._tables.time_scale.seconds(SAFETY_NET_SECONDS),
            within=within,
        )

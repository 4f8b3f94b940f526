"""Desistimiento: the customer withdraws from an order (Key States, "Refunded").

Until the legal period after delivery ends, a customer may withdraw: the vehicle returns to stock
and all payments are refunded. While the outcome of the final payment is not known, the withdrawal
is requested, and carried out in the commit that records the outcome, whatever that is (decision
244).

Rules a change must keep: no page of a withdrawn order stays open; no vehicle is released while the
outcome of the final payment is unknown (decision 19); a requested withdrawal is carried out before
anything else follows from the outcome; a delivered vehicle returns to stock only when it has been
returned; a lost reservation is no withdrawal.
"""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from caas.billing_database.connection import Connection
from caas.billing_database.orders import Order
from caas.billing_database.payments import end_open_pages
from caas.billing_database.vehicles import Vehicle, cancel_pending_terms
from caas.errors import ConflictError
from caas.order_management.order_tables import DESISTIMIENTO, OrderTables, will_refund
from caas.rules.order_states import OrderEvent, OrderState, can
from caas.rules.payment_states import PaymentState
from caas.rules.payment_types import PaymentType
from caas.rules.vehicle_states import VehicleEvent, VehicleState

END_ANCILLARY_SERVICES: Final = "end_ancillary_services"
"""Job that ends the services bought for a withdrawn order's vehicle."""
WITHDRAWAL_WINDOW_SECONDS: Final = 14 * 24 * 3600.0
WITHDRAWN_AFTER_REGISTRATION: Final = "withdrawn_after_registration"
GIVEN_BACK: Final = "the customer returned the vehicle"
RETURNED_BY: Final = "return of the vehicle"
OPEN: Final = frozenset({PaymentState.INITIATED, PaymentState.PENDING})
UNDER_WAY: Final = frozenset(
    {OrderState.REGISTERED, OrderState.DELIVERY_SCHEDULED, OrderState.DELIVERED}
)


class CannotWithdrawError(ConflictError):
    """The order has ended, or the withdrawal period is over."""

    code = "cannot_withdraw"


class NotDeliveredError(ConflictError):
    """The vehicle was not delivered, so it cannot be returned."""

    code = "not_delivered"


class NotWithdrawnError(ConflictError):
    """The order was not withdrawn. Record the withdrawal first, then the return."""

    code = "not_withdrawn"


class Withdrawal:
    """Withdraws customers from orders."""

    def __init__(
        self,
        order_tables: OrderTables,
        *,
        window_seconds: float = WITHDRAWAL_WINDOW_SECONDS,
    ) -> None:
        """Allow withdrawal for `window_seconds` after delivery."""
        self._tables = order_tables
        self._window_seconds = order_tables.time_scale.seconds(window_seconds)

    def may_withdraw(self, order: Order) -> bool:
        """Return whether the order's state and age allow withdrawal, and none is requested."""
        return self._is_in_time(order) and not order.withdrawal_requested

    def _is_in_time(self, order: Order) -> bool:
        in_time = (order.delivered_seconds_ago or 0.0) <= self._window_seconds
        return can(order.state, OrderEvent.DESISTIMIENTO) and in_time

    def withdrawal_ends(self, order: Order) -> datetime | None:
        """Return when the withdrawal period ends; None before delivery."""
        if order.delivered_at is None:
            return None
        return order.delivered_at + timedelta(seconds=self._window_seconds)

    async def withdraw(self, order_id: UUID) -> Order:
        """Withdraw from an order, or request it until the final payment's outcome is known.

        Repeating it changes nothing.

        Raises:
            OrderNotFoundError: no order has this id.
            CannotWithdrawError: the order has ended, or the period is over.
        """

        async def end(connection: Connection) -> Order:
            order = await self._tables.orders.get_locked(order_id, within=connection)
            if order.state is OrderState.WITHDRAWN or order.withdrawal_requested:
                return order
            self._check(order)
            if await self._is_being_paid(order, within=connection):
                return await self._request(order, within=connection)
            return await self._end(order, within=connection)

        order = await self._tables.billing.database.in_transaction(end)
        self._tables.queue.wake()
        return order

    async def is_requested(self, order_id: UUID) -> bool:
        """Return whether an order is withdrawn, or is once its final payment's outcome is known."""
        order = await self._tables.orders.get(order_id)
        return order.withdrawal_requested or order.state is OrderState.WITHDRAWN

    async def carry_out_requested(self, order_id: UUID, *, within: Connection) -> bool:
        """Withdraw from the order if that was requested; return whether it was.

        It is called in the commit that records the outcome of the final payment.
        """
        order = await self._tables.orders.locked(order_id, within=within)
        if order is None or not order.withdrawal_requested:
            return False
        await self._end(order, within=within)
        return True

    async def vehicle_returned(self, vin: str) -> Vehicle:
        """Return a withdrawn order's vehicle to stock; notify customer and dealership.

        Raises:
            VehicleNotFoundError: no vehicle has this VIN.
            NotDeliveredError: it was not delivered; NotWithdrawnError: its order was not withdrawn.
        """

        async def returned(connection: Connection) -> Vehicle:
            vehicle = await self._tables.vehicles.get(vin, within=connection)
            assignment = await self._tables.vehicles.assignment(vin, within=connection)
            if assignment is None or vehicle.state is not VehicleState.DELIVERED:
                raise NotDeliveredError(
                    (
                        f"The vehicle {vin} is {vehicle.state}; only a delivered "
                        "vehicle can be returned."
                    ),
                    vin=vin,
                )
            order = await self._tables.orders.get_locked(assignment.order_id, within=connection)
            if order.state is not OrderState.WITHDRAWN:
                raise NotWithdrawnError(
                    (
                        f"The order {order.id} of the vehicle {vin} is {order.state}. "
                        "Record its withdrawal first."
                    ),
                    vin=vin,
                )
            await self._back(order, vin, within=connection)
            return await self._tables.vehicles.get(vin, within=connection)

        return await self._tables.billing.database.in_transaction(returned)

    async def awaits_return(self, order: Order) -> bool:
        """Return whether a withdrawn order's vehicle is still with the customer."""
        if order.vin is None or order.state is not OrderState.WITHDRAWN:
            return False
        assignment = await self._tables.vehicles.assignment(order.vin)
        return assignment is not None and assignment.order_id == order.id

    async def _back(self, order: Order, vin: str, *, within: Connection) -> None:
        await self._tables.release(order, VehicleEvent.VEHICLE_RETURNED, within=within)
        await cancel_pending_terms(order.customer, vin, GIVEN_BACK, within=within)
        await self._tables.notify_customer(order, "vehicle_returned", within=within, vin=vin)
        await self._tables.notify_dealership(order, "vehicle_returned", within=within, vin=vin)
        await self._tables.billing.cases.close(
            WITHDRAWN_AFTER_REGISTRATION,
            order.id,
            resolution=f"the vehicle {vin} was returned",
            owner=RETURNED_BY,
            within=within,
        )

    def _check(self, order: Order) -> None:
        if not can(order.state, OrderEvent.DESISTIMIENTO):
            raise CannotWithdrawError(f"The order {order.id} is {order.state} and has ended.")
        if not self._is_in_time(order):
            raise CannotWithdrawError(f"The withdrawal period of the order {order.id} is over.")

    async def _is_being_paid(self, order: Order, *, within: Connection) -> bool:
        finals = await self._tables.payments_of(order, PaymentType.FINAL, within=within)
        return any(payment.state in OPEN for payment in finals)

    async def _request(self, order: Order, *, within: Connection) -> Order:
        event = OrderEvent.WITHDRAWAL_REQUESTED
        await end_open_pages(order.id, within=within)
        order = await self._tables.orders.transition(order, event, within=within)
        await self._tables.notify_customer(order, "withdrawal_received", within=within)
        await self._tables.notify_dealership(order, "withdrawal_received", within=within)
        return order

    async def _end(self, order: Order, *, within: Connection) -> Order:
        before = order.state
        await end_open_pages(order.id, within=within)
        order = await self._tables.orders.transition(order, OrderEvent.DESISTIMIENTO, within=within)
        if before is not OrderState.DELIVERED:
            await self._tables.release(order, VehicleEvent.DESISTIMIENTO, within=within)
        await self._tables.notify_customer(order, "order_withdrawn", within=within)
        await self._tables.notify_dealership(order, "order_withdrawn", within=within)
        await will_refund(self._tables, order, DESISTIMIENTO, within=within)
        if order.vin is not None:
            await cancel_pending_terms(order.customer, order.vin, GIVEN_BACK, within=within)
            await self._tables.billing.jobs.add(
                END_ANCILLARY_SERVICES, order.id, due_in=0.0, within=within
            )
        if before in UNDER_WAY:
            await self._tables.notifications.alert(
                WITHDRAWN_AFTER_REGISTRATION,
                order.id,
                (
                    f"The order {order.id} was {before} at its withdrawal. Cancel the "
                    f"transport and the matriculation of {order.vin}, or arrange its "
                    "return."
                ),
                within=within,
            )
        return order

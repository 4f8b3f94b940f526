"""Desistimiento: the customer withdraws from an order (Key States, "Refunded").

Until the legal window after the delivery has passed, a customer may withdraw; the vehicle goes back
to stock and everything that was paid is given back.

Rules a change must keep: while the outcome of the final payment is not known the vehicle is held,
so there is no withdrawal then (decision 19); a delivered vehicle is in stock again only when it has
been returned; a lost reservation is no withdrawal.
"""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from caas.billing_database.connection import Connection
from caas.billing_database.eligibility import cancel_pending_terms
from caas.billing_database.orders import Order
from caas.billing_database.vehicles import Vehicle
from caas.errors import ConflictError
from caas.order_management.order_refunds import DESISTIMIENTO, will_refund
from caas.order_management.order_tables import OrderTables
from caas.rules.order_states import OrderEvent, OrderState, can
from caas.rules.payment_states import PaymentState
from caas.rules.payment_types import PaymentType
from caas.rules.vehicle_states import VehicleEvent, VehicleState

END_ANCILLARY_SERVICES: Final = "end_ancillary_services"
"""The job that ends what was bought for the vehicle of a withdrawn order."""
WITHDRAWAL_WINDOW_SECONDS: Final = 14 * 24 * 3600.0
WITHDRAWN_AFTER_REGISTRATION: Final = "withdrawn_after_registration"
GIVEN_BACK: Final = "its customer gave the vehicle back"
RETURNED_BY: Final = "return of the vehicle"
OPEN: Final = frozenset({PaymentState.INITIATED, PaymentState.PENDING})
UNDER_WAY: Final = frozenset(
    {OrderState.REGISTERED, OrderState.DELIVERY_SCHEDULED, OrderState.DELIVERED}
)


class CannotWithdrawError(ConflictError):
    """The order has ended, or the time in which a customer may withdraw is over."""

    code = "cannot_withdraw"


class FinalPaymentOpenError(ConflictError):
    """The outcome of the final payment is not known yet; withdraw when it is."""

    code = "final_payment_open"


class NotDeliveredError(ConflictError):
    """The vehicle is with nobody, so it cannot come back; only a delivered one is returned."""

    code = "not_delivered"


class NotWithdrawnError(ConflictError):
    """The vehicle is its customer's: record the withdrawal from the order, then the return."""

    code = "not_withdrawn"


class Withdrawal:
    """Lets customers withdraw from their orders."""

    def __init__(
        self,
        order_tables: OrderTables,
        *,
        window_seconds: float = WITHDRAWAL_WINDOW_SECONDS,
    ) -> None:
        """Allow it for so many seconds after the delivery."""
        self._tables = order_tables
        self._window_seconds = order_tables.time_scale.seconds(window_seconds)

    def may_withdraw(self, order: Order) -> bool:
        """Say whether the customer may withdraw, as far as the order itself tells."""
        in_time = (order.delivered_seconds_ago or 0.0) <= self._window_seconds
        return can(order.state, OrderEvent.DESISTIMIENTO) and in_time

    def withdrawal_ends(self, order: Order) -> datetime | None:
        """Return when the time to withdraw is over; None until the vehicle is delivered."""
        if order.delivered_at is None:
            return None
        return order.delivered_at + timedelta(seconds=self._window_seconds)

    async def withdraw(self, order_id: UUID) -> Order:
        """Withdraw from an order; the second time changes nothing.

        Raises:
            OrderNotFoundError: no such order.
            CannotWithdrawError: it has ended, or the legal window is over.
            FinalPaymentOpenError: ask again when the final payment is known.
        """

        async def end(connection: Connection) -> Order:
            order = await self._tables.orders.get_locked(order_id, within=connection)
            if order.state is OrderState.WITHDRAWN:
                return order
            await self._check(order, within=connection)
            return await self._end(order, within=connection)

        order = await self._tables.billing.database.in_transaction(end)
        self._tables.queue.wake()
        return order

    async def vehicle_returned(self, vin: str) -> Vehicle:
        """Put a delivered vehicle of a withdrawn order back into stock; its people are told.

        Raises:
            VehicleNotFoundError: no such vehicle.
            NotDeliveredError: it is not with a customer; NotWithdrawnError: it is and stays there.
        """

        async def returned(connection: Connection) -> Vehicle:
            vehicle = await self._tables.vehicles.get(vin, within=connection)
            assignment = await self._tables.vehicles.assignment(vin, within=connection)
            if assignment is None or vehicle.state is not VehicleState.DELIVERED:
                raise NotDeliveredError(
                    f"The vehicle {vin} is {vehicle.state}; only a delivered one is returned.",
                    vin=vin,
                )
            order = await self._tables.orders.get_locked(assignment.order_id, within=connection)
            if order.state is not OrderState.WITHDRAWN:
                raise NotWithdrawnError(
                    f"The order {order.id}, for which {vin} was delivered, is {order.state}; "
                    "record the withdrawal from it first.",
                    vin=vin,
                )
            await self._back(order, vin, within=connection)
            return await self._tables.vehicles.get(vin, within=connection)

        return await self._tables.billing.database.in_transaction(returned)

    async def awaits_return(self, order: Order) -> bool:
        """Say whether the vehicle of a withdrawn order is still with its customer."""
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

    async def _check(self, order: Order, *, within: Connection) -> None:
        if not can(order.state, OrderEvent.DESISTIMIENTO):
            raise CannotWithdrawError(f"The order {order.id} is {order.state} and has ended.")
        if not self.may_withdraw(order):
            raise CannotWithdrawError(
                f"The order {order.id} was delivered longer ago than the law lets withdraw."
            )
        finals = await self._tables.payments_of(order, PaymentType.FINAL, within=within)
        if any(payment.state in OPEN for payment in finals):
            raise FinalPaymentOpenError(order=str(order.id))

    async def _end(self, order: Order, *, within: Connection) -> Order:
        before = order.state
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
                f"The order {order.id} was {before} when its customer withdrew; call off the "
                f"transport and the matriculation of {order.vin}, or have it brought back.",
                within=within,
            )
        return order

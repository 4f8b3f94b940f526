"""A declined final payment (Diagram 3, the lower half; decisions 19 and 21).

The customer loses the reservation at once: no grace period, no second attempt. The vehicle is sin
asignar, in stock, and sold to whoever comes next.

Rules a change must keep: only a decline does this, in the transaction that makes the payment
Failed; a payment that was abandoned, never sent, or decided by people not to be charged takes no
vehicle away; what becomes of the deposit is a policy, written down as a decision, and nobody keeps
it by accident.
"""

from enum import StrEnum
from uuid import UUID

from caas.billing_database.cases import DEPOSIT_HELD
from caas.billing_database.connection import Connection
from caas.billing_database.decisions import follow_policy
from caas.billing_database.orders import Order
from caas.order_management.held_deposits import deposit_of, remark
from caas.order_management.order_refunds import RESERVATION_LOST, will_refund
from caas.order_management.order_tables import OrderTables
from caas.rules import postings
from caas.rules.order_states import OrderEvent, OrderState
from caas.rules.payment_states import Remark
from caas.rules.vehicle_states import VehicleEvent


class DepositOnForfeiture(StrEnum):
    """What becomes of the deposit when the reservation is lost (decision 21)."""

    HOLD = "hold"
    REFUND = "refund"
    KEEP = "keep"


class Forfeiture:
    """Takes a vehicle away from an order whose final payment was declined."""

    def __init__(
        self,
        order_tables: OrderTables,
        *,
        reservation_deposit_on_forfeiture: DepositOnForfeiture,
    ) -> None:
        """Follow this policy."""
        self._tables = order_tables
        self._policy = reservation_deposit_on_forfeiture

    async def mark_payment_failed(self, order_id: UUID, *, within: Connection) -> Order | None:
        """Mark Payment Failed; None when the order had nothing to lose.

        The order loses its vehicle in the same transaction: Mark Vehicle Sin Asignar, Add to Stock
        Inventory.
        """
        order = await self._tables.orders.locked(order_id, within=within)
        if order is None or order.state is not OrderState.READY:
            return None
        order = await self._tables.orders.transition(
            order, OrderEvent.MARK_PAYMENT_FAILED, within=within
        )
        await self._tables.release(order, VehicleEvent.MARK_VEHICLE_SIN_ASIGNAR, within=within)
        await self._follow_policy(order, within=within)
        return order

    async def _follow_policy(self, order: Order, *, within: Connection) -> None:
        deposit = await deposit_of(self._tables, order, within=within)
        if deposit is None:
            return
        if self._policy is not DepositOnForfeiture.HOLD:
            await follow_policy(deposit.id, self._policy, within=within)
        if self._policy is DepositOnForfeiture.REFUND:
            await will_refund(self._tables, order, RESERVATION_LOST, within=within)
        if self._policy is not DepositOnForfeiture.HOLD:
            return
        entries = postings.deposit_held(deposit.captured_amount)
        await remark(self._tables, deposit, Remark.DEPOSIT_HELD, entries, within=within)
        await self._tables.notifications.alert(
            DEPOSIT_HELD,
            deposit.id,
            f"The reservation {order.id} is lost; decide whether its deposit of {order.deposit} "
            "is given back or kept.",
            within=within,
        )

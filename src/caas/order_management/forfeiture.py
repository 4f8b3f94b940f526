"""Handles a declined final payment (Diagram 3, lower half; decisions 19 and 21).

The customer loses the reservation immediately, without a grace period. The vehicle is sin asignar
and back in stock.

Rules a change must keep: only a decline causes this, in the transaction that sets the payment to
Failed; an abandoned or unsent payment, or one that staff decide not to charge, does not; the policy
decides about the deposit and every outcome is recorded.
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
    """What happens to the deposit of a lost reservation (decision 21)."""

    HOLD = "hold"
    REFUND = "refund"
    KEEP = "keep"


class Forfeiture:
    """Ends the assignment of an order whose final payment was declined."""

    def __init__(
        self,
        order_tables: OrderTables,
        *,
        reservation_deposit_on_forfeiture: DepositOnForfeiture,
    ) -> None:
        """Apply this policy to deposits."""
        self._tables = order_tables
        self._policy = reservation_deposit_on_forfeiture

    async def mark_payment_failed(self, order_id: UUID, *, within: Connection) -> Order | None:
        """Mark Payment Failed; return None if the order had no reservation to lose.

        In the same transaction the order loses its vehicle: Mark Vehicle Sin Asignar, Add to Stock
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
            (
                f"The reservation {order.id} is lost. Decide whether to refund or keep "
                f"its deposit of {order.deposit}."
            ),
            within=within,
        )

"""A declined final payment (Diagram 3, the lower half; decisions 19 and 21).

The customer loses the reservation at once: no grace period, no second attempt. The vehicle is sin
asignar, in stock, and sold to whoever comes next.

Rules a change must keep: only a decline does this, in the transaction that makes the payment
Failed; a payment that was abandoned, never sent, or decided by people not to be charged takes no
vehicle away; what becomes of the deposit is a policy, and nobody keeps it by accident.
"""

from enum import StrEnum
from typing import Final
from uuid import UUID

from caas.billing_database.connection import Connection
from caas.billing_database.moves import Moved, move_of
from caas.billing_database.orders import Order
from caas.billing_database.payments import Payment
from caas.errors import ConflictError, UnavailableError
from caas.order_management.giving_back import RESERVATION_LOST, GivingBack
from caas.order_management.order_books import OrderBooks
from caas.rules import postings
from caas.rules.order_states import OrderEvent, OrderState
from caas.rules.payment_states import PaymentState, Remark
from caas.rules.payment_types import PaymentType
from caas.rules.postings import Entry
from caas.rules.vehicle_states import VehicleEvent

DEPOSIT_HELD: Final = "deposit_held"
REMARK_ATTEMPTS_MAX: Final = 5
PAID: Final = frozenset({PaymentState.CAPTURING, PaymentState.SETTLED})


class DepositOnLoss(StrEnum):
    """What becomes of the deposit when the reservation is lost (decision 21)."""

    HOLD = "hold"
    REFUND = "refund"
    KEEP = "keep"


class NoHeldDepositError(ConflictError):
    """The order has no held deposit that waits for a decision."""

    code = "no_held_deposit"


class Loss:
    """Takes a vehicle away from an order whose final payment was declined."""

    def __init__(
        self,
        order_books: OrderBooks,
        *,
        giving_back: GivingBack,
        reservation_deposit_on_loss: DepositOnLoss,
    ) -> None:
        """Follow this policy."""
        self._books = order_books
        self._giving_back = giving_back
        self._policy = reservation_deposit_on_loss

    async def mark_payment_failed(self, order_id: UUID, *, within: Connection) -> Order | None:
        """Mark Payment Failed; None when the order had nothing to lose.

        The order loses its vehicle in the same transaction: Mark Vehicle Sin Asignar, Add to Stock
        Inventory.
        """
        order = await self._books.orders.locked(order_id, within=within)
        if order is None or order.state is not OrderState.READY:
            return None
        order = await self._books.orders.move(order, OrderEvent.MARK_PAYMENT_FAILED, within=within)
        await self._books.release(order, VehicleEvent.MARK_VEHICLE_SIN_ASIGNAR, within=within)
        await self._follow_policy(order, within=within)
        return order

    async def decide_deposit(self, order_id: UUID, decision: DepositOnLoss, *, owner: str) -> None:
        """Let a person decide what becomes of a deposit that was held.

        Raises:
            NoHeldDepositError: nothing is held for this order.
        """
        assert decision is not DepositOnLoss.HOLD, "holding it on is no decision"

        order = await self._books.orders.get(order_id)
        deposit, case = await self._held(order)

        async def decide(connection: Connection) -> None:
            await self._remark(
                deposit,
                Remark.DEPOSIT_DECIDED,
                postings.deposit_released(deposit.captured_amount),
                within=connection,
            )
            await self._books.books.cases.resolve(
                case, resolution=decision, owner=owner, within=connection
            )
            if decision is DepositOnLoss.REFUND:
                await self._giving_back.will_give_back(order, RESERVATION_LOST, within=connection)

        await self._books.books.database.in_transaction(decide)
        if decision is DepositOnLoss.REFUND:
            await self._giving_back.give_back(order_id, RESERVATION_LOST)

    async def _follow_policy(self, order: Order, *, within: Connection) -> None:
        deposit = await self._deposit(order, within=within)
        if deposit is None or self._policy is DepositOnLoss.KEEP:
            return
        if self._policy is DepositOnLoss.REFUND:
            await self._giving_back.will_give_back(
                order, RESERVATION_LOST, due_in=0.0, within=within
            )
            return
        entries = postings.deposit_held(deposit.captured_amount)
        await self._remark(deposit, Remark.DEPOSIT_HELD, entries, within=within)
        await self._books.alert(
            DEPOSIT_HELD,
            deposit.id,
            f"The reservation {order.id} is lost; decide whether its deposit of {order.deposit} "
            "is given back or kept.",
            within=within,
        )

    async def _deposit(self, order: Order, *, within: Connection | None = None) -> Payment | None:
        """Return the reservation payment whose money is with us or on its way."""
        payments = await self._books.payments_of(order, PaymentType.RESERVATION, within=within)
        return next((payment for payment in payments if payment.state in PAID), None)

    async def _held(self, order: Order) -> tuple[Payment, UUID]:
        deposit = await self._deposit(order)
        cases = self._books.books.cases
        for case in await cases.listed(subject=deposit.id) if deposit is not None else ():
            if case.kind == DEPOSIT_HELD and deposit is not None:
                return deposit, case.id
        raise NoHeldDepositError

    async def _remark(
        self,
        payment: Payment,
        remark: Remark,
        entries: tuple[Entry, ...],
        *,
        within: Connection,
    ) -> Moved:
        """Write entries on a payment that may be moving at this very moment."""
        for _ in range(REMARK_ATTEMPTS_MAX):
            move = move_of(payment, remark, source=remark.value, entries=entries)
            moved = await self._books.books.moves.apply(move, within=within)
            if moved.moved:
                return moved
            payment = await self._books.books.payments.get(payment.id, within=within)
        raise UnavailableError("The reservation payment is moving; try again shortly.")

"""Lost reservations after a declined final payment, and the deposits held for them.

Diagram 3, lower half; decisions 19 and 21. The customer loses the reservation immediately, without
a grace period. The vehicle is sin asignar and back in stock. A held deposit is refunded or kept;
above the single-approver limit for discrepancies (decision 35), one person proposes and another
approves.

Rules a change must keep: only a decline loses the reservation, in the transaction that sets the
payment to Failed; an abandoned or unsent payment, or one that staff decide not to charge, does not;
the policy decides about the deposit and every outcome is recorded; a deposit is decided once; the
decision, its ledger entries and the closing of the case are one transaction.
"""

from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec

from caas import dual_control
from caas.billing_database.accounts import Actor
from caas.billing_database.cases import DEPOSIT_HELD, Case
from caas.billing_database.connection import Connection
from caas.billing_database.decisions import DepositProposal, deposit_decisions, follow_policy
from caas.billing_database.held_money import revenue_on
from caas.billing_database.orders import Order
from caas.billing_database.payments import Payment
from caas.billing_database.refunds import LOCK_PAYMENT
from caas.billing_database.transitions import TransitionResult, transition_of
from caas.errors import ConflictError, UnavailableError
from caas.order_management.order_tables import RESERVATION_LOST, OrderTables, will_refund
from caas.rules import postings
from caas.rules.discrepancies import is_large
from caas.rules.money import Money
from caas.rules.order_states import OrderEvent, OrderState
from caas.rules.payment_states import PaymentState, Remark
from caas.rules.payment_types import PaymentType
from caas.rules.postings import Entry
from caas.rules.vehicle_states import VehicleEvent

REMARK_ATTEMPTS_MAX: Final = 5
PAID: Final = frozenset({PaymentState.CAPTURING, PaymentState.SETTLED, PaymentState.REFUNDING})


class DepositDecision(StrEnum):
    """What happens to a held deposit."""

    REFUND = "refund"
    KEEP = "keep"


class NoHeldDepositError(ConflictError):
    """No deposit of this payment awaits a decision."""

    code = "no_held_deposit"


class HeldDeposit(msgspec.Struct, frozen=True):
    """A held deposit, the proposal if there is one, and what refunds have left of it."""

    payment: Payment
    order: Order
    case: Case
    proposal: DepositProposal | None
    amount: Money

    @property
    def needs_second(self) -> bool:
        """Return whether the amount exceeds the single-approver limit."""
        return is_large(self.amount)


class HeldDeposits:
    """Decides about held deposits."""

    def __init__(self, order_tables: OrderTables) -> None:
        """Use these tables."""
        self._tables = order_tables
        self._decisions = deposit_decisions(order_tables.billing.database)

    async def of(self, payment_id: UUID) -> HeldDeposit:
        """Return the held deposit of a reservation payment.

        Raises:
            NoHeldDepositError: none awaits a decision.
        """
        held = await self._found(payment_id)
        if held is None:
            raise NoHeldDepositError(payment_id=str(payment_id))
        return held

    async def _found(self, payment_id: UUID) -> HeldDeposit | None:
        for case in await self._tables.billing.cases.listed(subject=payment_id):
            if case.kind == DEPOSIT_HELD and await self._tables.billing.payments.exists(payment_id):
                payment = await self._tables.billing.payments.get(payment_id)
                order = await self._tables.orders.get(payment.subject)
                proposal = await self._decisions.proposed(payment_id)
                held = await revenue_on(
                    payment_id, postings.RESERVATION_HELD, within=self._tables.billing.database
                )
                amount = Money(held, payment.currency)
                return HeldDeposit(payment, order, case, proposal, amount)
        return None

    async def decide(
        self, payment_id: UUID, decision: DepositDecision, *, note: str, by: Actor
    ) -> None:
        """Decide, or propose the decision if it needs a second approver.

        Raises:
            NoHeldDepositError: none awaits a decision.
            DecisionPendingError: a proposal already exists.
            NoteRefusedError: the note is empty or contains a card number.
        """
        text = await dual_control.checked_note_about(
            self._tables.billing.database, payment_id, note
        )
        held = await self.of(payment_id)

        async def together(connection: Connection) -> None:
            written = await self._decisions.write(
                payment_id=payment_id, decision=decision, note=text, by=by,
                needs_second=held.needs_second, within=connection,
            )  # fmt: skip
            if not written:
                raise dual_control.DecisionPendingError(payment_id=str(payment_id))
            if not held.needs_second:
                await self._apply_resolution(held, decision, by=by, within=connection)

        await self._tables.billing.database.in_transaction(together)
        self._tables.queue.wake()

    async def agree(self, payment_id: UUID, *, by: Actor) -> None:
        """Approve the proposal as the second person.

        Raises:
            NoHeldDepositError: none awaits a decision.
            NothingProposedError, SamePersonError, ApprovalNeedsAccountError,
            ApproverNotValidError: see dual control.
        """
        held = await self._found(payment_id)

        async def together(connection: Connection) -> None:
            proposal = await dual_control.approve(
                self._decisions, payment_id, by=by, within=connection
            )
            if held is None:
                raise NoHeldDepositError(payment_id=str(payment_id))
            decision = DepositDecision(proposal.decision)
            await self._apply_resolution(held, decision, by=by, within=connection)

        await self._tables.billing.database.in_transaction(together)
        self._tables.queue.wake()

    async def withdraw(self, payment_id: UUID, *, by: Actor) -> None:
        """Withdraw a proposal, one's own or another person's.

        Raises:
            NothingProposedError: nothing was proposed.
        """
        await dual_control.withdraw(
            self._tables.billing.database, self._decisions, payment_id, by=by
        )

    async def _apply_resolution(
        self, held: HeldDeposit, decision: DepositDecision, *, by: Actor, within: Connection
    ) -> None:
        await within.execute(LOCK_PAYMENT, held.payment.id)
        left = await revenue_on(held.payment.id, postings.RESERVATION_HELD, within=within)
        await remark(
            self._tables,
            held.payment,
            Remark.DEPOSIT_DECIDED,
            postings.deposit_released(left),
            within=within,
        )
        await self._tables.billing.cases.close(
            DEPOSIT_HELD, held.payment.id, resolution=decision, owner=by.name, within=within
        )
        if decision is DepositDecision.REFUND:
            await will_refund(self._tables, held.order, RESERVATION_LOST, within=within)


async def deposit_of(
    order_tables: OrderTables, order: Order, *, within: Connection | None = None
) -> Payment | None:
    """Return the reservation payment that holds the deposit."""
    payments = await order_tables.payments_of(order, PaymentType.RESERVATION, within=within)
    return next((payment for payment in payments if payment.state in PAID), None)


async def remark(
    order_tables: OrderTables,
    payment: Payment,
    event: Remark,
    entries: tuple[Entry, ...],
    *,
    within: Connection,
) -> TransitionResult:
    """Post entries on a payment whose state may be changing concurrently."""
    for _ in range(REMARK_ATTEMPTS_MAX):
        transition = transition_of(
            payment, event, source=event.value, entries=entries,
            facts={"amount": sum(entry.amount for entry in entries)},
        )  # fmt: skip
        transitioned = await order_tables.billing.transitions.apply(transition, within=within)
        if transitioned.transitioned:
            return transitioned
        payment = await order_tables.billing.payments.get(payment.id, within=within)
    raise UnavailableError("The reservation payment is being updated. Retry shortly.")


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
        await within.execute(LOCK_PAYMENT, deposit.id)
        account = postings.earned(PaymentType.RESERVATION)
        entries = postings.deposit_held(await revenue_on(deposit.id, account, within=within))
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

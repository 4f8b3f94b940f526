"""The deposit of a lost reservation, held until somebody decides (decision 21).

It goes back to the customer, or is kept. One person decides; above the limit from which
discrepancies need two people (decision 35), one proposes and another one agrees.

Rules a change must keep: one person never decides alone about much; deciding, moving the money off
its account and closing the case are one commit; a deposit is decided about once.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from caas import dual_control
from caas.billing_database.actors import Actor
from caas.billing_database.cases import DEPOSIT_HELD, Case
from caas.billing_database.connection import Connection
from caas.billing_database.decisions import DepositProposal, deposit_decisions
from caas.billing_database.orders import Order
from caas.billing_database.payments import Payment
from caas.billing_database.transitions import TransitionResult, transition_of
from caas.errors import ConflictError, UnavailableError
from caas.order_management.order_refunds import RESERVATION_LOST, will_refund
from caas.order_management.order_tables import OrderTables
from caas.rules import postings
from caas.rules.discrepancies import is_large
from caas.rules.money import Money
from caas.rules.payment_states import PaymentState, Remark
from caas.rules.payment_types import PaymentType
from caas.rules.postings import Entry

REMARK_ATTEMPTS_MAX: Final = 5
PAID: Final = frozenset({PaymentState.CAPTURING, PaymentState.SETTLED, PaymentState.REFUNDING})


class DepositDecision(StrEnum):
    """What becomes of a held deposit."""

    REFUND = "refund"
    KEEP = "keep"


class NoHeldDepositError(ConflictError):
    """No deposit of this payment waits for a decision."""

    code = "no_held_deposit"


@dataclass(frozen=True, slots=True)
class HeldDeposit:
    """A deposit that waits: what it is, whether two must decide, and what was proposed."""

    payment: Payment
    order: Order
    case: Case
    proposal: DepositProposal | None

    @property
    def amount(self) -> Money:
        """What was taken from the customer."""
        return Money(self.payment.captured_amount, self.payment.currency)

    @property
    def needs_second(self) -> bool:
        """Whether it is more than one person may decide about."""
        return is_large(self.amount)


class HeldDeposits:
    """The desk at which held deposits are decided about."""

    def __init__(self, order_tables: OrderTables) -> None:
        """Keep decisions in this database."""
        self._tables = order_tables
        self._decisions = deposit_decisions(order_tables.billing.database)

    async def of(self, payment_id: UUID) -> HeldDeposit:
        """Return the held deposit of a reservation payment.

        Raises:
            NoHeldDepositError: none waits.
        """
        for case in await self._tables.billing.cases.listed(subject=payment_id):
            if case.kind == DEPOSIT_HELD and await self._tables.billing.payments.exists(payment_id):
                payment = await self._tables.billing.payments.get(payment_id)
                order = await self._tables.orders.get(payment.subject)
                proposal = await self._decisions.proposed(payment_id)
                return HeldDeposit(payment, order, case, proposal)
        raise NoHeldDepositError(payment_id=str(payment_id))

    async def decide(
        self, payment_id: UUID, decision: DepositDecision, *, note: str, by: Actor
    ) -> None:
        """Decide, or propose to where two people are needed.

        Raises:
            NoHeldDepositError: none waits.
            DecisionPendingError: a proposal waits already.
            NoteRefusedError: there is no note, or a card number in it.
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
        """Agree as the second person.

        Raises:
            NoHeldDepositError: none waits.
            NothingProposedError, SamePersonError, ApprovalNeedsAccountError,
            ApproverNotValidError: as dual control has it.
        """
        held = await self.of(payment_id)

        async def together(connection: Connection) -> None:
            proposal = await dual_control.approve(
                self._decisions, payment_id, by=by, within=connection
            )
            decision = DepositDecision(proposal.decision)
            await self._apply_resolution(held, decision, by=by, within=connection)

        await self._tables.billing.database.in_transaction(together)
        self._tables.queue.wake()

    async def withdraw(self, payment_id: UUID, *, by: Actor) -> None:
        """Take a proposal back, one's own or another's.

        Raises:
            NothingProposedError: none waits.
        """
        await dual_control.withdraw(
            self._tables.billing.database, self._decisions, payment_id, by=by
        )

    async def _apply_resolution(
        self, held: HeldDeposit, decision: DepositDecision, *, by: Actor, within: Connection
    ) -> None:
        await remark(
            self._tables,
            held.payment,
            Remark.DEPOSIT_DECIDED,
            postings.deposit_released(held.payment.captured_amount),
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
    """Return the reservation payment whose money is with us or on its way."""
    payments = await order_tables.payments_of(order, PaymentType.RESERVATION, within=within)
    return next((payment for payment in payments if payment.state in PAID), None)


async def remark(
    order_tables: OrderTables,
    payment: Payment,
    stated: Remark,
    entries: tuple[Entry, ...],
    *,
    within: Connection,
) -> TransitionResult:
    """Write entries on a payment that may be moving at this very moment."""
    for _ in range(REMARK_ATTEMPTS_MAX):
        transition = transition_of(payment, stated, source=stated.value, entries=entries)
        transitioned = await order_tables.billing.transitions.apply(transition, within=within)
        if transitioned.transitioned:
            return transitioned
        payment = await order_tables.billing.payments.get(payment.id, within=within)
    raise UnavailableError("The reservation payment is moving; try again shortly.")

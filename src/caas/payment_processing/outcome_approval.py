"""Dual control over unknown outcomes: two persons decide that a payment was not charged.

"Operators decide not charged" is an arrow beyond Diagram 9 (decision 3), for what no lookup can
answer. One person proposes it with the gateway's statement; another approves. The payment then
follows proof of absence: a reservation or service payment fails, a final or subscription payment is
sent again under a new key, because only a decline may cost a customer the vehicle or the service.

Rules a change must keep: one person never decides alone; an outcome that became known meanwhile is
no longer decided; the approval and its job are one commit, and applying it twice is harmless.
"""

from typing import Final
from uuid import UUID

from caas import dual_control
from caas.billing_database.accounts import Actor
from caas.billing_database.connection import Connection
from caas.billing_database.decisions import OutcomeDecision, outcome_decisions
from caas.billing_database.job_rows import Job
from caas.billing_database.payments import Payment
from caas.billing_database.tables import BillingDatabase
from caas.errors import ConflictError
from caas.jobs import Answer, Done, JobQueue, RetryIn
from caas.payment_processing.unknown_outcomes import (
    UNKNOWN,
    OutcomeKnownError,
    UnknownOutcomes,
)
from caas.rules.payment_states import BeyondEvent, PaymentState

APPLY_RESOLUTION: Final = "carry_out_outcome_decision"
AGAIN_SECONDS: Final = 1.0


class NotDecidableError(ConflictError):
    """Funds were held for this payment; its outcome is asked of the gateway until it answers."""

    code = "outcome_not_decidable"


class OutcomeApproval:
    """Dual control over payments of unknown outcome."""

    def __init__(self, tables: BillingDatabase, unknown_outcomes: UnknownOutcomes) -> None:
        self._tables = tables
        self._unknown_outcomes = unknown_outcomes
        self._decisions = outcome_decisions(tables.database)

    def register(self, jobs: JobQueue) -> None:
        """Register the job that applies an approved decision."""
        jobs.register(APPLY_RESOLUTION, self._apply_resolution)

    async def of(self, payment_id: UUID) -> list[OutcomeDecision]:
        """Return every decision about a payment, oldest first."""
        return await self._decisions.of(payment_id)

    async def propose(self, payment_id: UUID, *, note: str, by: Actor) -> None:
        """Propose that a payment was not charged, with the gateway's statement.

        Raises:
            OutcomeKnownError, NotDecidableError: there is nothing to decide.
            DecisionPendingError: a proposal waits already.
            NoteRefusedError: there is no note, or a card number in it.
        """
        text = await dual_control.checked_note_about(self._tables.database, payment_id, note)
        _refuse_undecidable(await self._tables.payments.get(payment_id))
        if not await self._decisions.write(payment_id=payment_id, note=text, by=by):
            raise dual_control.DecisionPendingError(payment_id=str(payment_id))

    async def withdraw(self, payment_id: UUID, *, by: Actor) -> None:
        """Withdraw a proposal, one's own or another person's.

        Raises:
            NothingProposedError: none waits.
        """
        await dual_control.withdraw(self._tables.database, self._decisions, payment_id, by=by)

    async def agree(self, payment_id: UUID, *, by: Actor) -> Payment:
        """Approve as the second person; the payment follows.

        Raises:
            NothingProposedError, SamePersonError, ApprovalNeedsAccountError,
            ApproverNotValidError: as dual control has it.
            OutcomeKnownError, NotDecidableError: there is nothing to decide any more.
        """

        async def together(connection: Connection) -> None:
            await dual_control.approve(self._decisions, payment_id, by=by, within=connection)
            _refuse_undecidable(await self._tables.payments.get(payment_id, within=connection))
            await self._tables.jobs.add(APPLY_RESOLUTION, payment_id, within=connection)

        await self._tables.database.in_transaction(together)
        return await self._tables.payments.get(payment_id)

    async def _apply_resolution(self, job: Job) -> Answer:
        payment = await self._tables.payments.get(job.subject)
        if payment.outcome == UNKNOWN and payment.state is PaymentState.PENDING:
            agreed = [one for one in await self.of(payment.id) if one.state == "agreed"]
            followed = await self._unknown_outcomes.not_charged(
                payment,
                BeyondEvent.OPERATORS_DECIDE_NOT_CHARGED,
                proposed_by=agreed[-1].proposed_by,
                agreed_by=agreed[-1].decided_by,
                note=agreed[-1].note,
            )
            if not followed:
                return RetryIn(AGAIN_SECONDS, "the payment changed meanwhile")
        return Done()


def _refuse_undecidable(payment: Payment) -> None:
    if payment.outcome != UNKNOWN:
        raise OutcomeKnownError(payment_id=str(payment.id), state=payment.state.value)
    if payment.state is not PaymentState.PENDING:
        raise NotDecidableError(payment_id=str(payment.id), state=payment.state.value)

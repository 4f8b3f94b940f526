"""Two people decide what no lookup can: that a payment of unknown outcome charged nobody.

The arrow beyond Diagram 9 that needs it is "Operators decide not charged" (decision 3). One person
proposes it with what the gateway said; another one agrees. Then the payment follows proof of
absence: a reservation or a service fails, a final or subscription payment is sent again under a new
key, because nothing but a decline may cost anybody a car or a service.

Rules a change must keep: one person never decides alone; what became known meanwhile is not decided
any more; agreeing and the work that carries it out are one commit, and doing it twice is harmless.
"""

from typing import Final
from uuid import UUID

from caas import dual_control
from caas.billing_database.actors import Actor
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
    """The desk at which two people decide an unknown outcome."""

    def __init__(self, tables: BillingDatabase, unknown_outcomes: UnknownOutcomes) -> None:
        """Keep decisions in these books; payments follow them there."""
        self._tables = tables
        self._unknown_outcomes = unknown_outcomes
        self._decisions = outcome_decisions(tables.database)

    def register(self, jobs: JobQueue) -> None:
        """Take what was agreed and is not carried out yet."""
        jobs.register(APPLY_RESOLUTION, self._apply_resolution)

    async def of(self, payment_id: UUID) -> list[OutcomeDecision]:
        """Return every decision about a payment, oldest first."""
        return await self._decisions.of(payment_id)

    async def propose(self, payment_id: UUID, *, note: str, by: Actor) -> None:
        """Propose that a payment charged nobody, with what the gateway said.

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
        """Take a proposal back, one's own or another's.

        Raises:
            NothingProposedError: none waits.
        """
        await dual_control.withdraw(self._tables.database, self._decisions, payment_id, by=by)

    async def agree(self, payment_id: UUID, *, by: Actor) -> Payment:
        """Agree as the second person, and let the payment follow.

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
                return RetryIn(AGAIN_SECONDS, "the payment moved meanwhile")
        return Done()


def _refuse_undecidable(payment: Payment) -> None:
    if payment.outcome != UNKNOWN:
        raise OutcomeKnownError(payment_id=str(payment.id), state=payment.state.value)
    if payment.state is not PaymentState.PENDING:
        raise NotDecidableError(payment_id=str(payment.id), state=payment.state.value)

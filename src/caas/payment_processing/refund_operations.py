"""Refunds that staff decide in the console, alone or with a second approver, or by credit note.

Rules a change must keep: what would be refused is refused before anything is written; above the
limit one person never decides alone; nothing is decided beside a refund of unknown outcome; a
decision, or a credit note, and the work that carries it out are one commit, and each refunds once.
"""

from collections.abc import Awaitable
from typing import Final, Protocol
from uuid import UUID

from msgspec.structs import asdict

from caas import dual_control
from caas.billing_database.accounts import Actor
from caas.billing_database.connection import Connection
from caas.billing_database.decisions import RefundDecision, RefundWish, refund_decisions
from caas.billing_database.identifiers import new_id
from caas.billing_database.job_rows import Job
from caas.billing_database.postponed_jobs import Delay
from caas.billing_database.tables import BillingDatabase
from caas.errors import RefusedError
from caas.jobs import Answer, Done, JobQueue, RetryIn
from caas.payment_processing.gateway_calls import SAFETY_NET_SECONDS
from caas.payment_processing.refund_requests import (
    RefundMustWaitError,
    RefundRequests,
    Requested,
)
from caas.payment_processing.refunds import Refunds
from caas.payment_processing.service_withdrawal import ServiceWithdrawal
from caas.rules.discrepancies import is_large
from caas.rules.money import Money
from caas.rules.payment_types import sells_a_term
from caas.rules.time_scale import TimeScale

APPLY_RESOLUTION: Final = "carry_out_refund_decision"
REFUSED: Final = "refund_decision_refused"
LOOK_AGAIN_SECONDS: Final = 300.0
REQUESTED_BY = "billing"


class CreditedRefunds:
    """Records the refunds of credit notes in the commit that issues the note (decision 133)."""

    def __init__(
        self, tables: BillingDatabase, refunds: Refunds, service_withdrawal: ServiceWithdrawal
    ) -> None:
        self._tables = tables
        self._refunds = refunds
        self._service_withdrawal = service_withdrawal

    async def check(self, payment_id: UUID, *, amount: int, reason: str, term: str | None) -> None:
        """Raise what `promise` would raise now.

        Raises:
            NothingToRefundError, RefundMustWaitError, RefundTooLargeError,
            TermDecisionRequiredError: as for any refund.
        """
        await self._refunds.requests.check(payment_id, amount)
        payment = await self._tables.payments.get(payment_id)
        if sells_a_term(payment.type):
            await self._service_withdrawal.check_refund(
                payment, amount=amount, reason=reason, term=term
            )

    async def promise(
        self,
        payment_id: UUID,
        *,
        amount: int,
        reason: str,
        key: str,
        term: str | None,
        within: Connection,
    ) -> None:
        """Record the refund, and the decision about a service that is then unpaid.

        Raises:
            NothingToRefundError, RefundMustWaitError, RefundTooLargeError,
            TermDecisionRequiredError: as for any refund.
        """
        payment = await self._tables.payments.get(payment_id, within=within)

        async def decide(connection: Connection) -> None:
            if sells_a_term(payment.type):
                await self._service_withdrawal.decide_term(
                    payment, reason=reason, term=term, within=connection
                )

        wanted = Requested(payment_id, amount, reason, key, REQUESTED_BY)
        await self._refunds.requests.write_within(wanted, decide, within)


class RefundPayment(Protocol):
    """Refunds a payment, once per key."""

    def __call__(  # what a refund is, by name
        self,
        payment_id: UUID,
        *,
        amount: int,
        reason: str,
        key: str,
        requested_by: str,
        term: str | None = None,
    ) -> Awaitable[object]:
        """Refund the payment."""


class RefundOperations:
    """Refunds that staff decide, under dual control above the limit."""

    def __init__(
        self,
        tables: BillingDatabase,
        *,
        refund: RefundPayment,
        credited_refunds: CreditedRefunds,
        requests: RefundRequests,
        time_scale: TimeScale,
    ) -> None:
        self._tables = tables
        self._refund = refund
        self._credited_refunds = credited_refunds
        self._requests = requests
        self._time_scale = time_scale
        self._decisions = refund_decisions(tables.database)

    def register(self, jobs: JobQueue) -> None:
        """Register the job that carries a decision out."""
        jobs.register(APPLY_RESOLUTION, self._due, safety_net=True)

    async def proposed(self, payment_id: UUID) -> RefundDecision | None:
        """Return the refund of a payment that waits for a second person, if any."""
        return await self._decisions.proposed(payment_id)

    async def decide(self, payment_id: UUID, wish: RefundWish, *, note: str, by: Actor) -> None:
        """Refund, or propose the refund where a second person must approve.

        Raises:
            DecisionPendingError: a proposal waits already.
            NoteRefusedError: there is no note, or a card number in it.
            PersonalDataRefusedError: the note identifies a person.
            NothingToRefundError, RefundMustWaitError (also RefundUnknownError),
            RefundTooLargeError, TermDecisionRequiredError: as for any refund; nothing was written.
        """
        text = await dual_control.checked_note_about(self._tables.database, payment_id, note)
        payment = await self._tables.payments.get(payment_id)
        await self._credited_refunds.check(
            payment_id, amount=wish.amount, reason=wish.reason, term=wish.term
        )
        needs_second, decision_id = is_large(Money(wish.amount, payment.currency)), new_id()

        async def together(connection: Connection) -> None:
            await self._requests.refuse_beside_unknown(payment_id, connection)
            written = await self._decisions.write(
                decision_id=decision_id, payment_id=payment_id, **asdict(wish), note=text,
                needs_second=needs_second, by=by, within=connection,
            )  # fmt: skip
            if not written:
                raise dual_control.DecisionPendingError(payment_id=str(payment_id))
            if not needs_second:
                await self._will_be_carried_out(decision_id, connection)

        await self._tables.database.in_transaction(together)
        if not needs_second:
            await self._at_once(decision_id)

    async def agree(self, payment_id: UUID, *, by: Actor) -> None:
        """Approve as the second person; the refund begins.

        Raises:
            NothingProposedError, SamePersonError, ApprovalNeedsAccountError,
            ApproverNotValidError: as dual control has it.
            RefundUnknownError: the outcome of another refund is not known; it may be this one.
        """

        async def together(connection: Connection) -> UUID:
            await self._requests.refuse_beside_unknown(payment_id, connection)
            proposal = await dual_control.approve(
                self._decisions, payment_id, by=by, within=connection
            )
            await self._will_be_carried_out(proposal.id, connection)
            return proposal.id

        await self._at_once(await self._tables.database.in_transaction(together))

    async def withdraw(self, payment_id: UUID, *, by: Actor) -> None:
        """Withdraw a proposal, one's own or another person's.

        Raises:
            NothingProposedError: none waits.
        """
        await dual_control.withdraw(self._tables.database, self._decisions, payment_id, by=by)

    async def _will_be_carried_out(self, decision_id: UUID, connection: Connection) -> None:
        net = self._time_scale.seconds(SAFETY_NET_SECONDS)
        await self._tables.jobs.add(APPLY_RESOLUTION, decision_id, due_in=net, within=connection)

    async def _at_once(self, decision_id: UUID) -> None:
        answer = await self._carry_out(decision_id)
        if isinstance(answer, RetryIn):
            delay = Delay(self._time_scale.seconds(answer.due_in), answer.because, {})
            await self._tables.jobs.postpone_first(APPLY_RESOLUTION, decision_id, delay)
            return
        async with self._tables.database.connection() as connection:
            await self._tables.jobs.end(APPLY_RESOLUTION, decision_id, within=connection)

    async def _due(self, job: Job) -> Answer:
        return await self._carry_out(job.subject)

    async def _carry_out(self, decision_id: UUID) -> Answer:
        """Refund what was decided; open a case for what can no longer be refunded."""
        decision = await self._decisions.get(decision_id)
        try:
            await self._refund(
                decision.payment_id,
                amount=decision.amount,
                reason=decision.reason,
                key=f"decision:{decision.id}",
                requested_by=decision.proposed_by,
                term=decision.term,
            )
        except RefundMustWaitError as waits:
            return RetryIn(LOOK_AGAIN_SECONDS, waits.sentence)
        except RefusedError as refusal:
            sentence = f"A refund that was decided cannot be made: {refusal.sentence}"
            await self._tables.cases.open(REFUSED, decision.payment_id, sentence)
        return Done()

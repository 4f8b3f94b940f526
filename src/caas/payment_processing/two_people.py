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

from caas.billing_database.books import Books
from caas.billing_database.connection import Connection
from caas.billing_database.due_work import DueWork
from caas.billing_database.outcome_decisions import OutcomeDecision, OutcomeDecisions
from caas.billing_database.payments import Payment
from caas.errors import ConflictError, RefusedError
from caas.open_work import Again, Answer, Done, OpenWork
from caas.payment_processing.unknown_outcomes import (
    UNKNOWN,
    OutcomeKnownError,
    UnknownOutcomes,
)
from caas.rules.card_numbers import contains_card_number
from caas.rules.payment_states import BeyondEvent, PaymentState

CARRY_OUT: Final = "carry_out_outcome_decision"
NOTE_CHARS_MAX: Final = 1000
AGAIN_SECONDS: Final = 1.0


class NotDecidableError(ConflictError):
    """Funds were held for this payment; its outcome is asked of the gateway until it answers."""

    code = "outcome_not_decidable"


class OutcomeProposedError(ConflictError):
    """Somebody has proposed a decision already; another person agrees or withdraws it."""

    code = "outcome_proposed"


class NoOutcomeProposedError(ConflictError):
    """No decision about this payment waits for a second person."""

    code = "no_outcome_proposed"


class SamePersonDecidesError(ConflictError):
    """Whoever proposed a decision cannot agree to it."""

    code = "same_person"


class DecisionNoteRefusedError(RefusedError):
    """A decision needs the gateway's word: one to a thousand characters, and no card number."""

    code = "note_refused"


class TwoPeople:
    """The desk at which two people decide an unknown outcome."""

    def __init__(self, books: Books, unknown_outcomes: UnknownOutcomes) -> None:
        """Keep decisions in these books; payments follow them there."""
        self._books = books
        self._unknown_outcomes = unknown_outcomes
        self._decisions = OutcomeDecisions(books.database)

    def register(self, open_work: OpenWork) -> None:
        """Take what was agreed and is not carried out yet."""
        open_work.register(CARRY_OUT, self._carry_out)

    async def of(self, payment_id: UUID) -> list[OutcomeDecision]:
        """Return every decision about a payment, oldest first."""
        return await self._decisions.of(payment_id)

    async def propose(self, payment_id: UUID, *, note: str, by: str) -> None:
        """Propose that a payment charged nobody, with what the gateway said.

        Raises:
            OutcomeKnownError, NotDecidableError: there is nothing to decide.
            OutcomeProposedError: a proposal waits already.
            DecisionNoteRefusedError: there is no note, or a card number in it.
        """
        text = note.strip()
        if not 0 < len(text) <= NOTE_CHARS_MAX or contains_card_number(text):
            raise DecisionNoteRefusedError
        _refuse_undecidable(await self._books.payments.get(payment_id))
        if not await self._decisions.propose(payment_id, note=text, by=by):
            raise OutcomeProposedError(payment_id=str(payment_id))

    async def withdraw(self, payment_id: UUID, *, by: str) -> None:
        """Take a proposal back, one's own or another's.

        Raises:
            NoOutcomeProposedError: none waits.
        """

        async def alone(connection: Connection) -> bool:
            return await self._decisions.decide(
                payment_id, state="withdrawn", by=by, within=connection
            )

        if not await self._books.database.in_transaction(alone):
            raise NoOutcomeProposedError(payment_id=str(payment_id))

    async def agree(self, payment_id: UUID, *, by: str) -> Payment:
        """Agree as the second person, and let the payment follow.

        Raises:
            NoOutcomeProposedError: none waits.
            SamePersonDecidesError: whoever proposed it cannot agree to it.
            OutcomeKnownError, NotDecidableError: there is nothing to decide any more.
        """

        async def together(connection: Connection) -> None:
            proposed = _proposal(await self._decisions.of(payment_id, within=connection))
            if proposed.proposed_by == by:
                raise SamePersonDecidesError(proposed_by=by)
            _refuse_undecidable(await self._books.payments.get(payment_id, within=connection))
            if not await self._decisions.decide(
                payment_id, state="agreed", by=by, within=connection
            ):
                raise NoOutcomeProposedError(payment_id=str(payment_id))
            await self._books.work.add(CARRY_OUT, payment_id, within=connection)

        await self._books.database.in_transaction(together)
        return await self._books.payments.get(payment_id)

    async def _carry_out(self, work: DueWork) -> Answer:
        payment = await self._books.payments.get(work.subject)
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
                return Again(AGAIN_SECONDS, "the payment moved meanwhile")
        return Done()


def _refuse_undecidable(payment: Payment) -> None:
    if payment.outcome != UNKNOWN:
        raise OutcomeKnownError(payment_id=str(payment.id), state=payment.state.value)
    if payment.state is not PaymentState.PENDING:
        raise NotDecidableError(payment_id=str(payment.id), state=payment.state.value)


def _proposal(decisions: list[OutcomeDecision]) -> OutcomeDecision:
    for decision in decisions:
        if decision.state == "proposed":
            return decision
    raise NoOutcomeProposedError

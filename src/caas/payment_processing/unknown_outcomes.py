"""What a time-out left open is resolved by asking, never by assuming (decision 3).

A payment whose outcome is unknown keeps its state and is looked up at the gateway, by its id or by
our reference, until there is evidence. Only proof of absence lets anything be sent under a new key.

Rules a change must keep: unknown never becomes Failed by the passing of time; a vehicle, a
service or a subscription is never taken away while the outcome is unknown; past the life of an
idempotency key nothing is sent again under it.
"""

from collections.abc import Mapping
from typing import Final

from caas.billing_database.books import Books
from caas.billing_database.due_work import DueWork
from caas.billing_database.moves import move_of
from caas.billing_database.payments import Payment
from caas.external_systems.http_answers import GatewayFailure, RefusedByPartnerError
from caas.external_systems.payment_gateway import (
    GatewayTransaction,
    PaymentGateway,
    TransactionStatus,
    mismatches,
)
from caas.open_work import Again, Answer, Done, OpenWork, Park
from caas.payment_processing.charges import NEVER_REACHED, Charges
from caas.payment_processing.flow import Flow
from caas.payment_processing.gateway_calls import AUTHORISE, CAPTURE, PROBE, VOID
from caas.rules.pace import Pace
from caas.rules.payment_failures import NotSentConsequence, not_sent_consequence
from caas.rules.payment_states import BeyondEvent, PaymentState, Remark
from caas.rules.payment_types import PaymentType

PROBE_SECONDS: Final = 5.0
PROBE_SECONDS_MAX: Final = 30.0
QUIESCENCE_SECONDS: Final = 60.0
ABSENT: Final = "absent:"
HELD: Final = frozenset({TransactionStatus.AUTHORIZED})
GONE: Final = frozenset({TransactionStatus.VOIDED})
OPEN_STILL: Final = frozenset({TransactionStatus.REQUIRES_ACTION, TransactionStatus.PENDING})


class UnknownOutcomes:
    """Resumes and resolves what is not known to have ended."""

    def __init__(
        self,
        *,
        books: Books,
        gateway: PaymentGateway,
        charges: Charges,
        flows: Mapping[PaymentType, Flow],
        pace: Pace,
    ) -> None:
        """Ask this gateway; let each payment's own flow follow the answer."""
        self._books = books
        self._gateway = gateway
        self._charges = charges
        self._flows = flows
        self._pace = pace

    def register(self, open_work: OpenWork) -> None:
        """Take what another process began and did not finish, and every probe."""
        open_work.register(AUTHORISE, self._resume_authorisation)
        open_work.register(CAPTURE, self._resume_capture)
        open_work.register(VOID, self._resume_void)
        open_work.register(PROBE, self._probe)

    async def look_up(self, payment: Payment) -> GatewayTransaction | None:
        """Ask the gateway what it knows of a payment; None is its word that it knows nothing.

        Raises:
            GatewayFailure: it gave no usable answer, or cannot look up by reference.
        """
        if payment.gateway_transaction_id is not None:
            return await self._gateway.find(payment.gateway_transaction_id)
        found = await self._gateway.find_by_reference(str(payment.id))
        if len(found) > 1:
            ids = [transaction.id for transaction in found]
            await self._contradiction(payment, f"It holds {len(found)} transactions: {ids}.")
        return found[0] if found else None

    async def _resume_authorisation(self, work: DueWork) -> Answer:
        payment = await self._books.payments.get(work.subject)
        flow = self._flows[payment.type]
        if payment.state is not PaymentState.PENDING:
            await flow.carry_on(payment)
            return Done()
        maybe_sent = bool(work.payload.get("maybe_sent", True))
        if maybe_sent and self._gateway.capabilities.lookup_by_reference:
            return await self._resolve_pending(work, payment, flow)
        await self._charges.process_payment(
            payment, flow, earlier_attempts=work.attempts - 1, maybe_sent=maybe_sent
        )
        return Done()

    async def _resume_capture(self, work: DueWork) -> Answer:
        payment = await self._books.payments.get(work.subject)
        if payment.state is PaymentState.CAPTURING:
            await self._charges.capture(payment, earlier_attempts=work.attempts - 1)
        return Done()

    async def _resume_void(self, work: DueWork) -> Answer:
        payment = await self._books.payments.get(work.subject)
        reason = str(work.payload.get("reason", "void"))
        await self._charges.send_void(payment, reason, earlier_attempts=work.attempts - 1)
        return Done()

    async def _probe(self, work: DueWork) -> Answer:
        payment = await self._books.payments.get(work.subject)
        match payment.state:
            case PaymentState.PENDING:
                return await self._resolve_pending(work, payment, self._flows[payment.type])
            case PaymentState.CAPTURING if payment.outcome == "unknown":
                return await self._resolve(work, payment, CAPTURE)
            case PaymentState.AUTHORIZED if payment.outcome == "unknown":
                return await self._resolve(work, payment, VOID)
            case _:
                return Done()

    async def _resolve_pending(self, work: DueWork, payment: Payment, flow: Flow) -> Answer:
        try:
            transaction = await self.look_up(payment)
        except RefusedByPartnerError as refusal:
            return await self._replay(work, payment, flow, refusal)
        except GatewayFailure as failure:
            return _again(work, failure.sentence)
        if transaction is None:
            return await self._absent(work, payment, flow)
        different = mismatches(
            transaction,
            reference=str(payment.id),
            amount=payment.amount,
            currency=payment.currency,
        )
        if different:
            await self._contradiction(payment, f"It says {', '.join(different)}.")
            return _again(work, "the gateway contradicts what was asked")
        if transaction.status in OPEN_STILL and payment.gateway_transaction_id:
            return _again(work, f"the gateway says {transaction.status}")
        after = await self._charges.authorisation_answered(
            payment, transaction, flow, source="lookup"
        )
        still_unknown = after.state is PaymentState.PENDING and after.outcome == "unknown"
        return _again(work, "the gateway's answer decides nothing") if still_unknown else Done()

    async def _absent(self, work: DueWork, payment: Payment, flow: Flow) -> Answer:
        """The gateway knows nothing of it: after a quiet time, that is proof (fault F-G5)."""
        if payment.age_seconds < self._pace.seconds(QUIESCENCE_SECONDS):
            return _again(work, "the gateway knows nothing of it yet")
        if not_sent_consequence(payment.type) is NotSentConsequence.FAIL_PAYMENT:
            await self._charges.fail(payment, BeyondEvent.NEVER_SENT, flow, NEVER_REACHED)
            return Done()
        issue = await self._next_issue(payment)
        remark = move_of(
            payment,
            Remark.GATEWAY_CALLED,
            source=f"{ABSENT}{issue}",
            outcome="known",
            facts={"absence_proved": True, "next_issue": issue},
        )
        payment = await self._charges.apply(payment, remark)
        await self._charges.process_payment(payment, flow, issue=issue)
        return Done()

    async def _replay(
        self, work: DueWork, payment: Payment, flow: Flow, refusal: RefusedByPartnerError
    ) -> Answer:
        """No lookup to be had: the same key again is safe, as long as the gateway remembers it."""
        lifetime = self._gateway.capabilities.idempotency_key_lifetime
        if lifetime is None or payment.age_seconds >= lifetime.total_seconds():
            await self._contradiction(payment, "It can neither be looked up nor be sent again.")
            return Park(refusal.sentence)
        await self._charges.process_payment(payment, flow, earlier_attempts=work.attempts - 1)
        return Done()

    async def _resolve(self, work: DueWork, payment: Payment, operation: str) -> Answer:
        """A capture or void whose outcome is unknown: look, then finish what was claimed."""
        try:
            transaction = await self.look_up(payment)
        except GatewayFailure as failure:
            return _again(work, failure.sentence)
        if transaction is None:
            await self._contradiction(payment, "It knows nothing of what it had authorised.")
            return _again(work, "the gateway lost the transaction")
        if operation == VOID:
            return await self._resolve_void(payment, transaction)
        if transaction.status in HELD | GONE:
            await self._charges.capture(payment)
        else:
            await self._charges.capture_accepted(payment)
        return Done()

    async def _resolve_void(self, payment: Payment, transaction: GatewayTransaction) -> Answer:
        if transaction.status in GONE:
            await self._charges.voided(payment)
        else:
            await self._charges.send_void(payment, "void")
        return Done()

    async def _next_issue(self, payment: Payment) -> int:
        events = await self._books.payments.timeline(payment.id)
        return 2 + sum(1 for event in events if event.source.startswith(ABSENT))

    async def _contradiction(self, payment: Payment, sentence: str) -> None:
        await self._books.cases.open(
            "gateway_contradiction",
            payment.id,
            f"The gateway contradicts what we asked of it. {sentence}",
        )


def _again(work: DueWork, because: str) -> Again:
    wait = min(PROBE_SECONDS * 2.0 ** min(work.attempts - 1, 10), PROBE_SECONDS_MAX)
    return Again(wait, because)

"""Committing a charge: claimed with its evidence, then captured (Diagram 8, arrow 5a).

A gateway may accept a capture and report its outcome later; the payment stays Capturing until then
(decision 198).

Rules a change must keep: the capture is claimed in the commit that records its evidence, before it
is sent to the gateway; a capture that is refused after delivery, at once or later, is never charged
again, and its loss is booked (decision 17).
"""

from typing import Final

from caas.billing_database.connection import Connection
from caas.billing_database.payments import Payment
from caas.billing_database.transitions import Claim, Evidence, NewJob, transition_of
from caas.external_systems.gateway_modifications import AcceptedRequest
from caas.external_systems.http_answers import GatewayFailure, RefusedByPartnerError
from caas.external_systems.payment_gateway import (
    AlreadyCapturedError,
    AlreadyVoidedError,
    AuthorizationExpiredError,
    GatewayTransaction,
)
from caas.ota_activation_engine.commands import ACTIVATE
from caas.payment_processing.flow import Alert, SideEffects
from caas.payment_processing.gateway_calls import (
    AUTHORIZE,
    CAPTURE,
    NO_PATIENCE,
    POLL_SETTLEMENT,
    PROBE,
    SAFETY_NET_SECONDS,
    NoAnswer,
    Refused,
    call_with_retry,
    key_of,
)
from caas.payment_processing.gateways import Gateways
from caas.payment_processing.transaction_selection import TAKEN
from caas.payment_processing.transitions import ChargeTransitions
from caas.rules import postings
from caas.rules.payment_states import BeyondEvent, PaymentEvent, Remark
from caas.rules.settlement_dates import PollTerms
from caas.rules.time_scale import TimeScale

GONE: Final = (AlreadyVoidedError, AuthorizationExpiredError)
ALREADY_FAILED: Final = "already_failed"
CAPTURED: Final = "captured"
"""The source of the event that records an accepted capture."""


class Capture:
    """Captures held funds once delivery is proven."""

    def __init__(
        self,
        gateways: Gateways,
        transitions: ChargeTransitions,
        *,
        time_scale: TimeScale,
        alert: Alert,
        polls: PollTerms,
    ) -> None:
        """Capture through these gateways; `polls` defines when its settlement is first polled."""
        self._gateways = gateways
        self._transitions = transitions
        self._time_scale = time_scale
        self._alert = alert
        self._first_poll_seconds = time_scale.seconds(polls.wait_before(0))

    async def commit_charge(
        self, payment: Payment, evidence: Evidence, *, also: SideEffects | None = None
    ) -> tuple[Payment, bool]:
        """Claim the capture with its evidence, then send it to the gateway (Diagram 8, arrow 5a).

        Returns the payment, and whether it was claimed now. When the authorization was voided
        first, nothing is charged and the payment shows it.
        """
        after, won = await self._claimed(payment, evidence, also=also)
        return (await self.send_capture(after) if won else after), won

    async def claim_capture(
        self,
        payment: Payment,
        evidence: Evidence,
        *,
        reason: str = "delivered",
        within: Connection | None = None,
        also: SideEffects | None = None,
    ) -> Payment:
        """Commit evidence, claim and Capturing together; the capture is sent afterwards.

        When the authorization was voided first, nothing is charged and the payment shows it.
        """
        return (await self._claimed(payment, evidence, reason=reason, within=within, also=also))[0]

    async def _claimed(
        self,
        payment: Payment,
        evidence: Evidence,
        *,
        reason: str = "delivered",
        within: Connection | None = None,
        also: SideEffects | None = None,
    ) -> tuple[Payment, bool]:
        step = also or SideEffects()
        transition = transition_of(
            payment,
            PaymentEvent.INITIATE_SETTLEMENT,
            source="capture",
            captured=payment.amount,
            claim=Claim("capture", reason, evidence.id, evidence.kind),
            evidence=evidence,
            entries=postings.captured(payment.type, payment.amount, held=payment.authorized_amount),
            done=(ACTIVATE, *step.done),
            next=(NewJob(CAPTURE, self._time_scale.seconds(SAFETY_NET_SECONDS)), *step.next),
        )
        after, transitioned = await self._transitions.apply_with(
            payment, transition, within=within, also=step.also
        )
        return after, transitioned.transitioned

    async def send_capture(
        self,
        payment: Payment,
        *,
        patience_seconds: float = NO_PATIENCE,
        earlier_tries: int = 0,
        issue: int = 1,
        looks: int = 0,
    ) -> Payment:
        """Send a claimed capture to the gateway; sending it twice, under any key, captures once.

        `looks` counts the lookups since it was accepted.
        """
        assert payment.gateway_transaction_id is not None, "what is captured was authorized"
        transaction_id, gateway = payment.gateway_transaction_id, self._gateways.of(payment)
        key = key_of(payment.id, CAPTURE, issue=issue)

        async def doubt(because: str) -> None:
            nonlocal payment
            payment = await self._transitions.record_no_answer(payment, CAPTURE, because)

        answer = await call_with_retry(
            lambda: gateway.capture(transaction_id, payment.amount, key=key),
            time_scale=self._time_scale,
            patience_seconds=patience_seconds,
            earlier_tries=earlier_tries,
            on_unknown=doubt,
        )
        if isinstance(answer, AcceptedRequest):
            return await self._transitions.await_report(
                payment, CAPTURE, answer, issue=issue, looks=looks
            )
        return await self.capture_answered(payment, answer, issue=issue)

    async def capture_answered(
        self, payment: Payment, answer: GatewayTransaction | NoAnswer | Refused, *, issue: int = 1
    ) -> Payment:
        """Apply the gateway's decision about a claimed capture."""
        match answer:
            case NoAnswer() if answer.maybe_sent and await self._is_taken(payment):
                return await self.capture_accepted(payment)
            case NoAnswer():
                return await self._transitions.reschedule(payment, CAPTURE, answer, issue=issue)
            case Refused(AlreadyCapturedError()):
                return await self.capture_accepted(payment)
            case Refused(error) if isinstance(error, GONE) or error.refusal == ALREADY_FAILED:
                return await self._capture_refused(payment, error)
            case Refused():
                return await self._transitions.retry_refused(payment, CAPTURE, answer, issue=issue)
            case _:
                return await self.capture_accepted(payment)

    async def _is_taken(self, payment: Payment) -> bool:
        """Look up once whether an unanswered capture took effect; no answer proves nothing."""
        assert payment.gateway_transaction_id is not None, "what is captured was authorized"
        try:
            found = await self._gateways.of(payment).find(payment.gateway_transaction_id)
        except GatewayFailure:
            return False
        return found is not None and found.status in TAKEN

    async def capture_reported(self, payment: Payment) -> Payment:
        """Record that the gateway accepted the capture, unless its answer said so already."""
        if await self._transitions.is_applied(payment, CAPTURED):
            return payment
        return await self.capture_accepted(payment)

    async def capture_accepted(self, payment: Payment) -> Payment:
        """Record that the gateway accepted the capture; the bank confirms later."""
        transition = transition_of(
            payment,
            Remark.CAPTURE_ACCEPTED,
            source=CAPTURED,
            outcome="known",
            done=(CAPTURE, PROBE),
            next=(NewJob(POLL_SETTLEMENT, self._first_poll_seconds),),
        )
        return (await self._transitions.apply_with(payment, transition))[0]

    async def _capture_refused(self, payment: Payment, refusal: RefusedByPartnerError) -> Payment:
        """Book the loss of a delivered charge that the gateway refuses to capture."""
        transition = transition_of(
            payment,
            BeyondEvent.CAPTURE_REFUSED,
            source="capture-refused",
            outcome="known",
            facts={"because": refusal.refusal},
            entries=postings.lost_before_settlement(refusal.refusal, payment.amount),
            done=(CAPTURE, PROBE, POLL_SETTLEMENT),
            next=(NewJob(AUTHORIZE),),  # its flow carries on: a subscription ends (Diagram 7)
        )
        await self._alert("capture_refused", payment.id, refusal.sentence)
        return (await self._transitions.apply_with(payment, transition))[0]

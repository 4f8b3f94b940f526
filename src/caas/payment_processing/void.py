"""Voiding a charge: claimed, then sent until there is evidence (Diagram 8, arrow 5b).

If the gateway captured instead, `compensation` refunds it. A gateway may accept a void and report
its outcome later; the payment stays Authorized, with its claim, until then (decision 198).

Rules a change must keep: a void is claimed before it is sent, and never beside a capture (decision
7); it is sent until the gateway's answer or the expiry of the authorization shows that nothing is
held; money captured instead is refunded at once, with a case (decision 8).
"""

from typing import Final

from caas.billing_database.connection import Connection
from caas.billing_database.payments import Payment
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.transitions import Claim, Command, NewJob, transition_of
from caas.errors import ConflictError
from caas.external_systems.gateway_modifications import AcceptedRequest
from caas.external_systems.http_answers import RefusedByPartnerError
from caas.external_systems.payment_gateway import (
    AlreadyCapturedError,
    AlreadyVoidedError,
    AuthorizationExpiredError,
    GatewayTransaction,
)
from caas.ota_activation_engine.commands import ACTIVATE
from caas.payment_processing.flow import SideEffects
from caas.payment_processing.gateway_calls import (
    COMPENSATE,
    NO_PATIENCE,
    PROBE,
    SAFETY_NET_SECONDS,
    VOID,
    NoAnswer,
    Refused,
    call_with_retry,
    key_of,
)
from caas.payment_processing.gateways import Gateways
from caas.payment_processing.transitions import ChargeTransitions
from caas.rules import postings
from caas.rules.payment_states import AnyEvent, BeyondEvent, PaymentEvent, PaymentState, Remark
from caas.rules.time_scale import TimeScale

ALREADY_FAILED: Final = "already_failed"


class CaptureWonError(ConflictError):
    """The charge was committed before it could be voided; refund it instead."""

    code = "capture_won"


class Void:
    """Voids held funds."""

    def __init__(
        self,
        tables: BillingDatabase,
        gateways: Gateways,
        transitions: ChargeTransitions,
        *,
        time_scale: TimeScale,
    ) -> None:
        self._tables = tables
        self._gateways = gateways
        self._transitions = transitions
        self._time_scale = time_scale

    async def void_charge(
        self, payment: Payment, reason: str, *, command: Command | None = None
    ) -> Payment:
        """Claim the void, then send it to the gateway (Diagram 8, arrow 5b).

        Raises:
            CaptureWonError: the charge was committed first.
        """
        claimed = await self.claim_void(payment, reason, command=command)
        return await self.send_void(claimed)

    async def claim_void(
        self,
        payment: Payment,
        reason: str,
        *,
        command: Command | None = None,
        within: Connection | None = None,
        also: SideEffects | None = None,
    ) -> Payment:
        """Commit the void claim, with the fence's command to the vehicle when there is one.

        Raises:
            CaptureWonError: the charge was committed first.
        """
        step = also or SideEffects()
        transition = transition_of(
            payment,
            Remark.VOID_REQUESTED,
            source="void",
            facts={"reason": reason},
            claim=Claim("void", reason),
            command=command,
            done=(ACTIVATE, *step.done),
            next=(
                NewJob(VOID, self._time_scale.seconds(SAFETY_NET_SECONDS)),
                *step.next,
            ),
        )
        after, transitioned = await self._transitions.apply_with(
            payment, transition, within=within, also=step.also
        )
        # A capture that was committed while this transition waited for the row shows only in what
        # is read afterwards, not in the transition's own result.
        if not transitioned.transitioned and (
            transitioned.claim == "capture" or after.captured_amount
        ):
            raise CaptureWonError(payment_id=str(payment.id))
        return after

    async def send_void(
        self,
        payment: Payment,
        *,
        patience_seconds: float = NO_PATIENCE,
        earlier_tries: int = 0,
        issue: int = 1,
        looks: int = 0,
    ) -> Payment:
        """Send a claimed void to the gateway until there is evidence (decision 8).

        The reason is always the claim's: one key stands for one request. `looks` counts the lookups
        since it was accepted.
        """
        if payment.state is not PaymentState.AUTHORIZED:
            return payment
        assert payment.gateway_transaction_id is not None, "what is voided was authorized"
        transaction_id, gateway = payment.gateway_transaction_id, self._gateways.of(payment)
        reason = await self._tables.payments.void_reason(payment.id)
        key = key_of(payment.id, VOID, issue=issue)

        async def doubt(because: str) -> None:
            nonlocal payment
            payment = await self._transitions.record_no_answer(payment, VOID, because)

        answer = await call_with_retry(
            lambda: gateway.void(transaction_id, reason, key=key),
            time_scale=self._time_scale,
            patience_seconds=patience_seconds,
            earlier_tries=earlier_tries,
            on_unknown=doubt,
        )
        if isinstance(answer, AcceptedRequest):
            return await self._transitions.await_report(
                payment, VOID, answer, issue=issue, looks=looks
            )
        return await self.void_answered(payment, answer, issue=issue)

    async def void_answered(
        self, payment: Payment, answer: GatewayTransaction | NoAnswer | Refused, *, issue: int = 1
    ) -> Payment:
        """Apply the gateway's decision about a claimed void."""
        match answer:
            case NoAnswer():
                return await self._transitions.reschedule(payment, VOID, answer, issue=issue)
            case Refused(AuthorizationExpiredError()):
                return await self.voided(payment, event=BeyondEvent.AUTHORIZATION_EXPIRED)
            case Refused(AlreadyCapturedError()):
                return await self.captured_instead(payment)
            case Refused(error) if not _holds_nothing(error):
                return await self._transitions.retry_refused(payment, VOID, answer, issue=issue)
            case _:
                return await self.voided(payment)

    async def voided(
        self,
        payment: Payment,
        *,
        event: AnyEvent = PaymentEvent.CANCEL_BEFORE_CAPTURE,
        next_jobs: tuple[NewJob, ...] = (),
    ) -> Payment:
        """Record that the gateway no longer holds the funds of a voided payment."""
        transition = transition_of(
            payment,
            event,
            source="voided",
            outcome="known",
            entries=postings.released(payment.authorized_amount),
            done=(VOID, PROBE),
            next=next_jobs,
        )
        return (await self._transitions.apply_with(payment, transition))[0]

    async def captured_instead(self, payment: Payment) -> Payment:
        """Void a payment that the gateway captured instead, and compensate it (decisions 8, 10)."""
        assert payment.gateway_transaction_id is not None, "what is voided was authorized"
        undo = NewJob(
            COMPENSATE,
            payload={
                "payment": str(payment.id),
                "transaction": payment.gateway_transaction_id,
            },
        )
        return await self.voided(payment, next_jobs=(undo,))


def _holds_nothing(error: RefusedByPartnerError) -> bool:
    return isinstance(error, AlreadyVoidedError) or error.refusal == ALREADY_FAILED

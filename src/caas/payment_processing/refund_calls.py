"""Calls about one refund: sent, looked up, sent again under the same key (decisions 2, 5).

Rules a change must keep: a refund that may have been sent is looked up before it is sent again,
where the gateway has a lookup; within the key's lifetime it is sent under that key only; after it,
only a refund that is known to be absent is sent; a missing answer is never a refusal; a refund that
may not be out yet is held back by any obstacle, and is not sent once a dispute took the money.
"""

from typing import Final

from caas.billing_database.gateway_calls import REFUSES
from caas.billing_database.payments import Payment
from caas.billing_database.refunds import Refund
from caas.billing_database.refunds import Refunds as RefundRows
from caas.external_systems.http_answers import GatewayFailure, RefusedByPartnerError
from caas.external_systems.payment_gateway import GatewayRefund, RefundStatus
from caas.jobs import RetryIn
from caas.payment_processing.flow import Alert
from caas.payment_processing.gateway_calls import (
    KeyLifetime,
    NoAnswer,
    Refused,
    call_with_retry,
    key_of,
)
from caas.payment_processing.gateways import Gateways
from caas.payment_processing.unmatched_refunds import UnmatchedRefunds, listed_id
from caas.rules.time_scale import TimeScale

REFUND: Final = "refund"
ASK_AGAIN_SECONDS_MIN: Final = 1.0
ASK_AGAIN_SECONDS_MAX: Final = 30.0
QUIESCENCE_SECONDS: Final = 60.0
UNKNOWN: Final = "refund_outcome_unknown"
ACCESS_REFUSED: Final = frozenset({401, 403})

Reported = GatewayRefund | Refused | RetryIn
"""The gateway's answer on a refund, its refusal, or when to ask again."""


class RefundCalls:
    """Sends refunds to the gateway and looks them up."""

    def __init__(
        self,
        gateways: Gateways,
        rows: RefundRows,
        strange: UnmatchedRefunds,
        *,
        time_scale: TimeScale,
        alert: Alert,
    ) -> None:
        """Refund through these gateways; `alert` reports unknown outcomes and refusals."""
        self._gateways = gateways
        self._rows = rows
        self._unmatched = strange
        self._time_scale = time_scale
        self._alert = alert

    async def send(self, payment: Payment, refund: Refund) -> Reported:
        """Send a refund that was never sent, or is safe to send twice."""
        assert payment.gateway_transaction_id is not None, "what was settled has an id"
        transaction_id, gateway = payment.gateway_transaction_id, self._gateways.of(payment)
        key = key_of(payment.id, f"{REFUND}:{refund.id}", issue=refund.issue)
        answer = await call_with_retry(
            lambda: gateway.refund(transaction_id, refund.amount, refund.reason, key=key),
            time_scale=self._time_scale,
            maybe_sent=refund.outcome == "unknown",
            key_lifetime=KeyLifetime.of(gateway.capabilities),
        )
        match answer:
            case NoAnswer():
                return await self._no_answer(payment, refund, answer.because)
            case Refused(error) if error.status in ACCESS_REFUSED:
                await self._alert(REFUSES, payment.id, error.sentence)
                return retry_lookup(refund, self._time_scale, error.sentence)
            case Refused(error) if answer.maybe_done:
                return await self._no_answer(payment, refund, error.sentence)
            case Refused():
                return await self._refused(payment, refund, answer)
            case reported:
                await self._rows.set(refund.id, "sent", gateway_refund_id=reported.id)
                return reported

    async def _refused(self, payment: Payment, refund: Refund, answer: Refused) -> Reported:
        """Accept a refusal only if the gateway does not list the refund."""
        try:
            made, _ = await self._unmatched.found(payment, refund)
        except GatewayFailure as failure:
            return await self._no_answer(payment, refund, failure.sentence)
        if made is None:
            return answer
        await self._rows.set(refund.id, "sent", gateway_refund_id=listed_id(made))
        return made

    async def ask(self, payment: Payment, refund: Refund) -> Reported:
        """Look up a refund that was sent, or may have been."""
        gateway = self._gateways.of(payment)
        if not gateway.capabilities.lookup_of_refunds:
            return await self._ask_otherwise(payment, refund)
        assert payment.gateway_transaction_id is not None, "what was settled has an id"
        try:
            known = await gateway.find_refunds(payment.gateway_transaction_id)
        except RefusedByPartnerError:
            return await self._ask_otherwise(payment, refund)
        except GatewayFailure as failure:
            return await self._no_answer(payment, refund, failure.sentence)
        if refund.gateway_refund_id is not None:
            reported = next((one for one in known if one.id == refund.gateway_refund_id), None)
            return reported or retry_lookup(
                refund, self._time_scale, "the gateway does not know the refund"
            )
        reported = await self._adopted(payment, refund, known)
        if reported is not None:
            return reported
        return await self._absent(payment, refund)

    async def _absent(self, payment: Payment, refund: Refund) -> Reported:
        """Send an absent refund under the same key; after a quiet time, under the next one.

        A new key is used once and only after nothing was sent for a while, so that requests in
        transit under the old one have arrived by then.
        """
        waits = await self._waits(payment, refund)
        if waits is not None:
            return waits
        is_quiet = refund.unmoved_seconds >= self._time_scale.seconds(QUIESCENCE_SECONDS)
        if not is_quiet and refund.issue == 1 and self._key_is_alive(payment, refund):
            return await self.send(payment, refund)
        if not is_quiet:
            return retry_lookup(refund, self._time_scale, "the gateway knows nothing of it yet")
        if refund.issue == 1:
            await self._rows.next_issue(refund.id)
            return RetryIn(QUIESCENCE_SECONDS, "it is absent; its next key waits for silence")
        await self._rows.next_issue(refund.id)
        return await self.send(payment, refund)

    async def _waits(self, payment: Payment, refund: Refund) -> Reported | None:
        """Hold an absent refund back for an obstacle; fail it once a dispute took the money."""
        obstacle = await self._rows.obstacle(payment.id)
        if obstacle is not None:
            return retry_lookup(refund, self._time_scale, obstacle)
        disputes = await self._rows.disputes_of(payment.id)
        if not any(it.state == "lost" and it.excess > 0 for it in disputes):
            return None
        if refund.unmoved_seconds < self._time_scale.seconds(QUIESCENCE_SECONDS):
            return retry_lookup(
                refund, self._time_scale, "a dispute took the money; the refund may be under way"
            )
        return GatewayRefund(
            id=f"absent:{refund.id}",
            transaction_id=payment.gateway_transaction_id or "",
            amount=refund.amount,
            status=RefundStatus.FAILED,
        )

    async def _ask_otherwise(self, payment: Payment, refund: Refund) -> Reported:
        """Without a list of refunds, judge by the transaction's refunded total."""
        assert payment.gateway_transaction_id is not None, "what was settled has an id"
        try:
            transaction = await self._gateways.of(payment).find(payment.gateway_transaction_id)
        except GatewayFailure as failure:
            return await self._no_answer(payment, refund, failure.sentence)
        through = sum(
            one.amount
            for one in await self._rows.of_payment(payment.id)
            if one.id == refund.id or one.state == "succeeded"
        )
        if transaction is None or transaction.refunded_amount != through:
            return await self._send_blind(payment, refund)
        return GatewayRefund(
            id=refund.gateway_refund_id or transaction.id,
            transaction_id=transaction.id,
            amount=refund.amount,
            status=RefundStatus.SUCCEEDED,
        )

    async def _send_blind(self, payment: Payment, refund: Refund) -> Reported:
        """Without a lookup, send the same key again while the gateway honours it."""
        obstacle = await self._rows.obstacle(payment.id)
        if obstacle is not None:
            return retry_lookup(refund, self._time_scale, obstacle)
        if self._key_is_alive(payment, refund):
            return await self.send(payment, refund)
        because = "A refund can neither be looked up nor be sent again; its key is forgotten."
        return await self._no_answer(payment, refund, because)

    async def _adopted(
        self, payment: Payment, refund: Refund, known: tuple[GatewayRefund, ...]
    ) -> GatewayRefund | None:
        """Find the listed refund whose id never reached us."""
        ours = {one.gateway_refund_id for one in await self._rows.of_payment(payment.id)}
        for reported in known:
            if reported.id not in ours and reported.amount == refund.amount:
                await self._rows.set(refund.id, "sent", gateway_refund_id=reported.id)
                return reported
        return None

    async def _no_answer(self, payment: Payment, refund: Refund, because: str) -> RetryIn:
        if refund.outcome == "known" and refund.gateway_refund_id is None:
            await self._rows.set(refund.id, "sent", outcome="unknown")
            await self._alert(UNKNOWN, payment.id, because)
        return retry_lookup(refund, self._time_scale, because)

    def _key_is_alive(self, payment: Payment, refund: Refund) -> bool:
        """Return whether the payment's gateway still honours the key."""
        age = refund.age_seconds if refund.issue == 1 else refund.unmoved_seconds
        return KeyLifetime.of(self._gateways.of(payment).capabilities).covers(age)


def retry_lookup(refund: Refund, time_scale: TimeScale, because: str) -> RetryIn:
    """Look up again after as long as the refund has waited: in seconds at first, then slower."""
    waited = refund.unmoved_seconds / time_scale.seconds(1.0)
    return RetryIn(min(max(waited, ASK_AGAIN_SECONDS_MIN), ASK_AGAIN_SECONDS_MAX), because)

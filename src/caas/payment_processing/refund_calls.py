"""One refund and the gateway: sent, looked up, sent again under the same key (decisions 2, 5).

Rules a change must keep: a refund that may have been sent is looked up before it is sent again,
where the gateway can be asked; within a key's life it is sent under that key and no other; past it
only what is known to be absent is sent; an answer that never came is never taken for a refusal;
what may not have gone out yet is not sent while something stands in its way, and not at all once a
dispute has taken the money.
"""

from typing import Final

from caas.billing_database.payments import Payment
from caas.billing_database.refunds import Refund
from caas.billing_database.refunds import Refunds as RefundRows
from caas.external_systems.http_answers import GatewayFailure, RefusedByPartnerError
from caas.external_systems.payment_gateway import GatewayRefund, PaymentGateway, RefundStatus
from caas.open_work import Again
from caas.payment_processing.flow import Alert
from caas.payment_processing.gateway_calls import KeyLifetime, Refused, Unanswered, key_of, persist
from caas.payment_processing.strange_refunds import StrangeRefunds, listed_id
from caas.rules.pace import Pace

REFUND: Final = "refund"
ASK_AGAIN_SECONDS_MIN: Final = 1.0
ASK_AGAIN_SECONDS_MAX: Final = 30.0
QUIESCENCE_SECONDS: Final = 60.0
UNKNOWN: Final = "refund_outcome_unknown"
REFUSES: Final = "gateway_refuses"
ACCESS_REFUSED: Final = frozenset({401, 403})

Told = GatewayRefund | Refused | Again
"""The gateway's word on a refund, its refusal, or when to ask again."""


class RefundCalls:
    """Asks the gateway for refunds and about refunds."""

    def __init__(
        self,
        gateway: PaymentGateway,
        rows: RefundRows,
        strange: StrangeRefunds,
        *,
        pace: Pace,
        alert: Alert,
    ) -> None:
        """Ask this gateway; `alert` is told of what nobody knows."""
        self._gateway = gateway
        self._rows = rows
        self._strange = strange
        self._pace = pace
        self._alert = alert

    async def send(self, payment: Payment, refund: Refund) -> Told:
        """Ask for a refund; only what was never sent, or is safe to be sent twice, comes here."""
        assert payment.gateway_transaction_id is not None, "what was settled has an id"
        transaction_id = payment.gateway_transaction_id
        key = key_of(payment.id, f"{REFUND}:{refund.id}", issue=refund.issue)
        answer = await persist(
            lambda: self._gateway.refund(transaction_id, refund.amount, refund.reason, key=key),
            pace=self._pace,
            maybe_sent=refund.outcome == "unknown",
            key_lifetime=KeyLifetime.of(self._gateway.capabilities),
        )
        match answer:
            case Unanswered():
                return await self._unanswered(payment, refund, answer.because)
            case Refused(error) if error.status in ACCESS_REFUSED:
                await self._alert(REFUSES, payment.id, error.sentence)
                return ask_again(refund, self._pace, error.sentence)
            case Refused(error) if answer.maybe_done:
                return await self._unanswered(payment, refund, error.sentence)
            case Refused():
                return await self._refused(payment, refund, answer)
            case told:
                await self._rows.set(refund.id, "sent", gateway_refund_id=told.id)
                return told

    async def _refused(self, payment: Payment, refund: Refund, answer: Refused) -> Told:
        """Believe a refusal of what the gateway does not have: some have it, and say no."""
        try:
            made, _ = await self._strange.found(payment, refund)
        except GatewayFailure as failure:
            return await self._unanswered(payment, refund, failure.sentence)
        if made is None:
            return answer
        await self._rows.set(refund.id, "sent", gateway_refund_id=listed_id(made))
        return made

    async def ask(self, payment: Payment, refund: Refund) -> Told:
        """Say how far a refund is that was sent, or may have been."""
        if not self._gateway.capabilities.lookup_of_refunds:
            return await self._ask_otherwise(payment, refund)
        assert payment.gateway_transaction_id is not None, "what was settled has an id"
        try:
            known = await self._gateway.find_refunds(payment.gateway_transaction_id)
        except RefusedByPartnerError:
            return await self._ask_otherwise(payment, refund)
        except GatewayFailure as failure:
            return await self._unanswered(payment, refund, failure.sentence)
        if refund.gateway_refund_id is not None:
            told = next((one for one in known if one.id == refund.gateway_refund_id), None)
            return told or ask_again(refund, self._pace, "the gateway does not know the refund")
        told = await self._adopted(payment, refund, known)
        if told is not None:
            return told
        return await self._absent(payment, refund)

    async def _absent(self, payment: Payment, refund: Refund) -> Told:
        """The gateway has no such refund: the same key again; after a quiet time, the next one.

        The key of a new issue is sent once and only after nothing was sent for a while, so that
        what was under way under the old one has arrived by then.
        """
        waits = await self._waits(payment, refund)
        if waits is not None:
            return waits
        is_quiet = refund.unmoved_seconds >= self._pace.seconds(QUIESCENCE_SECONDS)
        if not is_quiet and refund.issue == 1 and self._key_is_alive(refund):
            return await self.send(payment, refund)
        if not is_quiet:
            return ask_again(refund, self._pace, "the gateway knows nothing of it yet")
        if refund.issue == 1:
            await self._rows.next_issue(refund.id)
            return Again(QUIESCENCE_SECONDS, "it is absent; its next key waits for silence")
        await self._rows.next_issue(refund.id)
        return await self.send(payment, refund)

    async def _waits(self, payment: Payment, refund: Refund) -> Told | None:
        """Hold back what the gateway does not have; call it off once a dispute took the money."""
        obstacle = await self._rows.obstacle(payment.id)
        if obstacle is not None:
            return ask_again(refund, self._pace, obstacle)
        disputes = await self._rows.disputes_of(payment.id)
        if not any(it.state == "lost" and it.excess > 0 for it in disputes):
            return None
        if refund.unmoved_seconds < self._pace.seconds(QUIESCENCE_SECONDS):
            return ask_again(
                refund, self._pace, "a dispute took the money; the refund may be under way"
            )
        return GatewayRefund(
            id=f"absent:{refund.id}",
            transaction_id=payment.gateway_transaction_id or "",
            amount=refund.amount,
            status=RefundStatus.FAILED,
        )

    async def _ask_otherwise(self, payment: Payment, refund: Refund) -> Told:
        """Without a list of refunds the transaction's own total says that all are through."""
        assert payment.gateway_transaction_id is not None, "what was settled has an id"
        try:
            transaction = await self._gateway.find(payment.gateway_transaction_id)
        except GatewayFailure as failure:
            return await self._unanswered(payment, refund, failure.sentence)
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

    async def _send_blind(self, payment: Payment, refund: Refund) -> Told:
        """No lookup to be had: the same key answers with how far it is, while it lives."""
        obstacle = await self._rows.obstacle(payment.id)
        if obstacle is not None:
            return ask_again(refund, self._pace, obstacle)
        if self._key_is_alive(refund):
            return await self.send(payment, refund)
        because = "A refund can neither be looked up nor be sent again; its key is forgotten."
        return await self._unanswered(payment, refund, because)

    async def _adopted(
        self, payment: Payment, refund: Refund, known: tuple[GatewayRefund, ...]
    ) -> GatewayRefund | None:
        """Find, among what the gateway has, the refund whose id never reached us."""
        ours = {one.gateway_refund_id for one in await self._rows.of_payment(payment.id)}
        for told in known:
            if told.id not in ours and told.amount == refund.amount:
                await self._rows.set(refund.id, "sent", gateway_refund_id=told.id)
                return told
        return None

    async def _unanswered(self, payment: Payment, refund: Refund, because: str) -> Again:
        if refund.outcome == "known" and refund.gateway_refund_id is None:
            await self._rows.set(refund.id, "sent", outcome="unknown")
            await self._alert(UNKNOWN, payment.id, because)
        return ask_again(refund, self._pace, because)

    def _key_is_alive(self, refund: Refund) -> bool:
        """Whether the gateway still remembers the key, by the age of the refund or of its issue."""
        age = refund.age_seconds if refund.issue == 1 else refund.unmoved_seconds
        return KeyLifetime.of(self._gateway.capabilities).covers(age)


def ask_again(refund: Refund, pace: Pace, because: str) -> Again:
    """Ask again after as long as the refund has waited: within seconds at first, then slower."""
    waited = refund.unmoved_seconds / pace.seconds(1.0)
    return Again(min(max(waited, ASK_AGAIN_SECONDS_MIN), ASK_AGAIN_SECONDS_MAX), because)

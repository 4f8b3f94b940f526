"""Authorizing a charge: the gateway holds the funds, or it does not (Diagrams 2 to 6).

This module decides what a gateway's answer means for a pending payment, whether it came from the
call, a lookup, a webhook or a settlement line.

Rules a change must keep: the intent is committed before the call and its outcome after it; only
evidence fails a payment, and "never sent" is evidence only while no other worker has the job; an
code without a class decides nothing; a payment follows the transaction it has chosen, and
reports of any other transaction go to compensation.
"""

from typing import Final, assert_never

import msgspec

from caas.billing_database.gateway_calls import REFUSES
from caas.billing_database.payments import OPENED, Payment
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.transitions import NewJob, transition_of
from caas.external_systems.http_answers import GatewayFailure
from caas.external_systems.payment_gateway import (
    CaptureMode,
    ChargeTerms,
    GatewayTransaction,
    Initiator,
    TransactionRequest,
    TransactionStatus,
)
from caas.payment_processing.flow import Alert, Flow
from caas.payment_processing.gateway_calls import (
    AUTHORIZE,
    NO_PATIENCE,
    PROBE,
    KeyLifetime,
    NoAnswer,
    Refused,
    call_with_retry,
    key_of,
)
from caas.payment_processing.gateway_change import GatewayChange
from caas.payment_processing.gateways import Gateways
from caas.payment_processing.transaction_selection import DEAD, TransactionSelection, is_sibling
from caas.payment_processing.transitions import ENDED, ChargeTransitions
from caas.rules import postings
from caas.rules.payment_failures import (
    ABANDONED,
    AMOUNT_REFUSALS,
    AMOUNT_TOO_SMALL,
    NotSentConsequence,
    code_of_refusal,
    not_sent_consequence,
)
from caas.rules.payment_states import AnyEvent, BeyondEvent, PaymentEvent, PaymentState, Remark
from caas.rules.refusal_codes import RefusalClass, refusal_class
from caas.rules.retry_strategy import spelling
from caas.rules.time_scale import TimeScale

HOSTED_PAGE_PROBE_SECONDS: Final = 30.0
LOOKS_MAX: Final = 5
NEVER_REACHED: Final = "gateway_unreachable"
AMOUNT_REFUSED: Final = "amount_refused"
REFUSED_BUT_NOT_DECLINED: Final = "refused_without_decline"


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """The facts before an attempt: earlier tries, the issue of the key, the job's fence.

    `fence` is that of the job that makes the attempt; 0 is the process that accepted the payment.
    `description` is what is bought; without it the intent is read again.
    """

    earlier_tries: int = 0
    maybe_sent: bool = False
    issue: int = 1
    fence: int = 0
    description: str | None = None


FIRST_ATTEMPT: Final = Attempt()


class Authorization:
    """Authorizes payments at the gateway and applies the answer."""

    def __init__(
        self,
        tables: BillingDatabase,
        gateways: Gateways,
        transitions: ChargeTransitions,
        selection: TransactionSelection,
        *,
        time_scale: TimeScale,
        alert: Alert,
    ) -> None:
        self._tables = tables
        self._gateways = gateways
        self._transitions = transitions
        self._selection = selection
        self._gateway_change = GatewayChange(tables, gateways, transitions)
        self._time_scale = time_scale
        self._alert = alert

    async def process_payment(
        self,
        payment: Payment,
        flow: Flow,
        *,
        patience_seconds: float = NO_PATIENCE,
        attempt: Attempt = FIRST_ATTEMPT,
    ) -> Payment:
        """Authorize a pending payment at the gateway and apply the answer (Diagrams 2-6)."""
        assert payment.state is PaymentState.PENDING, "only an intent that is committed is sent"
        request = await self._request(payment, flow, attempt)
        key = key_of(payment.id, AUTHORIZE, issue=attempt.issue)
        gateway = self._gateways.of(payment)
        in_doubt = attempt.maybe_sent or attempt.issue > 1
        elsewhere = None if in_doubt else self._gateway_change.fallback_of(payment)

        async def doubt(because: str) -> None:
            nonlocal in_doubt, payment
            if not in_doubt:
                await self._selection.watch_for_siblings(payment)
            in_doubt = True
            payment = await self._transitions.record_no_answer(payment, AUTHORIZE, because)

        if in_doubt:
            await self._selection.watch_for_siblings(payment)
        answer = await call_with_retry(
            lambda: gateway.initiate(request, key=key),
            time_scale=self._time_scale,
            patience_seconds=patience_seconds,
            waits_for_connection=elsewhere is None,
            earlier_tries=attempt.earlier_tries,
            maybe_sent=attempt.maybe_sent,
            key_lifetime=KeyLifetime.of(gateway.capabilities),
            on_unknown=doubt,
        )
        match answer:
            case NoAnswer():
                if elsewhere is not None and (
                    moved := await self._gateway_change.change(
                        payment, elsewhere, answer, fence=attempt.fence
                    )
                ):
                    return await self.process_payment(
                        moved, flow, patience_seconds=answer.patience_seconds, attempt=attempt
                    )
                return await self._authorization_without_answer(payment, flow, answer, attempt)
            case Refused():
                return await self._authorization_refused(payment, flow, answer, attempt)
            case transaction:
                return await self._answered(payment, transaction, flow, in_doubt=in_doubt)

    async def _request(self, payment: Payment, flow: Flow, attempt: Attempt) -> TransactionRequest:
        described = attempt.description
        if described is None:
            described = await self._tables.payments.description(payment.id)
        terms = await flow.terms(payment)
        return _request_for(payment, described or f"CaaS {payment.type}", terms)

    async def _answered(
        self, payment: Payment, transaction: GatewayTransaction, flow: Flow, *, in_doubt: bool
    ) -> Payment:
        """Apply an answer; a decline of one attempt proves nothing about earlier attempts."""
        if in_doubt:
            try:
                transaction = await self._selection.live_transaction(payment, transaction)
            except GatewayFailure as failure:
                return await self._transitions.leave_unknown(payment, AUTHORIZE, failure.sentence)
        return await self.authorization_answered(payment, transaction, flow, source="gateway")

    async def authorization_answered(
        self, payment: Payment, transaction: GatewayTransaction, flow: Flow, *, source: str
    ) -> Payment:
        """Apply what the gateway reports of a pending payment's transaction.

        The payment chooses this transaction, unless it has chosen another by then.
        """
        assert payment.state is PaymentState.PENDING, "later answers are late outcomes"
        transitioned = False
        for _ in range(LOOKS_MAX):
            if transitioned or payment.state is not PaymentState.PENDING:
                break
            if is_sibling(payment, transaction.id):
                break
            payment, transitioned = await self._follow(payment, transaction, flow, source=source)
        unwanted = payment.state in ENDED and not transitioned
        if (unwanted or is_sibling(payment, transaction.id)) and transaction.status not in DEAD:
            await self._transitions.record_late_outcome(payment, transaction.id)
        return payment

    async def _follow(
        self, payment: Payment, transaction: GatewayTransaction, flow: Flow, *, source: str
    ) -> tuple[Payment, bool]:
        """Apply a transaction's status to a pending payment; False if it changed meanwhile."""
        match transaction.status:
            case TransactionStatus.REQUIRES_ACTION | TransactionStatus.PENDING:
                return await self._still_open(payment, transaction, flow)
            case TransactionStatus.FAILED:
                return await self._declined(payment, transaction, flow, source=source)
            case TransactionStatus.VOIDED:
                return await self._fail(
                    payment, BeyondEvent.CUSTOMER_ABANDONS, flow, ABANDONED, _own_id(transaction)
                )
            case TransactionStatus.SETTLEMENT_FAILED | TransactionStatus.REFUNDED:
                because = f"The gateway says {transaction.status}; it was not captured here."
                return await self._transitions.leave_unknown(payment, AUTHORIZE, because), True
            case (
                TransactionStatus.AUTHORIZED
                | TransactionStatus.CAPTURING
                | TransactionStatus.SETTLED
            ):
                return await self._funds_reserved(payment, transaction, flow, source=source)
            case _:
                assert_never(transaction.status)

    async def fail(
        self,
        payment: Payment,
        event: AnyEvent,
        flow: Flow,
        code: str,
        transaction_id: str | None = None,
        **facts: object,
    ) -> Payment:
        """Fail a payment that is known not to be charged (Diagram 7 follows)."""
        return (await self._fail(payment, event, flow, code, transaction_id, **facts))[0]

    async def _fail(
        self,
        payment: Payment,
        event: AnyEvent,
        flow: Flow,
        code: str,
        transaction_id: str | None = None,
        **facts: object,
    ) -> tuple[Payment, bool]:
        step = await flow.on_failed(payment)
        transition = transition_of(
            payment,
            event,
            source="failed",
            if_version=_chosen_at(payment),
            outcome="known",
            decline_code=code,
            facts=facts,
            gateway_transaction_id=transaction_id,
            done=(AUTHORIZE, PROBE),
        )
        after, transitioned = await self._transitions.try_to_apply(payment, transition, step=step)
        return (await flow.advance(after) if transitioned else after), transitioned

    async def _funds_reserved(
        self, payment: Payment, transaction: GatewayTransaction, flow: Flow, *, source: str
    ) -> tuple[Payment, bool]:
        step = await flow.on_authorized(payment)
        transition = transition_of(
            payment,
            PaymentEvent.FUNDS_RESERVED,
            source="authorized",
            if_version=_chosen_at(payment),
            outcome="known",
            facts=_origin(transaction, source),
            gateway_transaction_id=transaction.id,
            capture_before=transaction.capture_before,
            authorized=payment.amount,
            entries=postings.authorized(payment.amount),
            done=(AUTHORIZE, PROBE),
        )
        after, transitioned = await self._transitions.try_to_apply(payment, transition, step=step)
        return (await flow.advance(after) if transitioned else after), transitioned

    async def _declined(
        self, payment: Payment, transaction: GatewayTransaction, flow: Flow, *, source: str
    ) -> tuple[Payment, bool]:
        code = spelling(transaction.decline_code or "")
        found = refusal_class(code)
        if found is None:
            because = f"The gateway says failed with a code nobody knows: {code or 'none'}."
            return await self._undecided(payment, transaction, because), True
        if found is RefusalClass.OURS:
            kind = AMOUNT_REFUSED if code in AMOUNT_REFUSALS else REFUSED_BUT_NOT_DECLINED
            because = f"The gateway says failed ({code}): no bank declined it. Nothing was charged."
            await self._alert(kind, payment.id, because)
        return await self._fail(
            payment, PaymentEvent.GATEWAY_REJECTION, flow, code, _own_id(transaction),
            reported_by=source,
        )  # fmt: skip

    async def _undecided(
        self, payment: Payment, transaction: GatewayTransaction, because: str
    ) -> Payment:
        """Leave the outcome unknown; choose this transaction only if the gateway has no lookup."""
        chosen = None if self._selection.has_lookup(payment) else transaction.id
        return await self._transitions.leave_unknown(
            payment, AUTHORIZE, because, transaction_id=chosen
        )

    async def _still_open(
        self, payment: Payment, transaction: GatewayTransaction, flow: Flow
    ) -> tuple[Payment, bool]:
        must_act = transaction.status is TransactionStatus.REQUIRES_ACTION
        step = await flow.on_requires_action(payment) if must_act else None
        probe = NewJob(PROBE, self._time_scale.seconds(HOSTED_PAGE_PROBE_SECONDS))
        transition = transition_of(
            payment,
            Remark.CUSTOMER_ACTION_REQUIRED if must_act else Remark.GATEWAY_CALLED,
            source=f"{OPENED}{transaction.id if transaction.is_page else transaction.status}",
            if_version=_chosen_at(payment),
            outcome="known",
            gateway_transaction_id=_own_id(transaction),
            hosted_page_url=transaction.hosted_page_url,
            done=(AUTHORIZE,),
            next=(probe,),
        )
        after, transitioned = await self._transitions.try_to_apply(payment, transition, step=step)
        return after, transitioned or after.gateway_transaction_id == transaction.id

    async def _authorization_without_answer(
        self, payment: Payment, flow: Flow, no_answer: NoAnswer, attempt: Attempt
    ) -> Payment:
        in_doubt = no_answer.maybe_sent or payment.outcome == "unknown"
        if no_answer.wait_seconds is not None:
            return await self._transitions.reschedule_authorization(
                payment, no_answer, fence=attempt.fence
            )
        if in_doubt or not await may_fail(payment, flow):
            return await self._transitions.leave_unknown(payment, AUTHORIZE, no_answer.because)
        if not await self._tables.jobs.is_held(AUTHORIZE, payment.id, fence=attempt.fence):
            return await self._transitions.leave_unknown(payment, AUTHORIZE, no_answer.because)
        await self._alert("gateway_unreachable", payment.id, no_answer.because)
        return await self.fail(payment, BeyondEvent.NEVER_SENT, flow, NEVER_REACHED)

    async def _authorization_refused(
        self, payment: Payment, flow: Flow, refused: Refused, attempt: Attempt
    ) -> Payment:
        """Fail a payment that the gateway refuses to process; no card was declined.

        A charge that we start ourselves is sent again later; a month below the gateway's minimum
        is counted in its run, without a case (decision 264). A customer is notified and may pay
        again.
        """
        if refused.maybe_done:
            return await self._transitions.leave_unknown(payment, AUTHORIZE, refused.error.sentence)
        is_a_month = (await flow.terms(payment)).initiator is Initiator.MERCHANT
        if refused.error.refusal in AMOUNT_REFUSALS:
            if not (is_a_month and refused.error.refusal == AMOUNT_TOO_SMALL):
                because = f"{refused.error.sentence} Nothing was charged, and it is not sent again."
                await self._alert(AMOUNT_REFUSED, payment.id, because)
        elif is_a_month:
            await self._alert(REFUSES, payment.id, refused.error.sentence)
            return await self._transitions.reschedule_authorization(
                payment, refused, fence=attempt.fence
            )
        else:
            await self._alert(REFUSES, payment.id, refused.error.sentence)
        code = code_of_refusal(refused.error.refusal)
        return await self.fail(payment, PaymentEvent.GATEWAY_REJECTION, flow, code)


def _chosen_at(payment: Payment) -> int | None:
    """Return the version from which a payment without a transaction may choose one."""
    return payment.version if payment.gateway_transaction_id is None else None


def _origin(transaction: GatewayTransaction, source: str) -> dict[str, object]:
    """Return who reported the held funds, and the token they are held on (decision 44)."""
    if transaction.payment_method is None:
        return {"reported_by": source}
    return {"reported_by": source, "payment_method": transaction.payment_method}


def _own_id(transaction: GatewayTransaction) -> str | None:
    """Return the transaction's id; a page that nothing was paid on has none yet."""
    return None if transaction.is_page else transaction.id


async def may_fail(payment: Payment, flow: Flow) -> bool:
    """Return whether a payment known not to be charged may fail without a decline."""
    fails = not_sent_consequence(payment.type) is NotSentConsequence.FAIL_PAYMENT
    return fails or await flow.is_withdrawn(payment)


def _request_for(payment: Payment, description: str, terms: ChargeTerms) -> TransactionRequest:
    return TransactionRequest(
        reference=str(payment.id),
        amount=payment.amount,
        currency=payment.currency,
        capture=CaptureMode.MANUAL,
        customer_reference=str(payment.customer),
        description=description,
        payment_method=payment.payment_method,
        return_url=payment.return_url,
        terms=terms,
    )

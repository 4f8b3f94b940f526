"""Unknown outcomes: unfinished operations are resumed, timed-out ones looked up.

A payment of unknown outcome keeps its state and is looked up at the gateway, by its id or by our
reference, until there is evidence (decision 3). An operation that another process began is looked
up before it is sent again under the same key. Only proof of absence permits a new key.

Rules a change must keep: time alone never fails a payment of unknown outcome; no vehicle, service
or subscription is taken away meanwhile; past the lifetime of its key nothing is sent again under
it.
"""

from typing import Final
from uuid import UUID

from caas.billing_database.job_rows import Job
from caas.billing_database.payments import Payment
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.transitions import transition_of
from caas.errors import ConflictError
from caas.external_systems.http_answers import (
    GatewayFailure,
    PartlyDoneError,
    RefusedByPartnerError,
)
from caas.external_systems.payment_gateway import (
    GatewayTransaction,
    TransactionStatus,
)
from caas.jobs import Answer, Done, JobQueue, RetryIn
from caas.payment_processing.authorization import NEVER_REACHED, Attempt, may_fail
from caas.payment_processing.charges import Charges
from caas.payment_processing.flow import Flow, Flows
from caas.payment_processing.gateway_calls import (
    AUTHORIZE,
    CAPTURE,
    PROBE,
    VOID,
    KeyLifetime,
)
from caas.payment_processing.gateways import Gateways
from caas.payment_processing.transaction_selection import OPEN_STILL, TAKEN, differences
from caas.rules.payment_failures import NOT_CHARGED
from caas.rules.payment_states import BeyondEvent, PaymentState, Remark
from caas.rules.time_scale import TimeScale

PROBE_SECONDS: Final = 2.0
PROBE_SECONDS_MAX: Final = 30.0
PAGE_PROBE_SECONDS_MAX: Final = 300.0
"""How long a page is left alone; a webhook of the gateway has it looked at earlier."""
QUIESCENCE_SECONDS: Final = 60.0
RETRIES_MAX: Final = 3
"""Attempts of the retry table used up by an unknown outcome: look up before any other."""

UNKNOWN: Final = "unknown"
ABSENT: Final = "absent:"
RELEASED: Final = frozenset({TransactionStatus.VOIDED, TransactionStatus.FAILED})


class OutcomeKnownError(ConflictError):
    """The outcome of this payment is known; there is nothing to ask and nothing to decide."""

    code = "outcome_known"


class UnknownOutcomes:
    """Resumes unfinished operations and resolves unknown outcomes."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        gateways: Gateways,
        charges: Charges,
        flows: Flows,
        time_scale: TimeScale,
    ) -> None:
        self._tables = tables
        self._gateways = gateways
        self._charges = charges
        self._flows = flows
        self._time_scale = time_scale

    def register(self, jobs: JobQueue) -> None:
        """Register the jobs of unfinished operations and of lookups."""
        jobs.register(AUTHORIZE, self._resume_authorization, safety_net=True)
        jobs.register(CAPTURE, self._resume_capture, safety_net=True)
        jobs.register(VOID, self._resume_void, safety_net=True)
        jobs.register(PROBE, self._probe)
        self._charges.selection.register(jobs)

    async def probe_now(self, payment_id: UUID) -> None:
        """Look an unknown outcome up at once.

        Raises:
            PaymentNotFoundError: no payment has this id.
            OutcomeKnownError: the outcome is known.
        """
        payment = await self._tables.payments.get(payment_id)
        if payment.outcome != UNKNOWN:
            raise OutcomeKnownError(payment_id=str(payment_id), state=payment.state.value)
        await self._tables.jobs.add(PROBE, payment_id)

    # -- resuming what another process began -----------------------------------------------------

    async def _resume_authorization(self, job: Job) -> Answer:
        payment = await self._tables.payments.get(job.subject)
        flow = self._flows.of(payment.type)
        if payment.state is not PaymentState.PENDING:
            await flow.advance(payment)
            return Done()
        attempt = await self._attempt(job, payment)
        if not attempt.maybe_sent:
            return await self._send_first(payment, flow, attempt)
        if not self._can_look_up(payment):
            return await self._send_blind(payment, flow, attempt)
        try:
            transaction = await self._charges.selection.look_up(payment)
        except (RefusedByPartnerError, PartlyDoneError):
            return await self._send_blind(payment, flow, attempt)
        except GatewayFailure as failure:
            await self._charges.transitions.leave_unknown(payment, AUTHORIZE, failure.sentence)
            return Done()
        if transaction is not None:
            return await self._follow(job, payment, flow, transaction)
        if self._key_is_alive(payment):
            return await self._send(payment, flow, attempt)
        return await self._absent(job, payment)

    async def _attempt(self, job: Job, payment: Payment) -> Attempt:
        """Return the earlier attempts; a job that was claimed before may have been sent."""
        maybe_sent = (
            job.attempts > 1
            or payment.outcome == UNKNOWN
            or bool(job.payload.get("maybe_sent", True))
        )
        return Attempt(
            earlier_tries=int(job.payload.get("tries", 0)),
            maybe_sent=maybe_sent,
            issue=await self._issue(payment) if maybe_sent else 1,
            fence=job.fence,
        )

    async def _send(self, payment: Payment, flow: Flow, attempt: Attempt) -> Answer:
        await self._charges.authorization.process_payment(payment, flow, attempt=attempt)
        return Done()

    async def _send_first(self, payment: Payment, flow: Flow, attempt: Attempt) -> Answer:
        """Send what was never sent, unless its customer has withdrawn meanwhile."""
        if not await flow.is_withdrawn(payment):
            return await self._send(payment, flow, attempt)
        if await self._tables.jobs.is_held(AUTHORIZE, payment.id, fence=attempt.fence):
            event = BeyondEvent.NEVER_SENT
            await self._charges.authorization.fail(payment, event, flow, NEVER_REACHED)
        return Done()

    async def _send_blind(self, payment: Payment, flow: Flow, attempt: Attempt) -> Answer:
        """Without a lookup, send the same key again while the gateway honours it."""
        if self._key_is_alive(payment):
            return await self._send(payment, flow, attempt)
        because = "It can neither be looked up nor be sent again: its key is forgotten by now."
        await self._charges.transitions.leave_unknown(payment, AUTHORIZE, because)
        return Done()

    async def _resume_capture(self, job: Job) -> Answer:
        payment = await self._tables.payments.get(job.subject)
        if payment.state is not PaymentState.CAPTURING:
            return Done()
        attempt, looks = _repeated(job)
        found = await self._found(payment) if looks else None
        if found is not None and found.status in TAKEN:
            await self._charges.capture.capture_accepted(payment)
        else:
            await self._charges.capture.send_capture(payment, looks=looks, **attempt)
        return Done()

    async def _resume_void(self, job: Job) -> Answer:
        payment = await self._tables.payments.get(job.subject)
        if payment.state is not PaymentState.AUTHORIZED:
            return Done()
        attempt, looks = _repeated(job)
        found = await self._found(payment) if looks else None
        if found is not None and found.status in RELEASED | TAKEN:
            await self._resolve_void(payment, found, attempt["issue"])
        else:
            await self._charges.void.send_void(payment, looks=looks, **attempt)
        return Done()

    async def _found(self, payment: Payment) -> GatewayTransaction | None:
        """Look up an accepted operation; no answer shows nothing, and it is asked for again."""
        try:
            return await self._charges.selection.look_up(payment)
        except GatewayFailure:
            return None

    # -- resolving what is unknown ---------------------------------------------------------------

    async def _probe(self, job: Job) -> Answer:
        payment = await self._tables.payments.get(job.subject)
        match payment.state:
            case PaymentState.PENDING:
                return await self._resolve_pending(job, payment, self._flows.of(payment.type))
            case PaymentState.CAPTURING if payment.outcome == "unknown":
                return await self._resolve(job, payment, CAPTURE)
            case PaymentState.AUTHORIZED if payment.outcome == "unknown":
                return await self._resolve(job, payment, VOID)
            case _:
                await self._charges.transitions.close_if_known(payment)
                return Done()

    async def _resolve_pending(self, job: Job, payment: Payment, flow: Flow) -> Answer:
        if not self._can_look_up(payment):
            return await self._resolve_blind(job, payment, flow)
        try:
            transaction = await self._charges.selection.look_up(payment)
        except (RefusedByPartnerError, PartlyDoneError):
            return await self._resolve_blind(job, payment, flow)
        except GatewayFailure as failure:
            return again(job, failure.sentence)
        if transaction is None:
            return await self._absent(job, payment)
        return await self._follow(job, payment, flow, transaction)

    async def _resolve_blind(self, job: Job, payment: Payment, flow: Flow) -> Answer:
        """Without a lookup, send the same key again; past its lifetime, wait for other evidence."""
        if not self._key_is_alive(payment):
            sentence = "It can neither be looked up nor be sent again."
            await self._charges.selection.open_contradiction(payment, sentence)
            return again(job, "a webhook, the settlement report or two people must tell")
        attempt = Attempt(maybe_sent=True, issue=await self._issue(payment), fence=job.fence)
        after = await self._charges.authorization.process_payment(payment, flow, attempt=attempt)
        if after.state is PaymentState.PENDING and after.outcome == "known":
            return again(job, "the customer has not paid yet", PAGE_PROBE_SECONDS_MAX)
        return Done()

    async def _follow(
        self, job: Job, payment: Payment, flow: Flow, transaction: GatewayTransaction
    ) -> Answer:
        different = differences(payment, transaction)
        if different:
            await self._charges.selection.open_contradiction(
                payment, f"It says {', '.join(different)}."
            )
            return again(job, "the gateway contradicts what was asked")
        if transaction.status in OPEN_STILL and payment.gateway_transaction_id:
            return again(job, f"the gateway says {transaction.status}")
        if transaction.is_page and transaction.hosted_page_url == payment.hosted_page_url:
            return again(job, "the customer has not paid yet", PAGE_PROBE_SECONDS_MAX)
        after = await self._charges.authorization.authorization_answered(
            payment, transaction, flow, source="lookup"
        )
        still_unknown = after.state is PaymentState.PENDING and after.outcome == "unknown"
        return again(job, "the gateway's answer decides nothing") if still_unknown else Done()

    async def _absent(self, job: Job, payment: Payment) -> Answer:
        """Treat an absent payment as not charged, after a quiet time (fault F-G5)."""
        if payment.unmoved_seconds < self._time_scale.seconds(QUIESCENCE_SECONDS):
            return again(job, "the gateway knows nothing of it yet")
        if not await self.not_charged(payment, BeyondEvent.NEVER_SENT, fence=job.fence):
            return again(job, "another process resolved it")
        return Done()

    async def not_charged(
        self, payment: Payment, event: BeyondEvent, *, fence: int = 0, **facts: object
    ) -> bool:
        """Apply proof that there was no charge: fail, or resend what only a decline may fail.

        False if the payment changed meanwhile.
        """
        flow = self._flows.of(payment.type)
        if await may_fail(payment, flow):
            code = NEVER_REACHED if event is BeyondEvent.NEVER_SENT else NOT_CHARGED
            after = await self._charges.authorization.fail(
                payment, event, flow, code, None, **facts
            )
            return after.state is PaymentState.FAILED
        issue = 1 + await self._issue(payment)
        remark = transition_of(
            payment,
            Remark.GATEWAY_CALLED,
            source=f"{ABSENT}{issue}",
            if_version=payment.version,
            outcome="known",
            facts={"absence_proved": True, "next_issue": issue, **facts},
        )
        payment, is_ours = await self._charges.transitions.try_to_apply(payment, remark)
        if not is_ours or payment.state is not PaymentState.PENDING:
            return False
        await self._send(payment, flow, Attempt(issue=issue, fence=fence))
        return True

    async def _resolve(self, job: Job, payment: Payment, operation: str) -> Answer:
        """Look up a capture or void of unknown outcome, then finish what was claimed."""
        try:
            transaction = await self._charges.selection.look_up(payment)
        except GatewayFailure as failure:
            return again(job, failure.sentence)
        if transaction is None:
            await self._charges.selection.open_contradiction(
                payment, "It knows nothing of what it had authorized."
            )
            return again(job, "the gateway lost the transaction")
        issue = int(job.payload.get("issue", 1)) + 1  # the last key had no answer and no effect
        if operation == VOID:
            await self._resolve_void(payment, transaction, issue)
        elif transaction.status in TAKEN:
            await self._charges.capture.capture_accepted(payment)
        else:
            await self._charges.capture.send_capture(
                payment, issue=issue, earlier_tries=RETRIES_MAX
            )
        return Done()

    async def _resolve_void(
        self, payment: Payment, transaction: GatewayTransaction, issue: int
    ) -> None:
        match transaction.status:
            case status if status in RELEASED:
                await self._charges.void.voided(payment)
            case status if status in TAKEN:
                await self._charges.void.captured_instead(payment)
            case _:
                await self._charges.void.send_void(payment, issue=issue, earlier_tries=RETRIES_MAX)

    def _can_look_up(self, payment: Payment) -> bool:
        known = payment.gateway_transaction_id is not None
        return known or self._charges.selection.has_lookup(payment)

    def _key_is_alive(self, payment: Payment) -> bool:
        """Return whether the gateway still honours the payment's key."""
        return KeyLifetime.of(self._gateways.of(payment).capabilities).covers(payment.age_seconds)

    async def _issue(self, payment: Payment) -> int:
        events = await self._tables.payments.timeline(payment.id)
        return 1 + sum(event.source.startswith(ABSENT) for event in events)


def _repeated(job: Job) -> tuple[dict[str, int], int]:
    """Return the earlier attempts of a capture or void, and the lookups since it was accepted."""
    tries, issue = int(job.payload.get("tries", 0)), int(job.payload.get("issue", 1))
    return {"earlier_tries": tries, "issue": issue}, int(job.payload.get("looks", 0))


def again(job: Job, because: str, seconds_max: float = PROBE_SECONDS_MAX) -> RetryIn:
    """Return that a job runs again, each time after twice as long."""
    wait = min(PROBE_SECONDS * 2.0 ** min(job.attempts - 1, 10), seconds_max)
    return RetryIn(wait, because)

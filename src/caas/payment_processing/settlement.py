"""Settlement: what the gateway reports hours or days later (Diagram 4, lower half).

Webhooks are a hint and polling is the guarantee. Both end in one function that compares the
gateway's transaction with the payment's state; the same reports in any order and number end in the
same state and the same ledger.

Rules a change must keep: id, amount and currency must be the payment's, otherwise nothing is
applied and a case is opened (decision 32); a report that cannot be applied yet is retried; a report
about a payment that ended is looked up before anything is done (decision 10); a report of a
sibling, a second transaction of a payment, only leads to that sibling's compensation; a webhook of
another gateway than the payment's changes nothing (decision 199).
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.job_rows import Job
from caas.billing_database.payments import Payment, PaymentNotFoundError, TimelineEvent
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.webhook_inbox import InboxRow
from caas.errors import ConflictError
from caas.external_systems.gateway_fraud_warnings import FraudWarning
from caas.external_systems.gateway_modifications import GatewayRefusal
from caas.external_systems.gateway_payouts import GatewayPayout
from caas.external_systems.http_answers import GatewayFailure
from caas.external_systems.payment_gateway import (
    GatewayDispute,
    GatewayEvent,
    GatewayHint,
    GatewayRefund,
    GatewayTransaction,
    TransactionStatus,
)
from caas.external_systems.report_announcements import AnnouncedReport
from caas.jobs import Answer, Done, JobQueue, Pause, RetryIn
from caas.payment_processing.charges import DEFAULT_POLLS, Charges
from caas.payment_processing.compensation import Compensation
from caas.payment_processing.flow import Alert, Flows
from caas.payment_processing.gateway_calls import POLL_SETTLEMENT, PROBE
from caas.payment_processing.gateways import Gateways
from caas.payment_processing.outgoing_money import APPLY_WEBHOOK, OutgoingMoney
from caas.payment_processing.settlement_outcomes import Applied, SettlementOutcomes
from caas.payment_processing.settlement_polling import SettlementPolling
from caas.payment_processing.transaction_selection import (
    CONTRADICTION,
    DEAD,
    differences,
    is_sibling,
)
from caas.payment_processing.transitions import ACCEPTED
from caas.rules.payment_states import PaymentState, Remark
from caas.rules.settlement_dates import PollTerms
from caas.rules.time_scale import TimeScale

STRANGER_SECONDS: Final = 5.0
STRANGER_ATTEMPTS_MAX: Final = 10
LOOKS_MAX: Final = 5
LATER_SECONDS: Final = 5.0
LATER_SECONDS_MAX: Final = 300.0

Notice = AnnouncedReport | FraudWarning | GatewayPayout
"""What a webhook says that is about no payment, or moves none."""
MONEY_TAKEN: Final = frozenset({TransactionStatus.CAPTURING, TransactionStatus.SETTLED})
HELD_OR_TAKEN: Final = MONEY_TAKEN | {TransactionStatus.AUTHORIZED}


class NothingCapturedError(ConflictError):
    """Nothing was authorized for this payment, so nothing of it can be settled."""

    code = "nothing_captured"


class SettlementNotice(msgspec.Struct, frozen=True, kw_only=True):
    """The bank's report on one payment; `settled_amount` is the total so far, in minor units."""

    settlement_id: str
    settled: bool
    settled_amount: int
    currency: str


class Settlement:
    """Applies the gateway's reports to payments."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        gateways: Gateways,
        charges: Charges,
        flows: Flows,
        alert: Alert,
        time_scale: TimeScale,
        on_refund: Callable[[str, GatewayRefund], Awaitable[Answer]],
        on_dispute: Callable[[str, GatewayDispute, datetime], Awaitable[Answer]],
        on_notice: Callable[[str, Notice, int], Awaitable[Answer]],
        polls: PollTerms = DEFAULT_POLLS,
    ) -> None:
        self._tables = tables
        self._gateways = gateways
        self._charges = charges
        self._flows = flows
        self._on_refund = on_refund
        self._on_dispute = on_dispute
        self._on_notice = on_notice
        self._polling = SettlementPolling(polls, time_scale=time_scale)
        self._bank = SettlementOutcomes(
            tables,
            charges.transitions,
            alert=alert,
            first_poll_seconds=time_scale.seconds(polls.wait_before(0)),
        )
        self._compensation = Compensation(
            tables=tables, gateways=gateways, transitions=charges.transitions,
            selection=charges.selection, alert=alert, time_scale=time_scale,
        )  # fmt: skip
        self._outgoing = OutgoingMoney(tables)

    def register(self, jobs: JobQueue) -> None:
        """Register the jobs of stored webhooks and of settlement polling."""
        jobs.register(APPLY_WEBHOOK, self._apply_webhook)
        jobs.register(POLL_SETTLEMENT, self._poll)
        self._compensation.register(jobs)

    async def record_settlement(self, payment_id: UUID, notice: SettlementNotice) -> Payment:
        """Update settlement status (the seed's recordSettlement); the same notice counts once.

        Raises:
            NothingCapturedError: the gateway holds nothing for this payment yet.
        """
        payment = await self._tables.payments.get(payment_id)
        if payment.gateway_transaction_id is None:
            raise NothingCapturedError(payment_id=str(payment_id))
        transaction = GatewayTransaction(
            id=payment.gateway_transaction_id,
            reference=str(payment.id),
            status=TransactionStatus.SETTLED
            if notice.settled
            else TransactionStatus.SETTLEMENT_FAILED,
            amount=payment.amount,
            currency=notice.currency,
            settled_amount=notice.settled_amount,
        )
        return await self.on_event(
            payment, transaction, source=f"settlement:{notice.settlement_id}"
        )

    async def on_event(
        self, payment: Payment, transaction: GatewayTransaction, *, source: str
    ) -> Payment:
        """Apply the gateway's report of a payment's transaction."""
        return (await self._apply_report(payment, transaction, source=source))[0]

    async def _apply_report(
        self, payment: Payment, transaction: GatewayTransaction, *, source: str
    ) -> Applied:
        """Apply a report; retry if the payment changed meanwhile."""
        applied = False
        for _ in range(LOOKS_MAX):
            if await self._contradicts(payment, transaction):
                return payment, True
            payment, applied = await self._follow(payment, transaction, source=source)
            if applied or payment.state is PaymentState.REFUNDING:
                break
            payment = await self._tables.payments.get(payment.id)
        return payment, applied

    async def _follow(
        self, payment: Payment, transaction: GatewayTransaction, *, source: str
    ) -> Applied:
        match payment.state:
            case PaymentState.PENDING:
                return await self._on_pending(payment, transaction, source=source)
            case PaymentState.AUTHORIZED:
                return await self._on_authorized(payment, transaction)
            case PaymentState.CAPTURING:
                return await self._on_capturing(payment, transaction, source=source)
            case PaymentState.SETTLED | PaymentState.REFUNDING | PaymentState.REFUNDED:
                if transaction.status is TransactionStatus.SETTLEMENT_FAILED:
                    return await self._bank.reverse(payment, source=source)
            case PaymentState.FAILED | PaymentState.VOIDED:
                if transaction.status in HELD_OR_TAKEN:
                    await self._charges.transitions.record_late_outcome(payment, transaction.id)
            case PaymentState.SETTLEMENT_FAILED:
                return await self._on_lost(payment, transaction, source=source)
            case _:
                pass
        return payment, True

    async def _contradicts(self, payment: Payment, transaction: GatewayTransaction) -> bool:
        """Return whether a report is of another transaction; a sibling is compensated."""
        different = differences(payment, transaction)
        if different:
            await self._tables.cases.open(
                CONTRADICTION,
                payment.id,
                f"The gateway says {', '.join(different)}; nothing was applied.",
            )
            return True
        sibling = is_sibling(payment, transaction.id)
        if sibling and transaction.status not in DEAD:
            await self._charges.transitions.record_late_outcome(payment, transaction.id)
        return sibling

    async def _on_pending(
        self, payment: Payment, transaction: GatewayTransaction, *, source: str
    ) -> Applied:
        """Apply a report to a payment that may not have chosen its transaction yet."""
        if not transaction.id:  # a settlement line that names none
            await self._tables.jobs.add(PROBE, payment.id)
            return payment, True
        try:
            transaction = await self._charges.selection.live_transaction(payment, transaction)
        except GatewayFailure:
            return payment, False
        after = await self._charges.authorization.authorization_answered(
            payment, transaction, self._flows.of(payment.type), source=source
        )
        return after, _is_no_further(payment, transaction, after)

    async def _on_authorized(self, payment: Payment, transaction: GatewayTransaction) -> Applied:
        if transaction.status is TransactionStatus.VOIDED:
            if await self._void_is_claimed(payment):
                return await self._charges.void.voided(payment), True
            flow = self._flows.of(payment.type)
            return await flow.void(payment, "voided at the gateway"), True
        if transaction.status in MONEY_TAKEN and not await self._void_is_claimed(payment):
            await self._tables.cases.open(
                "captured_without_us",
                payment.id,
                "The gateway captured a payment whose delivery is not confirmed; it will be "
                "committed if the delivery is confirmed and given back if it is not.",
            )
        return payment, True

    async def _void_is_claimed(self, payment: Payment) -> bool:
        events = await self._tables.payments.timeline(payment.id)
        return any(event.event == Remark.VOID_REQUESTED for event in events)

    async def _on_capturing(
        self, payment: Payment, transaction: GatewayTransaction, *, source: str
    ) -> Applied:
        match transaction.status:
            case TransactionStatus.CAPTURING:
                return await self._charges.capture.capture_reported(payment), True
            case TransactionStatus.SETTLED | TransactionStatus.REFUNDED:
                return await self._bank.confirms(payment, transaction.settled_amount, source=source)
            case TransactionStatus.SETTLEMENT_FAILED:
                return await self._bank.rejects(payment, source=source)
            case _:
                return payment, True

    async def _on_lost(
        self, payment: Payment, transaction: GatewayTransaction, *, source: str
    ) -> Applied:
        """Look up a report of settled money for a booked loss: it may be older than the loss."""
        if transaction.status is not TransactionStatus.SETTLED:
            return payment, True
        try:
            now = await self._gateways.of(payment).find(transaction.id)
        except GatewayFailure:
            return payment, False
        if now is None or now.status is not TransactionStatus.SETTLED:
            return payment, True
        return await self._bank.confirms_after_all(payment, now.settled_amount, source=source)

    # -- how the gateway's reports arrive --------------------------------------------------------

    async def _apply_webhook(self, job: Job) -> Answer:
        row = await self._tables.webhooks.get(job.subject)
        event = self._gateways.named(row.gateway).read_event(row.body)
        if event is None:
            return Done()  # it is not about a payment
        if isinstance(event.subject, Notice):
            return await self._on_notice(row.gateway, event.subject, job.attempts)
        payment = await self._payment_of(event.subject.reference)
        if payment is not None and payment.gateway != row.gateway:
            return Pause(_of_another_gateway(row, payment))
        if isinstance(event.subject, GatewayRefund | GatewayDispute):
            answer = await self._apply_outgoing(job, row.gateway, event)
            return await self._outgoing.followed(job, answer)
        if payment is None:
            return _for_a_while(job, RetryIn(STRANGER_SECONDS, "its payment is not known here"))
        if isinstance(event.subject, GatewayHint):
            return await self._look_up(payment)
        if isinstance(event.subject, GatewayRefusal):
            return await self._refused_later(payment, event.subject)
        _, applied = await self._apply_report(
            payment, event.subject, source=f"webhook:{row.event_id}"
        )
        return Done() if applied else _later(job)

    async def _apply_outgoing(self, job: Job, gateway: str, event: GatewayEvent) -> Answer:
        """Apply a gateway's report of a refund or dispute."""
        match event.subject:
            case GatewayRefund() as refund:
                applied = self._on_refund(gateway, refund)
                return await self._or_compensated(job, gateway, refund, applied)
            case GatewayDispute() as dispute:
                applied = self._on_dispute(gateway, dispute, event.occurred_at)
                return await self._or_compensated(job, gateway, dispute, applied)
            case _:
                raise AssertionError("only refunds and disputes move money out")

    async def _look_up(self, payment: Payment) -> Answer:
        """Look a pending payment up at once; later states have lookups of their own."""
        if payment.state is PaymentState.PENDING:
            await self._tables.jobs.add(PROBE, payment.id)
        return Done()

    async def _refused_later(self, payment: Payment, refusal: GatewayRefusal) -> Answer:
        """Apply the refusal of a capture or void that was accepted; what is over is left alone."""
        if not is_sibling(payment, refusal.transaction_id):
            await self._charges.refused_later(payment, refusal, await self._accepted(payment))
        return Done()

    async def _accepted(self, payment: Payment) -> list[TimelineEvent]:
        """Return the events that record what the gateway accepted."""
        events = await self._tables.payments.timeline(payment.id)
        return [event for event in events if event.source.startswith(ACCEPTED)]

    async def _or_compensated(
        self,
        job: Job,
        gateway: str,
        subject: GatewayRefund | GatewayDispute,
        reported: Awaitable[Answer],
    ) -> Answer:
        """Pass a report of an unknown refund or dispute to compensation, if it applies."""
        answer = await reported
        if not isinstance(answer, RetryIn):
            return answer
        disputed = isinstance(subject, GatewayDispute)
        transaction_id = subject.transaction_id
        if await self._compensation.on_report(gateway, transaction_id, disputed=disputed):
            return Done()
        if job.attempts >= STRANGER_ATTEMPTS_MAX and await self._outgoing.open_case(subject):
            return Done()
        return _for_a_while(job, answer)

    async def _payment_of(self, reference: str) -> Payment | None:
        try:
            return await self._tables.payments.get(UUID(reference))
        except (ValueError, PaymentNotFoundError):
            return None

    async def _poll(self, job: Job) -> Answer:
        payment = await self._tables.payments.get(job.subject)
        if payment.state is not PaymentState.CAPTURING:
            return Done()
        assert payment.gateway_transaction_id is not None, "what was captured has an id"
        place = self._polling.place(job)
        if place is not None:
            return place
        try:
            transaction = await self._gateways.of(payment).find(payment.gateway_transaction_id)
        except GatewayFailure as failure:
            return self._polling.again(job, failure.sentence)
        if transaction is None:
            return self._polling.again(job, "the gateway does not know the transaction")
        after = await self.on_event(payment, transaction, source="poll")
        return Done() if after.state is not PaymentState.CAPTURING else self._polling.again(job)


def _of_another_gateway(row: InboxRow, payment: Payment) -> str:
    return (
        f"The gateway '{row.gateway}' reports an event of the payment {payment.id}, which is at "
        f"'{payment.gateway}'. Nothing was applied. Ask '{row.gateway}' why it has our reference."
    )


def _is_no_further(payment: Payment, transaction: GatewayTransaction, after: Payment) -> bool:
    """Return whether the report is fully applied, or the payment can now follow more of it."""
    came_further = after.state is not payment.state
    return not (came_further and transaction.status in MONEY_TAKEN)


def _later(job: Job) -> RetryIn:
    wait = min(LATER_SECONDS * 2.0 ** min(job.attempts - 1, 20), LATER_SECONDS_MAX)
    return RetryIn(wait, "it cannot be followed yet")


def _for_a_while(job: Job, answer: Answer) -> Answer:
    """Retry a report of an unknown payment for a while, then pause it for a person."""
    if not isinstance(answer, RetryIn):
        return answer
    if job.attempts < STRANGER_ATTEMPTS_MAX:
        return RetryIn(answer.due_in * job.attempts, answer.because)
    return Pause(f"A webhook refers to something unknown here: {answer.because}.")

"""Applies decisions on discrepancies to payments, durably and idempotently.

A decision commits its entries together with a job. The actions run at once; the job repeats them if
the process stops in between.

Rules a change must keep: actions are derived from the current decision, not from the job; every
call is idempotent; a refund's idempotency key is derived from the discrepancy.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database import decided_money
from caas.billing_database.connection import Connection
from caas.billing_database.discrepancies import Discrepancies, Discrepancy
from caas.billing_database.job_rows import RELEASED_AFTER, Job
from caas.billing_database.payments import Payment
from caas.billing_database.postponed_jobs import Delay
from caas.billing_database.refunds import Refunds
from caas.billing_database.settlement_reports import SettlementReports, StoredLine
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.transitions import transition_of
from caas.external_systems.http_answers import GatewayFailure, RefusedByPartnerError
from caas.external_systems.payment_gateway import (
    GatewayTransaction,
    RefundStatus,
    TransactionStatus,
)
from caas.jobs import Answer, Done, JobQueue, Pause, RetryIn
from caas.payment_processing.chargeback_lines import ChargebackLines
from caas.payment_processing.charges import Charges
from caas.payment_processing.gateway_calls import (
    CAPTURE,
    POLL_SETTLEMENT,
    PROBE,
    KeyLifetime,
    NoAnswer,
    Refused,
    call_with_retry,
)
from caas.payment_processing.gateways import Gateways
from caas.payment_processing.settlement import Settlement
from caas.payment_processing.settlement_positions import SettlementPositions
from caas.reconciliation.decision_notes import DecisionNotes
from caas.reconciliation.dispute_actions import DisputeActions
from caas.reconciliation.refundable import Refundable
from caas.reconciliation.reinstating import end_what_came
from caas.reconciliation.validation import SETTLED
from caas.rules import postings
from caas.rules.discrepancies import DiscrepancyKind
from caas.rules.payment_states import PaymentEvent, PaymentState
from caas.rules.resolutions import WRITTEN_OFF, Action
from caas.rules.time_scale import TimeScale

APPLY_RESOLUTION: Final = "carry_out_resolution"
AGAIN_SECONDS: Final = 60.0
MONEY_EXPECTED: Final = frozenset(
    {PaymentState.CAPTURING, PaymentState.SETTLED, PaymentState.REFUNDING}
)

NOT_SENT: Final = "not_sent"
TO_ASK_A_PERSON: Final = (
    "The refund may have been sent, and the gateway keeps no "
    "idempotency keys. Check it at the gateway."
)


class Earlier(msgspec.Struct, frozen=True):
    """Whether an earlier attempt may have reached the gateway, and the attempt number.

    A job that a person resumed after checking the gateway counts as not sent.
    """

    may_have_sent: bool
    attempt: int


FIRST: Final = Earlier(may_have_sent=False, attempt=0)

Void = Callable[[UUID, str], Awaitable[object]]
"""Void a payment by its flow (voidPayment)."""


class ResolutionActions:
    """Applies decisions to payments."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        discrepancies: Discrepancies,
        reports: SettlementReports,
        gateways: Gateways,
        settlement: Settlement,
        chargeback_lines: ChargebackLines,
        charges: Charges,
        void: Void,
        time_scale: TimeScale,
    ) -> None:
        """Use these services."""
        self._tables = tables
        self._refunds = Refunds(tables.database)
        self._discrepancies = discrepancies
        self._reports = reports
        self._gateways = gateways
        self.refundable = Refundable(tables, reports, gateways)
        self._settlement = settlement
        self._notes = DecisionNotes(discrepancies)
        self.positions = SettlementPositions(tables)
        self.disputes = DisputeActions(tables, discrepancies, reports, chargeback_lines)
        self._charges = charges
        self._void = void
        self._time_scale = time_scale
        self._doors: dict[Action, Callable[[Discrepancy], Awaitable[Answer]]] = {
            Action.LOSE_DISPUTE: self._lose_dispute,
            Action.REVERSE_DISPUTE: self._reverse_dispute,
            Action.FAIL_SETTLEMENT: self._fail_settlement,
            Action.SETTLE_FOR_LESS: self._settle_for_less,
            Action.SETTLE_WHAT_IS_DUE: self._settle_what_is_due,
            Action.VOID: self._void_payment,
            Action.UNDO: self._undo,
        }

    def register(self, jobs: JobQueue) -> None:
        """Register the job handler."""
        jobs.register(APPLY_RESOLUTION, self._apply_resolution)

    async def enqueue(
        self, discrepancy: Discrepancy, actions: Sequence[Action], *, within: Connection
    ) -> None:
        """Enqueue the actions in the decision's transaction."""
        await self._tables.jobs.add(
            APPLY_RESOLUTION,
            discrepancy.id,
            due_in=self._time_scale.seconds(AGAIN_SECONDS),
            payload={"actions": [action.value for action in actions]},
            within=within,
        )

    async def run_now(self, discrepancy_id: UUID, actions: Sequence[Action]) -> None:
        """Run the actions of a decision immediately."""
        answer = await self._do(discrepancy_id, actions, FIRST) if actions else None
        if isinstance(answer, Done):
            async with self._tables.database.transaction() as connection:
                await self._tables.jobs.end(APPLY_RESOLUTION, discrepancy_id, within=connection)
        if isinstance(answer, RetryIn) and answer.payload:
            delay = Delay(self._time_scale.seconds(answer.due_in), answer.because, answer.payload)
            await self._tables.jobs.postpone_first(APPLY_RESOLUTION, discrepancy_id, delay)

    async def _apply_resolution(self, job: Job) -> Answer:
        actions = [Action(name) for name in job.payload["actions"]]
        surely_not = (job.payload.get(NOT_SENT), job.payload.get(RELEASED_AFTER))
        not_sent = job.attempts - 1 in surely_not
        earlier = Earlier(may_have_sent=not not_sent, attempt=job.attempts)
        return await self._do(job.subject, actions, earlier)

    async def _do(
        self, discrepancy_id: UUID, actions: Sequence[Action], earlier: Earlier
    ) -> Answer:
        discrepancy = await self._discrepancies.get(discrepancy_id)
        for action in actions:
            if action is Action.REFUND_AT_GATEWAY:
                answer = await self._refund_at_gateway(discrepancy, earlier)
            else:
                answer = await self._doors[action](discrepancy)
            if not isinstance(answer, Done):
                return answer
        async with self._tables.database.transaction() as connection:
            await self.positions.explain(
                discrepancy.payment_id, because=discrepancy.id, within=connection
            )
        return Done()

    # -- actions --------------------------------------------------------------------------

    async def _lose_dispute(self, discrepancy: Discrepancy) -> Answer:
        line, payment = await self._line(discrepancy), await self._payment(discrepancy)
        if await self.disputes.lose(discrepancy, payment, line):
            return Done()
        return RetryIn(AGAIN_SECONDS, "the payment is not known by its transaction")

    async def _reverse_dispute(self, discrepancy: Discrepancy) -> Answer:
        line, payment = await self._line(discrepancy), await self._payment(discrepancy)
        await self.disputes.reverse(discrepancy, payment, line)
        return Done()

    async def _fail_settlement(self, discrepancy: Discrepancy) -> Answer:
        payment = await self._payment(discrepancy)
        after = await self._notify_payment(
            payment, TransactionStatus.SETTLEMENT_FAILED, 0, f"decision:{discrepancy.id}"
        )
        if after.state in MONEY_EXPECTED:
            return RetryIn(AGAIN_SECONDS, f"the payment is {after.state}")
        return Done()

    async def _settle_for_less(self, discrepancy: Discrepancy) -> Answer:
        """Settle the payment for the amount the bank paid; the rest is a loss."""
        payment = await self._payment(discrepancy)
        if payment.state is not PaymentState.CAPTURING:
            return await self._lose_what_is_due(discrepancy, payment)
        cause = _cause(discrepancy)
        lost = payment.captured_amount - payment.settled_amount
        transition = transition_of(
            payment,
            PaymentEvent.BANK_CONFIRMS,
            source=f"decision:{discrepancy.id}",
            if_version=payment.version,
            outcome="known",
            facts={"discrepancy": str(discrepancy.id), "lost": lost},
            entries=postings.lost_before_settlement(cause, lost),
            done=(CAPTURE, PROBE, POLL_SETTLEMENT),
        )

        async def together(connection: Connection) -> bool:
            transitioned = await self._tables.transitions.apply(transition, within=connection)
            await self._refunds.wake(payment.id, within=connection)
            return transitioned.transitioned

        if await self._tables.database.in_transaction(together):
            return Done()
        return RetryIn(AGAIN_SECONDS, "the payment changed concurrently")

    async def _lose_what_is_due(self, discrepancy: Discrepancy, payment: Payment) -> Answer:
        """Book the loss of what a payment settled in full lacks in the report."""
        if payment.state not in SETTLED or payment.settled_amount < payment.captured_amount:
            return Done()

        async def together(connection: Connection) -> None:
            now = await self._discrepancies.get(discrepancy.id, within=connection)
            lacking = await decided_money.not_brought(
                payment.id, payment.currency, payment.captured_amount, within=connection
            )
            lost = min(now.amount, lacking)
            if lost > 0:
                account = postings.risk_loss(_cause(now))
                entry = postings.Entry(account, postings.SETTLED_FUNDS, lost)
                await self._notes.note(now, (entry,), {"lost": lost}, connection)

        await self._tables.database.in_transaction(together)
        return Done()

    async def _settle_what_is_due(self, discrepancy: Discrepancy) -> Answer:
        """Settle the payment in full: the line brought that, and ends what waited for it."""
        payment = await self._payment(discrepancy)
        async with self._tables.database.transaction() as connection:
            await end_what_came(self._discrepancies, discrepancy, connection)
        await self._notify_payment(
            payment,
            TransactionStatus.SETTLED,
            payment.captured_amount,
            f"decision:{discrepancy.id}",
        )
        return Done()

    async def _void_payment(self, discrepancy: Discrepancy) -> Answer:
        """Void a payment that was captured but not delivered."""
        payment = await self._payment(discrepancy)
        if payment.state is PaymentState.AUTHORIZED:
            await self._void(payment.id, "captured and not delivered")
        return Done()

    async def _undo(self, discrepancy: Discrepancy) -> Answer:
        """Refund money taken without a payment."""
        line, payment = await self._line(discrepancy), await self._payment(discrepancy)
        transaction_id = line.transaction_id or payment.gateway_transaction_id
        if transaction_id is None:
            return Pause("The line names no transaction. Contact the gateway.")
        await self._charges.transitions.record_late_outcome(payment, transaction_id)
        return Done()

    async def _refund_at_gateway(self, discrepancy: Discrepancy, earlier: Earlier) -> Answer:
        """Refund a charge that no payment of ours accounts for.

        If the gateway keeps no idempotency keys, the refund is looked up before it is sent again.
        """
        amount, transaction_id = await self.refundable.owed(discrepancy)
        if transaction_id is None:
            return Pause("The line names no transaction. Contact the gateway.")
        gateway = self._gateways.named(discrepancy.gateway)
        lifetime = KeyLifetime.of(gateway.capabilities)
        if earlier.may_have_sent and lifetime.seconds is None:
            return await self._looked_up(discrepancy, transaction_id, amount)
        key = f"{discrepancy.id}:refund"
        reported = await call_with_retry(
            lambda: gateway.refund(transaction_id, amount, "reconciliation", key=key),
            time_scale=self._time_scale,
            key_lifetime=lifetime,
        )
        if isinstance(reported, Refused):
            return Pause(reported.error.sentence)
        if isinstance(reported, NoAnswer):
            if reported.maybe_sent and lifetime.seconds is None:
                return await self._looked_up(discrepancy, transaction_id, amount)
            not_sent: dict[str, object] | None = None
            if not reported.maybe_sent:
                not_sent = {NOT_SENT: earlier.attempt}
            return RetryIn(AGAIN_SECONDS, reported.because, payload=not_sent)
        await self._refunded(discrepancy, reported.id, amount)
        return Done()

    async def _looked_up(
        self, discrepancy: Discrepancy, transaction_id: str, amount: int
    ) -> Answer:
        """Adopt a refund that was sent without a response; if there is none, a person decides."""
        gateway = self._gateways.named(discrepancy.gateway)
        if not gateway.capabilities.lookup_of_refunds:
            return Pause(TO_ASK_A_PERSON)
        try:
            known = await gateway.find_refunds(transaction_id)
        except RefusedByPartnerError:
            return Pause(TO_ASK_A_PERSON)
        except GatewayFailure as failure:
            return RetryIn(AGAIN_SECONDS, failure.sentence)
        for one in known:
            is_ours = await self._discrepancies.refund_is_known(gateway.name, one.id)
            if one.amount == amount and one.status is not RefundStatus.FAILED and not is_ours:
                await self._refunded(discrepancy, one.id, amount)
                return Done()
        return Pause(TO_ASK_A_PERSON)

    async def _refunded(self, discrepancy: Discrepancy, refund_id: str, amount: int) -> None:
        owed = discrepancy.kind is DiscrepancyKind.AMOUNT
        entries = postings.refund_succeeded(amount) if owed else ()
        facts = {"refund": refund_id, "amount": amount}

        async def together(connection: Connection) -> None:
            await self._notes.post_once(discrepancy, entries, facts, connection)

        await self._tables.database.in_transaction(together)

    async def _notify_payment(
        self, payment: Payment, status: TransactionStatus, settled: int, source: str
    ) -> Payment:
        transaction = GatewayTransaction(
            id=payment.gateway_transaction_id or "",
            reference=str(payment.id),
            status=status,
            amount=payment.amount,
            currency=payment.currency,
            captured_amount=payment.captured_amount,
            settled_amount=settled,
        )
        return await self._settlement.on_event(payment, transaction, source=source)

    async def _payment(self, discrepancy: Discrepancy) -> Payment:
        assert discrepancy.payment_id is not None, "only payments are notified"
        return await self._tables.payments.get(discrepancy.payment_id)

    async def _line(self, discrepancy: Discrepancy) -> StoredLine:
        assert discrepancy.report_id is not None, "this kind has a line"
        assert discrepancy.line_no is not None, "this kind has a line"
        line = await self._reports.line(discrepancy.report_id, discrepancy.line_no)
        assert line is not None, "a discrepancy's line is stored before it"
        return line


def _cause(discrepancy: Discrepancy) -> str:
    """Return the cause of the loss that a decision accepts."""
    return WRITTEN_OFF if discrepancy.resolution == WRITTEN_OFF else discrepancy.kind.value

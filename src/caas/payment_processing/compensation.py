"""Compensation of late outcomes: money at the gateway that no payment accounts for (decision 10).

The money is in a payment's own transaction, when the payment ended without it, or in a sibling: a
second transaction of the payment (fault F-H1). A webhook, a lookup or a late answer schedules a job
here. It may be stale, so the job looks the transaction up. A real late outcome is recorded with a
case and undone: voided while it is held, refunded once it was captured, until the gateway shows
that it keeps nothing.

Rules a change must keep: a hint alone opens no case and undoes nothing; the record and its case are
one commit, before anything is undone; the transaction that a payment has chosen, or may still
choose, is never undone; a refund that may be in progress is never requested again; no payment's
state is changed here.
"""

from typing import Final
from uuid import UUID

from caas.billing_database.connection import Connection
from caas.billing_database.job_rows import Job
from caas.billing_database.payments import Payment, PaymentNotFoundError
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.transitions import transition_of
from caas.external_systems.http_answers import GatewayFailure, RefusedByPartnerError
from caas.external_systems.payment_gateway import (
    GatewayRefund,
    GatewayTransaction,
    RefundStatus,
    TransactionStatus,
)
from caas.jobs import Answer, Done, JobQueue, RetryIn
from caas.payment_processing.flow import Alert, SideEffects
from caas.payment_processing.gateway_calls import COMPENSATE, KeyLifetime, key_of
from caas.payment_processing.gateways import Gateways
from caas.payment_processing.transaction_selection import (
    OPEN_STILL,
    TransactionSelection,
    is_sibling,
)
from caas.payment_processing.transitions import ENDED, ChargeTransitions
from caas.rules.payment_states import PaymentState, Remark
from caas.rules.time_scale import TimeScale

LOOK_AGAIN_SECONDS: Final = 5.0
LOOK_AGAIN_SECONDS_MAX: Final = 3600.0
QUIESCENCE_SECONDS: Final = 60.0
ATTEMPTS_BEFORE_ALERT: Final = 10
LATE_OUTCOME: Final = "late_outcome"
DUPLICATE: Final = "duplicate_transaction"
INSTEAD_OF_VOIDED: Final = "captured_instead_of_voided"
NOT_UNDONE: Final = "late_outcome_not_undone"
TAKEN: Final = frozenset({TransactionStatus.CAPTURING, TransactionStatus.SETTLED})
HELD_OR_OPEN: Final = OPEN_STILL | {TransactionStatus.AUTHORIZED}
LIVED_WITHOUT: Final = ENDED | {PaymentState.SETTLEMENT_FAILED}
"""States of a payment whose own transaction may be undone."""


class Compensation:
    """Voids or refunds transactions that no payment accounts for."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        gateways: Gateways,
        transitions: ChargeTransitions,
        selection: TransactionSelection,
        alert: Alert,
        time_scale: TimeScale,
    ) -> None:
        """Compensate at these gateways; `alert` is raised when it does not return the money."""
        self._tables = tables
        self._gateways = gateways
        self._transitions = transitions
        self._selection = selection
        self._alert = alert
        self._time_scale = time_scale

    def register(self, jobs: JobQueue) -> None:
        """Register the compensation job."""
        jobs.register(COMPENSATE, self._compensate)

    async def on_report(self, gateway: str, transaction_id: str, *, disputed: bool) -> bool:
        """Follow a gateway's report of a refund or dispute.

        False if its transaction is not compensated here. Disputed money is not refunded as well: a
        person decides.
        """
        payment = await self._tables.payments.by_transaction(gateway, transaction_id)
        if payment is None:
            payment = await self._payment_of_sibling(gateway, transaction_id)
        if payment is None or not (payment.state in ENDED or is_sibling(payment, transaction_id)):
            return False
        await self._transitions.record_late_outcome(payment, transaction_id, disputed=disputed)
        return True

    async def _payment_of_sibling(self, gateway: str, transaction_id: str) -> Payment | None:
        try:
            transaction = await self._gateways.named(gateway).find(transaction_id)
            if transaction is None:
                return None
            payment = await self._tables.payments.get(UUID(transaction.reference))
        except (GatewayFailure, ValueError, PaymentNotFoundError):
            return None
        return payment if payment.gateway == gateway else None

    async def _compensate(self, job: Job) -> Answer:
        payment = await self._tables.payments.get(UUID(str(job.payload["payment"])))
        transaction_id = str(job.payload["transaction"])
        if payment.gateway_transaction_id is None and payment.state not in ENDED:
            return await self._again(job, payment, "the payment may still choose it")
        if not is_sibling(payment, transaction_id) and payment.state not in LIVED_WITHOUT:
            return Done()
        try:
            transaction = await self._gateways.of(payment).find(transaction_id)
            if transaction is None or not may_keep(transaction):
                reported = await self._record_undone(payment, transaction_id)
                return Done() if reported else RetryIn(0.0, "the payment changed meanwhile")
            if await self._is_of_another(payment, transaction):
                return Done()
            if not await self._record(payment, transaction):
                return RetryIn(0.0, "the payment changed meanwhile")
            await self._undo(job, payment, transaction)
        except GatewayFailure as failure:
            return await self._again(job, payment, failure.sentence)
        return await self._again(job, payment, "the gateway still shows what is being undone")

    async def _is_of_another(self, payment: Payment, transaction: GatewayTransaction) -> bool:
        """Return whether a transaction belongs to another payment; it is then not compensated."""
        owner = await self._tables.payments.by_transaction(payment.gateway, transaction.id)
        another = owner is not None and owner.id != payment.id
        if another or transaction.reference != str(payment.id):
            sentence = f"{transaction.id} is of {transaction.reference}; it was not undone."
            await self._selection.open_contradiction(payment, sentence)
            return True
        return False

    async def _undo(self, job: Job, payment: Payment, transaction: GatewayTransaction) -> None:
        reason = _reason(payment, transaction.id)
        if transaction.status in HELD_OR_OPEN:
            key = key_of(payment.id, f"undo-void:{transaction.id}")
            await self._gateways.of(payment).void(transaction.id, reason, key=key)
            return
        if job.payload.get("disputed"):
            sentence = f"{transaction.id} is disputed: refund it only if the dispute is won."
            await self._alert(NOT_UNDONE, payment.id, sentence)
            return
        await self._refund(payment, transaction, reason)

    async def _refund(self, payment: Payment, transaction: GatewayTransaction, reason: str) -> None:
        refunds = await self._refunds_of(payment, transaction)
        known = refunds or ()
        if any(refund.status is RefundStatus.PENDING for refund in known):
            return
        failed = sum(refund.status is RefundStatus.FAILED for refund in known)
        if failed:
            sentence = (
                f"The gateway did not give back what it took, {failed} times; it is asked on."
            )
            await self._alert(NOT_UNDONE, payment.id, sentence)
        operation = f"undo-refund:{transaction.id}"
        if await self._may_ask(payment, operation, failed + 1, looked_up=refunds is not None):
            key = key_of(payment.id, operation, issue=failed + 1)
            taken = _taken(transaction)
            await self._gateways.of(payment).refund(transaction.id, taken, reason, key=key)

    async def _may_ask(
        self, payment: Payment, operation: str, issue: int, *, looked_up: bool
    ) -> bool:
        """Return whether a refund may be requested: first by one worker, again only when safe.

        It is safe if the gateway has shown it absent for a while, or its key is still honoured.
        """
        source = f"{operation}:{issue}"
        transition = transition_of(
            payment, Remark.GATEWAY_CALLED, source=source, facts={"asked": operation}
        )
        if (await self._transitions.try_to_apply(payment, transition))[1]:
            return True
        events = await self._tables.payments.timeline(payment.id)
        asked_at = next((event.at for event in events if event.source == source), None)
        if asked_at is None:
            return False
        age = payment.unmoved_seconds + (payment.updated_at - asked_at).total_seconds()
        covered = KeyLifetime.of(self._gateways.of(payment).capabilities).covers(age)
        return (looked_up or covered) and age >= self._time_scale.seconds(QUIESCENCE_SECONDS)

    async def _refunds_of(
        self, payment: Payment, transaction: GatewayTransaction
    ) -> tuple[GatewayRefund, ...] | None:
        """Look up a transaction's refunds; None where the gateway has no such lookup."""
        gateway = self._gateways.of(payment)
        if not gateway.capabilities.lookup_of_refunds:
            return None
        try:
            return await gateway.find_refunds(transaction.id)
        except RefusedByPartnerError:
            return None

    async def _record(self, payment: Payment, transaction: GatewayTransaction) -> bool:
        """Record the late outcome once, with its case; False if the payment changed meanwhile."""

        async def open_case(connection: Connection, _after: Payment) -> None:
            kind, sentence = _case_of(payment, transaction)
            await self._tables.cases.open(kind, payment.id, sentence, within=connection)

        adopts = payment.gateway_transaction_id is None
        transition = transition_of(
            payment,
            Remark.LATE_OUTCOME,
            source=_source(transaction.id),
            if_version=payment.version if adopts else None,
            facts={"transaction": transaction.id, "status": str(transaction.status)},
            gateway_transaction_id=transaction.id if adopts else None,
        )
        _, written = await self._transitions.try_to_apply(
            payment, transition, step=SideEffects(also=open_case)
        )
        return written or await self._is_recorded(payment, transaction.id)

    async def _is_recorded(self, payment: Payment, transaction_id: str) -> bool:
        events = await self._tables.payments.timeline(payment.id)
        return any(event.source == _source(transaction_id) for event in events)

    async def _again(self, job: Job, payment: Payment, because: str) -> RetryIn:
        if job.attempts >= ATTEMPTS_BEFORE_ALERT:
            sentence = f"What the gateway should not have is not undone yet: {because}"
            await self._alert(NOT_UNDONE, payment.id, sentence)
        wait = LOOK_AGAIN_SECONDS * 2.0 ** min(job.attempts - 1, 20)
        return RetryIn(min(wait, LOOK_AGAIN_SECONDS_MAX), because)

    async def _record_undone(self, payment: Payment, transaction_id: str) -> bool:
        """Record that it is undone; False if the payment changed meanwhile.

        The case of duplicates ends with the last of them.
        """
        if not await self._is_recorded(payment, transaction_id):
            return True
        transition = transition_of(
            payment,
            Remark.GATEWAY_CALLED,
            source=f"undone:{transaction_id}",
            facts={"undone": transaction_id},
        )
        await self._transitions.apply(payment, transition)
        events = await self._tables.payments.timeline(payment.id)
        sources = {event.source for event in events}
        late = [source for source in sources if source.startswith("late:")]
        if all(f"undone:{source.removeprefix('late:')}" in sources for source in late):
            await self._tables.cases.close(
                DUPLICATE,
                payment.id,
                resolution="The gateway keeps nothing of the duplicates any more.",
                owner="caas",
            )
        return f"undone:{transaction_id}" in sources


def may_keep(transaction: GatewayTransaction) -> bool:
    """Return whether a transaction holds or took money, or still may."""
    return transaction.status in HELD_OR_OPEN or _taken(transaction) > 0


def _case_of(payment: Payment, transaction: GatewayTransaction) -> tuple[str, str]:
    if is_sibling(payment, transaction.id):
        return DUPLICATE, (
            f"The gateway made several transactions of this payment. "
            f"{payment.gateway_transaction_id} is the payment's; {transaction.id} "
            f"({transaction.status}) is being undone."
        )
    voided = payment.state is PaymentState.VOIDED and transaction.status in TAKEN
    return INSTEAD_OF_VOIDED if voided else LATE_OUTCOME, (
        f"The gateway says {transaction.status} of {transaction.id}, and the payment is "
        f"{payment.state}; it is being undone."
    )


def _reason(payment: Payment, transaction_id: str) -> str:
    duplicate = is_sibling(payment, transaction_id)
    return "duplicate of the payment" if duplicate else f"the payment is {payment.state}"


def _source(transaction_id: str) -> str:
    return f"late:{transaction_id}"


def _taken(transaction: GatewayTransaction) -> int:
    """Return how much a transaction captured and did not refund."""
    if transaction.status in TAKEN:
        return transaction.captured_amount - transaction.refunded_amount
    return 0

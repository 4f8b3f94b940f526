"""Notifies payments of report lines that contradict their state, through the webhook path.

A line that settles a voided, failed or unknown payment is a late outcome (decision 10): it resolves
the unknown state or starts a refund, as a webhook would.

Rules a change must keep: one job of a payment has the last line of each of its transactions; the
notified amount is the total so far, so repeating it has no effect; an amount that differs from the
payment's is passed on and refused there (decision 32).
"""

from typing import Final
from uuid import UUID

from caas.billing_database.job_rows import Job
from caas.billing_database.payments import Payment
from caas.billing_database.tables import BillingDatabase
from caas.external_systems.payment_gateway import GatewayTransaction, TransactionStatus
from caas.jobs import Answer, Done, JobQueue
from caas.payment_processing.charges import Charges
from caas.payment_processing.settlement import Settlement
from caas.reconciliation.apply_results import LATE_LINE
from caas.rules.payment_states import PaymentState

SETTLEABLE: Final = frozenset({PaymentState.CAPTURING, PaymentState.SETTLED})
NOT_CHARGED: Final = frozenset({PaymentState.FAILED, PaymentState.VOIDED})


class LateLines:
    """Notifies payments of late lines."""

    def __init__(self, tables: BillingDatabase, settlement: Settlement, charges: Charges) -> None:
        """Use the webhook path of these services."""
        self._tables = tables
        self._settlement = settlement
        self._charges = charges

    def register(self, jobs: JobQueue) -> None:
        """Register the job handler."""
        jobs.register(LATE_LINE, self._notify)

    async def _notify(self, job: Job) -> Answer:
        for reported in [it for it in job.payload.values() if isinstance(it, dict)]:
            await self.notify(
                job.subject,
                transaction_id=reported["transaction_id"],
                settled=int(reported["settles"] or reported["gross"]),
                currency=str(reported["currency"]),
                source=str(reported["line"]),
            )
        return Done()

    async def notify(
        self,
        payment_id: UUID,
        *,
        transaction_id: str | None,
        settled: int,
        currency: str,
        source: str,
    ) -> Payment:
        """Notify a payment of its total settled amount."""
        payment = await self._tables.payments.get(payment_id)
        if payment.state in NOT_CHARGED and transaction_id is not None:
            await self._charges.transitions.record_late_outcome(payment, transaction_id)
            return payment
        amount = payment.amount if payment.state in SETTLEABLE else settled
        transaction = GatewayTransaction(
            id=transaction_id or payment.gateway_transaction_id or "",
            reference=str(payment.id),
            status=TransactionStatus.SETTLED,
            amount=amount,
            currency=currency,
            captured_amount=settled,
            settled_amount=settled,
        )
        return await self._settlement.on_event(payment, transaction, source=source)

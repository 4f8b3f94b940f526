"""Refunds the months charged for subscriptions that customers withdrew from.

They are no longer billed, and every month already charged is credited in full (record 141).

Rule a change must keep: the job ends when no invoice of the subscription has a remainder.
"""

from typing import Final

from caas.billing.credit_notes import CreditNotes
from caas.billing_database.invoices import CREDIT_NOTE, Invoice, InvoiceRows
from caas.billing_database.job_rows import Job
from caas.billing_database.tables import BillingDatabase
from caas.jobs import Answer, Done, JobQueue, RetryIn
from caas.payment_processing.refund_requests import (
    NothingToRefundError,
    RefundMustWaitError,
    RefundTooLargeError,
)
from caas.service_catalog.subscriptions import CREDIT_WITHDRAWN

REASON: Final = "desistimiento"
LOOK_AGAIN_SECONDS: Final = 300.0
UNDER_WAY: Final = frozenset({"open", "declined"})


class WithdrawnSubscriptions:
    """Credits the months of withdrawn subscriptions."""

    def __init__(self, tables: BillingDatabase, credit_notes: CreditNotes) -> None:
        """Use these credit notes."""
        self._rows = InvoiceRows(tables.database)
        self._credit_notes = credit_notes

    def register(self, jobs: JobQueue) -> None:
        """Register the job handler."""
        jobs.register(CREDIT_WITHDRAWN, self._due)

    async def _due(self, job: Job) -> Answer:
        for invoice in await self._rows.listed(subject=job.subject):
            if invoice.kind == CREDIT_NOTE or invoice.gross <= invoice.credited:
                continue
            waits = await self._credited(invoice)
            if waits is not None:
                return RetryIn(LOOK_AGAIN_SECONDS, waits)
        return Done()

    async def _credited(self, invoice: Invoice) -> str | None:
        """Credit a paid month; return the reason if it must wait."""
        if invoice.state in UNDER_WAY:
            return "the charge of a month is in progress"
        if invoice.state != "paid":
            return None
        try:
            await self._credit_notes.issue(invoice.id, reason=REASON)
        except RefundMustWaitError as waits:
            return waits.sentence
        except RefundTooLargeError as less:
            await self._credited_in_part(invoice, less)
        except NothingToRefundError:
            return None
        return None

    async def _credited_in_part(self, invoice: Invoice, less: RefundTooLargeError) -> None:
        """Credit the remainder of a month after a refund or chargeback."""
        refundable = less.facts["refundable"]
        if isinstance(refundable, int) and refundable > 0:
            await self._credit_notes.issue(invoice.id, reason=REASON, gross=refundable)

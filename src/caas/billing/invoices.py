"""Read access to invoices: lists, PDF, XML; and the refunds of credit notes (decision 30).

Rules a change must keep: an invoice never changes, a credit note corrects it; the credit notes of
an invoice never exceed it; the refund is the one promised in the credit note's commit.
"""

import asyncio
from collections.abc import Awaitable
from datetime import date, datetime, time, timedelta
from typing import Protocol
from uuid import UUID

import msgspec

from caas.billing.credit_notes import (
    REFUND_CREDIT_NOTE,
    CreditNotes,
    WithdrawnSubscriptions,
    key_of,
    refund_reason,
)
from caas.billing.document import Document
from caas.billing.document_page import to_pdf
from caas.billing.document_xml import to_xml
from caas.billing.invoice_document import document_of
from caas.billing.issuing import Issuing
from caas.billing.letterhead import Letterhead
from caas.billing.reissues import Reissues
from caas.billing_database.identifiers import new_id
from caas.billing_database.invoices import Invoice, InvoiceRows
from caas.billing_database.job_rows import Job
from caas.billing_database.rows import PAGE_ROWS_MAX
from caas.billing_database.tables import BillingDatabase
from caas.jobs import Answer, Done, JobQueue
from caas.notifications import Notifications
from caas.payment_processing.refund_operations import REQUESTED_BY, CreditedRefunds
from caas.rules.mes_vencido import Month


class PromiseRefund(Protocol):
    """See `PaymentProcessing.promise_refund`."""

    def __call__(
        self, payment_id: UUID, *, amount: int, reason: str, key: str, requested_by: str
    ) -> Awaitable[object]:
        """Refund a settled payment, now or when possible; idempotent by key."""


class InvoiceFile(msgspec.Struct, frozen=True):
    """A document as a file: PDF/A-3 with embedded EN 16931 data, or the data alone."""

    name: str
    content: bytes


class Invoices:
    """Reads, renders and sends invoices."""

    def __init__(  # noqa: PLR0913  # what it works with, by name
        self,
        *,
        tables: BillingDatabase,
        notifications: Notifications,
        letterhead: Letterhead,
        refund: PromiseRefund,
        credited_refunds: CreditedRefunds,
        issuing: Issuing,
        public_url: str = "",
    ) -> None:
        """Issue under this letterhead; `refund` returns money.

        Customers find their documents at `public_url`.
        """
        self._tables = tables
        self._notifications = notifications
        self._public_url = public_url
        self._letterhead = letterhead
        self._refund = refund
        self.issuing = issuing
        self.credit_notes = CreditNotes(
            tables=tables,
            letterhead=letterhead,
            notifications=notifications,
            refunds=credited_refunds,
            reissues=Reissues(tables=tables, letterhead=letterhead, issuing=issuing),
        )
        self._withdrawn_subscriptions = WithdrawnSubscriptions(tables, self.credit_notes)
        self._rows = InvoiceRows(tables.database)

    def register(self, jobs: JobQueue) -> None:
        """Register the job handler."""
        jobs.register(REFUND_CREDIT_NOTE, self._refund_due)
        self._withdrawn_subscriptions.register(jobs)

    async def invoice(self, invoice_id: UUID) -> Invoice:
        """Return an invoice or a credit note.

        Raises:
            InvoiceNotFoundError: no document has this id.
        """
        return await self._rows.get(invoice_id)

    async def invoices(  # noqa: PLR0913  # what documents are searched by, by name
        self,
        *,
        customer: UUID | None = None,
        subject: UUID | None = None,
        month: Month | None = None,
        since: date | None = None,
        until: date | None = None,
        before: UUID | None = None,
        rows_max: int = PAGE_ROWS_MAX,
        number: str | None = None,
    ) -> list[Invoice]:
        """Return a page of documents, newest first.

        `since` and `until` are days in the market's time zone, both included.
        """
        zone = self._letterhead.zone
        end = until + timedelta(days=1) if until else None
        return await self._rows.listed(
            customer=customer,
            subject=subject,
            month=str(month) if month else None,
            since=datetime.combine(since, time(), zone) if since else None,
            until=datetime.combine(end, time(), zone) if end else None,
            before=before,
            rows_max=rows_max,
            named=number,
        )

    async def document(self, invoice_id: UUID) -> Document:
        """Return the content of a document as issued.

        Raises:
            InvoiceNotFoundError: no document has this id.
        """
        invoice = await self._rows.get(invoice_id)
        corrects = await self._rows.get(invoice.corrects) if invoice.corrects else None
        replaces = await self._rows.get(invoice.replaces) if invoice.replaces else None
        return document_of(invoice, self._letterhead, corrects=corrects, replaces=replaces)

    async def pdf(self, invoice_id: UUID) -> InvoiceFile:
        """Return a document as PDF, in its customer's language.

        Raises:
            InvoiceNotFoundError: no document has this id.
        """
        document = await self.document(invoice_id)
        content = await asyncio.to_thread(to_pdf, document)
        return InvoiceFile(f"{document.number}.pdf", content)

    async def xml(self, invoice_id: UUID) -> InvoiceFile:
        """Return a document as EN 16931 XML.

        Raises:
            InvoiceNotFoundError: no document has this id.
            NotWritableError: EN 16931 cannot represent it.
        """
        document = await self.document(invoice_id)
        return InvoiceFile(f"{document.number}.xml", await asyncio.to_thread(to_xml, document))

    async def send(self, invoice_id: UUID) -> Invoice:
        """Send a document to its customer; every call sends it again.

        Raises:
            InvoiceNotFoundError: no document has this id.
        """
        invoice = await self._rows.get(invoice_id)
        await self._notifications.notify(
            audience="customer",
            recipient=invoice.customer,
            template="document_sent",
            facts={
                "number": invoice.full_number,
                "amount": invoice.gross,
                "currency": invoice.currency,
                "address": f"{self._public_url}/invoices/{invoice.id}.pdf",
            },
            subject=new_id(),
        )
        return invoice

    async def _refund_due(self, job: Job) -> Answer:
        """Start the refund that a credit note promised; idempotent."""
        note = await self._rows.get(job.subject)
        assert note.corrects is not None, "a credit note corrects an invoice"
        invoice = await self._rows.get(note.corrects)
        assert invoice.last_payment is not None, "a refunded invoice was paid"
        await self._refund(
            invoice.last_payment,
            amount=-note.gross,
            reason=refund_reason(note),
            key=key_of(note.id),
            requested_by=REQUESTED_BY,
        )
        return Done()

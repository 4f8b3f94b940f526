"""Invoices for those who read them: lists, PDF, and credit notes that correct them (decision 30).

Rules a change must keep: an invoice is never changed, what was wrong with it is taken back by a
credit note; together the credit notes of an invoice never take back more than it asked for; what
was paid is given back in the same measure, by the refund that the credit note's commit promised.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Protocol
from uuid import UUID

from caas.billing.credit_notes import REFUND_CREDIT_NOTE, CreditNotes, key_of, refund_reason
from caas.billing.document import Document
from caas.billing.document_pdf import to_pdf
from caas.billing.document_xml import to_xml
from caas.billing.invoice_document import document_of
from caas.billing.issuing import Issuing
from caas.billing.letterhead import Letterhead
from caas.billing.withdrawn_subscriptions import WithdrawnSubscriptions
from caas.billing_database.identifiers import new_id
from caas.billing_database.invoices import Invoice, InvoiceRows
from caas.billing_database.job_rows import Job
from caas.billing_database.rows import PAGE_ROWS_MAX
from caas.billing_database.tables import BillingDatabase
from caas.jobs import Answer, Done, JobQueue
from caas.notifications import Notifications
from caas.payment_processing.refund_operations import REQUESTED_BY, CreditedRefunds
from caas.rules.mes_vencido import Month


class Refund(Protocol):
    """`PaymentProcessing.promise_refund`."""

    def __call__(
        self, payment_id: UUID, *, amount: int, reason: str, key: str, requested_by: str
    ) -> Awaitable[object]:
        """Give settled money back, now or when nothing stands in the way; the same key is once."""


@dataclass(frozen=True, slots=True)
class InvoiceFile:
    """A document as a file: PDF/A-3 with its EN 16931 data inside, or the data alone."""

    name: str
    content: bytes


class Invoices:
    """What customers and operations see of invoices, and do with them."""

    def __init__(  # noqa: PLR0913  # what it works with, by name
        self,
        *,
        tables: BillingDatabase,
        notifications: Notifications,
        letterhead: Letterhead,
        refund: Refund,
        credited_refunds: CreditedRefunds,
        issuing: Issuing,
        public_url: str = "",
    ) -> None:
        """Write under this letterhead; give money back through `refund`.

        Customers find their documents on pages at `public_url`.
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
        )
        self._withdrawn_subscriptions = WithdrawnSubscriptions(tables, self.credit_notes)
        self._rows = InvoiceRows(tables.database)

    def register(self, jobs: JobQueue) -> None:
        """Take the refunds that credit notes leave."""
        jobs.register(REFUND_CREDIT_NOTE, self._refund_due)
        self._withdrawn_subscriptions.register(jobs)

    async def invoice(self, invoice_id: UUID) -> Invoice:
        """Return an invoice or a credit note as it stands.

        Raises:
            InvoiceNotFoundError: there is none with this id.
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
        """Return documents, newest first, at most a page of them.

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
        """Return all that a document says, as it was at its issue.

        Raises:
            InvoiceNotFoundError: there is none with this id.
        """
        invoice = await self._rows.get(invoice_id)
        corrects = await self._rows.get(invoice.corrects) if invoice.corrects else None
        return document_of(invoice, self._letterhead, corrects=corrects)

    async def pdf(self, invoice_id: UUID) -> InvoiceFile:
        """Write a document out on pages, in its customer's language.

        Raises:
            InvoiceNotFoundError: there is none with this id.
        """
        document = await self.document(invoice_id)
        content = await asyncio.to_thread(to_pdf, document)
        return InvoiceFile(f"{document.number}.pdf", content)

    async def xml(self, invoice_id: UUID) -> InvoiceFile:
        """Write a document out for other programs, as EN 16931 has it.

        Raises:
            InvoiceNotFoundError: there is none with this id.
            NotWritableError: the norm has no way to say it.
        """
        document = await self.document(invoice_id)
        return InvoiceFile(f"{document.number}.xml", await asyncio.to_thread(to_xml, document))

    async def send(self, invoice_id: UUID) -> Invoice:
        """Send a document to its customer; asked again, it is sent again.

        Raises:
            InvoiceNotFoundError: there is none with this id.
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
        """Begin the refund that a credit note promised; the same note is the same refund."""
        note = await self._rows.get(job.subject)
        assert note.corrects is not None, "a credit note corrects an invoice"
        invoice = await self._rows.get(note.corrects)
        assert invoice.last_payment is not None, "what is refunded was paid"
        await self._refund(
            invoice.last_payment,
            amount=-note.gross,
            reason=refund_reason(note),
            key=key_of(note.id),
            requested_by=REQUESTED_BY,
        )
        return Done()

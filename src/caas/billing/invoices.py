"""Invoices for those who read them: lists, PDF, and credit notes that correct them (decision 30).

Rules a change must keep: an invoice is never changed, what was wrong with it is taken back by a
credit note; together the credit notes of an invoice never take back more than it asked for; what
was paid is given back in the same measure, by the refund that the credit note leaves as open work.
"""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import UUID

from caas.billing.invoice_document import invoice_pdf
from caas.billing.letterhead import Letterhead
from caas.billing_database.books import Books
from caas.billing_database.connection import Connection
from caas.billing_database.due_work import DueWork
from caas.billing_database.identifiers import new_id
from caas.billing_database.invoices import CREDIT_NOTE, Invoice, InvoiceRows, NewCreditNote
from caas.errors import ConflictError, RefusedError
from caas.notifications import AddressOf, Notifications
from caas.open_work import Answer, Done, OpenWork
from caas.rules.mes_vencido import Month, iva_on
from caas.rules.money import Money

REFUND_CREDIT_NOTE: Final = "refund_credit_note"
REASON_CHARS_MAX: Final = 200
CORRECTABLE: Final = frozenset({"paid", "written off"})


class NotCorrectableError(ConflictError):
    """Only an invoice whose charge has ended can be corrected, and never by more than is left."""

    code = "not_correctable"


class InvalidReasonError(RefusedError):
    """A credit note needs a reason that its customer can read."""

    code = "invalid_reason"


class Refund(Protocol):
    """`PaymentProcessing.promise_refund`."""

    def __call__(
        self, payment_id: UUID, *, amount: int, reason: str, key: str, requested_by: str
    ) -> Awaitable[object]:
        """Give settled money back, now or when nothing stands in the way; the same key is once."""


@dataclass(frozen=True, slots=True)
class InvoicePdf:
    """An invoice as a file: PDF/A-3 with its EN 16931 data inside."""

    name: str
    content: bytes


class Invoices:
    """What customers and operations see of invoices, and do with them."""

    def __init__(
        self,
        *,
        books: Books,
        notifications: Notifications,
        letterhead: Letterhead,
        address_of: AddressOf,
        refund: Refund,
    ) -> None:
        """Write under this letterhead; give money back through `refund`."""
        self._books = books
        self._notifications = notifications
        self._letterhead = letterhead
        self._address_of = address_of
        self._refund = refund
        self._rows = InvoiceRows(books.database)

    def register(self, open_work: OpenWork) -> None:
        """Take the refunds that credit notes leave."""
        open_work.register(REFUND_CREDIT_NOTE, self._refund_due)

    async def invoice(self, invoice_id: UUID) -> Invoice:
        """Return an invoice or a credit note as it stands.

        Raises:
            InvoiceNotFoundError: there is none with this id.
        """
        return await self._rows.get(invoice_id)

    async def invoices(
        self,
        *,
        customer: UUID | None = None,
        subscription: UUID | None = None,
        month: Month | None = None,
        before: UUID | None = None,
    ) -> list[Invoice]:
        """Return invoices and credit notes, newest first, at most a page of them."""
        return await self._rows.listed(
            customer=customer,
            subscription=subscription,
            month=str(month) if month else None,
            before=before,
        )

    async def pdf(self, invoice_id: UUID) -> InvoicePdf:
        """Write an invoice out, in its customer's language.

        Raises:
            InvoiceNotFoundError: there is none with this id.
        """
        invoice = await self._rows.get(invoice_id)
        corrects = await self._rows.get(invoice.corrects) if invoice.corrects else None
        buyer = await self._address_of(invoice.customer)
        content = await invoice_pdf(invoice, self._letterhead, buyer=buyer, corrects=corrects)
        return InvoicePdf(f"{invoice.full_number}.pdf", content)

    async def issue_credit_note(
        self, invoice_id: UUID, *, reason: str, net: int | None = None
    ) -> Invoice:
        """Take back what an invoice asked for too much: `net` of it, or all that is left.

        Raises:
            InvoiceNotFoundError: there is no such invoice.
            InvalidReasonError: the reason is empty or too long.
            NotCorrectableError: its charge has not ended, or less is left of it.
        """
        if not 1 <= len(reason.strip()) <= REASON_CHARS_MAX:
            raise InvalidReasonError
        note_id = new_id()

        async def issue(connection: Connection) -> None:
            await self._rows.lock(invoice_id, within=connection)
            invoice = await self._rows.get(invoice_id, within=connection)
            await self._credit(invoice, note_id, reason, net, connection)

        await self._books.database.in_transaction(issue)
        return await self._rows.get(note_id)

    async def _credit(
        self, invoice: Invoice, note_id: UUID, reason: str, net: int | None, within: Connection
    ) -> None:
        left = await self._rows.left(invoice, within=within)
        taken = left.net if net is None else net
        if invoice.kind == CREDIT_NOTE or invoice.state not in CORRECTABLE:
            raise NotCorrectableError
        if not 0 < taken <= left.net:
            raise NotCorrectableError(f"{left.net} minor units {invoice.currency} net are left.")
        kept = self._iva_of(invoice, left.net - taken)
        now = await self._rows.now(within=within)
        series = f"R{Month.containing(now, self._letterhead.zone).year:04}"
        note = NewCreditNote(
            id=note_id,
            corrects=invoice.id,
            series=series,
            lines=[_line(taken)],
            net=-taken,
            iva=-max(left.iva - kept, 0),
            reason=reason.strip(),
        )
        await self._rows.credit(note, within=within)
        await self._follow(await self._rows.get(note_id, within=within), invoice, within)

    async def _follow(self, note: Invoice, invoice: Invoice, within: Connection) -> None:
        """Tell the customer, and leave the refund of what was paid as open work."""
        if invoice.state == "paid":
            await self._books.work.add(REFUND_CREDIT_NOTE, note.id, within=within)
        await self._notifications.tell(
            audience="customer",
            recipient=invoice.customer,
            template="credit_note_sent",
            facts={
                "number": note.full_number,
                "invoice": invoice.full_number,
                "month": invoice.month,
                "amount": -note.gross,
                "currency": note.currency,
            },
            subject=note.id,
            within=within,
        )

    async def _refund_due(self, work: DueWork) -> Answer:
        """Ask for the refund of a credit note; the same note is the same refund."""
        note = await self._rows.get(work.subject)
        assert note.corrects is not None, "a credit note corrects an invoice"
        invoice = await self._rows.get(note.corrects)
        assert invoice.last_payment is not None, "what is refunded was paid"
        await self._refund(
            invoice.last_payment,
            amount=-note.gross,
            reason=f"credit note {note.full_number}",
            key=f"credit-note:{note.id}",
            requested_by="billing",
        )
        return Done()

    def _iva_of(self, invoice: Invoice, net: int) -> int:
        return iva_on(Money(net, invoice.currency), invoice.iva_basis_points).amount


def _line(net: int) -> dict[str, Any]:
    return {
        "kind": "correction",
        "unit": "correction",
        "quantity": 1,
        "out_of": None,
        "unit_price": -net,
        "net": -net,
    }

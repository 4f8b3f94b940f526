"""Issuing documents: each payment has its own, and each refund its credit note (record 123).

What must be documented is noted in the commit that takes or gives back money. A worker issues it a
moment later, many at once, so that no purchase waits for a number. Whoever bought sees the document
on their page; it is sent where they ask for it.

Rules a change must keep: one commit issues documents and ends what was due; what cannot be issued
is given to a person, and the others go on.
"""

from typing import Final

from caas.billing.drafts import credit_note, of_payment
from caas.billing.letterhead import Letterhead
from caas.billing_database.billing_runs import CANNOT_BE_WRITTEN
from caas.billing_database.books import Books
from caas.billing_database.connection import Connection, Row
from caas.billing_database.documents import DocumentRows
from caas.billing_database.due_work import DueWork
from caas.billing_database.identifiers import derived_id
from caas.billing_database.invoices import InvoiceRows
from caas.notifications import Notifications
from caas.open_work import Again, Answer, OpenWork
from caas.rules.pace import Pace
from caas.rules.payment_types import PaymentType

ISSUE_DOCUMENTS: Final = "issue_documents"
NOT_ISSUED: Final = "document_not_issued"
LOOK_EVERY_SECONDS: Final = 1.0
AT_ONCE_MAX: Final = 500
ERROR_CHARS_MAX: Final = 300
FIRST: Final = (PaymentType.RESERVATION.value, PaymentType.SERVICE.value)
THEN: Final = (PaymentType.FINAL.value,)
"""The invoice of a vehicle deducts its advance invoice, and so comes after it."""


class Issuing:
    """Issues what is due."""

    def __init__(
        self, *, books: Books, letterhead: Letterhead, notifications: Notifications, pace: Pace
    ) -> None:
        """Issue under this letterhead."""
        self._books = books
        self._letterhead = letterhead
        self._notifications = notifications
        self._pace = pace
        self._rows = DocumentRows(books.database)
        self._invoices = InvoiceRows(books.database)

    def register(self, open_work: OpenWork) -> None:
        """Take what is due."""
        open_work.register(ISSUE_DOCUMENTS, self._due)

    async def begin(self) -> None:
        """Make sure that documents are issued from now on; saying it again changes nothing."""
        await self._books.work.add(ISSUE_DOCUMENTS, derived_id(ISSUE_DOCUMENTS))

    async def issue_due(self) -> int:
        """Issue all that is due now; return for how many payments and refunds."""
        issued, at_once = 0, AT_ONCE_MAX
        while True:
            try:
                done = await self._issue(at_once)
            except CANNOT_BE_WRITTEN as error:
                if at_once > 1:
                    at_once //= 2
                    continue
                done = await self._give_up(str(error))
            if not done:
                return issued
            issued += done

    async def _due(self, _work: DueWork) -> Answer:
        await self.issue_due()
        return Again(LOOK_EVERY_SECONDS / self._pace.seconds(1.0), "the next are issued soon")

    async def _issue(self, rows_max: int) -> int:
        async def batch(connection: Connection) -> int:
            due = await self._rows.due(rows_max, within=connection)
            paid = [row["payment_id"] for row in due if row["refund"] is None]
            refunds = [row["refund"] for row in due if row["refund"] is not None]
            now = await self._invoices.now(within=connection)
            for types in (FIRST, THEN) if paid else ():
                facts = await self._rows.paid(paid, types, within=connection)
                drafts = [of_payment(fact, self._letterhead, now) for fact in facts]
                await self._rows.issue(drafts, within=connection)
            if refunds:
                for row in await self._rows.refunded(refunds, within=connection):
                    await self._credit(row, connection)
            await self._rows.done(due, within=connection)
            return len(due)

        return await self._books.database.in_transaction(batch)

    async def _credit(self, refunded: Row, within: Connection) -> None:
        """Issue the credit note of a refund, for as much as is left of the document."""
        await self._invoices.lock(refunded["invoice"], within=within)
        invoice = await self._invoices.get(refunded["invoice"], within=within)
        left = await self._invoices.left(invoice, within=within)
        gross = min(refunded["amount"], left.gross)
        if gross <= 0:
            return
        note = credit_note(
            invoice,
            left,
            self._letterhead,
            await self._invoices.now(within=within),
            gross=gross,
            reason=refunded["reason"],
            refund=refunded["refund"],
        )
        await self._rows.issue([note], within=within)

    async def _give_up(self, error: str) -> int:
        """Give the document that cannot be issued to a person; the others go on."""

        async def one(connection: Connection) -> int:
            due = await self._rows.due(1, within=connection)
            await self._rows.done(due, within=connection)
            for row in due:
                await self._notifications.alert(
                    NOT_ISSUED,
                    row["payment_id"],
                    f"A payment has no document: {error[:ERROR_CHARS_MAX]}. Look at its order and "
                    "its customer, and have it issued again.",
                    within=connection,
                )
            return len(due)

        return await self._books.database.in_transaction(one)

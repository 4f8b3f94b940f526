"""Issues a document again whose buyer's details were wrong (decision 188).

A credit note takes back the whole document, and a new one states the same amounts, tax and day of
supply for the buyer's details as they are now. No money moves.

Rules a change must keep: both documents and their messages are one commit; the pair nets to zero; a
document is replaced once, and only one that nothing was credited of.
"""

from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from caas.billing.drafts import DEDUCTED, credit_note, reissued
from caas.billing.issuing import Issuing
from caas.billing.letterhead import Letterhead
from caas.billing_database.connection import Connection
from caas.billing_database.customers import buyer_unknown
from caas.billing_database.documents import DocumentRows
from caas.billing_database.invoices import CREDIT_NOTE, Invoice, InvoiceRows
from caas.billing_database.tables import BillingDatabase
from caas.errors import ConflictError

REISSUE: Final = "reissue"
"""The `term` of a credit note proposal that replaces the document and refunds nothing."""
DAYS_MAX: Final = 4 * 365
"""Time to correct a document: Spain allows four years (Real Decreto 1619/2012, art. 15.3)."""


class NotReissuableError(ConflictError):
    """Only a paid document of which nothing was credited can be issued again, and only once."""

    code = "not_reissuable"


class NothingToCorrectError(ConflictError):
    """The document already has the customer's billing details. Correct those first."""

    code = "nothing_to_correct"


def is_reissuable(invoice: Invoice) -> bool:
    """Return whether a document could be issued again for other billing details."""
    return (
        invoice.kind != CREDIT_NOTE
        and invoice.state == "paid"
        and not invoice.credited
        and invoice.replaced_by is None
    )


class Reissues:
    """Replaces documents."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        letterhead: Letterhead,
        issuing: Issuing,
    ) -> None:
        """Issue under this letterhead."""
        self._letterhead = letterhead
        self._issuing = issuing
        self._rows = InvoiceRows(tables.database)
        self._documents = DocumentRows(tables.database)

    async def check(self, invoice: Invoice, *, within: Connection) -> dict[str, str]:
        """Return the buyer that a document is to be issued to instead.

        Raises:
            NotReissuableError: it is unpaid, credited, replaced, a credit note, or too old.
            BillingDetailsRequiredError: the customer's details are incomplete.
            NothingToCorrectError: it has these details already.
        """
        if not is_reissuable(invoice):
            raise NotReissuableError
        now = await self._rows.now(within=within)
        if now - invoice.issued_at > timedelta(days=DAYS_MAX):
            raise NotReissuableError("A document is corrected within four years of its issue.")
        buyer, lacking = await self._documents.buyer_now(
            invoice.customer, invoice.market, within=within
        )
        if buyer is None or lacking:
            raise buyer_unknown(invoice.customer, lacking or ["name"])
        if buyer == invoice.buyer and not invoice.simplified:
            raise NothingToCorrectError
        return buyer

    async def issue(
        self, invoice_id: UUID, *, reason: str, note_id: UUID, within: Connection
    ) -> None:
        """Issue the credit note and the new document, and send both to the customer.

        Raises:
            NotReissuableError, BillingDetailsRequiredError, NothingToCorrectError: see `check`.
        """
        await self._rows.lock(invoice_id, within=within)
        invoice = await self._rows.get(invoice_id, within=within)
        buyer = await self.check(invoice, within=within)
        now, left = (
            await self._rows.now(within=within),
            await self._rows.left(invoice, within=within),
        )
        note = credit_note(
            invoice, left, self._letterhead, now, gross=left.gross, reason=reason, refund=None,
            note_id=note_id,
        )  # fmt: skip
        lines, advance = await self._deducting(invoice, within)
        new = reissued(invoice, self._letterhead, now, buyer=buyer, lines=lines, advance=advance)
        await self._issuing.issue([note, new], within)

    async def _deducting(
        self, invoice: Invoice, within: Connection
    ) -> tuple[list[dict[str, Any]], UUID | None]:
        """Return the lines, and the advance invoice they deduct or the one that replaced it."""
        if invoice.advance is None:
            return invoice.lines, None
        advance = await self._rows.get(invoice.advance, within=within)
        while advance.replaced_by is not None:
            advance = await self._rows.get(advance.replaced_by, within=within)
        named = {
            "number": advance.full_number,
            "issued_on": advance.issued_at.astimezone(self._letterhead.zone).date().isoformat(),
        }
        lines = [line | named if line["kind"] == DEDUCTED else line for line in invoice.lines]
        return lines, advance.id

"""Manual corrections of invoices, and refunds of subscriptions that customers withdrew from.

A correction is a credit note. A paid invoice is refunded by the credited amount; a written-off
invoice was never paid, so no money moves. Above the single-approver limit, one person proposes and
another approves. A withdrawn subscription is no longer billed, and every month already charged is
credited in full (record 141).

Rules a change must keep: the credit notes of an invoice never exceed it; a credit note, its
promised refund and their effects are one commit; a credit note promises only what any refund may
promise; the refund job of a withdrawn subscription ends when no invoice of it has a remainder.
"""

from typing import Final
from uuid import UUID

import msgspec

from caas import dual_control
from caas.billing.drafts import REASON_CHARS_MAX, credit_note
from caas.billing.letterhead import Letterhead
from caas.billing.reissues import REISSUE, Reissues
from caas.billing_database.accounts import Actor
from caas.billing_database.connection import Connection
from caas.billing_database.decisions import CreditNoteProposal, credit_note_decisions
from caas.billing_database.documents import DocumentRows, NewDocument
from caas.billing_database.free_text import refuse_personal_data
from caas.billing_database.identifiers import derived_id, new_id
from caas.billing_database.invoices import CREDIT_NOTE, Invoice, InvoiceRows
from caas.billing_database.job_rows import Job
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.transitions import transition_of
from caas.errors import ConflictError, RefusedError, UnavailableError
from caas.jobs import Answer, Done, JobQueue, RetryIn
from caas.notifications import Notifications
from caas.payment_processing.refund_calls import REFUND
from caas.payment_processing.refund_operations import CreditedRefunds
from caas.payment_processing.refund_requests import (
    NothingToRefundError,
    RefundMustWaitError,
    RefundTooLargeError,
)
from caas.payment_processing.subscription_failure import DECLINED, LOSS_CAUSE
from caas.rules import postings
from caas.rules.card_numbers import contains_card_number
from caas.rules.discrepancies import is_large
from caas.rules.money import Money
from caas.rules.payment_states import Remark
from caas.service_catalog.subscriptions import CREDIT_WITHDRAWN

REFUND_CREDIT_NOTE: Final = "refund_credit_note"
SETTLEMENT_FAILED_CAUSE: Final = "settlement_failed"
CORRECTABLE: Final = frozenset({"paid", "written off"})


class NotCorrectableError(ConflictError):
    """Only an invoice whose charge has ended can be corrected, up to its remaining amount."""

    code = "not_correctable"


class InvalidReasonError(RefusedError):
    """A credit note needs a reason that its customer can read."""

    code = "invalid_reason"


class Correction(msgspec.Struct, frozen=True):
    """Result of a correction: a credit note, or a proposal that awaits approval.

    `replacement` is the document that replaces the corrected one, if it was issued again.
    """

    note: Invoice | None = None
    replacement: Invoice | None = None
    proposal: CreditNoteProposal | None = None


class _CreditRequest(msgspec.Struct, frozen=True):
    """The amount to credit, and whether an unpaid service continues."""

    reason: str
    gross: int | None
    term: str | None


class CreditNotes:
    """Corrects invoices."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        letterhead: Letterhead,
        notifications: Notifications,
        refunds: CreditedRefunds,
        reissues: Reissues,
    ) -> None:
        """Issue under this letterhead; `refunds` refunds paid amounts."""
        self._reissues = reissues
        self._tables = tables
        self._letterhead = letterhead
        self._notifications = notifications
        self._refunds = refunds
        self._rows = InvoiceRows(tables.database)
        self._documents = DocumentRows(tables.database)
        self._decisions = credit_note_decisions(tables.database)

    async def correct(
        self,
        invoice_id: UUID,
        *,
        reason: str,
        gross: int | None = None,
        term: str | None = None,
        by: Actor,
    ) -> Correction:
        """Issue a credit note, or propose it if it needs a second approver.

        `term` is "end" or "keep": whether a service that is no longer paid for ends.

        Raises:
            InvoiceNotFoundError: no invoice has this id.
            InvalidReasonError: the reason is empty, too long, or contains a card number.
            PersonalDataRefusedError: the reason identifies a person.
            NotCorrectableError: the charge has not ended, or the amount exceeds the remainder.
            DecisionPendingError: a proposal already exists.
            RefundMustWaitError, RefundTooLargeError, TermDecisionRequiredError: the refund is not
                possible now.
        """
        text = _checked(reason)
        await refuse_personal_data(self._tables.database, invoice_id, text)
        invoice = await self._rows.get(invoice_id)
        async with self._tables.database.connection() as connection:
            credited = await self._creditable(invoice, gross, connection)
        if invoice.state != "paid" or not is_large(Money(credited, invoice.currency)):
            note = await self.issue(invoice_id, reason=text, gross=credited, term=term)
            return Correction(note=note)
        assert invoice.last_payment is not None, "a paid invoice has a payment"
        await self._refunds.check(invoice.last_payment, amount=credited, reason=text, term=term)
        proposed = await self._decisions.write(
            invoice=invoice_id, gross=credited, reason=text, term=term, by=by
        )
        if not proposed:
            raise dual_control.DecisionPendingError(invoice=str(invoice_id))
        return Correction(proposal=await self._decisions.proposed(invoice_id))

    async def reissue(self, invoice_id: UUID, *, reason: str, by: Actor) -> Correction:
        """Issue a document again to its customer's present billing details, or propose it.

        Raises:
            InvoiceNotFoundError: no invoice has this id.
            InvalidReasonError, PersonalDataRefusedError: as for a credit note.
            NotReissuableError, BillingDetailsRequiredError, NothingToCorrectError: see `Reissues`.
            DecisionPendingError: a proposal already exists.
        """
        text, note_id = _checked(reason), new_id()
        await refuse_personal_data(self._tables.database, invoice_id, text)
        invoice = await self._rows.get(invoice_id)

        async def together(connection: Connection) -> bool:
            if is_large(Money(invoice.gross, invoice.currency)):
                await self._reissues.check(invoice, within=connection)
                return await self._decisions.write(
                    invoice=invoice_id, gross=invoice.gross, reason=text, term=REISSUE, by=by,
                    within=connection,
                )  # fmt: skip
            await self._reissues.issue(invoice_id, reason=text, note_id=note_id, within=connection)
            return True

        if not await self._tables.database.in_transaction(together):
            raise dual_control.DecisionPendingError(invoice=str(invoice_id))
        if is_large(Money(invoice.gross, invoice.currency)):
            return Correction(proposal=await self._decisions.proposed(invoice_id))
        return await self._corrected(invoice_id, note_id)

    async def _corrected(self, invoice_id: UUID, note_id: UUID) -> Correction:
        replaced_by = (await self._rows.get(invoice_id)).replaced_by
        return Correction(
            note=await self._rows.get(note_id),
            replacement=None if replaced_by is None else await self._rows.get(replaced_by),
        )

    async def proposed(self, invoice_id: UUID) -> CreditNoteProposal | None:
        """Return an invoice's pending proposal, if any."""
        return await self._decisions.proposed(invoice_id)

    async def agree(self, invoice_id: UUID, *, by: Actor) -> Correction:
        """Approve the proposal as the second person and issue the credit note.

        Raises:
            NothingProposedError, SamePersonError, ApprovalNeedsAccountError,
            ApproverNotValidError: see dual control.
            NotCorrectableError: the remainder is now smaller.
            RefundMustWaitError, RefundTooLargeError, TermDecisionRequiredError: the refund is not
                possible now; the proposal remains.
            NotReissuableError, BillingDetailsRequiredError, NothingToCorrectError: the document
                cannot be issued again now; the proposal remains.
        """
        note_id = new_id()

        async def together(connection: Connection) -> None:
            agreed = await dual_control.approve(
                self._decisions, invoice_id, by=by, within=connection
            )
            if agreed.term == REISSUE:
                await self._reissues.issue(
                    invoice_id, reason=agreed.reason, note_id=note_id, within=connection
                )
                return
            wish = _CreditRequest(agreed.reason, agreed.gross, agreed.term)
            await self._credit(invoice_id, note_id, wish, connection)

        await self._tables.database.in_transaction(together)
        return await self._corrected(invoice_id, note_id)

    async def withdraw(self, invoice_id: UUID, *, by: Actor) -> None:
        """Withdraw a proposal, one's own or another person's.

        Raises:
            NothingProposedError: nothing was proposed.
        """
        await dual_control.withdraw(self._tables.database, self._decisions, invoice_id, by=by)

    async def issue(
        self,
        invoice_id: UUID,
        *,
        reason: str,
        gross: int | None = None,
        term: str | None = None,
    ) -> Invoice:
        """Credit `gross` of an invoice, or its whole remainder.

        Raises:
            InvoiceNotFoundError: no invoice has this id.
            InvalidReasonError: the reason is empty, too long, or contains a card number.
            PersonalDataRefusedError: the reason identifies a person.
            NotCorrectableError: the charge has not ended, or the amount exceeds the remainder.
            RefundMustWaitError, RefundTooLargeError, TermDecisionRequiredError: the refund is not
                possible now.
        """
        wish, note_id = _CreditRequest(_checked(reason), gross, term), new_id()
        await refuse_personal_data(self._tables.database, invoice_id, wish.reason)

        async def alone(connection: Connection) -> None:
            await self._credit(invoice_id, note_id, wish, connection)

        await self._tables.database.in_transaction(alone)
        return await self._rows.get(note_id)

    async def _creditable(self, invoice: Invoice, gross: int | None, within: Connection) -> int:
        left = await self._rows.left(invoice, within=within)
        credited = left.gross if gross is None else gross
        if invoice.kind == CREDIT_NOTE or invoice.state not in CORRECTABLE:
            raise NotCorrectableError
        if not 0 < credited <= left.gross:
            raise NotCorrectableError(f"{left.gross} minor units {invoice.currency} remain.")
        return credited

    async def _credit(
        self, invoice_id: UUID, note_id: UUID, wish: _CreditRequest, within: Connection
    ) -> None:
        await self._rows.lock(invoice_id, within=within)
        invoice = await self._rows.get(invoice_id, within=within)
        credited = await self._creditable(invoice, wish.gross, within)
        paid = invoice.last_payment if invoice.state == "paid" else None
        note = credit_note(
            invoice,
            await self._rows.left(invoice, within=within),
            self._letterhead,
            await self._rows.now(within=within),
            gross=credited,
            reason=wish.reason,
            refund=derived_id(paid, REFUND, key_of(note_id)) if paid else None,
            note_id=note_id,
        )
        await self._documents.issue([note], within=within)
        issued = await self._rows.get(note_id, within=within)
        if paid is None:
            await self._reverse_loss(invoice, note, within)
        else:
            await self._refunds.promise(
                paid, amount=credited, reason=refund_reason(issued), key=key_of(note_id),
                term=wish.term, within=within,
            )  # fmt: skip
            await self._tables.jobs.add(REFUND_CREDIT_NOTE, note_id, within=within)
        await self._notify(issued, invoice, within)

    async def _reverse_loss(self, invoice: Invoice, note: NewDocument, within: Connection) -> None:
        """Reverse a written-off amount: it is neither revenue, loss, nor tax."""
        written_off = await self._rows.written_off(invoice, within=within)
        assert written_off is not None, "a correctable invoice was paid or written off"
        payment = await self._tables.payments.get(written_off[0], within=within)
        cause = LOSS_CAUSE if written_off[1] == DECLINED else SETTLEMENT_FAILED_CAUSE
        remark = transition_of(
            payment,
            Remark.LOSS_BOOKED,
            source=f"credit-note:{note.id}",
            facts={"credit_note": str(note.id)},
            entries=postings.loss_not_owed(payment.type, cause, -note.gross),
        )
        transitioned = await self._tables.transitions.apply(remark, within=within)
        if not transitioned.transitioned:
            raise UnavailableError("The payment is being updated. Retry shortly.")

    async def _notify(self, note: Invoice, invoice: Invoice, within: Connection) -> None:
        await self._notifications.notify(
            audience="customer",
            recipient=invoice.customer,
            template="credit_note_sent",
            facts={
                "number": note.full_number,
                "invoice": invoice.full_number,
                "amount": -note.gross,
                "currency": note.currency,
            },
            subject=note.id,
            within=within,
        )


def key_of(note_id: UUID) -> str:
    """Return the idempotency key of a credit note's refund."""
    return f"credit-note:{note_id}"


def refund_reason(note: Invoice) -> str:
    """Return the reason of a credit note's refund."""
    return f"credit note {note.full_number}"


def _checked(reason: str) -> str:
    text = reason.strip()
    if not 1 <= len(text) <= REASON_CHARS_MAX or contains_card_number(text):
        raise InvalidReasonError
    return text


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

"""Issues documents: one for each payment, and a credit note for each refund (record 123).

The commit that captures or refunds a payment notes the document as due. A worker issues due
documents in batches shortly afterwards, so that purchases do not wait for a number, and sends them
to the customer. A full invoice must name its buyer: without billing details it is held, customer
and operations are notified, and it is issued once they exist (record 145).

Rules a change must keep: one commit issues and sends documents and clears what was due; a document
that cannot be issued is held behind a case while the others continue; issuing it closes the case.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from caas.billing.drafts import credit_note, debit_note, missing_details, of_payment
from caas.billing.letterhead import Letterhead
from caas.billing_database.billing_runs import CANNOT_BE_WRITTEN
from caas.billing_database.connection import Connection, Row
from caas.billing_database.documents import UNTAXED, DocumentRows, NewDocument
from caas.billing_database.identifiers import derived_id
from caas.billing_database.invoices import InvoiceRows
from caas.billing_database.job_rows import Job
from caas.billing_database.tables import BillingDatabase
from caas.errors import ConflictError
from caas.jobs import Answer, JobQueue, RetryIn
from caas.notifications import CUSTOMER, Notifications
from caas.rules.payment_types import PaymentType
from caas.rules.time_scale import TimeScale

ISSUE_DOCUMENTS: Final = "issue_documents"
FORGET_BUYERS: Final = "forget_buyers"
NOT_ISSUED: Final = "document_not_issued"
BUYER_MISSING: Final = "buyer_details_missing"
ISSUED: Final = "The document was issued."
ISSUER: Final = "issuing"
LOOK_EVERY_SECONDS: Final = 1.0
FORGET_EVERY_SECONDS: Final = 86_400.0
AT_ONCE_MAX: Final = 500
ERROR_CHARS_MAX: Final = 300
FIRST: Final = (PaymentType.RESERVATION.value, PaymentType.SERVICE.value)
THEN: Final = (PaymentType.FINAL.value,)
"""The invoice of a vehicle deducts its advance invoice and therefore follows it."""


class DocumentHeldError(ConflictError):
    """The document cannot be issued yet. Its open case gives the reason."""

    code = "document_held"


class Issuing:
    """Issues due documents."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        letterhead: Letterhead,
        notifications: Notifications,
        time_scale: TimeScale,
        public_url: str = "",
    ) -> None:
        """Issue under this letterhead; customers find their documents at `public_url`."""
        self._tables = tables
        self._letterhead = letterhead
        self._notifications = notifications
        self._time_scale = time_scale
        self._public_url = public_url
        self._rows = DocumentRows(tables.database)
        self._invoices = InvoiceRows(tables.database)

    def register(self, jobs: JobQueue) -> None:
        """Register the job handlers."""
        jobs.register(ISSUE_DOCUMENTS, self._due)
        jobs.register(FORGET_BUYERS, self._forget_due)

    async def begin(self) -> None:
        """Schedule the recurring jobs; idempotent."""
        for kind in (ISSUE_DOCUMENTS, FORGET_BUYERS):
            await self._tables.jobs.add(kind, derived_id(kind))

    async def issue_due(self) -> int:
        """Issue all due documents; return the number of payments and refunds processed."""
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

    async def issue_again(self, payment_id: UUID) -> None:
        """Issue a payment's missing documents, held or never noted.

        Raises:
            DocumentHeldError: it still cannot be issued.
        """
        await self._rows.release(payment_id)
        await self.issue_due()
        held = await self._rows.held(payment_id)
        if held is not None:
            raise DocumentHeldError(
                (
                    f"A document of the payment {payment_id} cannot be issued yet; see "
                    f"its open case '{held}'."
                ),
                case=held,
            )

    async def _due(self, _work: Job) -> Answer:
        await self.issue_due()
        return RetryIn(
            LOOK_EVERY_SECONDS / self._time_scale.seconds(1.0), "recurring: issue due documents"
        )

    async def _forget_due(self, _work: Job) -> Answer:
        await self._rows.forget_buyers()
        return RetryIn(FORGET_EVERY_SECONDS, "recurring: forget expired buyer data")

    async def _issue(self, rows_max: int) -> int:
        async def batch(connection: Connection) -> int:
            due = await self._rows.due(rows_max, within=connection)
            unknown = await self._of_payments(
                [row["payment_id"] for row in due if row["refund"] is None], connection
            )
            held = await self._of_refunds([row for row in due if row["refund"]], connection)
            done = [
                row for row in due if row["id"] not in held and row["payment_id"] not in unknown
            ]
            await self._rows.done(done, within=connection)
            await self._close_cases(done, connection)
            return len(due)

        return await self._tables.database.in_transaction(batch)

    async def _of_payments(self, paid: Sequence[UUID], within: Connection) -> set[UUID]:
        """Issue the documents of payments; return those that remain due or are held."""
        incomplete = []
        now = await self._invoices.now(within=within)
        untaxed = await self._rows.hold_untaxed(paid, within=within)
        for payment_id in untaxed:
            await self._ask_for_rate(payment_id, within)
        paid = [payment_id for payment_id in paid if payment_id not in untaxed]
        for types in (FIRST, THEN) if paid else ():
            facts = await self._rows.paid(paid, types, within=within)
            incomplete += [fact["payment_id"] for fact in facts if missing_details(fact)]
            drafts = [
                of_payment(it, self._letterhead, now) for it in facts if not missing_details(it)
            ]
            await self.issue(drafts, within)
        if incomplete:
            held = await self._rows.hold(incomplete, BUYER_MISSING, within=within)
            for payment_id, customer in {(row["payment_id"], row["customer"]) for row in held}:
                await self._ask_for_buyer(payment_id, customer, within)
        return set(incomplete) | untaxed

    async def _of_refunds(self, refunded: Sequence[Row], within: Connection) -> set[int]:
        """Issue credit and debit notes of refunds; return those held with their document."""
        if not refunded:
            return set()
        refunds = [row["refund"] for row in refunded]
        for row in await self._rows.refunded(refunds, within=within):
            await self._credit(row, within)
        for row in await self._rows.returned(refunds, within=within):
            await self._debit(row, within)
        return {row["id"] for row in await self._rows.hold_behind(refunded, within=within)}

    async def _credit(self, refunded: Row, within: Connection) -> None:
        """Issue a refund's credit note, up to the document's remainder."""
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
        await self.issue([note], within)

    async def _debit(self, returned: Row, within: Connection) -> None:
        """Issue the debit note of a refund that failed after it had succeeded."""
        await self._invoices.lock(returned["invoice"], within=within)
        invoice = await self._invoices.get(returned["invoice"], within=within)
        left = await self._invoices.left(invoice, within=within)
        now = await self._invoices.now(within=within)
        await self.issue(
            [debit_note(invoice, left, self._letterhead, now, returned=returned)], within
        )

    async def issue(self, drafts: Sequence[NewDocument], within: Connection) -> None:
        """Issue documents and send them to their customers."""
        numbers = await self._rows.issue(drafts, within=within)
        for draft, number in zip(drafts, numbers, strict=True):
            await self._notifications.notify(
                audience=CUSTOMER,
                recipient=draft.customer,
                template="document_sent",
                facts={
                    "number": number,
                    "amount": draft.gross,
                    "currency": draft.currency,
                    "address": f"{self._public_url}/invoices/{draft.id}.pdf",
                },
                subject=draft.id,
                within=within,
            )

    async def _ask_for_buyer(self, payment_id: UUID, customer: UUID, within: Connection) -> None:
        await self._notifications.notify(
            audience=CUSTOMER,
            recipient=customer,
            template="billing_details_needed",
            facts={"address": f"{self._public_url}/billing-details"},
            subject=payment_id,
            within=within,
        )
        await self._notifications.alert(
            BUYER_MISSING,
            payment_id,
            (
                "The law requires the buyer's address, and in some markets the tax id, "
                "on the invoice of this payment. The customer was asked for them; the "
                "document is issued once they exist (PUT "
                "/v1/customers/{id}/billing-details, or the customer's own page)."
            ),
            within=within,
        )

    async def _ask_for_rate(self, payment_id: UUID, within: Connection) -> None:
        await self._notifications.alert(
            UNTAXED,
            payment_id,
            (
                f"The payment {payment_id} was captured, but its buyer moved meanwhile "
                "to a place without a tax rate. Add the market with './caas taxes "
                "add-market' and its rates, or correct the billing address; then "
                "'./caas documents issue-missing' taxes the payment by the day of its "
                "capture and issues its document."
            ),
            within=within,
        )

    async def _close_cases(self, done: Sequence[Row], within: Connection) -> None:
        """Close the cases of documents that are now issued."""
        for kind, payment_id in {(row["case_kind"], row["payment_id"]) for row in done}:
            if kind is not None:
                await self._tables.cases.close(
                    kind, payment_id, resolution=ISSUED, owner=ISSUER, within=within
                )

    async def _give_up(self, error: str) -> int:
        """Hold a document that cannot be issued and open a case; the others continue."""

        async def one(connection: Connection) -> int:
            due = await self._rows.due(1, within=connection)
            for row in due:
                await self._rows.hold_one(row, NOT_ISSUED, within=connection)
                await self._notifications.alert(
                    NOT_ISSUED,
                    row["payment_id"],
                    (
                        f"A payment has no document: {error[:ERROR_CHARS_MAX]}. Check "
                        "its order and its customer, then issue it again."
                    ),
                    within=connection,
                )
            return len(due)

        return await self._tables.database.in_transaction(one)

"""Issuing documents: each payment has its own, and each refund its credit note (record 123).

What must be documented is noted in the commit that takes or gives back money. A worker issues it a
moment later, many at once, so that no purchase waits for a number, and sends it to whoever bought.
A full invoice names its buyer: one whose buyer is unknown is held, its customer and operations are
told, and it is issued once the billing details are there (record 145).

Rules a change must keep: one commit issues documents, sends them and ends what was due; what cannot
be issued is held behind a case, the others go on, and issuing it closes the case.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from caas.billing.drafts import credit_note, lacks, of_payment
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
"""The invoice of a vehicle deducts its advance invoice, and so comes after it."""


class DocumentHeldError(ConflictError):
    """The document cannot be issued yet; its open case says what it waits for."""

    code = "document_held"


class Issuing:
    """Issues what is due."""

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
        """Take what is due."""
        jobs.register(ISSUE_DOCUMENTS, self._due)
        jobs.register(FORGET_BUYERS, self._forget_due)

    async def begin(self) -> None:
        """Make sure that documents are issued from now on; saying it again changes nothing."""
        for kind in (ISSUE_DOCUMENTS, FORGET_BUYERS):
            await self._tables.jobs.add(kind, derived_id(kind))

    async def issue_due(self) -> int:
        """Issue all that is due now; return for how many payments and refunds it was looked at."""
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
        """Issue what a payment lacks, held before or never noted.

        Raises:
            DocumentHeldError: it cannot be issued, and is held again.
        """
        await self._rows.release(payment_id)
        await self.issue_due()
        held = await self._rows.held(payment_id)
        if held is not None:
            raise DocumentHeldError(
                f"A document of the payment {payment_id} cannot be issued yet: see its open case "
                f"'{held}'.",
                case=held,
            )

    async def _due(self, _work: Job) -> Answer:
        await self.issue_due()
        return RetryIn(
            LOOK_EVERY_SECONDS / self._time_scale.seconds(1.0), "the next are issued soon"
        )

    async def _forget_due(self, _work: Job) -> Answer:
        await self._rows.forget_buyers()
        return RetryIn(FORGET_EVERY_SECONDS, "the next term ends another day")

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
        """Issue the documents of payments; return those that stay due, or are held."""
        lacking = []
        now = await self._invoices.now(within=within)
        untaxed = await self._rows.hold_untaxed(paid, within=within)
        for payment_id in untaxed:
            await self._ask_for_rate(payment_id, within)
        paid = [payment_id for payment_id in paid if payment_id not in untaxed]
        for types in (FIRST, THEN) if paid else ():
            facts = await self._rows.paid(paid, types, within=within)
            lacking += [fact["payment_id"] for fact in facts if lacks(fact)]
            drafts = [of_payment(it, self._letterhead, now) for it in facts if not lacks(it)]
            await self._issued(drafts, within)
        if lacking:
            held = await self._rows.hold(lacking, BUYER_MISSING, within=within)
            for payment_id, customer in {(row["payment_id"], row["customer"]) for row in held}:
                await self._ask_for_buyer(payment_id, customer, within)
        return set(lacking) | untaxed

    async def _of_refunds(self, refunded: Sequence[Row], within: Connection) -> set[int]:
        """Issue the credit notes of refunds; return those held with their payment's document."""
        if not refunded:
            return set()
        refunds = [row["refund"] for row in refunded]
        for row in await self._rows.refunded(refunds, within=within):
            await self._credit(row, within)
        return {row["id"] for row in await self._rows.hold_behind(refunded, within=within)}

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
        await self._issued([note], within)

    async def _issued(self, drafts: Sequence[NewDocument], within: Connection) -> None:
        """Issue documents, and send each to its customer."""
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
            "The law wants the buyer's address on the invoice of this payment, and the tax id "
            "where its market says so. The customer was asked; the document is issued once they "
            "are there (PUT /v1/customers/{id}/billing-details, or the customer's own page).",
            within=within,
        )

    async def _ask_for_rate(self, payment_id: UUID, within: Connection) -> None:
        await self._notifications.alert(
            UNTAXED,
            payment_id,
            f"The payment {payment_id} was captured, and there is no tax rate where its buyer is "
            "now: they moved while it was under way. Add the market with './caas taxes add-market' "
            "and its rates, or correct the billing address; then './caas documents issue-missing' "
            "taxes the payment by the day of its capture, and issues its document.",
            within=within,
        )

    async def _close_cases(self, done: Sequence[Row], within: Connection) -> None:
        """Close the cases behind which what is done now was held."""
        for kind, payment_id in {(row["case_kind"], row["payment_id"]) for row in done}:
            if kind is not None:
                await self._tables.cases.close(
                    kind, payment_id, resolution=ISSUED, owner=ISSUER, within=within
                )

    async def _give_up(self, error: str) -> int:
        """Hold the document that cannot be issued for a person; the others go on."""

        async def one(connection: Connection) -> int:
            due = await self._rows.due(1, within=connection)
            for row in due:
                await self._rows.hold_one(row, NOT_ISSUED, within=connection)
                await self._notifications.alert(
                    NOT_ISSUED,
                    row["payment_id"],
                    f"A payment has no document: {error[:ERROR_CHARS_MAX]}. Look at its order and "
                    "its customer, and have it issued again.",
                    within=connection,
                )
            return len(due)

        return await self._tables.database.in_transaction(one)

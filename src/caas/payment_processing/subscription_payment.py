"""Subscription Payment (Diagram 6): one month's charge, and the payment method behind it.

A month that has ended is charged from its invoice: paid, the subscription continues and the invoice
is sent; declined, the subscription is cancelled, the month is written off and the service is
switched off. Before a subscription begins, a small amount is held and let go again: that is how a
payment method is verified (decision 27), and the only time that a hold has no invoice.

Rules a change must keep: what a month's result means is one commit with that result; only a
declined charge cancels, an unknown one never does (decision 25); an invoice that was paid or
written off is never charged again (decision 26); a verification is voided, never captured.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from caas.billing_database.billing_runs import MonthCharge
from caas.billing_database.books import Books
from caas.billing_database.connection import Connection
from caas.billing_database.due_work import DueWork
from caas.billing_database.identifiers import new_id
from caas.billing_database.invoices import INVOICE, Invoice, InvoiceRows
from caas.billing_database.moves import Evidence
from caas.billing_database.payments import NewPayment, Payment, Verdict
from caas.errors import ConflictError
from caas.notifications import Notifications
from caas.open_work import Answer, Done, OpenWork
from caas.payment_processing.charges import Charges
from caas.payment_processing.flow import Step
from caas.payment_processing.gateway_calls import AUTHORISE, SYNCHRONOUS_PATIENCE_SECONDS
from caas.payment_processing.initiation import Accepted, PaymentRequest, accept
from caas.payment_processing.subscription_failure import SubscriptionFailure, invoice_facts
from caas.rules.pace import Pace
from caas.rules.payment_states import PaymentState
from caas.rules.payment_types import EvidenceKind, PaymentType
from caas.rules.subscription_states import SubscriptionState
from caas.service_catalog.subscriptions import VERIFY_PAYMENT_METHOD, Subscriptions

VERIFICATION_AMOUNT: Final = 100
"""What is held for a moment to verify a payment method, in minor units."""

VERIFIED: Final = "payment method verified"
NOT_DUE: Final = "nothing is due for it"


class NotDueError(ConflictError):
    """There is no invoice that is due with this amount for this customer; nothing was charged."""

    code = "not_due"


class SubscriptionPayment:
    """The flow of a subscription's payments."""

    def __init__(
        self,
        *,
        books: Books,
        charges: Charges,
        subscriptions: Subscriptions,
        subscription_failure: SubscriptionFailure,
        notifications: Notifications,
        pace: Pace,
    ) -> None:
        """Work with these participants; what follows a failure is `subscription_failure`'s."""
        self._books = books
        self._charges = charges
        self._subscriptions = subscriptions
        self._notifications = notifications
        self._pace = pace
        self._failure = subscription_failure
        self._invoices = InvoiceRows(books.database)

    def register(self, open_work: OpenWork) -> None:
        """Take what is left for later: verifications, and what follows a failed month."""
        open_work.register(VERIFY_PAYMENT_METHOD, self._verification_due)
        self._failure.register(open_work)

    # -- how a charge begins -------------------------------------------------------------------

    async def verify_payment_method(self, subscription_id: UUID) -> None:
        """Hold a small amount on a new subscription's payment method; what follows lets it go."""
        subscription = await self._subscriptions.subscription(subscription_id)
        if subscription.state is not SubscriptionState.VERIFYING:
            return
        request = PaymentRequest(
            subject=subscription.id,
            customer=subscription.customer,
            amount=VERIFICATION_AMOUNT,
            currency=subscription.currency,
            payment_method=subscription.payment_method,
        )
        accepted = await accept(self._books, request, PaymentType.SUBSCRIPTION, pace=self._pace)
        assert isinstance(accepted, Accepted), "only a caller with a key gets a stored answer"
        if accepted.fresh:
            await self._charges.process_payment(
                accepted.payment, self, patience_seconds=SYNCHRONOUS_PATIENCE_SECONDS
            )

    async def charge_mes_vencido(
        self, charges: Sequence[MonthCharge], *, within: Connection
    ) -> int:
        """Accept the charges of a month in one statement; return how many were not there yet."""
        wanted = [_new_payment(charge) for charge in charges]
        accepted = await self._books.payments.accept_all(wanted, within=within)
        return sum(acceptance.verdict is Verdict.ACCEPTED for acceptance in accepted)

    async def refuse_what_is_not_due(self, request: PaymentRequest, *, within: Connection) -> None:
        """Refuse a charge that no invoice stands behind (`initiateSubscriptionPayment`).

        Raises:
            NotDueError: no such invoice is due.
        """
        invoice = await self._invoices.find(request.subject, within=within)
        asked = (request.amount, request.currency, request.customer)
        if (
            invoice is None
            or invoice.kind != INVOICE
            or (invoice.gross, invoice.currency, invoice.customer) != asked
            or not await self._invoices.chargeable(invoice.id, within=within)
        ):
            raise NotDueError

    # -- Diagram 6, the result of a charge -----------------------------------------------------

    async def when_failed(self, payment: Payment) -> Step:
        """Say what is committed with a declined charge: cancelled, written off, customer told."""
        is_a_month = await self._invoices.find(payment.subject) is not None
        return Step(also=self._payment_failed if is_a_month else self._payment_method_refused)

    async def when_authorised(self, payment: Payment) -> Step:
        """Say what is committed with the funds: the claim on them, and what it means."""
        is_a_month = await self._invoices.find(payment.subject) is not None
        return Step(also=self._payment_successful if is_a_month else self._payment_method_verified)

    async def carry_on(self, payment: Payment) -> Payment:
        """Do the next thing: capture or let go at the gateway, switch on or off in the vehicle."""
        payment = await self._books.payments.get(payment.id)
        match payment.state:
            case PaymentState.FAILED | PaymentState.SETTLEMENT_FAILED:
                await self._failure.carry_on(payment)
                return payment
            case PaymentState.CAPTURING:
                return await self._charges.capture(payment)
            case PaymentState.AUTHORIZED:
                if await self._subscriptions.find(payment.subject) is not None:
                    await self._subscriptions.activate_service(payment.subject)
                return await self._charges.send_void(payment, VERIFIED)
            case _:
                return payment

    async def _payment_failed(self, connection: Connection, payment: Payment) -> None:
        invoice = await self._invoices.get(payment.subject, within=connection)
        await self._failure.payment_failed(invoice, payment, within=connection)

    async def _payment_successful(self, connection: Connection, payment: Payment) -> None:
        invoice = await self._invoices.get(payment.subject, within=connection)
        if not await self._invoices.chargeable(invoice.id, within=connection):
            await self._charges.claim_void(payment, NOT_DUE, within=connection)
            return
        evidence = _usage_snapshot(invoice)
        await self._charges.claim_capture(payment, evidence, within=connection)
        await self._subscriptions.continue_subscription(
            invoice.subscription, payment.id, within=connection
        )
        await self._invoice_sent(connection, invoice, payment)

    async def _invoice_sent(
        self, connection: Connection, invoice: Invoice, payment: Payment
    ) -> None:
        await self._notifications.tell(
            audience="customer",
            recipient=invoice.customer,
            template="invoice_sent",
            facts=invoice_facts(invoice),
            subject=payment.id,
            within=connection,
        )

    # -- verifying a payment method ------------------------------------------------------------

    async def _payment_method_verified(self, connection: Connection, payment: Payment) -> None:
        await self._charges.claim_void(payment, VERIFIED, within=connection)
        if await self._subscriptions.find(payment.subject, within=connection):
            await self._subscriptions.payment_method_verified(
                payment.subject, payment.id, within=connection
            )

    async def _payment_method_refused(self, connection: Connection, payment: Payment) -> None:
        if await self._subscriptions.find(payment.subject, within=connection):
            await self._subscriptions.payment_method_refused(
                payment.subject, payment.id, within=connection
            )

    async def _verification_due(self, work: DueWork) -> Answer:
        await self.verify_payment_method(work.subject)
        return Done()


def _usage_snapshot(invoice: Invoice) -> Evidence:
    """Return the proof behind a month's capture: the invoice that holds what was used."""
    return Evidence(
        id=new_id(),
        kind=EvidenceKind.USAGE_SNAPSHOT.value,
        status_reason=f"invoice {invoice.full_number}",
        command_id=invoice.id,
        vin=invoice.vin,
        service=invoice.service,
        at=invoice.issued_at.isoformat(),
    )


def _new_payment(charge: MonthCharge) -> NewPayment:
    return NewPayment(
        id=charge.payment_id,
        type=PaymentType.SUBSCRIPTION,
        subject=charge.invoice,
        customer=charge.customer,
        amount=charge.amount,
        currency=charge.currency,
        payment_method=charge.payment_method,
        work_kind=AUTHORISE,
    )

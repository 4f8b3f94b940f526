"""Subscription Payment (Diagram 6): one month's charge, and its payment method.

An ended month is charged from its invoice. If it is paid, the subscription continues and the
invoice is sent; if it is declined, the subscription is cancelled, the month written off and the
service switched off. Before a subscription begins, a small amount is held and voided to verify the
payment method (decision 27); this is the only authorization without an invoice. Another payment
method is verified in the same way. Customers are not present at these charges, so they are sent the
gateway's page when their bank asks for a confirmation.

Rules a change must keep: the consequences of a month's result are one commit with that result; only
a decline cancels, an unknown outcome never does (decision 25); an invoice that was paid or written
off is never charged again (decision 26); a verification is voided, never captured.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final
from uuid import UUID

from caas.billing_database.billing_runs import MonthCharge
from caas.billing_database.connection import Connection
from caas.billing_database.identifiers import new_id
from caas.billing_database.invoices import INVOICE, Invoice, InvoiceRows
from caas.billing_database.job_rows import Job
from caas.billing_database.payments import (
    DESCRIPTION,
    END_PAGE,
    NewPayment,
    Payment,
    Verdict,
)
from caas.billing_database.subscriptions import PaymentMethods, Subscription
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.transitions import Evidence
from caas.errors import ConflictError
from caas.external_systems.payment_gateway import ChargeTerms, Initiator
from caas.jobs import Answer, Done, JobQueue
from caas.notifications import Notifications, texts
from caas.payment_processing.authorization import Attempt
from caas.payment_processing.charges import Charges
from caas.payment_processing.flow import SideEffects
from caas.payment_processing.gateway_calls import AUTHORIZE, SYNCHRONOUS_PATIENCE_SECONDS
from caas.payment_processing.initiation import (
    METHOD,
    Accepted,
    Check,
    PaymentRequest,
    accept,
    described,
    gateway_for,
)
from caas.payment_processing.subscription_failure import SubscriptionFailure, invoice_facts
from caas.rules.money import Money
from caas.rules.payment_states import PaymentState
from caas.rules.payment_types import EvidenceKind, PaymentType
from caas.rules.subscription_states import LIVE, SubscriptionEvent, SubscriptionState
from caas.rules.time_scale import TimeScale
from caas.service_catalog.subscriptions import (
    VERIFY_PAYMENT_METHOD,
    SubscriptionEndedError,
    Subscriptions,
)

VERIFICATION_AMOUNT: Final = 100
"""What is held for a moment to verify a payment method, in minor units."""

VERIFIED: Final = "payment method verified"
NOT_DUE: Final = "nothing is due for it"


class InvoiceNotDueError(ConflictError):
    """There is no invoice that is due with this amount for this customer; nothing was charged."""

    code = "not_due"


class VerificationOpenError(ConflictError):
    """Another payment method was still being verified. Its page is ended; choose again soon."""

    code = "verification_open"


class SubscriptionPayment:
    """The flow of a subscription's payments."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        charges: Charges,
        subscriptions: Subscriptions,
        subscription_failure: SubscriptionFailure,
        notifications: Notifications,
        time_scale: TimeScale,
        public_url: str | None = None,
    ) -> None:
        """Return customers from the gateway's page to pages at `public_url`."""
        self._tables = tables
        self._charges = charges
        self._subscriptions = subscriptions
        self._notifications = notifications
        self._time_scale = time_scale
        self._failure = subscription_failure
        self._public_url = public_url
        self._invoices = InvoiceRows(tables.database)
        self._methods = PaymentMethods(tables.database)

    def register(self, jobs: JobQueue) -> None:
        """Register the jobs of verifications and of failed months."""
        jobs.register(VERIFY_PAYMENT_METHOD, self._verification_due, safety_net=True)
        self._failure.register(jobs)

    # -- how a charge begins -------------------------------------------------------------------

    async def verify_payment_method(self, subscription_id: UUID) -> None:
        """Hold a small amount on a new subscription's payment method; the flow voids it.

        A subscription that was verified, or has ended, is left as it is.
        """
        subscription = await self._subscriptions.subscription(subscription_id)
        if subscription.state is not SubscriptionState.VERIFYING:
            return
        event = SubscriptionEvent.PAYMENT_METHOD_VERIFIED
        with suppress(SubscriptionEndedError):
            await self._verify(
                subscription, subscription.payment_method, event, saved_at=subscription.gateway
            )

    async def verify_later(self, subscription_id: UUID) -> None:
        """Let a worker verify a new subscription's payment method."""
        await self._tables.jobs.postpone(VERIFY_PAYMENT_METHOD, subscription_id, due_in=0.0)

    async def verify_another(
        self, subscription: Subscription, payment_method: str | None, *, saved_at: str | None,
        respond_async: bool = False,
    ) -> Payment:  # fmt: skip
        """Hold a small amount on another payment method, or on one typed at the gateway.

        `saved_at` is the gateway of the method, if it is known. With `respond_async` a worker does.

        The page of another method, or for a new card, that the customer has left is ended first.

        Raises:
            SubscriptionEndedError: it has ended meanwhile.
            VerificationOpenError: such a verification was open; nothing else is verified until it
                has ended.
        """
        event = SubscriptionEvent.PAYMENT_METHOD_CHANGED
        payment = await self._verify(
            subscription, payment_method, event, saved_at=saved_at, respond_async=respond_async
        )
        if payment.payment_method != payment_method:
            if payment.hosted_page_url is not None:
                await self._tables.jobs.add(END_PAGE, payment.id)
            raise VerificationOpenError(payment=str(payment.id))
        return payment

    async def _verify(
        self, subscription: Subscription, payment_method: str | None, event: SubscriptionEvent,
        *, saved_at: str | None, respond_async: bool = False,
    ) -> Payment:  # fmt: skip
        """Hold the amount if the subscription can still take `event` when the payment begins."""

        async def check(request: PaymentRequest, *, within: Connection) -> None:
            await self._subscriptions.check_open_for(event, request.subject, within=within)

        request = PaymentRequest(
            subject=subscription.id,
            customer=subscription.customer,
            amount=VERIFICATION_AMOUNT,
            currency=subscription.currency,
            payment_method=payment_method,
            return_url=self._page(f"returned/{subscription.id}"),
            respond_async=respond_async,
        )
        request = await described(self._tables, request, METHOD)
        accepted = await accept(
            self._tables,
            request,
            PaymentType.SUBSCRIPTION,
            gateway=await self._gateway_of(subscription, payment_method, saved_at),
            time_scale=self._time_scale,
            check=check,
        )
        assert isinstance(accepted, Accepted), "only a caller with a key gets a stored answer"
        if not accepted.fresh or respond_async:
            return accepted.payment
        return await self._charges.authorization.process_payment(
            accepted.payment, self, patience_seconds=SYNCHRONOUS_PATIENCE_SECONDS,
            attempt=Attempt(description=request.description or ""),
        )  # fmt: skip

    async def _gateway_of(
        self, subscription: Subscription, token: str | None, saved_at: str | None
    ) -> str:
        """Return where a method is verified: at its gateway, or at that of a new payment."""
        if token is not None and saved_at is not None:
            return saved_at
        return await gateway_for(
            self._tables, self._charges.gateways, PaymentType.SUBSCRIPTION,
            subject=subscription.id, customer=subscription.customer, token=token,
            money=Money(VERIFICATION_AMOUNT, subscription.currency),
        )  # fmt: skip

    async def charge_mes_vencido(
        self, charges: Sequence[MonthCharge], *, within: Connection
    ) -> int:
        """Accept the charges of a month in one statement; return how many are new."""
        wanted = [
            _new_payment(charge, self._page(f"payments/{charge.payment_id}")) for charge in charges
        ]
        accepted = await self._tables.payments.accept_all(wanted, within=within)
        return sum(acceptance.verdict is Verdict.ACCEPTED for acceptance in accepted)

    async def check_due(self, request: PaymentRequest) -> Check:  # noqa: ARG002 - as Flow has it
        """Return a check that runs on acceptance: until then the invoice may be paid."""
        return self._check_due

    async def _check_due(self, request: PaymentRequest, *, within: Connection) -> None:
        """Accept a charge only for an invoice that is due (`initiateSubscriptionPayment`).

        Raises:
            InvoiceNotDueError: no such invoice is due.
        """
        invoice = await self._invoices.find(request.subject, within=within)
        asked = (request.amount, request.currency, request.customer)
        if (
            invoice is None
            or invoice.kind != INVOICE
            or (invoice.gross, invoice.currency, invoice.customer) != asked
            or not await self._invoices.chargeable(invoice.id, within=within)
        ):
            raise InvoiceNotDueError

    def _page(self, path: str) -> str | None:
        return f"{self._public_url}/{path}" if self._public_url else None

    # -- Diagram 6, the result of a charge -----------------------------------------------------

    async def terms(self, payment: Payment) -> ChargeTerms:
        """Return that a month is charged by us alone, and that a verification saves the method."""
        if await self._invoices.find(payment.subject) is not None:
            return ChargeTerms(initiator=Initiator.MERCHANT)
        return ChargeTerms(saves_method=True)

    async def is_withdrawn(self, payment: Payment) -> bool:
        """Return whether it was to verify a payment method of a subscription that has ended."""
        subscription = await self._subscriptions.find(payment.subject)
        return subscription is not None and subscription.state not in LIVE

    async def on_requires_action(self, payment: Payment) -> SideEffects:
        """Notify a customer who is not present; one who changes a payment method is on the page."""
        if payment.payment_method is None:
            return SideEffects()
        is_a_month = await self._invoices.find(payment.subject) is not None
        return SideEffects(also=self._ask_for_a_month if is_a_month else self._ask_for_a_method)

    async def on_failed(self, payment: Payment) -> SideEffects:
        """Return what is committed with a decline: cancellation, write-off, customer notice."""
        is_a_month = await self._invoices.find(payment.subject) is not None
        return SideEffects(
            also=self._payment_failed if is_a_month else self._payment_method_refused
        )

    async def on_authorized(self, payment: Payment) -> SideEffects:
        """Return what is committed with the held funds: the claim and its consequences."""
        is_a_month = await self._invoices.find(payment.subject) is not None
        return SideEffects(
            also=self._payment_successful if is_a_month else self._payment_method_verified
        )

    async def advance(self, payment: Payment) -> Payment:
        """Capture or void at the gateway, and switch the service on or off."""
        payment = await self._tables.payments.get(payment.id)
        match payment.state:
            case PaymentState.FAILED | PaymentState.SETTLEMENT_FAILED:
                await self._failure.advance(payment)
                return payment
            case PaymentState.CAPTURING:
                return await self._charges.capture.send_capture(payment)
            case PaymentState.AUTHORIZED:
                if await self._subscriptions.find(payment.subject) is not None:
                    await self._subscriptions.activate_service(payment.subject)
                return await self._charges.void.send_void(payment)
            case _:
                return payment

    async def void(self, payment: Payment, reason: str) -> Payment:
        """Void the held funds."""
        return await self._charges.void.void_charge(payment, reason)

    async def _payment_failed(self, connection: Connection, payment: Payment) -> None:
        invoice = await self._invoices.get(payment.subject, within=connection)
        await self._failure.payment_failed(invoice, payment, within=connection)

    async def _payment_successful(self, connection: Connection, payment: Payment) -> None:
        invoice = await self._invoices.get(payment.subject, within=connection)
        if not await self._invoices.chargeable(invoice.id, within=connection):
            await self._charges.void.claim_void(payment, NOT_DUE, within=connection)
            return
        evidence = _usage_snapshot(invoice)
        await self._charges.capture.claim_capture(payment, evidence, within=connection)
        await self._subscriptions.continue_subscription(
            invoice.of_subscription, payment.id, within=connection
        )
        await self._invoice_sent(connection, invoice, payment)

    async def _invoice_sent(
        self, connection: Connection, invoice: Invoice, payment: Payment
    ) -> None:
        facts = invoice_facts(invoice)
        await self._notify(connection, "invoice_sent", payment, facts)

    async def _ask_for_a_month(self, connection: Connection, payment: Payment) -> None:
        invoice = await self._invoices.get(payment.subject, within=connection)
        facts = invoice_facts(invoice) | _where(payment)
        await self._notify(connection, "subscription_payment_to_confirm", payment, facts)

    async def _ask_for_a_method(self, connection: Connection, payment: Payment) -> None:
        subscription = await self._subscriptions.subscription(payment.subject, within=connection)
        facts = {
            "service": subscription.service,
            "vin": subscription.vin,
            "amount": payment.amount,
            "currency": payment.currency,
            **_where(payment),
        }
        await self._notify(connection, "payment_method_to_confirm", payment, facts)

    async def _notify(
        self, connection: Connection, template: str, payment: Payment, facts: dict[str, object]
    ) -> None:
        await self._notifications.notify(
            audience="customer",
            recipient=payment.customer,
            template=template,
            facts=facts,
            subject=payment.id,
            within=connection,
        )

    # -- verifying a payment method ------------------------------------------------------------

    async def _payment_method_verified(self, connection: Connection, payment: Payment) -> None:
        await self._charges.void.claim_void(payment, VERIFIED, within=connection)
        learnt = await self._methods.learnt_from(payment.id, within=connection)
        token = learnt or payment.payment_method
        if await self._subscriptions.find(payment.subject, within=connection):
            await self._subscriptions.payment_method_verified(payment, token, within=connection)

    async def _payment_method_refused(self, connection: Connection, payment: Payment) -> None:
        if await self._subscriptions.find(payment.subject, within=connection):
            await self._subscriptions.payment_method_refused(
                payment.subject, payment.id, within=connection
            )

    async def _verification_due(self, job: Job) -> Answer:
        await self.verify_payment_method(job.subject)
        return Done()


def _usage_snapshot(invoice: Invoice) -> Evidence:
    """Return the evidence for a month's capture: the invoice with its usage."""
    return Evidence(
        id=new_id(),
        kind=EvidenceKind.USAGE_SNAPSHOT.value,
        status_reason=f"invoice {invoice.full_number}",
        command_id=invoice.id,
        vin=invoice.vin,
        service=invoice.service,
        at=invoice.issued_at.isoformat(),
    )


def _where(payment: Payment) -> dict[str, object]:
    """Return the gateway's page as a fact, if there is one."""
    page = payment.hosted_page_url
    return {"payment_url": page} if page and page.startswith(("https://", "http://")) else {}


def _new_payment(charge: MonthCharge, return_url: str | None) -> NewPayment:
    bought = texts.bought(
        PaymentType.SUBSCRIPTION,
        language=charge.language,
        name=charge.service,
        month=charge.month,
    )
    return NewPayment(
        id=charge.payment_id,
        type=PaymentType.SUBSCRIPTION,
        subject=charge.invoice,
        customer=charge.customer,
        amount=charge.amount,
        currency=charge.currency,
        gateway=charge.gateway,
        payment_method=charge.payment_method,
        return_url=return_url,
        facts={DESCRIPTION: bought},
        job_kind=AUTHORIZE,
    )

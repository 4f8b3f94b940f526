"""Failed subscription months (Diagram 6, `else`; Diagram 7, "Cancel subscription").

By the seed's rule the first decline cancels; a market's dunning policy may charge again or leave
the service on for a while (decision 25). Finally the month is written off as a loss of CaaS, the
subscription is cancelled and its service switched off, in one commit.

A charge that failed without a decline is made again some hours later. A month that still cannot be
charged, or whose amount the gateway does not charge, is written off alone (decision 280).

Rules a change must keep: only a decline cancels; a month is written off once and never charged
again; the running month is not billed (decision 26).
"""

from datetime import timedelta
from typing import Final
from uuid import UUID

from caas.billing_database.connection import Connection
from caas.billing_database.identifiers import derived_id
from caas.billing_database.invoices import Invoice, InvoiceRows
from caas.billing_database.job_rows import Job
from caas.billing_database.payments import NewPayment, Payment
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.transitions import transition_of
from caas.jobs import Answer, Done, JobQueue
from caas.notifications import Notifications
from caas.payment_processing.gateway_calls import AUTHORIZE
from caas.rules import postings
from caas.rules.payment_failures import (
    ABANDONED,
    AMOUNT_REFUSALS,
    Cancel,
    ChargeAgain,
    DunningPolicy,
    after_decline,
    after_silence,
    hours_before_next_charge,
)
from caas.rules.payment_states import PaymentState, Remark
from caas.rules.payment_types import PaymentType
from caas.rules.refusal_codes import is_decline
from caas.rules.subscription_states import SubscriptionState
from caas.rules.time_scale import TimeScale
from caas.service_catalog.subscriptions import Subscriptions

CHARGE_AGAIN: Final = "charge_month_again"
END_OF_GRACE: Final = "end_of_grace"
DECLINED: Final = "payment failed"
NOT_SETTLED: Final = "settlement failed"
LOSS_CAUSE: Final = "subscription_declined"
MONTH_NOT_CHARGED: Final = "month_not_charged"
SECONDS_IN_AN_HOUR: Final = 3600.0
SECONDS_IN_A_DAY: Final = 86400.0

TEMPLATES: Final = {
    CHARGE_AGAIN: "subscription_payment_retried",
    END_OF_GRACE: "subscription_payment_in_grace",
}


class SubscriptionFailure:
    """Applies the dunning policy when a month's charge fails."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        subscriptions: Subscriptions,
        notifications: Notifications,
        time_scale: TimeScale,
        dunning: DunningPolicy | None = None,
    ) -> None:
        """Without a dunning policy, the first decline cancels the subscription."""
        self._tables = tables
        self._subscriptions = subscriptions
        self._notifications = notifications
        self._time_scale = time_scale
        self._dunning = dunning or DunningPolicy()
        self._invoices = InvoiceRows(tables.database)

    def register(self, jobs: JobQueue) -> None:
        """Register the jobs of further charges and of the end of grace."""
        jobs.register(CHARGE_AGAIN, self._charge_again)
        jobs.register(END_OF_GRACE, self._grace_ended)

    async def payment_failed(
        self, invoice: Invoice, payment: Payment, *, within: Connection
    ) -> None:
        """Apply the policy to a charge that was declined or never confirmed.

        A charge that failed otherwise is made again a few times; then the month is written off, as
        is one whose amount the gateway does not charge, and nothing ends.
        """
        if payment.decline_code in AMOUNT_REFUSALS:
            await self._write_off(invoice, payment, within)
            return
        failed = await self._invoices.failed_charges(invoice.id, within=within)
        if payment.decline_code == ABANDONED:
            follows = after_silence(self._dunning, failed.abandoned)
        elif is_decline(payment.decline_code):
            follows = after_decline(self._dunning, failed.declined)
        else:
            await self._charge_later(invoice, payment, failed.otherwise, within)
            return
        match follows:
            case ChargeAgain(in_days):
                await self._reschedule(CHARGE_AGAIN, invoice, payment, in_days, within)
            case Cancel(in_days) if in_days:
                await self._reschedule(END_OF_GRACE, invoice, payment, in_days, within)
            case Cancel():
                await self._give_up(invoice, payment, within)

    async def advance(self, payment: Payment) -> None:
        """Cancel a month that the bank rejected, and switch the service off."""
        invoice = await self._invoices.find(payment.subject)
        if invoice is None:
            return
        if payment.state is PaymentState.SETTLEMENT_FAILED:
            await self._settlement_failed(invoice, payment)
        subscription = await self._subscriptions.subscription(invoice.of_subscription)
        if subscription.state is SubscriptionState.CANCELLED:
            await self._subscriptions.deactivate_service(subscription.id)

    async def _settlement_failed(self, invoice: Invoice, payment: Payment) -> None:
        """Cancel when the bank rejects a captured month; its loss is booked by the settlement."""

        async def give_up(connection: Connection) -> None:
            if await self._invoices.write_off(
                invoice.id, payment.id, because=NOT_SETTLED, within=connection
            ):
                await self._cancel(invoice, payment, connection)

        await self._tables.database.in_transaction(give_up)

    async def _give_up(self, invoice: Invoice, payment: Payment, within: Connection) -> None:
        if await self._write_off(invoice, payment, within):
            await self._cancel(invoice, payment, within)

    async def _write_off(self, invoice: Invoice, payment: Payment, within: Connection) -> bool:
        """Write a month off and book the loss; return False if it already was."""
        if not await self._invoices.write_off(
            invoice.id, payment.id, because=DECLINED, within=within
        ):
            return False
        loss = transition_of(
            payment,
            Remark.LOSS_BOOKED,
            source="written-off",
            facts={"invoice": invoice.full_number},
            entries=postings.written_off(payment.type, LOSS_CAUSE, payment.amount),
        )
        transitioned = await self._tables.transitions.apply(loss, within=within)
        assert transitioned.transitioned, (
            "a loss is booked in the commit that writes the invoice off"
        )
        return True

    async def _cancel(self, invoice: Invoice, payment: Payment, within: Connection) -> None:
        await self._subscriptions.mark_subscription_cancelled(
            invoice.of_subscription, payment.id, within=within
        )
        template = "subscription_cancelled_payment_failed"
        await self._notify(template, invoice, payment, within)

    async def _reschedule(
        self, kind: str, invoice: Invoice, payment: Payment, in_days: int, within: Connection
    ) -> None:
        due_in = self._time_scale.seconds(in_days * SECONDS_IN_A_DAY)
        payload = {"payment_id": str(payment.id)}
        await self._tables.jobs.add(kind, invoice.id, due_in=due_in, payload=payload, within=within)
        await self._notify(TEMPLATES[kind], invoice, payment, within, in_days=in_days)

    async def _charge_later(
        self, invoice: Invoice, payment: Payment, failures: int, within: Connection
    ) -> None:
        """Charge a month again that failed without a decline, or write it off alone."""
        hours = hours_before_next_charge(failures)
        if hours is not None:
            due_in = self._time_scale.seconds(hours * SECONDS_IN_AN_HOUR)
            await self._tables.jobs.add(CHARGE_AGAIN, invoice.id, due_in=due_in, within=within)
        elif await self._write_off(invoice, payment, within):
            because = (
                f"The month's charge failed {failures} times without a decline, the last time with "
                f"{payment.decline_code}. The month is written off and the subscription goes on."
            )
            await self._notifications.alert(MONTH_NOT_CHARGED, payment.id, because, within=within)

    async def _charge_again(self, job: Job) -> Answer:
        """Charge a month once more, as a new payment; the same attempt is the same payment."""

        async def charge(connection: Connection) -> None:
            invoice = await self._invoices.get(job.subject, within=connection)
            if await self._invoices.chargeable(invoice.id, within=connection):
                again = await self._next_charge(invoice, connection)
                await self._tables.payments.accept(again, within=connection)

        await self._tables.database.in_transaction(charge)
        return Done()

    async def _next_charge(self, invoice: Invoice, within: Connection) -> NewPayment:
        failed = await self._invoices.failed_charges(invoice.id, within=within)
        number = failed.declined + failed.abandoned + failed.otherwise + 1
        subscription = await self._subscriptions.subscription(
            invoice.of_subscription, within=within
        )
        return NewPayment(
            id=derived_id(invoice.id, "charge", number),
            type=PaymentType.SUBSCRIPTION,
            subject=invoice.id,
            customer=invoice.customer,
            amount=invoice.gross,
            currency=invoice.currency,
            gateway=subscription.gateway,
            payment_method=subscription.payment_method,
            job_kind=AUTHORIZE,
        )

    async def _grace_ended(self, job: Job) -> Answer:
        async def give_up(connection: Connection) -> Payment:
            invoice = await self._invoices.get(job.subject, within=connection)
            payment = await self._tables.payments.get(
                UUID(job.payload["payment_id"]), within=connection
            )
            if await self._invoices.chargeable(invoice.id, within=connection):
                await self._give_up(invoice, payment, connection)
            return payment

        await self.advance(await self._tables.database.in_transaction(give_up))
        return Done()

    async def _notify(
        self,
        template: str,
        invoice: Invoice,
        payment: Payment,
        within: Connection,
        *,
        in_days: int = 0,
    ) -> None:
        now = await self._invoices.now(within=within)
        await self._notifications.notify(
            audience="customer",
            recipient=invoice.customer,
            template=template,
            facts={
                **invoice_facts(invoice),
                "decline_code": payment.decline_code or "",
                "until": now + timedelta(days=in_days),
            },
            subject=payment.id,
            within=within,
        )


def invoice_facts(invoice: Invoice) -> dict[str, object]:
    """Return the facts of an invoice for notifications."""
    return {
        "number": invoice.full_number,
        "invoice": str(invoice.id),
        "month": invoice.month,
        "service": invoice.service,
        "vin": invoice.vin,
        "amount": invoice.gross,
        "currency": invoice.currency,
    }

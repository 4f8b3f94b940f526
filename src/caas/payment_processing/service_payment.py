"""One-Time Service Payment (Diagrams 4 and 8).

Funds are held, the vehicle is activated, and the charge is committed only with the vehicle's signed
acknowledgement; if the activation fails, the charge is voided. The claim that leads to a capture
cannot be recorded without that evidence.

Rule a change must keep: the charge is claimed with its evidence, in one commit, or not at all.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final
from uuid import UUID

from caas.billing_database.connection import Connection
from caas.billing_database.customers import Customers
from caas.billing_database.job_rows import Job
from caas.billing_database.payments import Payment
from caas.billing_database.services import WantedService
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.transitions import Evidence, NewJob
from caas.errors import RefusedError
from caas.external_systems.payment_gateway import BY_CUSTOMER, ChargeTerms
from caas.jobs import Answer, Done, JobQueue
from caas.notifications import Notifications
from caas.ota_activation_engine import (
    ACTIVATE,
    RESEND_SECONDS,
    OtaActivationEngine,
    activation_command,
    restoring_command,
)
from caas.payment_processing.charges import Charges
from caas.payment_processing.flow import SideEffects
from caas.payment_processing.initiation import Check, PaymentRequest
from caas.payment_processing.void import CaptureWonError
from caas.rules.payment_states import PaymentState
from caas.rules.time_scale import TimeScale
from caas.rules.vehicle_signatures import ActivationResult
from caas.service_catalog import ServiceCatalog
from caas.service_catalog.eligibility import check_buyer

CUSTOMER_ERASED: Final = "the customer was erased"
NOT_THEIRS: Final = "the vehicle is not the customer's any more"
ACTIVATION_FAILED: Final = "OTA activation failed"
NO_TERM: Final = "the service was sold to another purchase meanwhile"
NOTIFY_ACTIVE: Final = "notify_service_active"


class NotTheServicePriceError(RefusedError):
    """The payment is not what the service order is for."""

    code = "not_the_sum_due"


class ServicePayment:
    """The flow of a one-time service: from held funds to a committed or voided charge."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        charges: Charges,
        ota_activation_engine: OtaActivationEngine,
        service_catalog: ServiceCatalog,
        notifications: Notifications,
        time_scale: TimeScale,
    ) -> None:
        self._tables = tables
        self._charges = charges
        self._ota = ota_activation_engine
        self._catalog = service_catalog
        self._notifications = notifications
        self._time_scale = time_scale
        self._customers = Customers(tables.database)

    def register(self, jobs: JobQueue) -> None:
        """Register the handlers of this flow's jobs."""
        jobs.register(NOTIFY_ACTIVE, self._notify_active)

    async def check_due(self, request: PaymentRequest) -> Check | None:
        """Accept a payment only for a service order, its customer and its price.

        None of them ever changes. An order is written with the reservation of its term; for another
        attempt to pay for it the term is reserved again, in the transaction that accepts it.

        Raises:
            ServiceOrderNotFoundError: there is no such order.
            NotTheServicePriceError: another amount, currency or customer.
            CustomerErasedError: the customer was erased.
            BillingDetailsRequiredError: its invoice could not name its buyer any more.
        """
        order = await self._catalog.wanted(request.subject)
        await self._customers.buyer(order.customer)
        due = (order.customer, order.amount, order.currency)
        if due != (request.customer, request.amount, request.currency):
            raise NotTheServicePriceError(
                f"Due is {order.amount} minor units {order.currency} from the customer who "
                "ordered the service."
            )
        if self._catalog.was_just_reserved(order.id):
            return None
        await check_buyer(self._tables.database, customer=order.customer, price=order.amount)
        return self._reserve_term

    async def _reserve_term(self, request: PaymentRequest, *, within: Connection) -> None:
        """Reserve the term of an order again.

        Raises:
            PurchasePendingError: another purchase of the service for the vehicle is in progress.
            AlreadyRunningError, OrderUsedError: the order cannot have a term any more.
        """
        await self._catalog.reserve_term(await self._catalog.wanted(request.subject), within=within)

    async def on_failed(self, payment: Payment) -> SideEffects:
        """Cancel order, no activation (Diagram 7); the customer's notice is in the same commit."""
        order = await self._catalog.wanted(payment.subject)
        return SideEffects(also=self._notify_customer("service_payment_failed", order))

    async def on_authorized(self, payment: Payment) -> SideEffects:
        """Immediate delivery: the activation command is committed with the held funds."""
        because = await self._late_because(payment)
        if because is not None:
            return SideEffects(also=self._void_late(because))
        resend = NewJob(ACTIVATE, self._time_scale.seconds(RESEND_SECONDS))
        return SideEffects(command=activation_command(self._time_scale), next=(resend,))

    async def terms(self, payment: Payment) -> ChargeTerms:  # noqa: ARG002 - as Flow has it
        """Return that the customer is present, and may try another card."""
        return BY_CUSTOMER

    async def is_withdrawn(self, payment: Payment) -> bool:  # noqa: ARG002 - as Flow has it
        """Return False: a withdrawal ends or voids the payment itself."""
        return False

    async def on_requires_action(self, payment: Payment) -> SideEffects:  # noqa: ARG002 - as Flow has it
        """Send no notification: the waiting customer gets the page in the response."""
        return SideEffects()

    async def advance(self, payment: Payment) -> Payment:
        """Trigger the activation, or send the claimed capture or void."""
        if payment.state is PaymentState.AUTHORIZED and await self._late_because(payment):
            return await self._charges.void.send_void(payment)
        if payment.state is PaymentState.AUTHORIZED:
            return await self._activate(payment)
        if payment.state is PaymentState.CAPTURING:
            return await self._charges.capture.send_capture(payment)
        return payment

    async def activation_succeeded(self, payment_id: UUID, evidence: Evidence) -> ActivationResult:
        """Commit the charge, unless it was voided first (arrows 4a and 5a)."""
        payment = await self._tables.payments.get(payment_id)
        if payment.state is not PaymentState.AUTHORIZED:
            return _result_of(payment)
        committed, won = await self._charges.capture.commit_charge(
            payment, evidence, also=SideEffects(next=(NewJob(NOTIFY_ACTIVE),))
        )
        return ActivationResult.COMMITTED if won else _result_of(committed)

    async def activation_failed(self, payment_id: UUID, reason: str) -> None:
        """Send the fencing command to the vehicle and void the charge (arrows 4b and 5b)."""
        payment = await self._tables.payments.get(payment_id)
        if payment.state is PaymentState.AUTHORIZED:
            with suppress(CaptureWonError):  # it was confirmed at the last moment
                await self.void(payment, f"{ACTIVATION_FAILED}: {reason}")

    async def void(self, payment: Payment, reason: str) -> Payment:
        """Void a charge that was not delivered, its fence in the same commit (decision 16).

        The fence is the command with the desired state without this purchase.
        """
        order = await self._catalog.wanted(payment.subject)
        reported = self._notify_customer("service_not_activated_not_charged", order)
        claimed = await self._charges.void.claim_void(
            payment,
            reason,
            command=restoring_command(self._time_scale),
            also=SideEffects(also=reported),
        )
        await self._ota.send_desired_state(vin=order.vin, service=order.service)
        return await self._charges.void.send_void(claimed)

    async def _activate(self, payment: Payment) -> Payment:
        order = await self._catalog.wanted(payment.subject)
        recorded = await self._ota.trigger_activation(
            payment.id, vin=order.vin, service=order.service
        )
        if recorded:
            return payment
        return await self.void(payment, f"{ACTIVATION_FAILED}: {NO_TERM}")

    async def _late_because(self, payment: Payment) -> str | None:
        """Return why a payment on the gateway's page is too late, or None."""
        if payment.hosted_page_url is None:
            return None
        if await self._customers.is_erased(payment.customer):
            return CUSTOMER_ERASED
        if not await self._catalog.may_still_be_sold(payment.subject):
            return NOT_THEIRS
        return None

    def _void_late(self, because: str) -> Callable[[Connection, Payment], Awaitable[None]]:
        async def void(connection: Connection, payment: Payment) -> None:
            await self._charges.void.claim_void(payment, because, within=connection)

        return void

    def _notify_customer(
        self, template: str, order: WantedService
    ) -> Callable[[Connection, Payment], Awaitable[None]]:
        """Return a function that notifies the customer within a transaction."""

        async def notify(connection: Connection, payment: Payment) -> None:
            await self._notify(template, payment, order, within=connection)

        return notify

    async def _notify_active(self, job: Job) -> Answer:
        payment = await self._tables.payments.get(job.subject)
        order = await self._catalog.wanted(payment.subject)
        term = await self._tables.entitlements.of_order(order.id)
        period = {
            "begins": term.starts_at if term and term.is_ahead else None,
            "until": term.ends_at if term else None,
        }
        facts = {name: at.isoformat() if at else "" for name, at in period.items()}
        await self._notify("service_active", payment, order, facts=facts)
        return Done()

    async def _notify(
        self,
        template: str,
        payment: Payment,
        order: WantedService,
        *,
        facts: Mapping[str, str] | None = None,
        within: Connection | None = None,
    ) -> None:
        await self._notifications.notify(
            audience="customer",
            recipient=str(payment.customer),
            template=template,
            facts={
                "service": order.service,
                "vin": order.vin,
                "duration_days": order.duration_days,
                "amount": payment.amount,
                "currency": payment.currency,
                "decline_code": payment.decline_code or "",
                **(facts or {}),
            },
            subject=payment.id,
            within=within,
        )


def _result_of(payment: Payment) -> ActivationResult:
    charged = payment.captured_amount > 0
    return ActivationResult.ALREADY if charged else ActivationResult.LATE

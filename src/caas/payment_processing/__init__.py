"""The Payment Processing Subsystem (Diagram 1): the seed's seven calls, and two more.

Each initiate call commits the intent, calls the gateway, and returns the payment: definitive, or
still open and finished by a worker.

Rules a change must keep: these functions have the seed's names, in Python's spelling; the API and
the console initiate, void and refund payments only through them.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.idempotency import StoredAnswer
from caas.billing_database.payments import Payment, TimelineEvent
from caas.billing_database.refunds import Dispute, Refund
from caas.billing_database.subscriptions import Subscription
from caas.billing_database.tables import BillingDatabase
from caas.errors import ConflictError, UnavailableError
from caas.external_systems.vehicle_messages import Acknowledgement
from caas.jobs import JobQueue
from caas.ota_activation_engine.vehicle_responses import VehicleResponses
from caas.payment_processing.authorization import Attempt
from caas.payment_processing.charges import Charges
from caas.payment_processing.disputes import Disputes
from caas.payment_processing.flow import Flows
from caas.payment_processing.gateway_calls import (
    PROBE,
    SYNCHRONOUS_PATIENCE_SECONDS,
    measured_beside_gateway,
)
from caas.payment_processing.initiation import (
    Accepted,
    CallerKey,
    PaymentRequest,
    accept,
    described,
    gateway_for,
    give_up_key,
)
from caas.payment_processing.outcome_approval import OutcomeApproval
from caas.payment_processing.page_ending import PageEnding
from caas.payment_processing.promised_refunds import OrderRefunds, PromisedRefunds
from caas.payment_processing.refund_operations import CreditedRefunds, RefundOperations
from caas.payment_processing.refunds import Refunds
from caas.payment_processing.service_withdrawal import ServiceWithdrawal
from caas.payment_processing.settlement import Settlement, SettlementNotice
from caas.payment_processing.subscription_payment import SubscriptionPayment
from caas.payment_processing.unknown_outcomes import UnknownOutcomes
from caas.payment_processing.void import CaptureWonError
from caas.rules.agreed_price import AgreedPrice
from caas.rules.durations import Durations
from caas.rules.money import Money
from caas.rules.payment_states import PaymentState
from caas.rules.payment_types import PaymentType, sells_a_term
from caas.rules.time_scale import TimeScale
from caas.service_catalog.subscriptions import Subscriptions

__all__ = ["CallerKey", "PaymentProcessing", "PaymentRequest", "PaymentStatus", "SettlementNotice"]


class NotAuthorizedYetError(ConflictError):
    """The payment holds no funds yet, so there is nothing to void; ask again when it does."""

    code = "not_authorized_yet"


class PaymentStatus(msgspec.Struct, frozen=True):
    """A payment with everything that happened to it."""

    payment: Payment
    events: list[TimelineEvent]
    refunds: list[Refund]
    disputes: list[Dispute]


ADDED_BUCKETS_SECONDS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 10.0)


class PaymentProcessing:
    """The seed's Internal Payment API as Python functions."""

    def __init__(  # called once, by name, in platform.py
        self,
        *,
        tables: BillingDatabase,
        charges: Charges,
        flows: Flows,
        unknown_outcomes: UnknownOutcomes,
        settlement: Settlement,
        refunds: Refunds,
        promised_refunds: PromisedRefunds,
        order_refunds: OrderRefunds,
        service_withdrawal: ServiceWithdrawal,
        disputes: Disputes,
        subscriptions: Subscriptions,
        subscription_payment: SubscriptionPayment,
        vehicle_responses: VehicleResponses,
        time_scale: TimeScale,
    ) -> None:
        self._tables = tables
        self._charges = charges
        self._flows = flows
        self.unknown_outcomes = unknown_outcomes
        self._settlement = settlement
        self.refunds = refunds
        self.service_withdrawal = service_withdrawal
        self._promised_refunds = promised_refunds
        self._order_refunds = order_refunds
        self._disputes = disputes
        self._subscriptions = subscriptions
        self._subscription_payment = subscription_payment
        self._vehicle_responses = vehicle_responses
        self._time_scale = time_scale
        self._page_ending = PageEnding(tables=tables, charges=charges, flows=flows)
        self.added_seconds = Durations(ADDED_BUCKETS_SECONDS)
        self.outcome_approval = OutcomeApproval(tables, unknown_outcomes)
        self.credited_refunds = CreditedRefunds(tables, refunds, service_withdrawal)
        self.refund_operations = RefundOperations(
            tables,
            refund=self.refund_payment,
            credited_refunds=self.credited_refunds,
            requests=refunds.requests,
            time_scale=time_scale,
        )

    def register(self, jobs: JobQueue) -> None:
        """Register the handlers of every payment job."""
        self._flows.register(jobs)
        self._page_ending.register(jobs)
        self.unknown_outcomes.register(jobs)
        self.outcome_approval.register(jobs)
        self.refund_operations.register(jobs)
        self._settlement.register(jobs)
        self.refunds.register(jobs)
        self._promised_refunds.register(jobs)
        self._order_refunds.register(jobs)
        self._disputes.register(jobs)
        self.service_withdrawal.register(jobs)

    async def initiate_reservation_payment(self, request: PaymentRequest) -> Payment | StoredAnswer:
        """Process a reservation payment (Diagram 2); the caller waits for the answer."""
        return await self._initiate(request, PaymentType.RESERVATION)

    async def initiate_final_payment(self, request: PaymentRequest) -> Payment | StoredAnswer:
        """Process the final vehicle payment (Diagram 3); the caller waits for the answer."""
        return await self._initiate(request, PaymentType.FINAL)

    async def initiate_service_payment(self, request: PaymentRequest) -> Payment | StoredAnswer:
        """Process a one-time service payment (Diagram 4); settlement comes later."""
        return await self._initiate(request, PaymentType.SERVICE)

    async def initiate_subscription_payment(
        self, request: PaymentRequest
    ) -> Payment | StoredAnswer:
        """Process a month's subscription charge (Diagram 6); settlement comes later."""
        return await self._initiate(request, PaymentType.SUBSCRIPTION)

    async def subscribe(
        self, *, customer: UUID, vin: str, service: str, payment_method: str | None,
        saved_at: str | None = None, by_fleet: bool = False, request_key: bytes | None = None,
        respond_async: bool = False, shown: AgreedPrice | None = None,
    ) -> Subscription:  # fmt: skip
        """Subscribe to a monthly service, its payment method verified at once (Diagram 6).

        It is active once the vehicle acknowledges. Without a payment method the customer enters
        one on the page of the payment that verifies it. `saved_at` is the gateway of the payment
        method; None: where the customer has last used it. With `respond_async` a worker verifies
        it. The refusals are those of `Subscriptions.subscribe`.
        """
        new = await self._subscriptions.subscribe(
            customer=customer, vin=vin, service=service, payment_method=payment_method,
            gateway=saved_at or await gateway_for(
                self._tables, self._charges.gateways, PaymentType.SUBSCRIPTION, subject=None,
                customer=customer, token=payment_method, money=None,
            ),
            by_fleet=by_fleet, request_key=request_key, shown=shown,
        )  # fmt: skip
        if respond_async:
            await self._subscription_payment.verify_later(new.id)
        else:
            await self._subscription_payment.verify_payment_method(new.id)
        return await self._subscriptions.subscription(new.id)

    async def change_payment_method(
        self, subscription_id: UUID, *, payment_method: str | None, saved_at: str | None = None,
        respond_async: bool = False,
    ) -> Payment:  # fmt: skip
        """Verify another payment method, and charge it from then on.

        Returns the payment that verifies it. Without a token the customer types a card at the
        gateway, on that payment's page. `saved_at` is as in `subscribe`, and the refusals are those
        of `Subscriptions.check_payment_method_change`.
        """
        subscription = await self._subscriptions.check_payment_method_change(
            subscription_id, payment_method
        )
        return await self._subscription_payment.verify_another(
            subscription, payment_method, saved_at=saved_at, respond_async=respond_async
        )

    async def void_payment(self, payment_id: UUID, reason: str) -> Payment:
        """Void a payment before its capture; voiding it again changes nothing.

        Raises:
            CaptureWonError: the charge was committed first; refund it instead.
            NotAuthorizedYetError: no funds are held yet.
        """
        payment = await self._tables.payments.get(payment_id)
        if payment.state is PaymentState.VOIDED:
            return payment
        if payment.state in {PaymentState.INITIATED, PaymentState.PENDING}:
            raise NotAuthorizedYetError(payment_id=str(payment_id))
        if payment.state is not PaymentState.AUTHORIZED:
            raise CaptureWonError(payment_id=str(payment_id), state=payment.state.value)
        return await self._flows.of(payment.type).void(payment, reason)

    async def record_settlement(self, payment_id: UUID, notice: SettlementNotice) -> Payment:
        """Update a payment's settlement status; the same notice counts once.

        Raises:
            PaymentNotFoundError: no payment has this id.
        """
        return await self._settlement.record_settlement(payment_id, notice)

    async def query_payment_status(self, payment_id: UUID) -> PaymentStatus:
        """Return a payment with its timeline.

        Raises:
            PaymentNotFoundError: no payment has this id.
        """
        payment = await self._tables.payments.get(payment_id)
        return PaymentStatus(
            payment,
            await self._tables.payments.timeline(payment_id),
            await self.refunds.of(payment_id),
            await self._disputes.of(payment),
        )

    async def customer_returned(self, payment_id: UUID) -> None:
        """Look a payment up at once: its customer has left the gateway's page."""
        payment = await self._tables.payments.get(payment_id)
        if payment.state is PaymentState.PENDING:
            await self._tables.jobs.add(PROBE, payment_id)

    async def confirm_delivery(self, payment_id: UUID, evidence: Acknowledgement) -> Payment:
        """Verify a vehicle's acknowledgement; a valid one commits the charge (decision 15).

        Raises:
            EvidenceRefusedError: it proves nothing; it was recorded with the reason.
        """
        await self._vehicle_responses.confirm(evidence)
        return await self._tables.payments.get(payment_id)

    async def refund_payment(
        self,
        payment_id: UUID,
        *,
        amount: int,
        reason: str,
        key: str,
        requested_by: str,
        term: str | None = None,
    ) -> Refund:
        """Refund a settled payment in whole or in part; the same key is the same refund.

        `term` is "end" or "keep": whether a service that is unpaid afterwards continues.

        Raises:
            NothingToRefundError: the payment took no money.
            RefundMustWaitError: a dispute or a contradiction about its money is open.
            RefundUnknownError: the outcome of another refund of it is not known.
            RefundTooLargeError: more than is left of it.
            TermDecisionRequiredError: `term` is missing for a service that still runs.
        """
        payment = await self._tables.payments.get(payment_id)
        if sells_a_term(payment.type):
            return await self.service_withdrawal.refund(
                payment, amount=amount, reason=reason, key=key, requested_by=requested_by, term=term
            )
        return await self.refunds.request(
            payment_id, amount=amount, reason=reason, key=key, requested_by=requested_by
        )

    async def refunds_of(self, payments: Sequence[Payment]) -> list[Refund]:
        """Return the refunds of payments, oldest first."""
        taken = [one.id for one in payments if one.captured_amount > 0]
        return [refund for one in taken for refund in await self.refunds.of(one)]

    async def withdraw_from_service(self, service_order: UUID, *, requested_by: str) -> None:
        """Withdraw from a one-time service (desistimiento); its term ends with its money.

        Raises:
            PaymentOpenError: the outcome of its payment is not known yet.
            WithdrawalPeriodOverError: too late, or nothing of it is left.
        """
        await self.service_withdrawal.withdraw(service_order, requested_by=requested_by)

    async def promise_refund(
        self, payment_id: UUID, *, amount: int, reason: str, key: str, requested_by: str
    ) -> Refund | None:
        """Refund now, or once nothing blocks it; None while it waits.

        Raises:
            NothingToRefundError: the payment took no money.
            RefundTooLargeError: more than is left of it.
        """
        refund = await self._promised_refunds.promise(
            payment_id, amount=amount, reason=reason, key=key, requested_by=requested_by
        )
        payment = await self._tables.payments.get(payment_id)
        if sells_a_term(payment.type):
            await self.service_withdrawal.send_ended(payment.subject)
        return refund

    async def _initiate(
        self, request: PaymentRequest, payment_type: PaymentType
    ) -> Payment | StoredAnswer:
        with measured_beside_gateway(self.added_seconds, payment_type):
            return await self._first_answer(request, payment_type)

    async def _first_answer(
        self, request: PaymentRequest, payment_type: PaymentType
    ) -> Payment | StoredAnswer:
        flow = self._flows.of(payment_type)
        check = await flow.check_due(request)
        request = await described(self._tables, request, payment_type)
        accepted = await accept(
            self._tables, request, payment_type,
            gateway=await gateway_for(
                self._tables, self._charges.gateways, payment_type, subject=request.subject,
                customer=request.customer, token=request.payment_method,
                money=Money(request.amount, request.currency),
            ),
            time_scale=self._time_scale, check=check,
        )  # fmt: skip
        if not isinstance(accepted, Accepted):
            return accepted
        if not accepted.fresh or request.respond_async:
            return accepted.payment
        try:
            return await self._charges.authorization.process_payment(
                accepted.payment,
                flow,
                patience_seconds=SYNCHRONOUS_PATIENCE_SECONDS,
                attempt=Attempt(description=request.description or ""),
            )
        except UnavailableError:
            give_up_key(self._tables, request, accepted.payment.id)
            raise

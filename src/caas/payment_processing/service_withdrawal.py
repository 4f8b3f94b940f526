"""Withdrawal from a service (desistimiento), and refunds that end its term.

Whatever refunds a term also ends it and orders the vehicle's new desired state, in the commit that
decides it; the refund does not wait for the vehicle (decision 84).

Rules a change must keep: a repeated withdrawal only retries a refund that failed; the amount is
what is left of the payment under its lock, never the caller's; no service stays on after a full
refund without a recorded decision, no matter who requests the refund.
"""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.connection import Connection
from caas.billing_database.entitlements import OrderTerm, Term
from caas.billing_database.job_rows import Job
from caas.billing_database.payments import Payment, end_open_pages
from caas.billing_database.refunds import Refund
from caas.billing_database.tables import BillingDatabase
from caas.errors import ConflictError, RefusedError
from caas.jobs import Answer, Done, JobQueue, RetryIn
from caas.order_management import OrderManagement
from caas.order_management.withdrawal import END_ANCILLARY_SERVICES
from caas.ota_activation_engine import OtaActivationEngine
from caas.payment_processing.flow import Flows
from caas.payment_processing.promised_refunds import PromisedRefunds
from caas.payment_processing.refunds import Refunds
from caas.payment_processing.void import CaptureWonError
from caas.rules.payment_states import PaymentState
from caas.rules.payment_types import sells_a_term
from caas.rules.time_scale import TimeScale
from caas.service_catalog.subscriptions import Subscriptions

DESISTIMIENTO: Final = "desistimiento"
WITHDRAWAL_PERIOD_SECONDS: Final = 14 * 86400.0
LOOK_AGAIN_SECONDS: Final = 20.0
END: Final = "end"
KEEP: Final = "keep"
OPEN: Final = frozenset({PaymentState.INITIATED, PaymentState.PENDING})
GRANTED: Final = "granted"
ENDED: Final = "ended"
PENDING: Final = "pending"
LOOKS_MAX: Final = 3


class PaymentOpenError(ConflictError):
    """The outcome of the payment is not known yet; withdraw when it is."""

    code = "payment_open"


class WithdrawalPeriodOverError(ConflictError):
    """The service was bought too long ago, or was delivered in full, to withdraw from it."""

    code = "withdrawal_period_over"


class ServiceKeptError(ConflictError):
    """The money of this service went back in full, and it was left on: nothing is left to undo."""

    code = "service_kept"


class TermDecisionRequiredError(RefusedError):
    """This refund leaves nothing paid for a service that still runs: say `term` "end" or "keep"."""

    code = "term_decision_required"


class WithdrawalPeriod(msgspec.Struct, frozen=True):
    """Whether a customer may withdraw now, and until when; None before the service is sold."""

    is_open: bool
    ends_at: datetime | None


class ServiceWithdrawal:
    """Ends the terms of services together with the payments that paid for them."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        flows: Flows,
        subscriptions: Subscriptions,
        order_management: OrderManagement,
        refunds: Refunds,
        promised_refunds: PromisedRefunds,
        ota_activation_engine: OtaActivationEngine,
        time_scale: TimeScale,
        period_seconds: float = WITHDRAWAL_PERIOD_SECONDS,
    ) -> None:
        """Allow withdrawal for `period_seconds` after the purchase."""
        self._tables = tables
        self._flows = flows
        self._subscriptions = subscriptions
        self._orders = order_management
        self._refunds = refunds
        self._promised_refunds = promised_refunds
        self._ota = ota_activation_engine
        self._period_seconds = time_scale.seconds(period_seconds)

    def register(self, jobs: JobQueue) -> None:
        """Register the job that ends the services of a vehicle whose customer withdrew."""
        jobs.register(END_ANCILLARY_SERVICES, self._end_ancillary_services)

    async def withdraw(self, service_order: UUID, *, requested_by: str) -> None:
        """Withdraw from a one-time service: void what is held, refund what was taken, end the term.

        Raises:
            PaymentOpenError: the outcome of its payment is not known yet.
            ServiceKeptError: it was refunded in full, and the service was kept.
            WithdrawalPeriodOverError: too late, or nothing of it is left.
        """
        await self._refuse_kept(service_order)
        await self._undo(service_order, requested_by=requested_by, by_customer=True)

    async def period(self, service_order: UUID) -> WithdrawalPeriod:
        """Return whether the customer of a service order may withdraw from it, and until when.

        Open again, without an end, once the refund that ended it has failed.
        """
        live = await self._live_payment(service_order)
        if live is None or live.state in OPEN:
            return WithdrawalPeriod(is_open=False, ends_at=None)
        term = await self._tables.entitlements.of_order(service_order)
        if term is not None and term.state == ENDED:
            lost = live.state is PaymentState.SETTLEMENT_FAILED
            owed = not lost and await self._has_failed(live) and await self._left(live) > 0
            return WithdrawalPeriod(is_open=owed, ends_at=None)
        if term is None or term.state != GRANTED:
            return WithdrawalPeriod(is_open=live.state is PaymentState.AUTHORIZED, ends_at=None)
        assert term.ends_at is not None, "what was granted to an order has an end"
        sold_at = term.sold_at or term.ends_at
        ends_at = min(sold_at + timedelta(seconds=self._period_seconds), term.ends_at)
        return WithdrawalPeriod(
            is_open=self._in_time(term) and await self._left(live) > 0, ends_at=ends_at
        )

    async def check_refund(
        self, payment: Payment, *, amount: int, reason: str, term: str | None
    ) -> None:
        """Raise if a refund leaves a service unpaid and does not decide about its term.

        Raises:
            TermDecisionRequiredError: it does.
        """
        sold = await self._tables.entitlements.of_order(payment.subject)
        if sold is None or sold.state != GRANTED or not sold.lasts:
            return
        in_full = await self._refunds.left(payment.id) <= amount
        if in_full and term is None and reason != DESISTIMIENTO:
            raise TermDecisionRequiredError(payment=str(payment.id))

    async def refund(  # what a refund is, by name
        self,
        payment: Payment,
        *,
        amount: int,
        reason: str,
        key: str,
        requested_by: str,
        term: str | None,
    ) -> Refund:
        """Refund a service payment in part or whole; `term` decides about its service.

        Raises:
            TermDecisionRequiredError: it leaves nothing paid for a service that still runs.
            NothingToRefundError, RefundMustWaitError, RefundTooLargeError: as for any payment.
        """
        ended: list[OrderTerm] = []

        async def decide(connection: Connection) -> None:
            ended.clear()
            over = await self.decide_term(payment, reason=reason, term=term, within=connection)
            if over is not None:
                ended.append(over)

        refund = await self._refunds.request(
            payment.id,
            amount=amount,
            reason=reason,
            key=key,
            requested_by=requested_by,
            together_with=decide,
        )
        for one in ended:
            await self._send(one)
        return refund

    async def decide_term(
        self, payment: Payment, *, reason: str, term: str | None, within: Connection
    ) -> OrderTerm | None:
        """Apply a recorded refund to its term; return the term if it ended.

        Raises:
            TermDecisionRequiredError: nothing is left paid for it, and `term` is missing.
        """
        sold = await self._tables.entitlements.of_order(payment.subject, within=within)
        if sold is None or sold.state != GRANTED or not sold.lasts:
            return None
        in_full = await self._refunds.left(payment.id, within=within) <= 0
        if in_full and term is None and reason != DESISTIMIENTO:
            raise TermDecisionRequiredError(payment=str(payment.id))
        if term == END or (term is None and in_full):
            await self._end_term(sold, reason, within=within)
            return sold
        if in_full:
            await self._tables.entitlements.keep_term(sold.id, reason, within=within)
        return None

    async def send_ended(self, service_order: UUID) -> None:
        """Send the vehicle its desired state if the order's term has ended."""
        term = await self._tables.entitlements.of_order(service_order)
        if term is not None and term.state == ENDED:
            await self._send(term)

    async def _undo(self, service_order: UUID, *, requested_by: str, by_customer: bool) -> bool:
        """Void or refund an order's payment; False while its outcome is open.

        A charge that is committed while it is being voided is refunded instead.
        """
        for _ in range(LOOKS_MAX):
            live = await self._live_payment(service_order)
            if live is None:
                return True
            if live.state in OPEN:
                if not by_customer:
                    await end_open_pages(service_order, within=self._tables.database)
                break
            if live.state is PaymentState.AUTHORIZED:
                try:
                    live = await self._flows.of(live.type).void(live, DESISTIMIENTO)
                except CaptureWonError:
                    continue
                if live.state is PaymentState.AUTHORIZED or not live.captured_amount:
                    return True
            await self._refund_order(
                service_order, live, requested_by=requested_by, timed=by_customer
            )
            return True
        if by_customer:
            raise PaymentOpenError(service_order=str(service_order))
        return False

    async def _refuse_kept(self, service_order: UUID) -> None:
        term = await self._tables.entitlements.of_order(service_order)
        if term is None or term.state != GRANTED or not await self._is_paid_back(service_order):
            return
        assert term.ends_at is not None, "what was granted to an order has an end"
        ends_at = term.ends_at.isoformat(timespec="seconds")
        raise ServiceKeptError(
            "All that was paid for this service has been refunded, or is being refunded, and the "
            f"service was left on until {ends_at} at no charge. There is nothing to withdraw from; "
            "it ends by itself. A refund that fails makes a withdrawal possible again.",
            service_order=str(service_order),
        )

    async def _is_paid_back(self, service_order: UUID) -> bool:
        """Return whether refunds, made or pending, cover all that an order's payments took."""
        payments = await self._tables.payments.listed(subject=service_order)
        taken = [one for one in payments if one.captured_amount > 0]
        back = [sum(it.amount for it in await self._refunds.of(one.id) if it.state != "failed")
                for one in taken]  # fmt: skip
        return bool(taken) and all(
            amount >= one.captured_amount for amount, one in zip(back, taken, strict=True)
        )

    async def _live_payment(self, service_order: UUID) -> Payment | None:
        payments = await self._tables.payments.listed(subject=service_order)
        return next((one for one in payments if sells_a_term(one.type) and _live(one)), None)

    async def _refund_order(
        self, service_order: UUID, payment: Payment, *, requested_by: str, timed: bool
    ) -> None:
        term = await self._tables.entitlements.of_order(service_order)
        if term is None or term.state not in {GRANTED, ENDED}:
            return
        if term.state == ENDED and not await self._is_owed(term, payment):
            return
        if timed and term.state == GRANTED and not self._in_time(term):
            raise WithdrawalPeriodOverError(service_order=str(service_order))

        async def end(connection: Connection) -> None:
            await self._end_term(term, DESISTIMIENTO, within=connection)

        await self._promised_refunds.promise_rest(
            payment.id,
            reason=DESISTIMIENTO,
            key=f"{DESISTIMIENTO}:{service_order}",
            requested_by=requested_by,
            together_with=end,
        )
        await self._send(term)

    async def _is_owed(self, ended: OrderTerm, payment: Payment) -> bool:
        """Return whether the money of an ended term may still have to be refunded."""
        return ended.ended_because == DESISTIMIENTO or await self._has_failed(payment)

    async def _has_failed(self, payment: Payment) -> bool:
        return any(one.state == "failed" for one in await self._refunds.of(payment.id))

    async def _end_term(self, term: OrderTerm, because: str, *, within: Connection) -> None:
        """End a term and order the vehicle's new desired state."""
        if await self._tables.entitlements.end_term(term.id, because, within=within):
            await self._ota.order_desired_state(vin=term.vin, service=term.service, within=within)

    async def _send(self, ended: OrderTerm) -> None:
        await self._ota.send_desired_state(vin=ended.vin, service=ended.service)

    async def _end_ancillary_services(self, job: Job) -> Answer:
        """End the services of a vehicle whose customer withdrew from it (2011/83/EU, art. 15).

        All of them end, paid back or not; those of a customer who has bought it since stay.
        """
        order = await self._orders.orders.get(job.subject)
        if order.vin is None:
            return Done()
        held = await self._orders.vehicles.assignments(vin=order.vin)
        now_theirs = {one.customer for one in held if one.order_id != order.id}
        terms = await self._tables.entitlements.terms(order.vin)
        over = [await self._end(term) for term in terms if term.customer not in now_theirs]
        if all(over):
            return Done()
        return RetryIn(LOOK_AGAIN_SECONDS, "the payment of a service is still open")

    async def _end(self, term: Term) -> bool:
        if term.subscription is not None:
            await self._subscriptions.end_subscription(term.subscription, with_vehicle=True)
            return True
        if term.service_order is None or term.status in {"expired", "ended"}:
            return True
        undone = await self._undo(
            term.service_order, requested_by="order-management", by_customer=False
        )
        return undone and term.status != PENDING  # a payment for what is reserved may still begin

    async def _left(self, payment: Payment) -> int:
        """Return how much of a payment is neither refunded, nor being refunded, nor disputed."""
        promised = [one for one in await self._refunds.of(payment.id) if one.state != "failed"]
        back = sum(one.amount for one in promised) + payment.disputed_amount
        return payment.captured_amount - back

    def _in_time(self, term: OrderTerm) -> bool:
        age = term.sold_seconds_ago
        return term.lasts and age is not None and age <= self._period_seconds


def _live(payment: Payment) -> bool:
    return payment.state not in {PaymentState.FAILED, PaymentState.VOIDED, PaymentState.REFUNDED}

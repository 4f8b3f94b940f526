"""Promised refunds: of any payment, and of all the money of an order.

A caller that decides a refund and cannot repeat the request promises it: desistimiento, or a
factory that refuses an order. It is paid now, or once nothing blocks it. What a dispute has taken
by then is not paid again; the rest is.

Rules a change must keep: a promise is a job until it is kept; the same key is the same refund; what
an order's refund comprises is read from its payments each time; the same reason refunds a payment
once.
"""

from typing import Any, Final
from uuid import UUID

from caas.billing_database.connection import Connection
from caas.billing_database.identifiers import derived_id
from caas.billing_database.job_rows import Job
from caas.billing_database.payments import Payment
from caas.billing_database.refunds import Refund
from caas.billing_database.tables import BillingDatabase
from caas.errors import CaasError, UnavailableError
from caas.jobs import Answer, Done, JobQueue, RetryIn
from caas.notifications import Notifications
from caas.order_management.order_tables import REFUND_ORDER
from caas.payment_processing.overtaken_refunds import PROMISED, CoveredNotes
from caas.payment_processing.refund_requests import (
    NothingToRefundError,
    RefundMustWaitError,
    RefundTooLargeError,
    Together,
)
from caas.payment_processing.refunds import Refunds
from caas.rules.payment_states import PaymentState
from caas.rules.time_scale import TimeScale

LOOK_AGAIN_SECONDS: Final = 300.0


class PromisedRefunds:
    """Pays promised refunds as soon as nothing blocks them."""

    def __init__(self, tables: BillingDatabase, refunds: Refunds, *, time_scale: TimeScale) -> None:
        self._tables = tables
        self._refunds = refunds
        self._covered_notes = CoveredNotes(tables)
        self._time_scale = time_scale

    def register(self, jobs: JobQueue) -> None:
        """Register the job of a promise."""
        jobs.register(PROMISED, self._due)

    async def promise(
        self,
        payment_id: UUID,
        *,
        amount: int,
        reason: str,
        key: str,
        requested_by: str,
    ) -> Refund | None:
        """Refund now, or as soon as nothing blocks it; None while it waits.

        Raises:
            NothingToRefundError: the payment took no money.
            RefundTooLargeError: more than is left of it, and nothing blocks it.
        """
        asked: dict[str, Any] = {"reason": reason, "key": key, "requested_by": requested_by}
        try:
            return await self._refunds.request(payment_id, amount=amount, **asked)
        except RefundMustWaitError:
            await self._keep(payment_id, {"amount": amount, **asked}, None)
        return None

    async def promise_rest(
        self,
        payment_id: UUID,
        *,
        reason: str,
        key: str,
        requested_by: str,
        together_with: Together | None = None,
    ) -> Refund | None:
        """Refund all that is left, now or later; None while it waits or if nothing is left.

        Includes failed refunds and amounts that became available again. `together_with` is done in
        the commit that promises it.
        """
        again = await self._refunds.requests.next_key(payment_id, key)
        asked: dict[str, Any] = {"reason": reason, "key": again, "requested_by": requested_by}
        try:
            return await self._refunds.request_rest(
                payment_id, together_with=together_with, **asked
            )
        except RefundMustWaitError:
            await self._keep(payment_id, {"amount": None, **asked}, together_with)
        return None

    async def _keep(
        self, payment_id: UUID, asked: dict[str, Any], together_with: Together | None
    ) -> None:
        async def write(connection: Connection) -> None:
            await self._tables.jobs.add(
                PROMISED,
                derived_id(payment_id, PROMISED, asked["key"]),
                due_in=self._time_scale.seconds(LOOK_AGAIN_SECONDS),
                payload={"payment": str(payment_id), **asked},
                within=connection,
            )
            if together_with is not None:
                await together_with(connection)

        await self._tables.database.in_transaction(write)

    async def _keep_part(self, job: Job, part: int, asked: dict[str, Any]) -> Answer:
        """Refund what is left of a promise; a loss covers the rest of a credit note."""
        payment_id, promised = UUID(job.payload["payment"]), int(job.payload["amount"])

        async def ended(connection: Connection) -> None:
            await self._tables.jobs.end(PROMISED, job.subject, within=connection)
            await self._covered_notes.cover(
                payment_id, asked["reason"], promised - part, within=connection
            )

        async def nothing_left(connection: Connection) -> bool:
            left = await self._refunds.left(payment_id, beside=asked["key"], within=connection)
            if left <= 0:
                await ended(connection)
            return left <= 0

        if part > 0:
            await self._refunds.request(payment_id, amount=part, together_with=ended, **asked)
        elif not await self._tables.database.in_transaction(nothing_left):
            return RetryIn(LOOK_AGAIN_SECONDS, "more of the payment is left than a moment ago")
        return Done()

    async def _due(self, job: Job) -> Answer:
        """Refund a promise as far as the money is still available."""
        payment_id, amount = UUID(job.payload["payment"]), job.payload["amount"]

        async def ended(connection: Connection) -> None:
            await self._tables.jobs.end(PROMISED, job.subject, within=connection)

        asked: dict[str, Any] = {
            name: str(job.payload[name]) for name in ("reason", "key", "requested_by")
        }
        left = await self._refunds.left(payment_id, beside=asked["key"])
        try:
            if amount is None:
                asked["key"] = await self._refunds.requests.next_key(
                    payment_id, f"{asked['key']}:kept"
                )
                await self._refunds.request_rest(payment_id, together_with=ended, **asked)
            else:
                return await self._keep_part(job, min(int(amount), max(left, 0)), asked)
        except RefundMustWaitError as waits:
            return RetryIn(LOOK_AGAIN_SECONDS, waits.sentence)
        except RefundTooLargeError as less:
            if left > 0:
                return RetryIn(LOOK_AGAIN_SECONDS, less.sentence)
        except NothingToRefundError:
            pass  # never received, or already refunded in full
        return Done()


REQUESTED_BY: Final = "order-management"
NEXT_LOOK_SECONDS: Final = 3600.0

WITH_US: Final = frozenset(
    {PaymentState.CAPTURING, PaymentState.SETTLED, PaymentState.SETTLEMENT_FAILED}
)
"""States in which money was received, is being captured, or came after the settlement failed."""


class OrderRefunds:
    """Refunds the money received from an order's payments."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        promised_refunds: PromisedRefunds,
        notifications: Notifications,
    ) -> None:
        """Refund through `promised_refunds`; refusals are reported to operations."""
        self._tables = tables
        self._promised_refunds = promised_refunds
        self._notifications = notifications

    def register(self, jobs: JobQueue) -> None:
        """Register the job that refunds orders."""
        jobs.register(REFUND_ORDER, self._due)

    async def _due(self, job: Job) -> Answer:
        """Refund what was received and not refunded."""
        reason = str(job.payload["reason"])
        payments = await self._tables.payments.listed(subject=job.subject)
        given_back = [await self._is_given_back(payment, reason) for payment in payments]
        if all(given_back):
            return Done()
        return RetryIn(NEXT_LOOK_SECONDS, "not all the money could be given back yet")

    async def _is_given_back(self, payment: Payment, reason: str) -> bool:
        """Request the refund of one payment; False while that is not possible yet.

        The refund counts what is left under the payment's lock, because a dispute may be returning
        money at this moment.
        """
        if payment.state in {PaymentState.AUTHORIZED, PaymentState.REFUNDING}:
            return False
        if payment.state not in WITH_US:
            return True
        try:
            await self._promised_refunds.promise_rest(
                payment.id, reason=reason, key=reason, requested_by=REQUESTED_BY
            )
        except UnavailableError:
            return False
        except CaasError as refusal:
            await self._notifications.alert("refund_refused", payment.id, refusal.sentence)
            return False
        return True

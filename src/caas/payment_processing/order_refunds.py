"""Refunds of orders: all of the money of an order that Order Management wants given back.

Rules a change must keep: what must be given back is read off the payments each time; the same
reason refunds a payment once, so that giving back twice gives back once.
"""

from typing import Final

from caas.billing_database.job_rows import Job
from caas.billing_database.payments import Payment
from caas.billing_database.tables import BillingDatabase
from caas.errors import CaasError, UnavailableError
from caas.jobs import Answer, Done, JobQueue, RetryIn
from caas.notifications import Notifications
from caas.order_management.order_refunds import REFUND_ORDER
from caas.payment_processing.promised_refunds import PromisedRefunds
from caas.rules.payment_states import PaymentState

REQUESTED_BY: Final = "order-management"
LOOK_AGAIN_SECONDS: Final = 3600.0

WITH_US: Final = frozenset({PaymentState.CAPTURING, PaymentState.SETTLED})
"""States in which money is with us or on its way to us."""


class OrderRefunds:
    """Refunds what an order's payments have brought, as far as it has arrived."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        promised_refunds: PromisedRefunds,
        notifications: Notifications,
    ) -> None:
        """Refund through `promised_refunds`; operations are told what is refused."""
        self._tables = tables
        self._promised_refunds = promised_refunds
        self._notifications = notifications

    def register(self, jobs: JobQueue) -> None:
        """Take the orders whose money goes back."""
        jobs.register(REFUND_ORDER, self._due)

    async def _due(self, job: Job) -> Answer:
        """Give back what is still with us."""
        reason = str(job.payload["reason"])
        payments = await self._tables.payments.listed(subject=job.subject)
        given_back = [await self._is_given_back(payment, reason) for payment in payments]
        if all(given_back):
            return Done()
        return RetryIn(LOOK_AGAIN_SECONDS, "not all the money could be given back yet")

    async def _is_given_back(self, payment: Payment, reason: str) -> bool:
        """Hand one payment's money over to its refund; False while that cannot be done yet.

        How much is left is counted by the refund, under the payment's lock: a dispute may be
        giving it back at this moment.
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

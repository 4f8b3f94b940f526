"""Giving a customer's money back: a refused factory order, a lost reservation, desistimiento.

Order Management decides that money goes back; the refund itself is Payment Processing's, reached
through a callable, because it lies a layer above.

Rules a change must keep: what must be given back is jobs in the commit that makes it
necessary; it is read off the payments each time, and the same reason refunds a payment once, so
that giving back twice gives back once.
"""

from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

from caas.billing_database.connection import Connection
from caas.billing_database.job_rows import Job
from caas.billing_database.orders import Order
from caas.billing_database.payments import Payment
from caas.errors import CaasError, UnavailableError
from caas.jobs import Answer, Done, RetryIn
from caas.order_management.order_tables import OrderTables
from caas.order_management.partner_calls import reschedule
from caas.rules.payment_states import PaymentState

REFUND_ORDER: Final = "refund_order"
FACTORY_REFUSED: Final = "factory_refused"
RESERVATION_LOST: Final = "reservation_lost"
DESISTIMIENTO: Final = "desistimiento"
SAFETY_NET_SECONDS: Final = 75.0
LOOK_AGAIN_SECONDS: Final = 3600.0

WITH_US: Final = frozenset({PaymentState.CAPTURING, PaymentState.SETTLED})
"""States in which money is with us or on its way to us."""

Refund = Callable[[UUID, str], Awaitable[object]]
"""Refund all that is left of a payment, for a reason; the same reason refunds once."""


class OrderRefunds:
    """Refunds what an order's payments have brought, as far as it has arrived."""

    def __init__(self, order_tables: OrderTables, *, refund: Refund) -> None:
        """Refund through this door."""
        self._tables = order_tables
        self._refund = refund

    async def will_refund(
        self,
        order: Order,
        reason: str,
        *,
        due_in: float = SAFETY_NET_SECONDS,
        within: Connection,
    ) -> None:
        """Commit that the order's money goes back; `due_in` real seconds a worker sees to it."""
        await self._tables.billing.jobs.add(
            REFUND_ORDER,
            order.id,
            due_in=self._tables.time_scale.seconds(due_in),
            payload={"reason": reason},
            within=within,
        )

    async def refund_order(self, order_id: UUID, reason: str) -> None:
        """Give back at once what can be; the rest is jobs."""
        answer = await self._given_back(order_id, reason)
        await reschedule(self._tables, REFUND_ORDER, order_id, answer)

    async def due(self, job: Job) -> Answer:
        """Give back what is still with us."""
        return await self._given_back(job.subject, str(job.payload["reason"]))

    async def _given_back(self, order_id: UUID, reason: str) -> Answer:
        order = await self._tables.orders.get(order_id)
        payments = await self._tables.payments_of(order)
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
            await self._refund(payment.id, reason)
        except UnavailableError:
            return False
        except CaasError as refusal:
            await self._tables.alert("refund_refused", payment.id, refusal.sentence)
            return False
        return True

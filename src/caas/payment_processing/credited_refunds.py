"""Refunds that credit notes promise: written down in the commit that issues the note (record 133).

Rule a change must keep: a credit note promises what any refund may promise at that moment, counted
under the lock of the payment, and decides as any refund what becomes of a service.
"""

from uuid import UUID

from caas.billing_database.connection import Connection
from caas.billing_database.tables import BillingDatabase
from caas.payment_processing.refund_requests import Wanted
from caas.payment_processing.refunds import Refunds
from caas.payment_processing.service_withdrawal import ServiceWithdrawal
from caas.rules.payment_types import PaymentType

REQUESTED_BY = "billing"


class CreditedRefunds:
    """Writes the refunds of credit notes down."""

    def __init__(
        self, tables: BillingDatabase, refunds: Refunds, service_withdrawal: ServiceWithdrawal
    ) -> None:
        """Refund through this door; what is sold of services ends through the other."""
        self._tables = tables
        self._refunds = refunds
        self._service_withdrawal = service_withdrawal

    async def check(self, payment_id: UUID, *, amount: int, reason: str, term: str | None) -> None:
        """Refuse what `promise` would refuse now.

        Raises:
            NothingToRefundError, RefundMustWaitError, RefundTooLargeError,
            TermDecisionRequiredError: as for any refund.
        """
        await self._refunds.check(payment_id, amount)
        payment = await self._tables.payments.get(payment_id)
        if payment.type is PaymentType.SERVICE:
            await self._service_withdrawal.check_refund(
                payment, amount=amount, reason=reason, term=term
            )

    async def promise(
        self,
        payment_id: UUID,
        *,
        amount: int,
        reason: str,
        key: str,
        term: str | None,
        within: Connection,
    ) -> None:
        """Write the refund down, and what becomes of a service that nothing is paid for then.

        Raises:
            NothingToRefundError, RefundMustWaitError, RefundTooLargeError,
            TermDecisionRequiredError: as for any refund.
        """
        payment = await self._tables.payments.get(payment_id, within=within)

        async def decide(connection: Connection) -> None:
            if payment.type is PaymentType.SERVICE:
                await self._service_withdrawal.decide_term(
                    payment, reason=reason, term=term, within=connection
                )

        wanted = Wanted(payment_id, amount, reason, key, REQUESTED_BY)
        await self._refunds.requests.write_within(wanted, decide, within)

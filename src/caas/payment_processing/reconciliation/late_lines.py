"""Lines that speak of a payment our records see otherwise: evidence, told by the door of webhooks.

A line that settles a voided, failed or unknown payment is a late truth (decision 10): the payment
hears it as it would hear a webhook, which resolves what is unknown and begins to give back what was
taken for nothing.

Rules a change must keep: what is told is the total so far, so that hearing it twice adds nothing;
an amount that is not the payment's is told as it is, and refused there (decision 32).
"""

from typing import Final
from uuid import UUID

from caas.billing_database.books import Books
from caas.billing_database.due_work import DueWork
from caas.billing_database.payments import Payment
from caas.external_systems.payment_gateway import GatewayTransaction, TransactionStatus
from caas.open_work import Answer, Done, OpenWork
from caas.payment_processing.charges import Charges
from caas.payment_processing.reconciliation.updating import LATE_LINE
from caas.payment_processing.settlement import Settlement
from caas.rules.payment_states import PaymentState

SETTLEABLE: Final = frozenset({PaymentState.CAPTURING, PaymentState.SETTLED})
NOT_CHARGED: Final = frozenset({PaymentState.FAILED, PaymentState.VOIDED})


class LateLines:
    """Tells payments what lines say of them."""

    def __init__(self, books: Books, settlement: Settlement, charges: Charges) -> None:
        """Tell by these doors."""
        self._books = books
        self._settlement = settlement
        self._charges = charges

    def register(self, open_work: OpenWork) -> None:
        """Take the lines that a run left to be told."""
        open_work.register(LATE_LINE, self._tell)

    async def _tell(self, work: DueWork) -> Answer:
        told = work.payload
        settled = int(told["settles"] or told["gross"])
        await self.tell(
            work.subject,
            transaction_id=told["transaction_id"],
            settled=settled,
            currency=str(told["currency"]),
            source=str(told["line"]),
        )
        return Done()

    async def tell(
        self,
        payment_id: UUID,
        *,
        transaction_id: str | None,
        settled: int,
        currency: str,
        source: str,
    ) -> Payment:
        """Tell a payment that so much of it is settled, in all."""
        payment = await self._books.payments.get(payment_id)
        if payment.state in NOT_CHARGED and transaction_id is not None:
            await self._charges.suspect(payment, transaction_id)
            return payment
        amount = payment.amount if payment.state in SETTLEABLE else settled
        transaction = GatewayTransaction(
            id=transaction_id or payment.gateway_transaction_id or "",
            reference=str(payment.id),
            status=TransactionStatus.SETTLED,
            amount=amount,
            currency=currency,
            captured_amount=settled,
            settled_amount=settled,
        )
        return await self._settlement.gateway_says(payment, transaction, source=source)

"""Late truths: the gateway holds or took money for a payment that ended without it (decision 10).

Whatever hints at it (a webhook, a lookup, an answer that came too late, a second transaction under
our reference) leaves a piece of work here. The hint may be stale, so the gateway is asked; what is
true is written down with a case, and undone by itself: voided while it is held, refunded once it
was taken, until the gateway shows that nothing is kept.

Rules a change must keep: a hint alone opens no case and undoes nothing; what is undone was written
down before, with its case in the same commit; a refund that may be under
way is never asked for again under another key; nothing here changes a payment's state.
"""

from typing import Final
from uuid import UUID

from caas.billing_database.books import Books
from caas.billing_database.connection import Connection
from caas.billing_database.due_work import DueWork
from caas.billing_database.moves import move_of
from caas.billing_database.payments import Payment
from caas.external_systems.http_answers import GatewayFailure, RefusedByPartnerError
from caas.external_systems.payment_gateway import (
    GatewayRefund,
    GatewayTransaction,
    PaymentGateway,
    RefundStatus,
    TransactionStatus,
)
from caas.open_work import Again, Answer, Done, OpenWork
from caas.payment_processing.charges import Charges
from caas.payment_processing.flow import Alert, Step
from caas.payment_processing.gateway_calls import COMPENSATE, key_of
from caas.rules.payment_states import PaymentState, Remark

LOOK_AGAIN_SECONDS: Final = 5.0
LOOK_AGAIN_SECONDS_MAX: Final = 3600.0
ATTEMPTS_BEFORE_ALERT: Final = 10
LATE_TRUTH: Final = "late_truth"
INSTEAD_OF_VOIDED: Final = "captured_instead_of_voided"
NOT_UNDONE: Final = "late_truth_not_undone"
TAKEN: Final = frozenset({TransactionStatus.CAPTURING, TransactionStatus.SETTLED})


class LateTruths:
    """Undoes what the gateway should not have."""

    def __init__(
        self, *, books: Books, gateway: PaymentGateway, charges: Charges, alert: Alert
    ) -> None:
        """Ask this gateway; a person is alerted when it does not give the money back."""
        self._books = books
        self._gateway = gateway
        self._charges = charges
        self._alert = alert

    def register(self, open_work: OpenWork) -> None:
        """Take every hint."""
        open_work.register(COMPENSATE, self._compensate)

    async def _compensate(self, work: DueWork) -> Answer:
        payment = await self._books.payments.get(UUID(str(work.payload["payment"])))
        try:
            transaction = await self._gateway.find(str(work.payload["transaction"]))
            if transaction is None or not _kept(transaction):
                await self._undone(payment, str(work.payload["transaction"]))
                return Done()
            if not await self._written_down(payment, transaction):
                return Again(0.0, "the payment moved meanwhile")
            await self._undo(payment, transaction)
        except GatewayFailure as failure:
            return await self._again(work, payment, failure.sentence)
        return await self._again(work, payment, "the gateway still shows what is being undone")

    async def _undo(self, payment: Payment, transaction: GatewayTransaction) -> None:
        reason = f"the payment is {payment.state}"
        if transaction.status is TransactionStatus.AUTHORIZED:
            key = key_of(payment.id, f"undo-void:{transaction.id}")
            await self._gateway.void(transaction.id, reason, key=key)
            return
        refunds = await self._refunds_of(transaction)
        if any(refund.status is RefundStatus.PENDING for refund in refunds):
            return
        failed = sum(refund.status is RefundStatus.FAILED for refund in refunds)
        if failed:
            sentence = (
                f"The gateway did not give back what it took, {failed} times; it is asked on."
            )
            await self._alert(NOT_UNDONE, payment.id, sentence)
        key = key_of(payment.id, f"undo-refund:{transaction.id}", issue=failed + 1)
        await self._gateway.refund(transaction.id, _kept(transaction), reason, key=key)

    async def _refunds_of(self, transaction: GatewayTransaction) -> tuple[GatewayRefund, ...]:
        """Look its refunds up; without a lookup the same key makes one refund, however often."""
        if not self._gateway.capabilities.lookup_of_refunds:
            return ()
        try:
            return await self._gateway.find_refunds(transaction.id)
        except RefusedByPartnerError:
            return ()

    async def _written_down(self, payment: Payment, transaction: GatewayTransaction) -> bool:
        """Write it down once, with its case; False when the payment is not where it was seen."""
        sentence = (
            f"The gateway says {transaction.status} of {transaction.id}, and the payment is "
            f"{payment.state}; it is being undone."
        )

        async def open_case(connection: Connection, _after: Payment) -> None:
            kind = _kind_of_case(payment, transaction)
            await self._books.cases.open(kind, payment.id, sentence, within=connection)

        move = move_of(
            payment,
            Remark.LATE_TRUTH,
            source=_source(transaction.id),
            facts={"transaction": transaction.id, "status": str(transaction.status)},
            gateway_transaction_id=payment.gateway_transaction_id or transaction.id,
        )
        _, written = await self._charges.try_to_apply(payment, move, step=Step(also=open_case))
        return written or await self._is_written_down(payment, transaction.id)

    async def _is_written_down(self, payment: Payment, transaction_id: str) -> bool:
        events = await self._books.payments.timeline(payment.id)
        return any(event.source == _source(transaction_id) for event in events)

    async def _again(self, work: DueWork, payment: Payment, because: str) -> Again:
        if work.attempts >= ATTEMPTS_BEFORE_ALERT:
            sentence = f"What the gateway should not have is not undone yet: {because}"
            await self._alert(NOT_UNDONE, payment.id, sentence)
        wait = LOOK_AGAIN_SECONDS * 2.0 ** min(work.attempts - 1, 20)
        return Again(min(wait, LOOK_AGAIN_SECONDS_MAX), because)

    async def _undone(self, payment: Payment, transaction_id: str) -> None:
        if not await self._is_written_down(payment, transaction_id):
            return
        move = move_of(
            payment,
            Remark.GATEWAY_CALLED,
            source=f"undone:{transaction_id}",
            facts={"undone": transaction_id},
        )
        await self._charges.apply(payment, move)


def _kind_of_case(payment: Payment, transaction: GatewayTransaction) -> str:
    voided = payment.state is PaymentState.VOIDED and transaction.status in TAKEN
    return INSTEAD_OF_VOIDED if voided else LATE_TRUTH


def _source(transaction_id: str) -> str:
    return f"late:{transaction_id}"


def _kept(transaction: GatewayTransaction) -> int:
    """Return how much the gateway holds or has of a transaction."""
    if transaction.status is TransactionStatus.AUTHORIZED:
        return transaction.amount
    if transaction.status in TAKEN:
        return transaction.captured_amount - transaction.refunded_amount
    return 0

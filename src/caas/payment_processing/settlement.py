"""Settlement: what the gateway says hours or days later (Diagram 4, lower half).

Webhooks are a hint and polling is the guarantee; both end here, in one function that holds what
the gateway says of a transaction against where its payment stands. Any order and any number of
the same truths end in the same state and the same books.

Rules a change must keep: id, amount and currency must be the payment's or nothing is applied and a
case is opened (decision 32); a truth that comes too late is kept, and what must be undone is undone
(decision 10); amounts told are totals, so that hearing one twice adds nothing.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from caas.billing_database.books import Books
from caas.billing_database.due_work import DueWork
from caas.billing_database.moves import Work, move_of
from caas.billing_database.payments import Payment, PaymentNotFoundError
from caas.billing_database.webhook_inbox import WebhookInbox
from caas.external_systems.http_answers import GatewayFailure
from caas.external_systems.payment_gateway import (
    GatewayDispute,
    GatewayRefund,
    GatewayTransaction,
    PaymentGateway,
    TransactionStatus,
    mismatches,
)
from caas.external_systems.seed_contract_wire import read_event
from caas.open_work import Again, Answer, Done, OpenWork, Park
from caas.payment_processing.charges import Charges
from caas.payment_processing.flow import Alert, Flow
from caas.payment_processing.gateway_calls import AUTHORISE, CAPTURE, POLL_SETTLEMENT, PROBE
from caas.rules import postings
from caas.rules.pace import Pace
from caas.rules.payment_states import BeyondEvent, PaymentEvent, PaymentState, Remark
from caas.rules.payment_types import PaymentType

APPLY_WEBHOOK: Final = "apply_webhook"
COMPENSATE: Final = "compensate"
POLL_SECONDS: Final = 3600.0
STRANGER_SECONDS: Final = 5.0
STRANGER_ATTEMPTS_MAX: Final = 10

MONEY_TAKEN: Final = frozenset({TransactionStatus.CAPTURING, TransactionStatus.SETTLED})
HELD_OR_TAKEN: Final = MONEY_TAKEN | {TransactionStatus.AUTHORIZED}


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementNotice:
    """The bank's word on one payment: `settled_amount` is the total so far, in minor units."""

    settlement_id: str
    settled: bool
    settled_amount: int
    currency: str


class Settlement:
    """Applies what the gateway says to the payments it speaks of."""

    def __init__(
        self,
        *,
        books: Books,
        gateway: PaymentGateway,
        charges: Charges,
        flows: Mapping[PaymentType, Flow],
        alert: Alert,
        pace: Pace,
        on_refund: Callable[[GatewayRefund], Awaitable[Answer]],
        on_dispute: Callable[[GatewayDispute, str], Awaitable[Answer]],
    ) -> None:
        """Hear this gateway; refunds and disputes go to their own desks."""
        self._books = books
        self._gateway = gateway
        self._charges = charges
        self._flows = flows
        self._alert = alert
        self._pace = pace
        self._on_refund = on_refund
        self._on_dispute = on_dispute
        self._inbox = WebhookInbox(books.database)

    def register(self, open_work: OpenWork) -> None:
        """Take the webhooks that were stored and the payments that wait for the bank."""
        open_work.register(APPLY_WEBHOOK, self._apply_webhook)
        open_work.register(POLL_SETTLEMENT, self._poll)
        open_work.register(COMPENSATE, self._compensate)

    async def record_settlement(self, payment_id: UUID, notice: SettlementNotice) -> Payment:
        """Update settlement status (the seed's recordSettlement); the same notice counts once."""
        payment = await self._books.payments.get(payment_id)
        transaction = GatewayTransaction(
            id=payment.gateway_transaction_id or "",
            reference=str(payment.id),
            status=TransactionStatus.SETTLED
            if notice.settled
            else TransactionStatus.SETTLEMENT_FAILED,
            amount=payment.amount,
            currency=notice.currency,
            settled_amount=notice.settled_amount,
        )
        return await self.gateway_says(
            payment, transaction, source=f"settlement:{notice.settlement_id}"
        )

    async def gateway_says(
        self, payment: Payment, transaction: GatewayTransaction, *, source: str
    ) -> Payment:
        """Follow what the gateway says of a payment's transaction, whenever it says it."""
        if await self._contradicts(payment, transaction):
            return payment
        match payment.state:
            case PaymentState.PENDING:
                flow = self._flows[payment.type]
                return await self._charges.authorisation_answered(
                    payment, transaction, flow, source=source
                )
            case PaymentState.AUTHORIZED:
                return await self._said_of_authorised(payment, transaction)
            case PaymentState.CAPTURING:
                return await self._said_of_capturing(payment, transaction, source=source)
            case PaymentState.SETTLED | PaymentState.REFUNDING:
                return await self._said_of_settled(payment, transaction, source=source)
            case PaymentState.FAILED | PaymentState.VOIDED | PaymentState.SETTLEMENT_FAILED:
                return await self._late_truth(payment, transaction, source=source)
            case _:
                return payment

    async def _contradicts(self, payment: Payment, transaction: GatewayTransaction) -> bool:
        different = mismatches(
            transaction,
            reference=str(payment.id),
            amount=payment.amount,
            currency=payment.currency,
        )
        known_as = payment.gateway_transaction_id
        if known_as is not None and transaction.id != known_as:
            different.append(f"id {transaction.id!r}, not {known_as!r}")
        if different:
            await self._books.cases.open(
                "gateway_contradiction",
                payment.id,
                f"The gateway says {', '.join(different)}; nothing was applied.",
            )
        return bool(different)

    async def _said_of_authorised(
        self, payment: Payment, transaction: GatewayTransaction
    ) -> Payment:
        if transaction.status is TransactionStatus.VOIDED:
            if payment.capture_before is not None and not await self._void_claimed(payment):
                claimed = await self._charges.claim_void(payment, "voided at the gateway")
                return await self._charges.voided(
                    claimed, event=BeyondEvent.AUTHORIZATION_EXPIRED
                )
            return await self._charges.voided(payment)
        if transaction.status in MONEY_TAKEN and not await self._void_claimed(payment):
            await self._books.cases.open(
                "captured_without_us",
                payment.id,
                "The gateway captured a payment whose delivery is not confirmed; it will be "
                "committed if the delivery is confirmed and given back if it is not.",
            )
        return payment

    async def _void_claimed(self, payment: Payment) -> bool:
        events = await self._books.payments.timeline(payment.id)
        return any(event.event == Remark.VOID_REQUESTED for event in events)

    async def _said_of_capturing(
        self, payment: Payment, transaction: GatewayTransaction, *, source: str
    ) -> Payment:
        match transaction.status:
            case TransactionStatus.CAPTURING:
                return await self._charges.capture_accepted(payment)
            case TransactionStatus.SETTLED | TransactionStatus.REFUNDED:
                return await self._settled(payment, transaction, source=source)
            case TransactionStatus.SETTLEMENT_FAILED:
                return await self._bank_rejects(payment, source=source)
            case _:
                return payment

    async def _settled(
        self, payment: Payment, transaction: GatewayTransaction, *, source: str
    ) -> Payment:
        """The bank confirms, wholly or in part; totals are compared, never added twice."""
        new = transaction.settled_amount - payment.settled_amount
        if new <= 0:
            return payment
        if transaction.settled_amount < payment.captured_amount:
            await self._books.cases.open(
                "partial_settlement",
                payment.id,
                f"Only {transaction.settled_amount} of {payment.captured_amount} minor units "
                f"{payment.currency} were settled.",
            )
            event: PaymentEvent | Remark = Remark.PARTIALLY_SETTLED
        else:
            event = PaymentEvent.BANK_CONFIRMS
        whole = event is PaymentEvent.BANK_CONFIRMS
        poll = Work(POLL_SETTLEMENT, self._pace.seconds(POLL_SECONDS))
        move = move_of(
            payment,
            event,
            source=f"settled:{transaction.settled_amount}",
            if_version=payment.version,
            outcome="known",
            facts={"told_by": source},
            settled=new,
            entries=postings.settled(new),
            done=(CAPTURE, PROBE, POLL_SETTLEMENT),
            next=() if whole else (poll,),
        )
        return await self._charges.apply(payment, move)

    async def _bank_rejects(self, payment: Payment, *, source: str) -> Payment:
        """Delivered and not paid: never charged again, CaaS takes the loss (decision 17)."""
        lost = payment.captured_amount - payment.settled_amount
        move = move_of(
            payment,
            PaymentEvent.BANK_REJECTS,
            source="bank-rejects",
            if_version=payment.version,
            outcome="known",
            facts={"told_by": source},
            entries=postings.lost_before_settlement("settlement_failed", lost),
            done=(CAPTURE, PROBE, POLL_SETTLEMENT),
            next=(Work(AUTHORISE),),  # its flow carries on: a subscription ends (Diagram 7)
        )
        await self._alert(
            "settlement_failed", payment.id, "The bank rejected a settlement; the loss is booked."
        )
        return await self._charges.apply(payment, move)

    async def _said_of_settled(
        self, payment: Payment, transaction: GatewayTransaction, *, source: str
    ) -> Payment:
        if transaction.status is not TransactionStatus.SETTLEMENT_FAILED:
            return payment
        if payment.state is not PaymentState.SETTLED:
            return payment
        kept = payment.settled_amount - payment.refunded_amount - payment.disputed_amount
        move = move_of(
            payment,
            BeyondEvent.BANK_REVERSES,
            source="bank-reverses",
            if_version=payment.version,
            facts={"told_by": source},
            entries=postings.reversed_after_settlement("settlement_reversed", kept),
        )
        await self._alert(
            "settlement_reversed", payment.id, "The bank took a settlement back; the loss is booked."
        )
        return await self._charges.apply(payment, move)

    async def _late_truth(
        self, payment: Payment, transaction: GatewayTransaction, *, source: str
    ) -> Payment:
        """Money held or taken for a payment that ended: keep the truth, undo it (decision 10)."""
        if transaction.status not in HELD_OR_TAKEN:
            return payment
        if payment.state is PaymentState.SETTLEMENT_FAILED:
            return await self._settled_after_all(payment, transaction, source=source)
        move = move_of(
            payment,
            Remark.LATE_TRUTH,
            source=f"late:{transaction.status}",
            facts={"told_by": source, "status": str(transaction.status)},
            gateway_transaction_id=transaction.id,
            next=(Work(COMPENSATE),),
        )
        await self._books.cases.open(
            "late_truth",
            payment.id,
            f"The gateway says {transaction.status} of a payment that is {payment.state}; "
            "it is being undone.",
        )
        return await self._charges.apply(payment, move)

    async def _settled_after_all(
        self, payment: Payment, transaction: GatewayTransaction, *, source: str
    ) -> Payment:
        if transaction.status is not TransactionStatus.SETTLED:
            return payment
        move = move_of(
            payment,
            Remark.LATE_TRUTH,
            source="late:settled",
            facts={"told_by": source, "settled_amount": transaction.settled_amount},
        )
        await self._books.cases.open(
            "settled_after_loss",
            payment.id,
            "The bank settled a payment whose loss was booked; correct the loss by an entry.",
        )
        return await self._charges.apply(payment, move)

    async def _apply_webhook(self, work: DueWork) -> Answer:
        row = await self._inbox.get(work.subject)
        event = read_event(row.body)
        if isinstance(event.subject, GatewayRefund):
            return await self._on_refund(event.subject)
        if isinstance(event.subject, GatewayDispute):
            return await self._on_dispute(event.subject, event.type)
        payment = await self._payment_of(event.subject)
        if payment is None:
            return await self._stranger(work, event.subject.reference)
        await self.gateway_says(payment, event.subject, source=f"webhook:{row.event_id}")
        return Done()

    async def _payment_of(self, transaction: GatewayTransaction) -> Payment | None:
        try:
            return await self._books.payments.get(UUID(transaction.reference))
        except (ValueError, PaymentNotFoundError):
            return None

    async def _stranger(self, work: DueWork, reference: str) -> Answer:
        """A webhook about nothing we know: it may have overtaken us, so wait before asking a person."""
        if work.attempts < STRANGER_ATTEMPTS_MAX:
            return Again(STRANGER_SECONDS * work.attempts, "its payment is not known here")
        return Park(f"A webhook speaks of a payment that nobody made: {reference}.")

    async def _poll(self, work: DueWork) -> Answer:
        payment = await self._books.payments.get(work.subject)
        if payment.state is not PaymentState.CAPTURING:
            return Done()
        assert payment.gateway_transaction_id is not None, "what was captured has an id"
        try:
            transaction = await self._gateway.find(payment.gateway_transaction_id)
        except GatewayFailure as failure:
            return Again(POLL_SECONDS, failure.sentence)
        if transaction is None:
            return Again(POLL_SECONDS, "the gateway does not know the transaction")
        after = await self.gateway_says(payment, transaction, source="poll")
        return Done() if after.state is not PaymentState.CAPTURING else Again(POLL_SECONDS)

    async def _compensate(self, work: DueWork) -> Answer:
        """Undo what the gateway holds or took for a payment that ended."""
        payment = await self._books.payments.get(work.subject)
        assert payment.gateway_transaction_id is not None, "a late truth names its transaction"
        done = await self._charges.undo(payment, payment.gateway_transaction_id)
        return Done() if done else Again(POLL_SECONDS, "not undone yet")

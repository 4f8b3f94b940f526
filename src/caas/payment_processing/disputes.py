"""Disputes: chargebacks of what was delivered (Common Discrepancy Scenarios; decision 37).

CaaS accepts the loss. A dispute is a child of its payment, which keeps its state; the ledger shows
what the bank holds back while it lasts, and what was lost or came back when it ended.

Rules a change must keep: words about a dispute may come in any order and any number; lost money is
counted once; a dispute that exceeds what is left of the payment is a case, not a row.
"""

from typing import Final

from caas.billing_database.books import Books
from caas.billing_database.connection import Connection
from caas.billing_database.moves import Moved, move_of
from caas.billing_database.payments import Payment
from caas.billing_database.refunds import Dispute
from caas.billing_database.refunds import Refunds as RefundRows
from caas.external_systems.payment_gateway import DisputeStatus, GatewayDispute
from caas.open_work import Again, Answer, Done
from caas.rules import postings
from caas.rules.payment_states import Remark
from caas.rules.postings import Entry

STRANGER_SECONDS: Final = 30.0

# From how far a dispute was to how far it is told to be: the remarks that lead there.
STEPS: Final[dict[tuple[str | None, DisputeStatus], tuple[Remark, ...]]] = {
    (None, DisputeStatus.OPENED): (Remark.DISPUTE_OPENED,),
    (None, DisputeStatus.WON): (Remark.DISPUTE_OPENED, Remark.DISPUTE_WON),
    (None, DisputeStatus.LOST): (Remark.DISPUTE_OPENED, Remark.DISPUTE_LOST),
    ("opened", DisputeStatus.WON): (Remark.DISPUTE_WON,),
    ("opened", DisputeStatus.LOST): (Remark.DISPUTE_LOST,),
    ("lost", DisputeStatus.WON): (Remark.DISPUTE_REVERSED,),
}


class Disputes:
    """Writes down what is argued about and what is lost."""

    def __init__(self, books: Books) -> None:
        """Keep disputes in these books."""
        self._books = books
        self._rows = RefundRows(books.database)

    async def of(self, payment: Payment) -> list[Dispute]:
        """Return a payment's disputes, oldest first."""
        return await self._rows.disputes_of(payment.id)

    async def gateway_says(self, told: GatewayDispute, _event_type: str) -> Answer:
        """Follow what the gateway says of a dispute."""
        payment = await self._books.payments.by_transaction(told.transaction_id)
        if payment is None:
            return Again(STRANGER_SECONDS, "the disputed payment is not known here")
        if told.currency not in (None, payment.currency) or told.amount > payment.captured_amount:
            await self._books.cases.open(
                "dispute_contradiction",
                payment.id,
                f"A dispute speaks of {told.amount} {told.currency}; the payment took "
                f"{payment.captured_amount} {payment.currency}.",
            )
            return Done()

        async def together(connection: Connection) -> None:
            await self._follow(payment, told, connection)

        await self._books.database.in_transaction(together)
        return Done()

    async def _follow(self, payment: Payment, told: GatewayDispute, connection: Connection) -> None:
        given_back = await self._rows.given_back(payment.id, within=connection)
        known = await self._rows.dispute(told.id, within=connection)
        steps = STEPS.get((known.state if known else None, told.status), ())
        if not steps:
            return
        if known is None and given_back + told.amount > payment.captured_amount:
            await self._books.cases.open(
                "dispute_of_refunded",
                payment.id,
                f"A dispute of {told.amount} {payment.currency} was opened on a payment of which "
                f"{given_back} is given back already; contest it with the refund.",
                within=connection,
            )
            return
        for remark in steps:
            await self._remark(payment, told, remark, connection)
        state = "reversed" if steps[-1] is Remark.DISPUTE_REVERSED else str(told.status)
        await self._rows.put_dispute(
            told.id,
            payment.id,
            amount=told.amount,
            currency=payment.currency,
            state=state,
            reason=told.reason,
            within=connection,
        )

    async def _remark(
        self, payment: Payment, told: GatewayDispute, remark: Remark, connection: Connection
    ) -> Moved:
        now = await self._books.payments.get(payment.id, within=connection)
        lost = {Remark.DISPUTE_LOST: told.amount, Remark.DISPUTE_REVERSED: -told.amount}
        moved = await self._books.moves.apply(
            move_of(
                now,
                remark,
                source=f"dispute:{told.id}:{remark.name.lower()}",
                facts={"dispute": told.id, "amount": told.amount, "reason": told.reason},
                disputed=lost.get(remark, 0),
                entries=_entries(remark, told.amount),
            ),
            within=connection,
        )
        assert moved.moved, "the payment is locked, and each step of a dispute is taken once"
        return moved


def _entries(remark: Remark, amount: int) -> tuple[Entry, ...]:
    match remark:
        case Remark.DISPUTE_OPENED:
            return postings.dispute_opened(amount)
        case Remark.DISPUTE_WON:
            return postings.dispute_won(amount)
        case Remark.DISPUTE_LOST:
            return postings.dispute_lost(amount)
        case _:
            return postings.dispute_reversed(amount)

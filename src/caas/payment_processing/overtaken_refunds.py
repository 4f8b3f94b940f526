"""Refunds whose money a bank took first, and what is owed again when the bank returns it.

While a bank holds the money of a cancelled sale, the customer has it from the bank and nothing is
refunded. A waiting refund then ends: the rest of the money is promised again, and if a credit note
named it, a loss covers the difference. When a dispute is won or reversed, or a covered amount is
returned, the money is received again and is promised again.

Rules a change must keep: the end of such a refund, the new promise and the covered amount are one
commit, under the lock of the payment; never more is promised than was returned, because a person
may have settled the rest; refunds, promises and covered amounts of a credit note always add up to
the credited amount.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from caas.billing_database import invoices, orders
from caas.billing_database.connection import Connection
from caas.billing_database.identifiers import derived_id
from caas.billing_database.invoices import StandingNote
from caas.billing_database.payments import Payment
from caas.billing_database.received_money import received
from caas.billing_database.refunds import Refund
from caas.billing_database.refunds import Refunds as RefundRows
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.transitions import transition_of
from caas.payment_processing.held_deposit import back_to_held, out_of_held
from caas.payment_processing.refund_calls import REFUND
from caas.rules import postings
from caas.rules.payment_states import Remark
from caas.service_catalog.subscriptions import CREDIT_WITHDRAWN

PROMISED: Final = "promised_refund"
OVERTAKEN: Final = "a dispute took the money before the refund was sent"
REQUESTED_BY: Final = "payment-processing"


class CoveredNotes:
    """Books the part of a credit note that a loss covers."""

    def __init__(self, tables: BillingDatabase) -> None:
        self._tables = tables

    async def cover(
        self, payment_id: UUID, reason: str, amount: int, *, within: Connection
    ) -> None:
        """Book as a loss what a credit note's refund does not return. The payment is locked.

        A refund without a credit note is not covered.
        """
        note = await invoices.of_reason(within, payment_id, reason)
        if note is not None and amount > 0:
            await self._book(note, amount, within)

    async def promise_again(self, payment_id: UUID, refundable: int, *, within: Connection) -> None:
        """Promise covered amounts again, up to what is `refundable`."""
        for note in await invoices.of_payment(within, payment_id):
            again = min(note.covered, refundable)
            if again <= 0:
                continue
            refundable -= again
            await self._book(note, -again, within)
            key = f"credit-note:{note.id}:again:{note.times + 1}"
            promised = {"payment": str(payment_id), "amount": again, "reason": note.reason,
                        "key": key, "requested_by": "billing"}  # fmt: skip
            await self._tables.jobs.add(
                PROMISED, derived_id(payment_id, PROMISED, key), payload=promised, within=within
            )

    async def _book(self, note: StandingNote, amount: int, within: Connection) -> None:
        payment = await self._tables.payments.get(note.payment_id, within=within)
        name = "covered" if amount > 0 else "uncovered"
        entries = postings.covered_by_loss if amount > 0 else postings.covered_no_more
        transition = transition_of(
            payment,
            Remark.LOSS_BOOKED,
            source=f"credit-note:{note.id}:{name}:{note.times + 1}",
            facts={"covered_note": str(note.id), name: abs(amount)},
            entries=entries(payment.type, abs(amount)),
        )
        with_held = out_of_held if amount > 0 else back_to_held
        transitioned = await self._tables.transitions.apply(
            await with_held(transition, payment, abs(amount), within=within), within=within
        )
        assert transitioned.transitioned, "the payment is locked, and each change is booked once"


class OvertakenRefunds:
    """Ends refunds that can no longer be sent."""

    def __init__(self, tables: BillingDatabase, rows: RefundRows) -> None:
        self._tables = tables
        self._rows = rows
        self._covered = CoveredNotes(tables)

    async def fail_overtaken(self, refund: Refund, available: int, *, within: Connection) -> None:
        """Fail a refund that a dispute overtook, and promise the rest. The payment is locked."""
        await self._rows.set(refund.id, "failed", failed_because=OVERTAKEN, within=within)
        await self._covered.cover(
            refund.payment_id, refund.reason, refund.amount - available, within=within
        )
        if not available:
            return
        key = f"{refund.id}:rest"
        promised = {
            "payment": str(refund.payment_id),
            "amount": available,
            "reason": refund.reason,
            "key": key,
            "requested_by": refund.requested_by,
        }
        subject = derived_id(refund.payment_id, PROMISED, key)
        await self._tables.jobs.add(PROMISED, subject, payload=promised, within=within)

    async def fail_unpaid(self, payment: Payment, refund: Refund) -> None:
        """Fail a refund of a payment that brought no money."""

        async def together(connection: Connection) -> None:
            await self._rows.given_back(payment.id, within=connection)
            await self._end(payment, refund, connection)

        await self._tables.database.in_transaction(together)

    async def fail_waiting(self, payment: Payment, *, within: Connection) -> None:
        """Fail every waiting refund of a payment that the bank takes back. The payment is locked.

        The customer has paid nothing, so nothing is owed; a term that a refund ended stays ended.
        """
        for refund in await self._rows.of_payment(payment.id, within=within):
            if refund.state == "waiting":
                await self._end(payment, refund, within)
                await self._tables.jobs.end(REFUND, refund.id, within=within)

    async def _end(self, payment: Payment, refund: Refund, connection: Connection) -> None:
        because = f"the payment is {payment.state}"
        if await self._rows.set(refund.id, "failed", failed_because=because, within=connection):
            await self._covered.cover(payment.id, refund.reason, refund.amount, within=connection)


class CancelledSales:
    """Promises again what disputes returned of undone sales."""

    def __init__(self, tables: BillingDatabase, rows: RefundRows) -> None:
        self._tables = tables
        self._rows = rows

    @asynccontextmanager
    async def watched(self, payment_id: UUID, *, within: Connection) -> AsyncIterator[None]:
        """Promise again what banks release of a payment in the block; locks the payment."""
        await self._rows.given_back(payment_id, within=within)
        before = await orders.held_by_banks(within, payment_id)
        yield
        after = await orders.held_by_banks(within, payment_id)
        back = {one: before.get(one, 0) - after.get(one, 0) for one in before | after}
        if sum(back.values()) > 0:
            payment = await self._tables.payments.get(payment_id, within=within)
            await self._owed_again(payment_id, back, f"again:{payment.version}", within)

    async def reinstated(
        self, payment_id: UUID, amount: int, line: str, *, within: Connection
    ) -> None:
        """Promise what a line brought after the settlement of an undone sale had failed.

        `line` names the decision; a decision that is made again promises again.
        """
        await self._rows.given_back(payment_id, within=within)
        await self._owed_again(payment_id, {line: amount}, f"reinstated:{line}", within)

    async def _owed_again(
        self, payment_id: UUID, back: dict[str, int], key: str, within: Connection
    ) -> None:
        undone = await orders.of_payment(within, payment_id)
        if undone.subscription is not None:
            await self._tables.jobs.add(CREDIT_WITHDRAWN, undone.subscription, within=within)
        if undone.reason is None:
            return
        waiting = await orders.promised_rest(within, payment_id)
        for subject in waiting:  # a worker that looked before this commit does not end it
            await self._tables.jobs.add(PROMISED, subject, within=within)
        payment = await self._tables.payments.get(payment_id, within=within)
        given_back = await self._rows.given_back(payment_id, within=within)
        only = back.keys() if undone.only is None else back.keys() & undone.only
        came_back = min(sum(back[one] for one in only), sum(back.values()))
        owed = min(came_back, await received(payment, within=within) - given_back)
        if waiting or owed <= 0:
            return
        key = f"{undone.reason}:{key}"
        promised = {"payment": str(payment_id), "amount": owed, "reason": undone.reason,
                    "key": key, "requested_by": REQUESTED_BY}  # fmt: skip
        await self._tables.jobs.add(
            PROMISED, derived_id(payment_id, PROMISED, key), payload=promised, within=within
        )

"""Refunds that are owed whatever happens: now, or when nothing stands in the way any more.

Whoever decides that money goes back, and cannot ask again, promises it: desistimiento, a factory
that refuses, a credit note. What a dispute has taken by then is not paid again, the rest is.

Rules a change must keep: a promise is work until it is kept; the same key is the same refund.
"""

from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

from caas.billing_database.books import Books
from caas.billing_database.connection import Connection
from caas.billing_database.due_work import DueWork
from caas.billing_database.identifiers import derived_id
from caas.billing_database.refunds import Refund
from caas.open_work import Again, Answer, Done, OpenWork
from caas.payment_processing.refunds import (
    PROMISED,
    NothingToRefundError,
    RefundMustWaitError,
    Refunds,
    RefundTooLargeError,
)
from caas.rules.pace import Pace

LOOK_AGAIN_SECONDS: Final = 300.0

Together = Callable[[Connection], Awaitable[None]]
"""What is done in the commit of a promise."""


class PromisedRefunds:
    """Keeps promises of refunds."""

    def __init__(self, books: Books, refunds: Refunds, *, pace: Pace) -> None:
        """Refund through this door."""
        self._books = books
        self._refunds = refunds
        self._pace = pace

    def register(self, open_work: OpenWork) -> None:
        """Take the promises that are not kept yet."""
        open_work.register(PROMISED, self._due)

    async def promise(
        self,
        payment_id: UUID,
        *,
        amount: int,
        reason: str,
        key: str,
        requested_by: str,
        together_with: Together | None = None,
    ) -> Refund | None:
        """Refund now, or as soon as nothing stands in the way any more; None while it must wait.

        `together_with` is done in the commit that promises it.

        Raises:
            NothingToRefundError: the payment took no money.
            RefundTooLargeError: more than is left of it, and nothing stands in the way.
        """
        asked = {"reason": reason, "key": key, "requested_by": requested_by}
        try:
            return await self._refunds.request(
                payment_id, amount=amount, together_with=together_with, **asked
            )
        except RefundMustWaitError:
            promised = {"payment": str(payment_id), "amount": amount, **asked}

        async def write(connection: Connection) -> None:
            await self._books.work.add(
                PROMISED,
                derived_id(payment_id, PROMISED, key),
                due_in=self._pace.seconds(LOOK_AGAIN_SECONDS),
                payload=promised,
                within=connection,
            )
            if together_with is not None:
                await together_with(connection)

        await self._books.database.in_transaction(write)
        return None

    async def _due(self, work: DueWork) -> Answer:
        """Keep a promise as far as the money is still there."""
        payment_id = UUID(work.payload["payment"])
        left = await self._refunds.left(payment_id)
        try:
            await self._refunds.request(
                payment_id,
                amount=min(int(work.payload["amount"]), left),
                reason=str(work.payload["reason"]),
                key=str(work.payload["key"]),
                requested_by=str(work.payload["requested_by"]),
            )
        except RefundMustWaitError as waits:
            return Again(LOOK_AGAIN_SECONDS, waits.sentence)
        except RefundTooLargeError as less:
            if left > 0:
                return Again(LOOK_AGAIN_SECONDS, less.sentence)
        except NothingToRefundError:
            pass  # it never came, or all of it has gone back
        return Done()

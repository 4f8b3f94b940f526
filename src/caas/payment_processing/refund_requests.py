"""Refunds as they are asked for: written down under the lock of their payment, once for a key.

Rules a change must keep: how much is left is counted under that lock, together with what is written
down; a key stands for one refund; what is left beside it is asked for under the next key; beside
a refund whose outcome is not known nothing new is written down, a promise waits.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from caas.billing_database.connection import Connection
from caas.billing_database.identifiers import derived_id
from caas.billing_database.refunds import Refunds as RefundRows
from caas.billing_database.tables import BillingDatabase
from caas.payment_processing.gateway_calls import SAFETY_NET_SECONDS
from caas.payment_processing.refund_calls import REFUND
from caas.payment_processing.refund_refusals import (
    REFUNDABLE,
    refuse_beside,
    refuse_impossible,
    refuse_too_large,
    refuse_while,
)
from caas.rules.payment_states import PaymentState
from caas.rules.time_scale import TimeScale

RESENDS_MAX: Final = 100

Together = Callable[[Connection], Awaitable[None]]
"""What is done in the commit of a promise."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A refund that is asked for; `amount` None is all that is left."""

    payment_id: UUID
    amount: int | None
    reason: str
    key: str
    requested_by: str


class RefundRequests:
    """Writes refunds down."""

    def __init__(self, tables: BillingDatabase, rows: RefundRows, *, time_scale: TimeScale) -> None:
        """Write into these rows."""
        self._tables = tables
        self._rows = rows
        self._time_scale = time_scale

    async def next_key(self, payment_id: UUID, key: str) -> str:
        """Return the key to ask for the rest with: the first whose refund has not ended."""
        known = await self._rows.of_payment(payment_id)
        ended = {one.id for one in known if one.state in {"succeeded", "failed"}}
        again = key
        for number in range(RESENDS_MAX):
            again = f"{key}:{number}" if number else key
            if derived_id(payment_id, REFUND, again) not in ended:
                break
        return again

    async def write(self, wanted: Wanted, together_with: Together | None) -> UUID | None:
        """Write a refund down, once for a key; None when the rest was wanted and nothing is left.

        Raises:
            NothingToRefundError, RefundMustWaitError (also RefundUnknownError),
            RefundTooLargeError: it is refused.
        """

        async def written(connection: Connection) -> bool:
            return await self.write_within(wanted, together_with, connection)

        is_written = await self._tables.database.in_transaction(written)
        return derived_id(wanted.payment_id, REFUND, wanted.key) if is_written else None

    async def write_within(
        self, wanted: Wanted, together_with: Together | None, connection: Connection
    ) -> bool:
        """Write a refund down in a transaction of the caller's; False where `write` gives None.

        Raises:
            NothingToRefundError, RefundMustWaitError (also RefundUnknownError),
            RefundTooLargeError: it is refused.
        """
        refund_id = derived_id(wanted.payment_id, REFUND, wanted.key)
        given_back = await self._rows.given_back(
            wanted.payment_id, beside=wanted.key, within=connection
        )
        if await self._rows.get(refund_id, within=connection) is not None:
            return True
        amount = await self._allowed(wanted, given_back, connection)
        if amount is not None:
            await self._add(refund_id, wanted, amount, connection)
        if together_with is not None:
            await together_with(connection)
        return amount is not None

    async def check(self, payment_id: UUID, amount: int) -> None:
        """Refuse what could not be refunded now.

        Raises:
            NothingToRefundError, RefundMustWaitError, RefundTooLargeError: it could not.
        """

        async def look(connection: Connection) -> None:
            given_back = await self._rows.given_back(payment_id, within=connection)
            await self._allowed(Wanted(payment_id, amount, "", "", ""), given_back, connection)

        await self._tables.database.in_transaction(look)

    async def refuse_beside_unknown(self, payment_id: UUID, within: Connection) -> None:
        """Refuse a refund while another one of the payment is unknown; the payment is locked.

        Raises:
            RefundUnknownError: one is.
        """
        await self._rows.given_back(payment_id, within=within)
        refuse_beside(await self._rows.unknown(payment_id, within=within))

    async def _allowed(self, wanted: Wanted, given_back: int, connection: Connection) -> int | None:
        """Return how much may be refunded, None when all of it was wanted and nothing is left."""
        payment = await self._tables.payments.get(wanted.payment_id, within=connection)
        if wanted.amount is None and payment.state not in REFUNDABLE:
            return None
        refuse_impossible(payment)
        refuse_while(await self._rows.obstacle(payment.id, within=connection))
        if payment.state is PaymentState.REFUNDING:
            refuse_beside(await self._rows.unknown(payment.id, within=connection))
        if wanted.amount is None:
            return max(payment.captured_amount - given_back, 0) or None
        refuse_too_large(payment, wanted.amount, given_back)
        return wanted.amount

    async def _add(
        self, refund_id: UUID, wanted: Wanted, amount: int, connection: Connection
    ) -> None:
        payment = await self._tables.payments.get(wanted.payment_id, within=connection)
        await self._rows.add(
            refund_id,
            payment.id,
            amount=amount,
            currency=payment.currency,
            reason=wanted.reason,
            requested_by=wanted.requested_by,
            within=connection,
        )
        owed = {"payment": str(payment.id), "amount": amount, "reason": wanted.reason}
        await self._tables.jobs.add(
            REFUND,
            refund_id,
            due_in=self._time_scale.seconds(SAFETY_NET_SECONDS),
            payload=owed,
            within=connection,
        )

"""Requests for refunds: refused with a reason, or recorded under the lock of their payment.

Rules a change must keep: what is left is counted, and an obstacle looked for, under that lock,
together with what is recorded; a key stands for one refund, and what is left beside it is requested
under the next key; beside a refund of unknown outcome no other is recorded, a promise waits.
"""

from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.connection import Connection
from caas.billing_database.identifiers import derived_id
from caas.billing_database.payments import Payment
from caas.billing_database.received_money import received
from caas.billing_database.refunds import Refunds as RefundRows
from caas.billing_database.refunds import UnknownRefund
from caas.billing_database.tables import BillingDatabase
from caas.errors import ConflictError, RefusedError
from caas.payment_processing.gateway_calls import SAFETY_NET_SECONDS
from caas.payment_processing.refund_calls import REFUND
from caas.rules.payment_states import PaymentState
from caas.rules.time_scale import TimeScale

REFUNDABLE: Final = frozenset(
    {PaymentState.CAPTURING, PaymentState.SETTLED, PaymentState.REFUNDING}
)
MAY_HAVE_MONEY: Final = REFUNDABLE | {PaymentState.SETTLEMENT_FAILED}
RESENDS_MAX: Final = 100

Together = Callable[[Connection], Awaitable[None]]
"""What is done in the commit of a promise."""


class NothingToRefundError(ConflictError):
    """Nothing was charged that could be given back."""

    code = "nothing_to_refund"


class RefundTooLargeError(RefusedError):
    """The refund is more than what is left of the payment."""

    code = "refund_too_large"


class RefundMustWaitError(ConflictError):
    """Something about money of this payment is not decided; ask again when it is."""

    code = "refund_must_wait"


class RefundUnknownError(RefundMustWaitError):
    """The outcome of another refund of this payment is not known; it is looked up by itself.

    Retry when it is known: repeating a refund with an unknown outcome can pay twice.
    """

    code = "refund_unknown"


def refuse_impossible(payment: Payment, left: int) -> None:
    """Raise if the payment took no money; after a failed settlement, if none is `left`.

    Raises:
        NothingToRefundError: the payment took none.
    """
    if not _is_refundable(payment, left):
        raise NothingToRefundError(
            f"A payment that is {payment.state} took no money that could be given back.",
            state=payment.state.value,
        )


def refuse_while(obstacle: str | None) -> None:
    """Raise if there is an obstacle.

    Raises:
        RefundMustWaitError: there is one.
    """
    if obstacle is not None:
        raise RefundMustWaitError(
            f"Nothing is refunded while this is open: {obstacle}. Ask again when it has ended.",
            waits_for=obstacle,
        )


def refuse_beside(unknown: UnknownRefund | None) -> None:
    """Raise if the outcome of another refund is unknown.

    Raises:
        RefundUnknownError: there is one.
    """
    if unknown is not None:
        since = unknown.since.isoformat(timespec="seconds")
        raise RefundUnknownError(
            f"The outcome of the refund {unknown.id} of {unknown.amount} minor units "
            f"{unknown.currency} of this payment has not been known since {since}. It is looked up "
            "by itself: wait, and ask for another refund when it is known.",
            refund=str(unknown.id),
            amount=unknown.amount,
            since=since,
        )


def refuse_too_large(payment: Payment, amount: int, left: int) -> None:
    """Raise if the refund is of more than is left, or of nothing.

    Raises:
        RefundTooLargeError: it is, or it is of nothing.
    """
    if not 0 < amount <= left:
        raise RefundTooLargeError(
            f"At most {left} minor units {payment.currency} of this payment can be refunded.",
            refundable=left,
        )


def _is_refundable(payment: Payment, left: int) -> bool:
    """Return whether money of the payment came, or may come."""
    failed = payment.state is PaymentState.SETTLEMENT_FAILED
    return payment.state in REFUNDABLE or (failed and left > 0)


class Requested(msgspec.Struct, frozen=True):
    """A requested refund; an `amount` of None is all that is left."""

    payment_id: UUID
    amount: int | None
    reason: str
    key: str
    requested_by: str


class RefundRequests:
    """Records refunds."""

    def __init__(self, tables: BillingDatabase, rows: RefundRows, *, time_scale: TimeScale) -> None:
        self._tables = tables
        self._rows = rows
        self._time_scale = time_scale

    async def next_key(self, payment_id: UUID, key: str) -> str:
        """Return the first key, of those for the rest, whose refund has not ended."""
        known = await self._rows.of_payment(payment_id)
        ended = {one.id for one in known if one.state in {"succeeded", "failed"}}
        again = key
        for number in range(RESENDS_MAX):
            again = f"{key}:{number}" if number else key
            if derived_id(payment_id, REFUND, again) not in ended:
                break
        return again

    async def write(self, wanted: Requested, together_with: Together | None) -> UUID | None:
        """Record a refund, once per key; None if the rest was wanted and nothing is left.

        Raises:
            NothingToRefundError, RefundMustWaitError (also RefundUnknownError),
            RefundTooLargeError: it is refused.
        """

        async def written(connection: Connection) -> bool:
            return await self.write_within(wanted, together_with, connection)

        is_written = await self._tables.database.in_transaction(written)
        return derived_id(wanted.payment_id, REFUND, wanted.key) if is_written else None

    async def write_within(
        self, wanted: Requested, together_with: Together | None, connection: Connection
    ) -> bool:
        """Record a refund in the caller's transaction; False where `write` returns None.

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
        """Raise if this could not be refunded now.

        Raises:
            NothingToRefundError, RefundMustWaitError, RefundTooLargeError: it could not.
        """

        async def look(connection: Connection) -> None:
            given_back = await self._rows.given_back(payment_id, within=connection)
            await self._allowed(Requested(payment_id, amount, "", "", ""), given_back, connection)

        await self._tables.database.in_transaction(look)

    async def refuse_beside_unknown(self, payment_id: UUID, within: Connection) -> None:
        """Raise if the outcome of another refund is unknown. The payment is locked.

        Raises:
            RefundUnknownError: one is.
        """
        await self._rows.given_back(payment_id, within=within)
        refuse_beside(await self._rows.unknown(payment_id, within=within))

    async def _allowed(
        self, wanted: Requested, given_back: int, connection: Connection
    ) -> int | None:
        """Return how much may be refunded; None if all was wanted and nothing is left."""
        payment = await self._tables.payments.get(wanted.payment_id, within=connection)
        left = await received(payment, within=connection) - given_back
        if wanted.amount is None and not _is_refundable(payment, left):
            return None
        refuse_impossible(payment, left)
        refuse_while(await self._rows.obstacle(payment.id, within=connection))
        if payment.state is PaymentState.REFUNDING:
            refuse_beside(await self._rows.unknown(payment.id, within=connection))
        if wanted.amount is None:
            return max(left, 0) or None
        refuse_too_large(payment, wanted.amount, left)
        return wanted.amount

    async def _add(
        self, refund_id: UUID, wanted: Requested, amount: int, connection: Connection
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

"""Why a refund is refused: nothing came, something about its money is open, or it is too much.

Rule a change must keep: these are asked under the lock of the payment, so that what was refused or
accepted is still so when the transaction commits.
"""

from typing import Final

from caas.billing_database.payments import Payment
from caas.billing_database.refunds import UnknownRefund
from caas.errors import ConflictError, RefusedError
from caas.rules.payment_states import PaymentState

REFUNDABLE: Final = frozenset(
    {PaymentState.CAPTURING, PaymentState.SETTLED, PaymentState.REFUNDING}
)


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

    Ask again when it is known: whoever repeats a refund because nobody knows of it pays twice.
    """

    code = "refund_unknown"


def refuse_impossible(payment: Payment) -> None:
    """Refuse a refund of what took no money.

    Raises:
        NothingToRefundError: the payment took none.
    """
    if payment.state not in REFUNDABLE:
        raise NothingToRefundError(
            f"A payment that is {payment.state} took no money that could be given back.",
            state=payment.state.value,
        )


def refuse_while(obstacle: str | None) -> None:
    """Refuse a refund while an obstacle stands in its way.

    Raises:
        RefundMustWaitError: there is one.
    """
    if obstacle is not None:
        raise RefundMustWaitError(
            f"Nothing is refunded while this is open: {obstacle}. Ask again when it has ended.",
            waits_for=obstacle,
        )


def refuse_beside(unknown: UnknownRefund | None) -> None:
    """Refuse a refund beside another one whose outcome is not known.

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


def refuse_too_large(payment: Payment, amount: int, given_back: int) -> None:
    """Refuse a refund of more than is left.

    Raises:
        RefundTooLargeError: it is, or it is of nothing.
    """
    left = payment.captured_amount - given_back
    if not 0 < amount <= left:
        raise RefundTooLargeError(
            f"At most {left} minor units {payment.currency} of this payment can be refunded.",
            refundable=left,
        )

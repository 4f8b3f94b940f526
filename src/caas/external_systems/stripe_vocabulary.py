"""Event types and statuses of Stripe that are known here; any other has no effect.

Rules a change must keep: an unknown value is counted where it is read, and is neither a success nor
a failure of anything.
"""

from enum import StrEnum
from typing import Final, Self

from caas.external_systems.payment_gateway import DisputeStatus, RefundStatus
from caas.external_systems.stripe_refusals import STRIPE
from caas.external_systems.unknown_values import GatewayField, count_unknown

REFUND_STATUS_OF: Final = {
    "pending": RefundStatus.PENDING,
    "requires_action": RefundStatus.PENDING,
    "succeeded": RefundStatus.SUCCEEDED,
    "failed": RefundStatus.FAILED,
    "canceled": RefundStatus.FAILED,
}
DISPUTES_WITHOUT_MONEY: Final = frozenset(
    {"warning_needs_response", "warning_under_review", "warning_closed", "prevented"}
)
DISPUTE_STATUS_OF: Final = {
    "needs_response": DisputeStatus.OPENED,
    "under_review": DisputeStatus.OPENED,
    "won": DisputeStatus.WON,
    "lost": DisputeStatus.LOST,
}
OBJECTS_READ: Final = (
    "payment_intent.", "setup_intent.", "checkout.session.", "refund.", "charge.dispute.",
    "payout.", "radar.early_fraud_warning.",
)  # fmt: skip
"""How the types of events begin whose objects are read here."""
WITHOUT_EFFECT: Final = frozenset(
    {
        "payment_intent.created", "payment_intent.partially_funded", "payment_intent.processing",
        "payment_intent.requires_action", "setup_intent.created", "setup_intent.requires_action",
        "checkout.session.async_payment_failed", "checkout.session.async_payment_succeeded",
        "charge.dispute.funds_reinstated", "charge.dispute.funds_withdrawn",
        "payout.created", "payout.paid", "payout.reconciliation_completed", "payout.updated",
    }
)  # fmt: skip
"""Types of events about these objects that are known to change nothing here."""


class IntentStatus(StrEnum):
    """The states of a PaymentIntent or a SetupIntent."""

    REQUIRES_PAYMENT_METHOD = "requires_payment_method"
    REQUIRES_CONFIRMATION = "requires_confirmation"
    REQUIRES_ACTION = "requires_action"
    PROCESSING = "processing"
    REQUIRES_CAPTURE = "requires_capture"
    CANCELED = "canceled"
    SUCCEEDED = "succeeded"
    UNKNOWN = "unknown to this version"

    @classmethod
    def _missing_(cls, value: object) -> Self:
        count_unknown(STRIPE, GatewayField.PAYMENT_STATUS, str(value))
        return cls.UNKNOWN


class SessionStatus(StrEnum):
    """The states of a Checkout Session."""

    OPEN = "open"
    COMPLETE = "complete"
    EXPIRED = "expired"
    UNKNOWN = "unknown to this version"

    @classmethod
    def _missing_(cls, value: object) -> Self:
        count_unknown(STRIPE, GatewayField.PAGE_STATUS, str(value))
        return cls.UNKNOWN


def refund_status(value: str) -> RefundStatus:
    """Return the state of a refund; with an unknown one it is still under way."""
    if value not in REFUND_STATUS_OF:
        count_unknown(STRIPE, GatewayField.REFUND_STATUS, value)
    return REFUND_STATUS_OF.get(value, RefundStatus.PENDING)


def dispute_status(value: str) -> DisputeStatus | None:
    """Return the state of a chargeback; None where no money has moved, or nobody knows."""
    if value not in DISPUTE_STATUS_OF and value not in DISPUTES_WITHOUT_MONEY:
        count_unknown(STRIPE, GatewayField.DISPUTE_STATUS, value)
    return DISPUTE_STATUS_OF.get(value)


def note_event(type_: str) -> None:
    """Count an event without effect if it is of an object that is read, and of an unknown type."""
    if type_.startswith(OBJECTS_READ) and type_ not in WITHOUT_EFFECT:
        count_unknown(STRIPE, GatewayField.EVENT_TYPE, type_)

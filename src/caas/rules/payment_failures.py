"""Diagram 7: what a failed payment costs, by payment type.

`Consequence` holds the leaves of the decision tree and `consequence_of_failure` is the tree. The
flows carry the consequence out; this module only names it. `not_sent_consequence` is the question
the tree does not ask: what follows when the gateway never heard of the payment at all (decision 3).

Rules a change must keep:

1. The match is exhaustive: a payment type without a leaf does not type-check.
2. Only a decline takes a car or a subscription away. A payment that was never sent, or whose
   outcome is unknown, never does (decisions 19, 25).
"""

from enum import StrEnum
from typing import assert_never

from caas.rules.payment_types import PaymentType


class Consequence(StrEnum):
    """The leaves of Diagram 7, by the first line each leaf shows."""

    NO_VEHICLE_RESERVATION = "NO vehicle reservation"
    VEHICLE_SIN_ASIGNAR = "Vehicle Sin Asignar"
    DO_NOT_CHARGE = "DO NOT CHARGE"
    CANCEL_ORDER = "Cancel order"
    CANCEL_SUBSCRIPTION = "Cancel subscription"


class NotSentConsequence(StrEnum):
    """What follows when the payment is known not to have reached the gateway (decision 3)."""

    FAIL_PAYMENT = "Fail payment"
    KEEP_TRYING = "Keep trying"


def consequence_of_failure(
    payment_type: PaymentType, *, ota_already_activated: bool
) -> Consequence:
    """Return the leaf of Diagram 7 that a failed payment of this type leads to."""
    match payment_type:
        case PaymentType.RESERVATION:
            return Consequence.NO_VEHICLE_RESERVATION
        case PaymentType.FINAL:
            return Consequence.VEHICLE_SIN_ASIGNAR
        case PaymentType.SERVICE:
            if ota_already_activated:
                return Consequence.DO_NOT_CHARGE
            return Consequence.CANCEL_ORDER
        case PaymentType.SUBSCRIPTION:
            return Consequence.CANCEL_SUBSCRIPTION
    assert_never(payment_type)


def not_sent_consequence(payment_type: PaymentType) -> NotSentConsequence:
    """Say whether a payment that never left may fail, or must be sent again until it is answered.

    Failing a final or a subscription payment would take a car or a service away although nobody
    declined anything, so those are kept.
    """
    match payment_type:
        case PaymentType.RESERVATION | PaymentType.SERVICE:
            return NotSentConsequence.FAIL_PAYMENT
        case PaymentType.FINAL | PaymentType.SUBSCRIPTION:
            return NotSentConsequence.KEEP_TRYING
    assert_never(payment_type)

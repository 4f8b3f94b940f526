"""Diagram 7: the consequence of a failed payment, by payment type.

`consequence_of_failure` is the decision tree and `Consequence` holds its leaves; the flows carry
them out. `not_sent_consequence` covers a case the tree does not have: the gateway never received
the payment (decision 3).

Rules a change must keep:

1. The match is exhaustive: a payment type without a leaf does not type-check.
2. Only a decline ends a reservation or a subscription. A payment that was never sent, or whose
   outcome is unknown, never does (decisions 19, 25).
"""

from enum import StrEnum
from typing import assert_never

from caas.rules.payment_types import PaymentType


class Consequence(StrEnum):
    """The leaves of Diagram 7, by their first line."""

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
    """Return the leaf of Diagram 7 for a failed payment of this type."""
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
    """Return whether an unsent payment fails or is retried until the gateway answers.

    Final and subscription payments are retried: failing them would take away a vehicle or a service
    although nothing was declined.
    """
    match payment_type:
        case PaymentType.RESERVATION | PaymentType.SERVICE:
            return NotSentConsequence.FAIL_PAYMENT
        case PaymentType.FINAL | PaymentType.SUBSCRIPTION:
            return NotSentConsequence.KEEP_TRYING
    assert_never(payment_type)

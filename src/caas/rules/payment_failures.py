"""The consequences of a failed payment by payment type (Diagram 7), and dunning (Diagram 6).

`consequence_of_failure` is the decision tree and `Consequence` holds its leaves; the flows carry
them out. `not_sent_consequence` covers a case the tree does not have: the gateway never received
the payment (decision 3).

The dunning policy applies when a month's charge is declined. In the seed, one failure cancels the
subscription; that is the default. A market can configure further charge attempts, each after some
days, and days of grace after the last one (decision 25). When the bank requires the customer's
confirmation and the customer does not give it, the request is repeated for some days (decision 70).

Rules a change must keep:

1. The match is exhaustive: a payment type without a leaf does not type-check.
2. Only a decline ends a reservation or a subscription. A payment that was never sent, whose outcome
   is unknown, or that failed with any other code never does (decisions 19, 25, 280).
3. The default dunning policy is the seed's; only declined charges count, never charges with an
   unknown outcome; requests for confirmation end.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, assert_never

from caas.rules.payment_types import PaymentType
from caas.rules.refusal_codes import RefusalClass, refusal_class
from caas.rules.retry_strategy import GatewayErrorKind, decline_kind


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


AMOUNT_TOO_SMALL: Final = "amount_too_small"
AMOUNT_REFUSALS: Final = frozenset({AMOUNT_TOO_SMALL, "amount_too_large", "unsupported_currency"})
"""Refusals of an amount below the gateway's minimum or above its maximum, or of its currency.

The payment fails at once, whatever its type; nobody declined it, so nothing is lost by it.
"""

ABANDONED: Final = "abandoned"
"""The code of a payment whose page was left, or has expired."""
NOT_CHARGED: Final = "decided_not_charged"
"""The code of a payment whose unknown outcome was decided: nothing was charged, for any reason."""
NO_DECLINE: Final = "no_decline"
TRY_AGAIN: Final = "try_again"
"""The reason for customers where the gateway or the bank could not process a payment this time."""
GATEWAY_REFUSED: Final = "gateway_refused"
"""The code of a payment that was refused with a word that elsewhere means a decline."""


def code_of_refusal(refusal: str) -> str:
    """Return the code of a payment that the gateway refused to process, which is no decline."""
    if decline_kind(refusal) is GatewayErrorKind.UNRECOGNISED:
        return refusal
    return GATEWAY_REFUSED


def is_no_decline(code: str | None) -> bool:
    """Return whether a payment with this code failed for a reason that is not the customer's.

    Then no card was declined: it could not be charged, and nothing was taken.
    """
    is_known = code in {ABANDONED, NOT_CHARGED}
    return bool(code) and not is_known and decline_kind(code) is GatewayErrorKind.UNRECOGNISED


def reason_for_customers(code: str | None) -> str:
    """Return the key of the text that tells a customer why a payment failed."""
    if refusal_class(code) is RefusalClass.TECHNICAL:
        return TRY_AGAIN
    return NO_DECLINE if is_no_decline(code) else decline_kind(code).name.lower()


DAYS_MAX: Final = 60
RETRIES_MAX: Final = 8


@dataclass(frozen=True, slots=True)
class ChargeAgain:
    """Charge the same month again in so many days."""

    in_days: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel the subscription in so many days; zero cancels at once."""

    in_days: int = 0


@dataclass(frozen=True, slots=True)
class DunningPolicy:
    """Days before each further charge, days of grace, and days before each repeated request.

    Raises:
        ValueError: a number of days is out of range, or there are too many of them.
    """

    retry_after_days: tuple[int, ...] = ()
    grace_days: int = 0
    ask_again_after_days: tuple[int, ...] = (1, 2, 4)

    def __post_init__(self) -> None:
        """Reject a policy that never ends."""
        days = (*self.retry_after_days, self.grace_days, *self.ask_again_after_days)
        times = max(len(self.retry_after_days), len(self.ask_again_after_days))
        if times > RETRIES_MAX or not all(0 <= d <= DAYS_MAX for d in days):
            message = f"at most {RETRIES_MAX} retries, each after at most {DAYS_MAX} days"
            raise ValueError(message)


def after_decline(policy: DunningPolicy, declines: int) -> ChargeAgain | Cancel:
    """Return what follows the n-th declined charge of a month, counted from 1."""
    assert declines >= 1, "nothing follows from a charge that was not declined"
    if declines <= len(policy.retry_after_days):
        return ChargeAgain(policy.retry_after_days[declines - 1])
    return Cancel(policy.grace_days)


AGAIN_AFTER_HOURS: Final = (1, 6, 24, 72)
"""The waits before each further charge of a month that failed without a decline."""


def hours_before_next_charge(failures: int) -> int | None:
    """Return the wait after the n-th charge of a month that failed without a decline, from 1.

    None after the last: the month is not charged any more, and its subscription goes on.
    """
    assert failures >= 1, "nothing follows from a charge that did not fail"
    return AGAIN_AFTER_HOURS[failures - 1] if failures <= len(AGAIN_AFTER_HOURS) else None


def after_silence(policy: DunningPolicy, times: int) -> ChargeAgain | Cancel:
    """Return what follows when the n-th confirmation request expires unanswered, from 1."""
    assert times >= 1, "nothing follows from a request that was not let pass"
    if times <= len(policy.ask_again_after_days):
        return ChargeAgain(policy.ask_again_after_days[times - 1])
    return Cancel(policy.grace_days)

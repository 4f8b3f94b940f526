"""What a payment type needs of a payment gateway (decision 1).

Rules a change must keep: a gateway that cannot do a payment type safely does not start; what a
gateway takes is asked here and nowhere else (decision 250).
"""

from datetime import timedelta
from typing import Final, assert_never

from caas.external_systems.payment_gateway import Capabilities
from caas.rules.money import Money
from caas.rules.payment_types import PaymentType

# A write that was cut is repeated or looked up within a day: shorter memories than this do not
# cover a weekend night without anybody at the console.
KEY_LIFETIME_MIN: Final = timedelta(hours=24)
# A car may be asleep in a garage; the funds must stay held while it is being woken.
AUTHORIZATION_LIFETIME_MIN: Final = timedelta(hours=1)


def why_unsafe(capabilities: Capabilities) -> str:
    """Return what this gateway cannot do safely (decision 1); empty when it can do every type.

    Each reason is listed once, with the payment types that it is about.
    """
    types: dict[str, list[str]] = {}
    for payment_type in PaymentType:
        for reason in _reasons(payment_type, capabilities):
            types.setdefault(reason, []).append(payment_type)
    return "; ".join(f"{', '.join(of)} payment: {reason}" for reason, of in types.items())


def can_take(capabilities: Capabilities, payment_type: PaymentType, money: Money) -> bool:
    """Return whether a gateway does payments of this type, and charges this amount."""
    return not _reasons(payment_type, capabilities) and capabilities.amounts.take(money)


def _reasons(payment_type: PaymentType, capabilities: Capabilities) -> list[str]:
    reasons = []
    lifetime = capabilities.idempotency_key_lifetime
    if not capabilities.lookup_by_reference and (lifetime is None or lifetime < KEY_LIFETIME_MIN):
        reasons.append(
            "after a time-out it can neither be looked up by reference nor be sent again with "
            f"the same key for {_hours(KEY_LIFETIME_MIN)} (it needs lookup by reference, or keys "
            "that live so long)"
        )
    if not capabilities.hosted_page:
        reasons.append("cards would be typed here (it needs a hosted page)")
    if not capabilities.void:
        reasons.append("funds that are not taken could not be released (it needs void)")
    match payment_type:
        case PaymentType.SERVICE:
            return reasons + _reasons_of_service(capabilities)
        case PaymentType.SUBSCRIPTION:
            return reasons + _reasons_of_subscription(capabilities)
        case PaymentType.RESERVATION | PaymentType.FINAL:
            return reasons
    assert_never(payment_type)


def _reasons_of_service(capabilities: Capabilities) -> list[str]:
    reasons = []
    if not capabilities.separate_capture:
        reasons.append("it charges before the vehicle has confirmed (it needs separate capture)")
    if capabilities.authorization_lifetime < AUTHORIZATION_LIFETIME_MIN:
        reasons.append(
            f"funds are held for {_hours(capabilities.authorization_lifetime)} only (an activation "
            f"needs an authorization lifetime of {_hours(AUTHORIZATION_LIFETIME_MIN)})"
        )
    return reasons


def _reasons_of_subscription(capabilities: Capabilities) -> list[str]:
    reasons = []
    if not capabilities.merchant_initiated:
        reasons.append(
            "months are charged when no customer is present (it needs saved methods that the "
            "merchant may charge)"
        )
    if not capabilities.separate_capture:
        reasons.append(
            "the hold that verifies a payment method would be charged (it needs separate capture)"
        )
    return reasons


def _hours(lifetime: timedelta) -> str:
    hours = lifetime.total_seconds() / 3600
    return f"{hours:.3g} h"

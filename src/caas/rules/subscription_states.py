"""The subscription state machine (Diagram 6): from "Subscribe" to the service deactivated.

Theory of operation
-------------------

A subscription first verifies its payment method, because a month is charged only after it was used
(decision 27). The vehicle is then commanded, and its acknowledgement activates the subscription.
Each paid month continues it. It is cancelled by a month that cannot be charged (Diagram 6) or by
the customer. A refused payment method or a vehicle that does not accept the service also ends it:
nothing was delivered, so nothing is charged. While the subscription is live, its payment method can
be replaced by another verified one.

`TRANSITIONS` holds the arrows of the diagram, `BEYOND` the others.

Rules a change must keep:

1. Every subscription transition is in one of the two literals.
2. Only the vehicle's acknowledgement activates a subscription.
3. Cancelled is final; a late payment is refunded.
"""

from enum import StrEnum
from typing import Final


class SubscriptionState(StrEnum):
    """The state of a subscription."""

    VERIFYING = "verifying payment method"
    REFUSED = "payment method refused"
    ACTIVATING = "activating"
    NOT_ACTIVATED = "not activated"
    ACTIVE = "active"
    CANCELLED = "cancelled"


class SubscriptionEvent(StrEnum):
    """Events of a subscription: first those of Diagram 6, then the others."""

    SERVICE_ACTIVE = "Service Active"
    CONTINUE_SUBSCRIPTION = "Continue Subscription"
    MARK_SUBSCRIPTION_CANCELLED = "Mark Subscription Cancelled"
    PAYMENT_METHOD_VERIFIED = "Payment method verified"
    PAYMENT_METHOD_REFUSED = "Payment method refused"
    ACTIVATION_FAILED = "Activation failed"
    CUSTOMER_ENDS_SUBSCRIPTION = "Customer ends subscription"
    CUSTOMER_WITHDRAWS = "Customer withdraws"
    PAYMENT_METHOD_CHANGED = "Payment method changed"


_S = SubscriptionState
_E = SubscriptionEvent

TRANSITIONS: Final[dict[SubscriptionState, dict[SubscriptionEvent, SubscriptionState]]] = {
    _S.ACTIVATING: {_E.SERVICE_ACTIVE: _S.ACTIVE},
    _S.ACTIVE: {
        _E.CONTINUE_SUBSCRIPTION: _S.ACTIVE,
        _E.MARK_SUBSCRIPTION_CANCELLED: _S.CANCELLED,
    },
    _S.CANCELLED: {},
}

BEYOND: Final[dict[SubscriptionState, dict[SubscriptionEvent, SubscriptionState]]] = {
    _S.VERIFYING: {
        _E.PAYMENT_METHOD_VERIFIED: _S.ACTIVATING,
        _E.PAYMENT_METHOD_REFUSED: _S.REFUSED,
        _E.CUSTOMER_ENDS_SUBSCRIPTION: _S.CANCELLED,
        _E.CUSTOMER_WITHDRAWS: _S.CANCELLED,
    },
    _S.REFUSED: {},
    _S.ACTIVATING: {
        _E.ACTIVATION_FAILED: _S.NOT_ACTIVATED,
        _E.CUSTOMER_ENDS_SUBSCRIPTION: _S.CANCELLED,
        _E.CUSTOMER_WITHDRAWS: _S.CANCELLED,
        _E.PAYMENT_METHOD_CHANGED: _S.ACTIVATING,
    },
    _S.NOT_ACTIVATED: {},
    _S.ACTIVE: {
        _E.CUSTOMER_ENDS_SUBSCRIPTION: _S.CANCELLED,
        _E.CUSTOMER_WITHDRAWS: _S.CANCELLED,
        _E.PAYMENT_METHOD_CHANGED: _S.ACTIVE,
    },
    _S.CANCELLED: {_E.MARK_SUBSCRIPTION_CANCELLED: _S.CANCELLED},
}

LIVE: Final = frozenset({_S.VERIFYING, _S.ACTIVATING, _S.ACTIVE})
"""States that block a second subscription to the same service in the same vehicle."""


def next_state(state: SubscriptionState, event: SubscriptionEvent) -> SubscriptionState | None:
    """Return the state this event leads to, or None when the transition is illegal."""
    return TRANSITIONS.get(state, {}).get(event) or BEYOND.get(state, {}).get(event)


def transitions() -> list[tuple[SubscriptionState, SubscriptionEvent, SubscriptionState]]:
    """Return every transition of both literals, the diagram's first."""
    return [
        (source, event, target)
        for table in (TRANSITIONS, BEYOND)
        for source, row in table.items()
        for event, target in row.items()
    ]

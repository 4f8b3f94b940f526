"""Diagram 6, seen from the subscription: from "Subscribe" to the service switched off.

Theory of operation
-------------------

A subscription begins with its payment method being verified, because a month is charged only after
it was used (decision 27). Verified, the vehicle is told; the vehicle's own word makes it active.
Every month that is paid continues it. It ends cancelled: by a month that cannot be charged, which
is what Diagram 6 draws, or by the customer. A payment method that is refused, and a vehicle that
does not take the service, are ends as well: nothing was delivered, nothing is charged. While it
lives its payment method may be replaced by another one, when that is verified too.

`TRANSITIONS` are the arrows of the diagram, `BEYOND` those it does not draw.

Rules a change must keep:

1. Whatever moves a subscription is an arrow in one of the two literals.
2. Active is reached from the vehicle's acknowledgement and from nothing else.
3. A cancelled subscription stays cancelled; a late outcome about its payments gives money back.
"""

from enum import StrEnum
from typing import Final


class SubscriptionState(StrEnum):
    """Where a subscription stands."""

    VERIFYING = "verifying payment method"
    REFUSED = "payment method refused"
    ACTIVATING = "activating"
    NOT_ACTIVATED = "not activated"
    ACTIVE = "active"
    CANCELLED = "cancelled"


class SubscriptionEvent(StrEnum):
    """What happens to a subscription, in the words of Diagram 6 and then beyond them."""

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
"""States that forbid a second subscription to the same service in the same vehicle."""


def next_state(state: SubscriptionState, event: SubscriptionEvent) -> SubscriptionState | None:
    """Return the state this event leads to, or None when no arrow leaves this state with it."""
    return TRANSITIONS.get(state, {}).get(event) or BEYOND.get(state, {}).get(event)


def payment_transitions() -> list[tuple[SubscriptionState, SubscriptionEvent, SubscriptionState]]:
    """List every move of both literals, the diagram's own first."""
    return [
        (source, event, target)
        for table in (TRANSITIONS, BEYOND)
        for source, row in table.items()
        for event, target in row.items()
    ]

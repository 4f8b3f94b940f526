"""View model of a payment: one plain situation for each state.

The situation derives from the ten states of Diagram 9 and the outcome, so that an unknown outcome
is never shown as a failure (decision 3), and leaving the gateway's page is not shown as a decline.

Rules a change must keep: every state has a situation; only a known decline is called a decline; the
gateway's page is offered only while the payment waits for it.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from caas.billing_database.payments import Payment
from caas.rules.money import Money
from caas.rules.payment_failures import ABANDONED, is_no_decline, reason_for_customers
from caas.rules.payment_states import PaymentState
from caas.rules.payment_types import PaymentType

KNOWN: Final = "known"


class Situation(StrEnum):
    """The situation of a payment in plain words."""

    AT_GATEWAY = "at_gateway"
    PROCESSING = "processing"
    UNKNOWN = "unknown"
    HELD = "held"
    CHARGED = "charged"
    SETTLED = "settled"
    DECLINED = "declined"
    ABANDONED = "abandoned"
    NOT_MADE = "not_made"
    VOIDED = "voided"
    NOT_COLLECTED = "not_collected"
    REFUNDING = "refunding"
    REFUNDED = "refunded"


PAID: Final = frozenset({Situation.HELD, Situation.CHARGED, Situation.SETTLED, Situation.REFUNDING})
UNDER_WAY: Final = frozenset({Situation.AT_GATEWAY, Situation.PROCESSING, Situation.UNKNOWN})
NOT_PAID: Final = frozenset({Situation.DECLINED, Situation.ABANDONED, Situation.NOT_MADE})

_OF_STATE: Final = {
    PaymentState.INITIATED: Situation.PROCESSING,
    PaymentState.PENDING: Situation.PROCESSING,
    PaymentState.AUTHORIZED: Situation.HELD,
    PaymentState.CAPTURING: Situation.CHARGED,
    PaymentState.SETTLED: Situation.SETTLED,
    PaymentState.SETTLEMENT_FAILED: Situation.NOT_COLLECTED,
    PaymentState.FAILED: Situation.DECLINED,
    PaymentState.VOIDED: Situation.VOIDED,
    PaymentState.REFUNDING: Situation.REFUNDING,
    PaymentState.REFUNDED: Situation.REFUNDED,
}
_KINDS: Final = {
    Situation.HELD: "busy", Situation.CHARGED: "good", Situation.SETTLED: "good",
    Situation.DECLINED: "bad", Situation.NOT_MADE: "bad", Situation.NOT_COLLECTED: "warn",
    Situation.UNKNOWN: "warn",
    Situation.AT_GATEWAY: "busy", Situation.PROCESSING: "busy", Situation.REFUNDING: "busy",
}  # fmt: skip


AT_REST: Final = frozenset(
    {Situation.SETTLED, Situation.VOIDED, Situation.DECLINED, Situation.ABANDONED,
     Situation.NOT_MADE, Situation.NOT_COLLECTED, Situation.REFUNDED}
)  # fmt: skip
"""Situations that do not change by themselves, or not while the page is open."""


class PaymentView(msgspec.Struct, frozen=True):
    """A payment as pages show it; `reason` is the key of its text."""

    payment: Payment
    situation: Situation
    amount: Money
    refunded: Money
    reason: str
    hosted_page_url: str | None
    verifies: bool = False

    @property
    def name(self) -> str:
        """The payment's name: its type, or that it only verified a payment method."""
        return "verification" if self.verifies else self.payment.type.value

    @property
    def kind(self) -> str:
        """The colour of the badge."""
        return _KINDS.get(self.situation, "")

    @property
    def version(self) -> str:
        """A value that changes with everything the page shows."""
        return f"{str(self.payment.id)[-6:]}-{self.payment.version}"


def view_of(payment: Payment, *, verifies: bool = False) -> PaymentView:
    """Return the view of a payment; `verifies` if it only verifies a payment method."""
    situation = _situation(payment)
    waiting = situation is Situation.AT_GATEWAY
    return PaymentView(
        payment=payment,
        situation=situation,
        amount=Money(payment.amount, payment.currency),
        refunded=Money(payment.refunded_amount, payment.currency),
        reason=reason_for_customers(payment.decline_code),
        hosted_page_url=payment.hosted_page_url if waiting else None,
        verifies=verifies,
    )


def last_of(payments: Sequence[Payment], payment_type: PaymentType) -> PaymentView | None:
    """Return the latest payment of a type; the payments are ordered newest first."""
    found = next((payment for payment in payments if payment.type is payment_type), None)
    return None if found is None else view_of(found)


def _situation(payment: Payment) -> Situation:
    if payment.state is PaymentState.PENDING and payment.outcome != KNOWN:
        return Situation.UNKNOWN
    if payment.state is PaymentState.PENDING and _is_page(payment.hosted_page_url):
        return Situation.AT_GATEWAY
    if payment.state is PaymentState.FAILED and payment.decline_code == ABANDONED:
        return Situation.ABANDONED
    if payment.state is PaymentState.FAILED and is_no_decline(payment.decline_code):
        return Situation.NOT_MADE
    return _OF_STATE[payment.state]


def _is_page(url: str | None) -> bool:
    return url is not None and url.startswith(("https://", "http://"))

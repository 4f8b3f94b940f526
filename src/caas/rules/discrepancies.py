"""Discrepancy kinds (Diagram 10), their deadlines and the resolutions each kind allows.

The first four kinds are the seed's; the others come from comparing in both directions (decision
34). A discrepancy ends in a typed resolution that posts balanced entries, never in an edited row
(decision 35).

Rules a change must keep:

1. The kinds are a closed set: each line and each record matches or has exactly one kind.
2. Every kind has at least one resolution and a deadline.
3. In a currency without its own limit, every amount needs a second approver.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from caas.rules.money import Money


class DiscrepancyKind(StrEnum):
    """A difference between the gateway's settlement report and our records."""

    DELAYED_SETTLEMENT = "delayed_settlement"
    CHARGEBACK = "chargeback"
    PARTIAL_SETTLEMENT = "partial_settlement"
    FAILED_SETTLEMENT = "failed_settlement"
    MISSING_AT_GATEWAY = "missing_at_gateway"
    MISSING_IN_BOOK = "missing_in_book"
    AMOUNT = "amount"
    CURRENCY = "currency"
    DUPLICATE_LINE = "duplicate_line"
    SETTLED_THOUGH_VOIDED = "settled_though_voided"
    STATE_CONFLICT = "state_conflict"
    REFUND_MISMATCH = "refund_mismatch"
    FEE_DRIFT = "fee_drift"
    CAPTURED_NOT_DELIVERED = "captured_not_delivered"
    DELIVERED_NOT_CAPTURED = "delivered_not_captured"
    CHARGEBACK_REVERSAL = "chargeback_reversal"
    LOSS_NOT_LISTED = "loss_not_listed"


class Resolution(StrEnum):
    """A decision that a person can take on a discrepancy (decision 35)."""

    ACCEPT_LOSS = "accept_loss"
    WAIT = "wait"
    CLAIM_FROM_GATEWAY = "claim_from_gateway"
    REFUND_THE_CUSTOMER = "refund_the_customer"
    WRITE_OFF = "write_off"
    CORRECT_BY_ENTRY = "correct_by_entry"
    REINSTATE_THE_PAYMENT = "reinstate_the_payment"


_K = DiscrepancyKind
_R = Resolution

_LOSS, _WAIT, _CLAIM, _REFUND, _OFF, _ENTRY, _REINSTATE = (
    _R.ACCEPT_LOSS, _R.WAIT, _R.CLAIM_FROM_GATEWAY, _R.REFUND_THE_CUSTOMER, _R.WRITE_OFF,
    _R.CORRECT_BY_ENTRY, _R.REINSTATE_THE_PAYMENT,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class KindRow:
    """One kind: when it applies, what happens automatically, and which resolutions it allows.

    `allowed` lists the resolutions for the kind; `resolutions.offered` narrows them for one
    discrepancy. `due_days` is the deadline for amounts that one person may decide. `by_itself`: the
    discrepancy closes automatically when the missing line or record arrives (36). `booked`: the
    line's money is posted as reported and only the difference stays open. `goes_back`: money was
    received for nothing and is returned.
    """

    when: str
    follows: str
    due_days: int
    allowed: frozenset[Resolution]
    by_itself: bool = False
    booked: bool = False
    goes_back: bool = False


KINDS: Final[Mapping[DiscrepancyKind, KindRow]] = {
    _K.DELAYED_SETTLEMENT: KindRow(
        when="the payment has no settlement line yet",
        follows="closes when the line arrives",
        due_days=5, allowed=frozenset({_WAIT, _CLAIM, _LOSS}), by_itself=True,
    ),
    _K.CHARGEBACK: KindRow(
        when="the line charges back a payment, and no dispute is recorded",
        follows="the loss is accepted or claimed",
        due_days=3, allowed=frozenset({_LOSS, _CLAIM, _WAIT}),
    ),
    _K.PARTIAL_SETTLEMENT: KindRow(
        when="the line settles part of the amount",
        follows="the received part is posted; the rest stays open",
        due_days=5, allowed=frozenset({_WAIT, _CLAIM, _LOSS, _OFF}), by_itself=True, booked=True,
    ),
    _K.FAILED_SETTLEMENT: KindRow(
        when="the line reports a failed settlement that is not recorded",
        follows="nothing changes until a person decides",
        due_days=3, allowed=frozenset({_LOSS, _CLAIM, _WAIT}),
    ),
    _K.MISSING_AT_GATEWAY: KindRow(
        when="the payment's settlement line is long overdue",
        follows="closes when the line arrives",
        due_days=3, allowed=frozenset({_WAIT, _CLAIM, _LOSS}), by_itself=True,
    ),
    _K.MISSING_IN_BOOK: KindRow(
        when="the line matches no known payment",
        follows="compared again on the following days",
        due_days=2, allowed=frozenset({_ENTRY, _REFUND, _CLAIM, _WAIT}), by_itself=True,
    ),
    _K.AMOUNT: KindRow(
        when="the line's amount differs",
        follows="nothing else changes",
        due_days=3, allowed=frozenset({_ENTRY, _CLAIM, _REFUND, _OFF, _REINSTATE}),
    ),
    _K.CURRENCY: KindRow(
        when="the line's currency, or that of a lost dispute, differs from the payment's",
        follows="nothing else changes",
        due_days=2, allowed=frozenset({_CLAIM, _ENTRY}),
    ),
    _K.DUPLICATE_LINE: KindRow(
        when="the line appears twice",
        follows="nothing else changes",
        due_days=3, allowed=frozenset({_CLAIM, _ENTRY, _OFF, _REINSTATE}),
    ),
    _K.SETTLED_THOUGH_VOIDED: KindRow(
        when="the line settles a voided or failed payment",
        follows="recorded as evidence; the money is returned automatically",
        due_days=1, allowed=frozenset({_REFUND, _ENTRY}), goes_back=True,
    ),
    _K.STATE_CONFLICT: KindRow(
        when="the line contradicts the payment's state",
        follows="applied like a webhook: it resolves an unknown outcome",
        due_days=2, allowed=frozenset({_ENTRY, _CLAIM, _WAIT, _REINSTATE}),
    ),
    _K.REFUND_MISMATCH: KindRow(
        when="the line refunds what we did not, or another amount",
        follows="nothing else changes",
        due_days=2, allowed=frozenset({_ENTRY, _CLAIM, _LOSS, _WAIT, _REINSTATE}), by_itself=True,
    ),
    _K.FEE_DRIFT: KindRow(
        when="the fee on the line differs from the agreed one",
        follows="posted; the difference stays open",
        due_days=10, allowed=frozenset({_ENTRY, _CLAIM, _OFF}), booked=True,
    ),
    _K.CAPTURED_NOT_DELIVERED: KindRow(
        when="the line settles a service that was never delivered",
        follows="recorded as evidence; the money is returned automatically",
        due_days=1, allowed=frozenset({_REFUND, _ENTRY}), goes_back=True,
    ),
    _K.DELIVERED_NOT_CAPTURED: KindRow(
        when="a delivered service was never charged",
        follows="nothing until it is decided; it is never charged again",
        due_days=5, allowed=frozenset({_LOSS, _OFF}),
    ),
    _K.CHARGEBACK_REVERSAL: KindRow(
        when="the line returns a chargeback, and no dispute is recorded as won or reversed",
        follows="the dispute is reversed, and the payment stands again",
        due_days=3, allowed=frozenset({_REINSTATE, _ENTRY, _WAIT}), by_itself=True,
    ),
    _K.LOSS_NOT_LISTED: KindRow(
        when="a reversed settlement or a lost dispute has no line that takes the money",
        follows="closes when the line arrives",
        due_days=5, allowed=frozenset({_WAIT, _LOSS}), by_itself=True,
    ),
}  # fmt: skip
"""Every kind exactly once, the seed's four first. A delivery is never charged again."""

BOOKED: Final = tuple(kind for kind, row in KINDS.items() if row.booked)

DUE_DAYS_OF_A_LARGE_AMOUNT: Final = 1
"""Deadline in days for amounts above the currency's limit, whatever the kind."""

SECOND_APPROVER_ABOVE: Final[Mapping[str, int]] = {
    "EUR": 500_00,
    "GBP": 500_00,
    "CHF": 500_00,
    "USD": 500_00,
    "PLN": 2_000_00,
    "MXN": 10_000_00,
    "JPY": 80_000,
}
"""The largest amount in minor units that one person may decide alone, by currency."""

POSTS_NO_ENTRIES: Final = frozenset({_R.WAIT})
"""Resolutions that post no ledger entries and so never need a second approver."""


def due_days(kind: DiscrepancyKind, amount: Money) -> int:
    """Return the deadline in days; larger amounts have a shorter one."""
    return DUE_DAYS_OF_A_LARGE_AMOUNT if is_large(amount) else KINDS[kind].due_days


def needs_second_approver(resolution: Resolution, amount: Money) -> bool:
    """Return whether a second person must approve the resolution (decision 35)."""
    return resolution not in POSTS_NO_ENTRIES and is_large(amount)


def is_large(amount: Money) -> bool:
    """Return whether the amount, of either sign, exceeds what one person may decide alone."""
    return abs(amount.amount) > SECOND_APPROVER_ABOVE.get(amount.currency, 0)

"""Diagram 10: the kinds of discrepancy, how soon each is due, and what may be done about it.

The first four kinds are the seed's; the others are what comparing both directions also turns up
(decision 34). A discrepancy ends in a typed resolution that posts balanced entries, never in an
edited row (decision 35); `ALLOWED` says which resolutions fit which kind.

Rules a change must keep:

1. The kinds are a closed set: every line and every record ends in exactly one, or matches.
2. No kind is without a way out, and no kind without its days.
3. A currency without a limit of its own needs a second approver for every amount.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from caas.rules.money import Money


class DiscrepancyKind(StrEnum):
    """What can be wrong between the gateway's settlement report and our records."""

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


class Resolution(StrEnum):
    """What a person may decide about a discrepancy (decision 35)."""

    ACCEPT_LOSS = "accept_loss"
    WAIT = "wait"
    CLAIM_FROM_GATEWAY = "claim_from_gateway"
    REFUND_THE_CUSTOMER = "refund_the_customer"
    WRITE_OFF = "write_off"
    CORRECT_BY_ENTRY = "correct_by_entry"


_K = DiscrepancyKind
_R = Resolution

COMMON_SCENARIOS: Final = (
    _K.DELAYED_SETTLEMENT,
    _K.CHARGEBACK,
    _K.PARTIAL_SETTLEMENT,
    _K.FAILED_SETTLEMENT,
)
"""The seed's four, in its order."""

ALLOWED: Final[Mapping[DiscrepancyKind, frozenset[Resolution]]] = {
    _K.DELAYED_SETTLEMENT: frozenset({_R.WAIT, _R.CLAIM_FROM_GATEWAY, _R.ACCEPT_LOSS}),
    _K.CHARGEBACK: frozenset({_R.ACCEPT_LOSS, _R.CLAIM_FROM_GATEWAY, _R.WAIT}),
    _K.PARTIAL_SETTLEMENT: frozenset(
        {
            _R.WAIT,
            _R.CLAIM_FROM_GATEWAY,
            _R.ACCEPT_LOSS,
            _R.WRITE_OFF,
        }
    ),
    _K.FAILED_SETTLEMENT: frozenset({_R.ACCEPT_LOSS, _R.CLAIM_FROM_GATEWAY, _R.WAIT}),
    _K.MISSING_AT_GATEWAY: frozenset({_R.WAIT, _R.CLAIM_FROM_GATEWAY, _R.ACCEPT_LOSS}),
    _K.MISSING_IN_BOOK: frozenset(
        {
            _R.CORRECT_BY_ENTRY,
            _R.REFUND_THE_CUSTOMER,
            _R.CLAIM_FROM_GATEWAY,
            _R.WAIT,
        }
    ),
    _K.AMOUNT: frozenset(
        {
            _R.CORRECT_BY_ENTRY,
            _R.CLAIM_FROM_GATEWAY,
            _R.REFUND_THE_CUSTOMER,
            _R.WRITE_OFF,
        }
    ),
    _K.CURRENCY: frozenset({_R.CLAIM_FROM_GATEWAY, _R.CORRECT_BY_ENTRY}),
    _K.DUPLICATE_LINE: frozenset({_R.CLAIM_FROM_GATEWAY, _R.CORRECT_BY_ENTRY, _R.WRITE_OFF}),
    _K.SETTLED_THOUGH_VOIDED: frozenset({_R.REFUND_THE_CUSTOMER, _R.CORRECT_BY_ENTRY}),
    _K.STATE_CONFLICT: frozenset({_R.CORRECT_BY_ENTRY, _R.CLAIM_FROM_GATEWAY, _R.WAIT}),
    _K.REFUND_MISMATCH: frozenset(
        {
            _R.CORRECT_BY_ENTRY,
            _R.CLAIM_FROM_GATEWAY,
            _R.ACCEPT_LOSS,
            _R.WAIT,
        }
    ),
    _K.FEE_DRIFT: frozenset({_R.CORRECT_BY_ENTRY, _R.CLAIM_FROM_GATEWAY, _R.WRITE_OFF}),
    _K.CAPTURED_NOT_DELIVERED: frozenset({_R.REFUND_THE_CUSTOMER, _R.CORRECT_BY_ENTRY}),
    _K.DELIVERED_NOT_CAPTURED: frozenset({_R.ACCEPT_LOSS, _R.WRITE_OFF}),
}
"""What may be decided about a kind; `resolutions.offered` says what may be about one of them.

A delivery is never re-charged."""

RESOLVES_ITSELF: Final = frozenset(
    {
        _K.DELAYED_SETTLEMENT,
        _K.PARTIAL_SETTLEMENT,
        _K.MISSING_AT_GATEWAY,
        _K.MISSING_IN_BOOK,
        _K.REFUND_MISMATCH,
    }
)
"""Kinds that close without a person when the line or the record they lack arrives (36)."""

DUE_DAYS: Final[Mapping[DiscrepancyKind, int]] = {
    _K.DELAYED_SETTLEMENT: 5,
    _K.CHARGEBACK: 3,
    _K.PARTIAL_SETTLEMENT: 5,
    _K.FAILED_SETTLEMENT: 3,
    _K.MISSING_AT_GATEWAY: 3,
    _K.MISSING_IN_BOOK: 2,
    _K.AMOUNT: 3,
    _K.CURRENCY: 2,
    _K.DUPLICATE_LINE: 3,
    _K.SETTLED_THOUGH_VOIDED: 1,
    _K.STATE_CONFLICT: 2,
    _K.REFUND_MISMATCH: 2,
    _K.FEE_DRIFT: 10,
    _K.CAPTURED_NOT_DELIVERED: 1,
    _K.DELIVERED_NOT_CAPTURED: 5,
}
"""Days until somebody must have decided, for amounts that one person may decide about."""

DUE_DAYS_OF_A_LARGE_AMOUNT: Final = 1
"""Days when the amount is above the limit of its currency, whatever the kind."""

SECOND_APPROVER_ABOVE: Final[Mapping[str, int]] = {
    "EUR": 500_00,
    "GBP": 500_00,
    "CHF": 500_00,
    "USD": 500_00,
    "PLN": 2_000_00,
    "MXN": 10_000_00,
    "JPY": 80_000,
}
"""The most, in minor units, that one person may decide about alone, by currency."""

POSTS_NO_ENTRIES: Final = frozenset({_R.WAIT})
"""Resolutions that leave the ledger as it is, and so never need a second approver."""


def due_days(kind: DiscrepancyKind, amount: Money) -> int:
    """Return in how many days the discrepancy must be decided: sooner when much is at stake."""
    return DUE_DAYS_OF_A_LARGE_AMOUNT if is_large(amount) else DUE_DAYS[kind]


def needs_second_approver(resolution: Resolution, amount: Money) -> bool:
    """Say whether somebody else must agree before the resolution is posted (decision 35)."""
    return resolution not in POSTS_NO_ENTRIES and is_large(amount)


def is_large(amount: Money) -> bool:
    """Say whether the amount, owed or owing, is above what one person may decide about."""
    return abs(amount.amount) > SECOND_APPROVER_ABOVE.get(amount.currency, 0)

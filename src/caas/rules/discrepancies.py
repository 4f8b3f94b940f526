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
from dataclasses import dataclass
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

_LOSS, _WAIT, _CLAIM, _REFUND, _OFF, _ENTRY = (
    _R.ACCEPT_LOSS, _R.WAIT, _R.CLAIM_FROM_GATEWAY, _R.REFUND_THE_CUSTOMER, _R.WRITE_OFF,
    _R.CORRECT_BY_ENTRY,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class KindRow:
    """What a kind is, what follows by itself, and what a person may decide about it.

    `allowed` is what may be decided about the kind; `resolutions.offered` says what may be about
    one of them. `due_days` are those until somebody must have decided, for an amount that one
    person may decide about. `by_itself`: it closes without a person when the line or the record it
    lacks arrives (36). `booked`: its line's money moved as the line says, and only the difference
    stands open. `goes_back`: money taken for nothing.
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
        when="a record has no line yet",
        follows="ends when the line comes",
        due_days=5, allowed=frozenset({_WAIT, _CLAIM, _LOSS}), by_itself=True,
    ),
    _K.CHARGEBACK: KindRow(
        when="the line takes back what the customer disputed, unless we knew",
        follows="a loss to be accepted, or claimed",
        due_days=3, allowed=frozenset({_LOSS, _CLAIM, _WAIT}),
    ),
    _K.PARTIAL_SETTLEMENT: KindRow(
        when="the line settles a part",
        follows="what came is counted; the rest is waited for",
        due_days=5, allowed=frozenset({_WAIT, _CLAIM, _LOSS, _OFF}), by_itself=True, booked=True,
    ),
    _K.FAILED_SETTLEMENT: KindRow(
        when="the line says that a settlement failed, unless we knew",
        follows="nothing until it is decided",
        due_days=3, allowed=frozenset({_LOSS, _CLAIM, _WAIT}),
    ),
    _K.MISSING_AT_GATEWAY: KindRow(
        when="a record has no line for long",
        follows="ends when the line comes",
        due_days=3, allowed=frozenset({_WAIT, _CLAIM, _LOSS}), by_itself=True,
    ),
    _K.MISSING_IN_BOOK: KindRow(
        when="the line speaks of nothing we know",
        follows="judged again on the next days",
        due_days=2, allowed=frozenset({_ENTRY, _REFUND, _CLAIM, _WAIT}), by_itself=True,
    ),
    _K.AMOUNT: KindRow(
        when="the line has another amount",
        follows="nothing else changes",
        due_days=3, allowed=frozenset({_ENTRY, _CLAIM, _REFUND, _OFF}),
    ),
    _K.CURRENCY: KindRow(
        when="the line has another currency",
        follows="nothing else changes",
        due_days=2, allowed=frozenset({_CLAIM, _ENTRY}),
    ),
    _K.DUPLICATE_LINE: KindRow(
        when="the line comes twice",
        follows="nothing else changes",
        due_days=3, allowed=frozenset({_CLAIM, _ENTRY, _OFF}),
    ),
    _K.SETTLED_THOUGH_VOIDED: KindRow(
        when="the line settles a voided or failed payment",
        follows="evidence; the money goes back by itself",
        due_days=1, allowed=frozenset({_REFUND, _ENTRY}), goes_back=True,
    ),
    _K.STATE_CONFLICT: KindRow(
        when="the line contradicts the payment's state",
        follows="told like a webhook: it resolves what is unknown",
        due_days=2, allowed=frozenset({_ENTRY, _CLAIM, _WAIT}),
    ),
    _K.REFUND_MISMATCH: KindRow(
        when="the line gives back what we did not, or otherwise",
        follows="nothing else changes",
        due_days=2, allowed=frozenset({_ENTRY, _CLAIM, _LOSS, _WAIT}), by_itself=True,
    ),
    _K.FEE_DRIFT: KindRow(
        when="the line keeps another fee than agreed",
        follows="posted, and the difference stands open",
        due_days=10, allowed=frozenset({_ENTRY, _CLAIM, _OFF}), booked=True,
    ),
    _K.CAPTURED_NOT_DELIVERED: KindRow(
        when="the line settles what was never delivered",
        follows="evidence; the money goes back by itself",
        due_days=1, allowed=frozenset({_REFUND, _ENTRY}), goes_back=True,
    ),
    _K.DELIVERED_NOT_CAPTURED: KindRow(
        when="a delivery was never charged",
        follows="nothing until it is decided; it is never charged again",
        due_days=5, allowed=frozenset({_LOSS, _OFF}),
    ),
}  # fmt: skip
"""Every kind, once; the seed's four first. A delivery is never re-charged."""

BOOKED: Final = tuple(kind for kind, row in KINDS.items() if row.booked)

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
    return DUE_DAYS_OF_A_LARGE_AMOUNT if is_large(amount) else KINDS[kind].due_days


def needs_second_approver(resolution: Resolution, amount: Money) -> bool:
    """Say whether somebody else must agree before the resolution is posted (decision 35)."""
    return resolution not in POSTS_NO_ENTRIES and is_large(amount)


def is_large(amount: Money) -> bool:
    """Say whether the amount, owed or owing, is above what one person may decide about."""
    return abs(amount.amount) > SECOND_APPROVER_ABOVE.get(amount.currency, 0)

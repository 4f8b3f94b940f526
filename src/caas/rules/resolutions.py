"""The effects of a discrepancy resolution: ledger entries and follow-up actions (decision 35).

When an unposted line is posted, its net goes to the bank, its fee to gateway fees and its gross
comes out of settled funds. The part that our records do not explain goes to the account that the
decision names: a loss, unallocated income, a claim on the gateway, money owed to a customer, or
suspense. If the payment itself must change, the plan names an action, and the payment's own
transition posts its entries.

Rules a change must keep:

1. Functions are pure and total over `KINDS`: each kind has a plan for each resolution it allows.
2. A plan never posts what its action also posts.
3. Money that is kept is income, and never makes a loss smaller, except that of the chargeback or
   refund which it returns.
4. Waiting ends only when the line arrives or another decision replaces it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, assert_never

from caas.rules import postings
from caas.rules.discrepancies import KINDS, DiscrepancyKind, Resolution
from caas.rules.payment_types import PaymentType
from caas.rules.postings import Entry

GATEWAY_CLAIMS: Final = postings.GATEWAY_CLAIMS
UNEXPLAINED_FUNDS: Final = postings.UNEXPLAINED_FUNDS
WRITTEN_OFF: Final = "write_off"

_K = DiscrepancyKind
_R = Resolution


class Action(StrEnum):
    """A change to the payment that the resolution requires."""

    LOSE_DISPUTE = "lose dispute"
    REVERSE_DISPUTE = "reverse dispute"
    FAIL_SETTLEMENT = "fail settlement"
    SETTLE_FOR_LESS = "settle for less"
    SETTLE_WHAT_IS_DUE = "settle what is due"
    VOID = "void"
    UNDO = "undo"
    REFUND_AT_GATEWAY = "refund at gateway"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The amounts a decision concerns: those of its line (zero without one) and of its payment.

    A line is evidence when it was already applied to its payment, which posts it. A payment is lost
    when it booked the loss of what is due. `losses` are what it was given up for, by account.
    `own_refunds` counts the refunds of ours that a line may bring back; of several, the gateway
    says which one.
    """

    kind: DiscrepancyKind
    at_stake: int
    gross: int | None = None
    fee: int = 0
    net: int = 0
    is_settlement: bool = False
    fee_drift: int = 0
    payment_type: PaymentType | None = None
    payment_settled: bool = False
    payment_lost: bool = False
    has_transaction: bool = True
    is_evidence: bool = False
    returns_own_refund: bool = False
    own_refunds: int = 0
    losses: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A decision's entries, whether it closes the discrepancy, and the follow-up actions."""

    entries: tuple[Entry, ...] = ()
    ends: bool = True
    actions: tuple[Action, ...] = ()


WAITS: Final = Plan(ends=False)
GIVEN_UP: Final = frozenset({_K.AMOUNT, _K.DUPLICATE_LINE, _K.STATE_CONFLICT})
"""Kinds of a line that may bring what was given up as a loss."""
WITH_LOSSES: Final = GIVEN_UP | {
    _K.PARTIAL_SETTLEMENT, _K.FAILED_SETTLEMENT, _K.DELAYED_SETTLEMENT, _K.MISSING_AT_GATEWAY,
}  # fmt: skip
"""Kinds whose decisions depend on what the payment has booked as lost."""


def offered(subject: Subject) -> frozenset[Resolution]:
    """Return the resolutions available for this discrepancy, excluding impossible or double ones.

    Money received for nothing can only be returned, where there is a charge to refund. A line
    already applied to its payment is posted by the payment and can only be waited for. A fee below
    the agreed one is final. Nothing is claimed unless the gateway owes it to us. No loss is
    accepted of money that did not leave; no payment stands again before its money came back, and
    none whose loss is not booked.
    """
    allowed = KINDS[subject.kind].allowed
    if subject.kind in GIVEN_UP and not _takes_a_loss_back(subject):
        allowed -= {_R.REINSTATE_THE_PAYMENT}
    if subject.kind is _K.REFUND_MISMATCH:
        allowed -= _not_of(subject.gross)
        if subject.own_refunds > 1:
            allowed -= {_R.REINSTATE_THE_PAYMENT}
    if _R.CLAIM_FROM_GATEWAY in allowed and claimed(subject) <= 0:
        allowed -= {_R.CLAIM_FROM_GATEWAY}
    if subject.kind is _K.STATE_CONFLICT and subject.is_evidence:
        return allowed & {_R.WAIT}
    if subject.kind is _K.FEE_DRIFT and subject.fee_drift < 0:
        return allowed & {_R.CORRECT_BY_ENTRY}
    can_go_back = subject.is_settlement and subject.has_transaction and (subject.gross or 0) > 0
    if not can_go_back:
        return allowed - {_R.REFUND_THE_CUSTOMER}
    return allowed - {_R.CORRECT_BY_ENTRY} if KINDS[subject.kind].goes_back else allowed


def claimed(subject: Subject) -> int:
    """Return what a claim would ask of the gateway, in minor units; below zero, we owe it."""
    entries = plan(subject, _R.CLAIM_FROM_GATEWAY).entries
    return sum(
        (entry.debit == GATEWAY_CLAIMS) * entry.amount
        - (entry.credit == GATEWAY_CLAIMS) * entry.amount
        for entry in entries
    )


def plan(subject: Subject, resolution: Resolution) -> Plan:
    """Return the plan for this decision on this discrepancy."""
    if resolution is _R.WAIT:
        return WAITS
    match subject.kind:
        case _K.DELAYED_SETTLEMENT | _K.MISSING_AT_GATEWAY | _K.LOSS_NOT_LISTED:
            return _unsettled(subject, resolution)
        case _K.PARTIAL_SETTLEMENT:
            return _partly_settled(subject, resolution)
        case _K.CHARGEBACK | _K.CHARGEBACK_REVERSAL | _K.FAILED_SETTLEMENT:
            return _reversed(subject, resolution)
        case _K.SETTLED_THOUGH_VOIDED | _K.CAPTURED_NOT_DELIVERED if (
            resolution is _R.CORRECT_BY_ENTRY
        ):
            return _unexplained(subject, resolution)
        case _K.SETTLED_THOUGH_VOIDED:
            return Plan(ends=False, actions=(Action.UNDO,))
        case _K.CAPTURED_NOT_DELIVERED:
            return Plan(ends=False, actions=(Action.VOID,))
        case _K.DELIVERED_NOT_CAPTURED:
            return _given_away(subject, resolution)
        case _K.FEE_DRIFT:
            return _fee(subject, resolution)
        case _K.AMOUNT:
            return _amount(subject, resolution)
        case (
            _K.MISSING_IN_BOOK
            | _K.CURRENCY
            | _K.DUPLICATE_LINE
            | _K.STATE_CONFLICT
            | _K.REFUND_MISMATCH
        ):
            return _unexplained(subject, resolution)
        case _:
            assert_never(subject.kind)


def taken(*, gross: int, fee: int, net: int) -> tuple[Entry, ...]:
    """Post a line's money as the gateway reports it, like `postings.paid_out` but of any sign."""
    assert gross - fee == net, "a line that does not add up is never taken"
    return _transfer(postings.BANK, postings.SETTLED_FUNDS, net) + _transfer(
        postings.GATEWAY_FEES, postings.SETTLED_FUNDS, fee
    )


def reversed_(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Return the entries that reverse these exactly."""
    return tuple(Entry(entry.credit, entry.debit, entry.amount) for entry in reversed(entries))


def still_posted(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Return the net of these entries after entries that cancel each other are removed."""
    balance: dict[tuple[str, str], int] = {}
    for debit, credit, amount in entries:
        if (credit, debit) in balance:
            balance[credit, debit] -= amount
        else:
            balance[debit, credit] = balance.get((debit, credit), 0) + amount
    return tuple(
        Entry(debit, credit, amount) if amount > 0 else Entry(credit, debit, -amount)
        for (debit, credit), amount in balance.items()
        if amount
    )


def _unsettled(subject: Subject, resolution: Resolution) -> Plan:
    if subject.kind is _K.LOSS_NOT_LISTED:
        return Plan()  # its payment has booked the loss
    if resolution is _R.CLAIM_FROM_GATEWAY:
        return _due_is_claimed(subject)
    return Plan(actions=(Action.FAIL_SETTLEMENT,))


def _partly_settled(subject: Subject, resolution: Resolution) -> Plan:
    if resolution is _R.CLAIM_FROM_GATEWAY:
        return _due_is_claimed(subject)
    return Plan(actions=(Action.SETTLE_FOR_LESS,))


def _due_is_claimed(subject: Subject) -> Plan:
    """Claim what is due from where it stands: settled funds, the gateway's debt, or a loss."""
    if subject.payment_lost:
        return Plan(entries=_lost_is_claimed(subject, subject.at_stake), ends=False)
    owed = postings.SETTLED_FUNDS if subject.payment_settled else postings.GATEWAY_RECEIVABLE
    return Plan(entries=_transfer(GATEWAY_CLAIMS, owed, subject.at_stake), ends=False)


def _reversed(subject: Subject, resolution: Resolution) -> Plan:
    gross = subject.gross or 0
    failed = subject.kind is _K.FAILED_SETTLEMENT
    if resolution is _R.CLAIM_FROM_GATEWAY and failed and gross == 0 and subject.payment_lost:
        return Plan(entries=_line(subject) + _lost_is_claimed(subject, subject.at_stake))
    if resolution is _R.CLAIM_FROM_GATEWAY and failed and gross == 0:
        return Plan(
            entries=_transfer(GATEWAY_CLAIMS, postings.GATEWAY_RECEIVABLE, subject.at_stake)
        )
    if resolution is _R.ACCEPT_LOSS and failed:
        return Plan(entries=_line(subject), actions=(Action.FAIL_SETTLEMENT,))
    if not failed and gross:
        return _gone(subject, resolution)
    return Plan(entries=_line(subject) + _not_explained(subject, resolution, gross))


def _lost_is_claimed(subject: Subject, amount: int) -> tuple[Entry, ...]:
    """Claim what the payment has booked as lost, because an earlier decision accepted it."""
    entries: tuple[Entry, ...] = ()
    for account, lost in subject.losses:
        part = min(lost, amount)
        entries += _transfer(GATEWAY_CLAIMS, account, part)
        amount -= part
    return entries


def _gone(subject: Subject, resolution: Resolution) -> Plan:
    """Book money that left or returned to a payment as the payment's own loss first.

    The payment then records the loss; a claim takes the loss over. The action moves what exceeds
    the payment, which is a loss of its own.
    """
    gross = subject.gross or 0
    action = Action.LOSE_DISPUTE if gross < 0 else Action.REVERSE_DISPUTE
    loss = postings.risk_loss(postings.CHARGEBACK)
    answers = _account(subject.kind, resolution, kept=gross > 0)
    gone = min(-gross, subject.at_stake) if subject.kind is _K.REFUND_MISMATCH else -gross
    taken_over = () if answers == loss else _transfer(answers, loss, gone)
    return Plan(entries=_line(subject) + taken_over, actions=(action,))


def _given_away(subject: Subject, resolution: Resolution) -> Plan:
    assert subject.payment_type is not None, "a delivery belongs to a payment"
    earned = postings.earned(subject.payment_type)
    account = _account(subject.kind, resolution, kept=False)
    return Plan(entries=_transfer(account, earned, subject.at_stake))


def _fee(subject: Subject, resolution: Resolution) -> Plan:
    """Book the fee as kept; the part above the agreed terms is claimed, written off or accepted."""
    if resolution is _R.CORRECT_BY_ENTRY:
        return Plan()
    account = _account(subject.kind, resolution, kept=subject.fee_drift < 0)
    return Plan(entries=_transfer(account, postings.GATEWAY_FEES, subject.fee_drift))


def _amount(subject: Subject, resolution: Resolution) -> Plan:
    gross = subject.gross or 0
    too_much = subject.at_stake if subject.is_settlement and gross > 0 else gross
    entries = _line(subject) + _not_explained(subject, resolution, too_much)
    due = subject.is_settlement and gross > subject.at_stake
    settle = (Action.SETTLE_WHAT_IS_DUE,) if due else ()
    refund = (Action.REFUND_AT_GATEWAY,) if resolution is _R.REFUND_THE_CUSTOMER else ()
    return Plan(entries=entries, actions=settle + refund)


def _unexplained(subject: Subject, resolution: Resolution) -> Plan:
    if subject.gross is None:
        return Plan(entries=_not_explained(subject, resolution, subject.at_stake))
    if resolution is _R.REFUND_THE_CUSTOMER:
        return Plan(ends=False, actions=(Action.REFUND_AT_GATEWAY,))
    if subject.returns_own_refund and resolution is _R.REINSTATE_THE_PAYMENT:
        return Plan(entries=_line(subject))
    if subject.kind is _K.REFUND_MISMATCH and subject.gross:
        return _gone(subject, resolution)
    return Plan(entries=_line(subject) + _not_explained(subject, resolution, subject.gross))


def _line(subject: Subject) -> tuple[Entry, ...]:
    return taken(gross=subject.gross or 0, fee=subject.fee, net=subject.net)


def _takes_a_loss_back(subject: Subject) -> bool:
    """Return whether a line brings money of a payment that carries a loss."""
    return subject.is_settlement and (subject.gross or 0) > 0 and bool(subject.losses)


def _losses_taken_back(subject: Subject, amount: int) -> tuple[Entry, ...]:
    """Take back the losses of a payment as far as they go; the rest is not explained."""
    entries: tuple[Entry, ...] = ()
    for account, lost in subject.losses:
        part = min(lost, amount)
        entries += _transfer(postings.SETTLED_FUNDS, account, part)
        amount -= part
    return entries + _transfer(postings.SETTLED_FUNDS, UNEXPLAINED_FUNDS, amount)


def _not_explained(subject: Subject, resolution: Resolution, amount: int) -> tuple[Entry, ...]:
    if resolution is _R.REINSTATE_THE_PAYMENT and subject.kind in GIVEN_UP:
        return _losses_taken_back(subject, amount)
    account = _account(subject.kind, resolution, kept=amount > 0)
    return _transfer(postings.SETTLED_FUNDS, account, amount)


def reinstated(kind: DiscrepancyKind) -> str:
    """Return the account of the loss that the money of a reinstated payment takes back."""
    of_refund = kind is _K.REFUND_MISMATCH
    return postings.risk_loss(kind.value if of_refund else postings.CHARGEBACK)


def _not_of(gross: int | None) -> frozenset[Resolution]:
    """Return what cannot be decided about a refund that we did not make, or that has no line."""
    if gross is None:
        return frozenset({_R.ACCEPT_LOSS, _R.REINSTATE_THE_PAYMENT})
    return frozenset({_R.ACCEPT_LOSS if gross > 0 else _R.REINSTATE_THE_PAYMENT})


def _account(kind: DiscrepancyKind, resolution: Resolution, *, kept: bool) -> str:
    """Return the account of what is not explained: `kept` by us, or lost."""
    match resolution:
        case _R.ACCEPT_LOSS | _R.WRITE_OFF if kept:
            return postings.UNALLOCATED_INCOME
        case _R.REINSTATE_THE_PAYMENT:
            return reinstated(kind)
        case _R.ACCEPT_LOSS:
            return postings.risk_loss(kind.value)
        case _R.WRITE_OFF:
            return postings.risk_loss(WRITTEN_OFF)
        case _R.CLAIM_FROM_GATEWAY:
            return GATEWAY_CLAIMS
        case _R.REFUND_THE_CUSTOMER:
            return postings.REFUNDS_PAYABLE
        case _R.CORRECT_BY_ENTRY | _R.WAIT:
            return UNEXPLAINED_FUNDS
        case _:
            assert_never(resolution)


def _transfer(debit: str, credit: str, amount: int) -> tuple[Entry, ...]:
    """Transfer an amount of either sign; zero posts no entry."""
    if not amount:
        return ()
    return (Entry(debit, credit, amount),) if amount > 0 else (Entry(credit, debit, -amount),)

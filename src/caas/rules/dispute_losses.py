"""The losses of a payment by disputes, beside the claims that took them over (decision 232).

A claim moves the whole amount of its line from the loss. A dispute books what it holds of the
payment, and returns that when it is won. So a loss may be below zero: its excess stands on another
account, or its money came back beside the claim.

Rules a change must keep: amounts add up to zero; a cause never pays for another one, except that
the excess is of any cause.
"""

from collections.abc import Mapping
from typing import Final

from caas.rules import postings
from caas.rules.discrepancies import DiscrepancyKind
from caas.rules.postings import Entry

EXCESS: Final = postings.risk_loss(postings.DISPUTE_EXCESS)
CAUSES: Final = (
    postings.risk_loss(postings.CHARGEBACK),
    postings.risk_loss(DiscrepancyKind.REFUND_MISMATCH.value),
)


def balanced(losses: Mapping[str, int]) -> dict[str, int]:
    """Return what brings losses, in minor units by account, to zero or more: debits above zero.

    The excess and its cause cover each other; what neither covers came back, and is unexplained.
    """
    now = {account: losses.get(account, 0) for account in (*CAUSES, EXCESS)}
    before = dict(now)
    for cause in CAUSES:
        for lacks, has in ((EXCESS, cause), (cause, EXCESS)):
            part = min(max(-now[lacks], 0), max(now[has], 0))
            now[lacks] += part
            now[has] -= part
    now = {account: max(amount, 0) for account, amount in now.items()}
    moved = {account: now[account] - before[account] for account in now}
    moved[postings.UNEXPLAINED_FUNDS] = -sum(moved.values())
    return {account: amount for account, amount in moved.items() if amount}


def entries_of(moved: Mapping[str, int]) -> tuple[Entry, ...]:
    """Return the entries of amounts that add up to zero; above zero an account is debited."""
    lacking = {account: -amount for account, amount in moved.items() if amount < 0}
    entries: list[Entry] = []
    for debit, amount in moved.items():
        left = amount
        for credit, most in lacking.items():
            part = min(left, most)
            if part > 0:
                entries.append(Entry(debit, credit, part))
                lacking[credit] = most - part
                left -= part
    return tuple(entries)

"""What is left to explain of a payment's settlement once its lines and decisions are counted.

Lines bring and take the payment's money on `settled_funds`. What a record announces and no line has
brought or taken yet waits there rightly, and so does on `gateway_receivable` what is captured and
not settled. All else that stands there is explained by rule: money that is lacking is lost, money
that is there takes losses of the settlement back, and the rest is unexplained.

Rules a change must keep: amounts add up to zero; nothing is explained while a person has still to
decide about a line of the settlement.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from caas.rules import postings


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementPosition:
    """A payment's balances in minor units without what was explained before, and what waits.

    `waits` is what lines will still bring (above zero) or take, and `due` what is still to be
    settled; `losses` are those of the settlement, by account.
    """

    settled_funds: int
    receivable: int
    waits: int
    due: int
    losses: Mapping[str, int]


def explained(position: SettlementPosition, lost_as: str) -> dict[str, int]:
    """Return what explains the position, by account: debits above zero.

    `lost_as` is the account of the loss of money that is lacking.
    """
    hangs = {
        postings.SETTLED_FUNDS: position.settled_funds - position.waits,
        postings.GATEWAY_RECEIVABLE: position.receivable - position.due,
    }
    moved = {account: -amount for account, amount in hangs.items()}
    lacking = sum(hangs.values())
    losses = dict(position.losses)
    if lacking > 0:
        losses[lost_as] = losses.get(lost_as, 0) + lacking
    there = max(-lacking, 0) + sum(-lost for lost in losses.values() if lost < 0)
    losses = {account: max(lost, 0) for account, lost in losses.items()}
    for account, lost in losses.items():
        part = min(lost, there)
        losses[account] -= part
        there -= part
    for account, lost in losses.items():
        moved[account] = lost - position.losses.get(account, 0)
    moved[postings.UNEXPLAINED_FUNDS] = -there
    return {account: amount for account, amount in moved.items() if amount}

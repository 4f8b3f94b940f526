"""How far a dispute is: what each word of a bank adds to what is known, and what each step does.

Rules a change must keep: this file reads and writes nothing; a word that is older than the last one
followed adds nothing; the amounts of a step are its entries.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from caas.billing_database.refunds import Dispute
from caas.external_systems.payment_gateway import DisputeStatus
from caas.rules import postings
from caas.rules.payment_states import Remark
from caas.rules.postings import Entry

HELD: Final = ("opened", "lost")

# From how far a dispute was to how far it is told to be: the remarks that lead there.
STEPS: Final[dict[tuple[str | None, DisputeStatus], tuple[Remark, ...]]] = {
    (None, DisputeStatus.OPENED): (Remark.DISPUTE_OPENED,),
    (None, DisputeStatus.WON): (Remark.DISPUTE_OPENED, Remark.DISPUTE_WON),
    (None, DisputeStatus.LOST): (Remark.DISPUTE_OPENED, Remark.DISPUTE_LOST),
    ("opened", DisputeStatus.WON): (Remark.DISPUTE_WON,),
    ("opened", DisputeStatus.LOST): (Remark.DISPUTE_LOST,),
    ("lost", DisputeStatus.WON): (Remark.DISPUTE_REVERSED,),
}
# What the bank may decide after all; believed only of a word that was said later than the last one.
STEPS_LATER: Final[dict[tuple[str | None, DisputeStatus], tuple[Remark, ...]]] = {
    (state, status): remarks
    for state in ("won", "reversed")
    for status, remarks in (
        (DisputeStatus.OPENED, (Remark.DISPUTE_OPENED,)),
        (DisputeStatus.LOST, (Remark.DISPUTE_OPENED, Remark.DISPUTE_LOST)),
    )
}
STATE_AFTER: Final = {
    Remark.DISPUTE_OPENED: "opened",
    Remark.DISPUTE_WON: "won",
    Remark.DISPUTE_LOST: "lost",
    Remark.DISPUTE_REVERSED: "reversed",
}


@dataclass(frozen=True, slots=True)
class Step:
    """What one remark does: the dispute after it, what it adds to the loss, and its entries."""

    after: Dispute
    disputed: int
    entries: tuple[Entry, ...]


def coming_back(dispute: Dispute) -> Remark:
    """Return the remark by which what a bank holds comes back."""
    return Remark.DISPUTE_REVERSED if dispute.state == "lost" else Remark.DISPUTE_WON


def steps_of(
    known: Dispute | None, status: DisputeStatus, at: datetime | None
) -> tuple[Remark, ...]:
    """Say what a word adds to what is known; nothing, when it is older than what was followed."""
    state = known.state if known else None
    earlier_answer = known.reported_at if known else None
    if earlier_answer is not None and at is not None and at < earlier_answer:
        return ()
    later = earlier_answer is not None and at is not None and at > earlier_answer
    more = STEPS_LATER.get((state, status), ()) if later else ()
    return STEPS.get((state, status), more)


def may_amend(known: Dispute, status: DisputeStatus, currency: str, at: datetime | None) -> bool:
    """Say whether another amount is the bank's newest word on what it holds."""
    if known.state not in HELD or currency != known.claimed_currency:
        return False
    if known.reported_at is not None and at is not None and at != known.reported_at:
        return at > known.reported_at
    return (known.state, status) in STEPS


def after(dispute: Dispute, remark: Remark, reconciliation: int) -> Step:
    """Say what a remark makes of a dispute, when so much of the payment is still there."""
    now = replace(dispute, state=STATE_AFTER[remark])
    match remark:
        case Remark.DISPUTE_OPENED:
            same = dispute.claimed_currency == dispute.currency
            counts = min(dispute.claimed_amount, reconciliation) if same else reconciliation
            excess = dispute.claimed_amount - counts if same else 0
            entries = postings.dispute_opened(counts, excess=excess)
            taken = dispute.taken + 1
            return Step(replace(now, amount=counts, excess=excess, taken=taken), 0, entries)
        case Remark.DISPUTE_WON:
            now = replace(now, back=dispute.back + 1)
            return Step(now, 0, postings.dispute_won(dispute.amount, excess=dispute.excess))
        case Remark.DISPUTE_LOST:
            return Step(now, dispute.amount, postings.dispute_lost(dispute.amount))
        case _:
            now = replace(now, back=dispute.back + 1)
            entries = postings.dispute_reversed(dispute.amount, excess=dispute.excess)
            return Step(now, -dispute.amount, entries)

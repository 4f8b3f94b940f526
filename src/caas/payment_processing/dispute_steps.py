"""Dispute states: what each report of a bank adds, and what each step books.

Rules a change must keep: this module does no I/O; a report older than the last one applied adds
nothing; the amounts of a step are its entries.
"""

from datetime import datetime
from typing import Final

import msgspec
from msgspec.structs import replace

from caas.billing_database.refunds import Dispute
from caas.external_systems.payment_gateway import DisputeStatus
from caas.rules import postings
from caas.rules.payment_states import Remark
from caas.rules.postings import Entry

HELD: Final = ("opened", "lost")

# From a dispute's state to its reported status: the remarks that lead there.
STEPS: Final[dict[tuple[str | None, DisputeStatus], tuple[Remark, ...]]] = {
    (None, DisputeStatus.OPENED): (Remark.DISPUTE_OPENED,),
    (None, DisputeStatus.WON): (Remark.DISPUTE_OPENED, Remark.DISPUTE_WON),
    (None, DisputeStatus.LOST): (Remark.DISPUTE_OPENED, Remark.DISPUTE_LOST),
    ("opened", DisputeStatus.WON): (Remark.DISPUTE_WON,),
    ("opened", DisputeStatus.LOST): (Remark.DISPUTE_LOST,),
    ("lost", DisputeStatus.WON): (Remark.DISPUTE_REVERSED,),
}
# Later decisions of the bank; applied only from a report later than the last one.
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


class DisputeStep(msgspec.Struct, frozen=True):
    """The effect of one remark: the dispute after it, the change in the loss, and its entries."""

    after: Dispute
    disputed: int
    entries: tuple[Entry, ...]


def coming_back(dispute: Dispute) -> Remark:
    """Return the remark that returns what a bank holds."""
    return Remark.DISPUTE_REVERSED if dispute.state == "lost" else Remark.DISPUTE_WON


def steps_of(
    known: Dispute | None, status: DisputeStatus, at: datetime | None
) -> tuple[Remark, ...]:
    """Return the remarks that a report adds; none if it is older than the last one applied."""
    state = known.state if known else None
    earlier_answer = known.reported_at if known else None
    if earlier_answer is not None and at is not None and at < earlier_answer:
        return ()
    later = earlier_answer is not None and at is not None and at > earlier_answer
    more = STEPS_LATER.get((state, status), ()) if later else ()
    return STEPS.get((state, status), more)


def may_amend(known: Dispute, status: DisputeStatus, currency: str, at: datetime | None) -> bool:
    """Return whether another amount replaces the known one as the bank's latest."""
    if known.state not in HELD or currency != known.claimed_currency:
        return False
    if known.reported_at is not None and at is not None and at != known.reported_at:
        return at > known.reported_at
    return (known.state, status) in STEPS


def after(dispute: Dispute, remark: Remark, available: int) -> DisputeStep:
    """Return the effect of a remark, with so much of the payment still refundable."""
    now = replace(dispute, state=STATE_AFTER[remark])
    match remark:
        case Remark.DISPUTE_OPENED:
            same = dispute.claimed_currency == dispute.currency
            counts = min(dispute.claimed_amount, available) if same else available
            excess = dispute.claimed_amount - counts if same else 0
            entries = postings.dispute_opened(counts, excess=excess)
            taken = dispute.taken + 1
            return DisputeStep(replace(now, amount=counts, excess=excess, taken=taken), 0, entries)
        case Remark.DISPUTE_WON:
            now = replace(now, back=dispute.back + 1)
            return DisputeStep(now, 0, postings.dispute_won(dispute.amount, excess=dispute.excess))
        case Remark.DISPUTE_LOST:
            return DisputeStep(now, dispute.amount, postings.dispute_lost(dispute.amount))
        case _:
            now = replace(now, back=dispute.back + 1)
            entries = postings.dispute_reversed(dispute.amount, excess=dispute.excess)
            return DisputeStep(now, -dispute.amount, entries)

"""The fees of lines that a decision posts, and of parts, against the agreed ones (decision 239).

A line that matches is compared with the terms by its class. Any other line of a settlement says
what was agreed for its fee where it is opened; once its money is posted, the difference is a
discrepancy of its own, about the same line.

Rule a change must keep: such a discrepancy stands only while its line's money is posted.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from caas.billing_database.connection import Connection
from caas.billing_database.discrepancies import (
    Discrepancies,
    Discrepancy,
    NewDiscrepancy,
    Step,
)
from caas.billing_database.settlement_reports import StoredLine
from caas.errors import ConflictError
from caas.reconciliation.judged_rows import fee_id
from caas.rules.discrepancies import DiscrepancyKind, due_days
from caas.rules.money import Money

BY: Final = "reconciliation"
NOT_COMPARED: Final = frozenset({DiscrepancyKind.CURRENCY, DiscrepancyKind.FEE_DRIFT})
"""A fee itself, and a line in another currency than its payment."""


class FeeDecidedError(ConflictError):
    """The difference of this line's fee is decided. First reopen that decision."""

    code = "fee_decided"


async def open_again(
    discrepancies: Discrepancies, found: Sequence[NewDiscrepancy], *, within: Connection
) -> None:
    """Open discrepancies, also those of fees that ended when their line's decision did."""
    await discrepancies.open(found, within=within)
    for fee in [it for it in found if it.kind is DiscrepancyKind.FEE_DRIFT]:
        known = await discrepancies.get(fee.id, within=within)
        if known.status == "resolved" and known.resolution == "itself":
            step = Step(event="reopened", status="open", by=BY, facts=_line(known))
            await discrepancies.step(known.id, step, within=within)


async def compare_fee(
    discrepancies: Discrepancies, decided: Discrepancy, line: StoredLine | None, within: Connection
) -> None:
    """Open what the fee of a line differs by, whose money a decision has posted."""
    if line is None or not _is_compared(decided, line):
        return
    events = await discrepancies.events(decided.id, within=within)
    agreed = events[0].facts.get("fee_agreed")
    kept = line.fee if line.payout_fee is None else line.payout_fee
    if agreed is None or agreed == kept:
        return
    kind, amount = DiscrepancyKind.FEE_DRIFT, abs(kept - agreed)
    since = max(decided.day, events[-1].at.date())
    fee = NewDiscrepancy(
        id=fee_id(decided.report_id, decided.line_no),
        gateway=decided.gateway,
        day=decided.day,
        kind=kind,
        amount=amount,
        currency=decided.currency,
        payment_id=decided.payment_id,
        report_id=decided.report_id,
        line_no=decided.line_no,
        due_on=since + timedelta(days=due_days(kind, Money(amount, decided.currency))),
        missing_from=None,
        facts=events[0].facts,
    )
    await open_again(discrepancies, [fee], within=within)


async def end_fee(
    discrepancies: Discrepancies, reopened: Discrepancy, line: StoredLine | None, within: Connection
) -> None:
    """End what the fee of a line differs by, because its decision is reopened.

    Raises:
        FeeDecidedError: a person has decided the difference.
    """
    if line is None or line.fee_agreed is None or not _is_compared(reopened, line):
        return
    fee = await discrepancies.get(fee_id(line.report_id, line.line_no), within=within)
    if fee.status == "resolved":
        if fee.resolution != "itself":
            raise FeeDecidedError(discrepancy=str(fee.id))
        return
    await discrepancies.reject_proposal(fee.id, by=BY, within=within)
    step = Step(
        event="resolved itself", status="resolved", by=BY, facts=_line(fee), resolution="itself"
    )
    await discrepancies.step(fee.id, step, within=within)


def _is_compared(found: Discrepancy, line: StoredLine) -> bool:
    """Return whether a decision about this posts a settlement of a payment, in its currency."""
    return (
        found.payment_id is not None
        and found.kind not in NOT_COMPARED
        and line.type == "settlement"
        and line.gross > 0
        and not line.posts
    )


def _line(fee: Discrepancy) -> dict[str, str]:
    return {"line": f"{fee.report_id}:{fee.line_no}", "class": fee.kind.value}

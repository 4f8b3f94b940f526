"""A classified row of the comparison, and the discrepancy it opens.

Rule a change must keep: a discrepancy's id is derived only from what it is about.
"""

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

import msgspec

from caas.billing_database.discrepancies import NewDiscrepancy
from caas.billing_database.foreign_disputes import ForeignDispute
from caas.billing_database.identifiers import derived_id
from caas.billing_database.settlement_reports import SettlementReport
from caas.billing_database.unlisted_losses import UnlistedLoss
from caas.rules.discrepancies import DiscrepancyKind, due_days
from caas.rules.money import Money

UNSETTLED: Final = frozenset(
    {DiscrepancyKind.DELAYED_SETTLEMENT, DiscrepancyKind.MISSING_AT_GATEWAY}
)
# Lines that show money taken although our records have no payment for it.
EVIDENCE: Final = frozenset(
    {
        DiscrepancyKind.SETTLED_THOUGH_VOIDED,
        DiscrepancyKind.CAPTURED_NOT_DELIVERED,
        DiscrepancyKind.STATE_CONFLICT,
    }
)

Row = dict[str, Any]
FACTS: Final = (
    "transaction_id", "reference", "type", "gross", "fee", "net", "state", "fee_agreed",
    "payout_fee",
)  # fmt: skip
"""What a discrepancy states of its line and its payment when it is opened."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The run being applied: its report, day and gateway."""

    id: UUID
    gateway: str
    day: date
    today: date
    report: SettlementReport
    closing: bool


def is_evidence(row: Row) -> bool:
    """Return whether the line belongs to one payment and names no other."""
    return (
        row["class"] in EVIDENCE
        and row["payment_id"] is not None
        and row["type"] == "settlement"
        and row["gross"] > 0
        and row["reference"] in {None, row["payment_id"]}
    )


def source_of(run: Run, row: Row) -> str:
    """Return the source id under which the line changes its payment."""
    return f"line:{run.report.report_ref}:{row['line_no']}"


def line_of(row: Row) -> str:
    """Return the reference under which the line resolves a discrepancy."""
    return f"{row['report']}:{row['line_no']}"


def discrepancy_of(
    run: Run, row: Row, times: Mapping[str, int] = MappingProxyType({})
) -> NewDiscrepancy:
    """Return the discrepancy a row opens; `times` numbers unlisted refunds that recur."""
    kind = DiscrepancyKind(row["class"])
    about = (row["report"], row["line_no"]) if row["line_no"] else (row["payment_id"],)
    if not row["line_no"] and kind is DiscrepancyKind.REFUND_MISMATCH:
        before = times.get(row["payment_id"], 0)
        about = (*about, f"after {before}") if before else about
    label = "unsettled" if kind in UNSETTLED else kind.value
    money = Money(row["at_stake"], row["currency"])
    return NewDiscrepancy(
        id=derived_id("discrepancy", label, *about),
        gateway=run.gateway,
        day=run.day,
        kind=kind,
        amount=row["at_stake"],
        currency=row["currency"],
        payment_id=UUID(row["payment_id"]) if row["payment_id"] else None,
        report_id=UUID(row["report"]) if row["line_no"] else None,
        line_no=row["line_no"],
        due_on=max(run.day, run.today) + timedelta(days=due_days(kind, money)),
        missing_from=_date(row.get("missing_from")),
        facts=_facts(row),
    )


def fees_of_parts(run: Run, rows: Iterable[Row]) -> list[NewDiscrepancy]:
    """Return what the fees of parts differ by, beside the discrepancies of what is missing."""
    return [
        discrepancy_of(
            run,
            row | {
                "class": DiscrepancyKind.FEE_DRIFT,
                "at_stake": abs(_kept(row) - row["fee_agreed"]),
            },
        )
        for row in rows
        if row["class"] == DiscrepancyKind.PARTIAL_SETTLEMENT and row["fee_agreed"] is not None
    ]  # fmt: skip


def fee_id(report_id: UUID | None, line_no: int | None) -> UUID:
    """Return the id of the discrepancy of a line's fee."""
    return derived_id("discrepancy", DiscrepancyKind.FEE_DRIFT.value, report_id, line_no)


def of_foreign_dispute(run: Run, dispute: ForeignDispute) -> NewDiscrepancy:
    """Return the discrepancy of a lost dispute whose line is in another currency."""
    kind = DiscrepancyKind.CURRENCY
    money = Money(dispute.amount, dispute.currency)
    return NewDiscrepancy(
        id=derived_id("discrepancy", "dispute", dispute.payment_id, dispute.id, dispute.taken),
        gateway=run.gateway,
        day=run.day,
        kind=kind,
        amount=dispute.amount,
        currency=dispute.currency,
        payment_id=dispute.payment_id,
        report_id=None,
        line_no=None,
        due_on=max(run.day, run.today) + timedelta(days=due_days(kind, money)),
        missing_from=None,
        facts={
            "dispute": dispute.id,
            "claimed": [dispute.claimed_amount, dispute.claimed_currency],
        },
    )


def _kept(row: Row) -> int:
    kept: int = row["fee"] if row["payout_fee"] is None else row["payout_fee"]
    return kept


def of_unlisted_loss(run: Run, loss: UnlistedLoss) -> NewDiscrepancy:
    """Return the discrepancy of a loss that no line has taken."""
    kind = DiscrepancyKind.LOSS_NOT_LISTED
    money = Money(loss.amount, loss.currency)
    return NewDiscrepancy(
        id=derived_id("discrepancy", kind.value, loss.payment_id, loss.amount),
        gateway=run.gateway,
        day=run.day,
        kind=kind,
        amount=loss.amount,
        currency=loss.currency,
        payment_id=loss.payment_id,
        report_id=None,
        line_no=None,
        due_on=max(run.day, run.today) + timedelta(days=due_days(kind, money)),
        missing_from=None,
        facts={},
    )


def _facts(row: Row) -> dict[str, Any]:
    return {name: row[name] for name in FACTS if row[name] is not None}


def _date(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)

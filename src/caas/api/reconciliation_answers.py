"""API representations of reconciliation days, runs, reports and discrepancies (Diagram 10)."""

from datetime import date, datetime
from urllib.parse import urlencode
from uuid import UUID

import msgspec

from caas.api.row_answers import answer_from
from caas.billing_database.discrepancies import AttachedEvidence, Discrepancy, DiscrepancyEvent
from caas.billing_database.quarantined_lines import QuarantinedRow
from caas.billing_database.reconciliation_days import ReconciliationDay, ReconciliationRun
from caas.billing_database.reconciliation_figures import (
    AgeFigure,
    DisputeFigure,
    ExposureFigure,
    Figures,
    IncomeFigure,
    LossFigure,
)
from caas.billing_database.settlement_reports import SettlementReport, StoredLine
from caas.reconciliation.investigation import Investigated
from caas.reconciliation.reporting import ReconciliationReport, as_data
from caas.rules.discrepancies import DiscrepancyKind, Resolution

ROOT = "/v1/reconciliation"


class DayAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A day's status: `incomplete`, `in progress`, `open discrepancies` or `closed`, and why."""

    gateway: str
    day: date
    verdict: str
    because: str | None
    closed_by_run: UUID | None
    closed_at: datetime | None
    sealed_at: datetime | None
    sealed_by: str | None
    links: dict[str, str]


class DayList(msgspec.Struct, frozen=True):
    """Days, newest first."""

    data: list[DayAnswer]


class RunAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison: its inputs, its as-of time and its results.

    `counts` is by class; `cleared` is the discrepancies of any day that ended because of it, by
    kind.
    """

    id: UUID
    gateway: str
    day: date
    mode: str
    state: str
    rule_version: str
    engine: str | None
    as_of: datetime | None
    lines: int
    input_hash: str | None
    output_hash: str | None
    counts: dict[str, int]
    cleared: dict[str, int]
    because: str | None
    started_at: datetime
    finished_at: datetime | None
    late_of: date | None
    links: dict[str, str]


class ReconciledAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a run, and the status of its day."""

    run: RunAnswer
    day: DayAnswer
    links: dict[str, str]


class DayWithRuns(msgspec.Struct, frozen=True, kw_only=True):
    """A day with its runs, newest first, and its unreadable lines."""

    day: DayAnswer
    runs: list[RunAnswer]
    quarantined: list[QuarantinedRow]
    links: dict[str, str]


class ReplayAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The digest of the repeated comparison, and whether it equals the stored one."""

    run: UUID
    output_hash: str
    is_the_same: bool


class ReportAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A day's reconciliation report: matches, discrepancies and losses."""

    gateway: str
    day: ReconciliationDay
    reports: list[SettlementReport]
    runs: list[ReconciliationRun]
    figures: Figures
    open_discrepancies: list[Discrepancy]
    quarantined: list[QuarantinedRow]
    matched_lines: int
    differing_lines: int
    ties_out: bool


class PositionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Open settlements and the age of discrepancies now; what the period brought.

    `losses` and `disputes` are what was lost and disputed, `unallocated_income` is money that was
    kept and that nobody is owed; each is in minor units.
    """

    since: date
    until: date
    exposure: list[ExposureFigure]
    ageing: list[AgeFigure]
    losses: list[LossFigure]
    disputes: list[DisputeFigure]
    unallocated_income: list[IncomeFigure]


class DiscrepancySummary(msgspec.Struct, frozen=True, kw_only=True):
    """A discrepancy; `amount` is the amount at stake, in minor units."""

    id: UUID
    gateway: str
    day: date
    kind: DiscrepancyKind
    status: str
    version: int
    owner: str | None
    amount: int
    currency: str
    payment_id: UUID | None
    report_id: UUID | None
    line_no: int | None
    due_on: date
    missing_from: date | None
    resolution: str | None
    opened_at: datetime
    updated_at: datetime
    age_days: int
    links: dict[str, str]


class DiscrepancyPage(msgspec.Struct, frozen=True, kw_only=True):
    """Discrepancies, soonest deadline first; pass `next_cursor` to get the next page."""

    data: list[DiscrepancySummary]
    next_cursor: str | None


class ResolutionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A proposed or decided resolution, and who decided it."""

    id: UUID
    resolution: Resolution
    note: str
    amount: int
    currency: str
    needs_second_approver: bool
    state: str
    proposed_by: str
    proposed_account: UUID | None
    proposed_at: datetime
    decided_by: str | None
    decided_account: UUID | None
    decided_at: datetime | None
    bulk_id: UUID | None


class EntryAnswer(msgspec.Struct, frozen=True):
    """A ledger entry from one account to another."""

    debit: str
    credit: str
    amount: int


class DiscrepancyAnswer(DiscrepancySummary, frozen=True, kw_only=True):
    """A discrepancy with its history, documents and entries, and the resolutions it allows."""

    line: StoredLine | None
    events: list[DiscrepancyEvent]
    resolutions: list[ResolutionAnswer]
    evidence: list[AttachedEvidence]
    entries: list[EntryAnswer]
    allowed: list[Resolution]


class EvidenceAnswer(msgspec.Struct, frozen=True):
    """An attached document."""

    id: UUID
    links: dict[str, str]


def day_answer(day: ReconciliationDay) -> DayAnswer:
    """Return a day."""
    path = day_path(day.day)
    at = urlencode({"gateway": day.gateway})
    links = {
        "self": f"{path}?{at}",
        "report": f"{path}/report?{at}",
        "report_csv": f"{path}/report.csv?{at}",
        "report_pdf": f"{path}/report.pdf?{at}",
        "seal": f"{path}/seal",
        "discrepancies": f"{ROOT}/discrepancies?day={day.day}",
    }
    return answer_from(DayAnswer, day, links=links)


def run_answer(run: ReconciliationRun) -> RunAnswer:
    """Return a run."""
    path = f"{ROOT}/runs/{run.id}"
    return answer_from(RunAnswer, run, links={"self": path, "day": day_path(run.day)})


def report_answer(report: ReconciliationReport) -> ReportAnswer:
    """Return a report."""
    reported = as_data(report)
    whole = {name: getattr(report, name, value) for name, value in reported.items()}
    return ReportAnswer(**whole)


def discrepancy_summary(found: Discrepancy) -> DiscrepancySummary:
    """Return a discrepancy for a list."""
    return answer_from(DiscrepancySummary, found, links=_links(found))


def discrepancy_answer(looked: Investigated) -> DiscrepancyAnswer:
    """Return a discrepancy with all details."""
    found = looked.discrepancy
    known = {name: getattr(looked, name) for name in ("line", "events", "resolutions", "evidence")}
    entries = [EntryAnswer(*entry) for entry in looked.entries]
    return answer_from(
        DiscrepancyAnswer, found, **known, entries=entries, allowed=looked.allowed,
        links=_links(found),
    )  # fmt: skip


def evidence_answer(discrepancy_id: UUID, evidence_id: UUID) -> EvidenceAnswer:
    """Return the link of a document."""
    links = {
        "self": f"{ROOT}/evidence/{evidence_id}",
        "discrepancy": discrepancy_path(discrepancy_id),
    }
    return EvidenceAnswer(evidence_id, links)


def day_path(day: date) -> str:
    """Return the path of a day."""
    return f"{ROOT}/days/{day}"


def discrepancy_path(discrepancy_id: UUID) -> str:
    """Return the path of a discrepancy."""
    return f"{ROOT}/discrepancies/{discrepancy_id}"


def _links(found: Discrepancy) -> dict[str, str]:
    path = discrepancy_path(found.id)
    links = {"self": path, "day": day_path(found.day)}
    if found.payment_id is not None:
        links["payment"] = f"/v1/payments/{found.payment_id}"
    return links

"""Diagram 10, "Generate discrepancy report": a day's report as data, CSV and PDF.

A day's report has counts and control totals per class, its discrepancies, and its losses by cause;
it does not change over time. Amounts at risk and the age of discrepancies are in the position
report.

Rules a change must keep: all formats contain the same data; the files of a sealed day are stored
and returned byte for byte; amounts carry their currency; cells that a spreadsheet would evaluate as
formulas are escaped.
"""

import asyncio
import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
import typst

from caas.billing_database.connection import Database
from caas.billing_database.discrepancies import Discrepancies, Discrepancy, DiscrepancyFilter
from caas.billing_database.quarantined_lines import QuarantinedLines, QuarantinedRow
from caas.billing_database.reconciliation_days import (
    ReconciliationDay,
    ReconciliationDays,
    ReconciliationRun,
)
from caas.billing_database.reconciliation_figures import (
    Figures,
    Position,
    figures,
    position,
)
from caas.billing_database.settlement_reports import SettlementReport, SettlementReports
from caas.errors import RefusedError
from caas.rules.compared_relations import AGREEING
from caas.rules.money import Money

FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")
TEMPLATE: Final = "reconciliation.typ"
PDF_STANDARD: Final = "a-3b"
FIRST_DAY: Final = date(2000, 1, 1)
LAST_DAY: Final = date(2999, 12, 30)


Table = tuple[str, list[str], list[list[Any]]]


class DayOutOfReachError(RefusedError):
    """The day must be between 2000-01-01 and today."""

    code = "day_out_of_reach"


class ReconciliationReport(msgspec.Struct, frozen=True):
    """A day's report, with the first page of its open discrepancies."""

    gateway: str
    day: ReconciliationDay
    reports: list[SettlementReport]
    runs: list[ReconciliationRun]
    figures: Figures
    open_discrepancies: list[Discrepancy]
    quarantined: list[QuarantinedRow]

    @property
    def matched_lines(self) -> int:
        """Return the number of matching lines."""
        return sum(it.lines for it in self.figures.lines if it.line_class in AGREEING)

    @property
    def differing_lines(self) -> int:
        """Return the number of differing lines."""
        return sum(it.lines for it in self.figures.lines) - self.matched_lines

    @property
    def ties_out(self) -> bool:
        """Return whether the classes add up to the reports' control totals."""
        stored = [
            (sum(r.lines_stored for r in self.reports), sum(r.gross_stored for r in self.reports),
             sum(r.net_stored for r in self.reports)),
        ]  # fmt: skip
        lines = self.figures.lines
        counted = [
            (sum(it.lines for it in lines), sum(it.gross for it in lines),
             sum(it.net for it in lines)),
        ]  # fmt: skip
        return stored == counted


class Reporting:
    """Builds reports."""

    def __init__(
        self, database: Database, *, gateway: str, zone: ZoneInfo, days: ReconciliationDays
    ) -> None:
        """Report on this gateway's days, in this time zone."""
        self._database = database
        self._gateway = gateway
        self._zone = zone
        self._days = days
        self._reports = SettlementReports(database)
        self._quarantined = QuarantinedLines(database)
        self._discrepancies = Discrepancies(database)

    async def report(self, day: date) -> ReconciliationReport:
        """Return a day's report as data.

        Raises:
            DayNotFoundError: the day was never compared.
        """
        return await self._report(await self._days.get(self._gateway, day))

    async def file(self, day: date, form: str) -> bytes:
        """Return a day's report as a file; for a sealed day, the sealed file.

        Raises:
            DayNotFoundError: the day was never compared.
        """
        sealed = await self._days.sealed_report(self._gateway, day, form)
        if sealed is not None:
            return sealed[0]
        report = await self.report(day)
        return await asyncio.to_thread(FORMS[form], report)

    async def written(self, day: ReconciliationDay) -> dict[str, bytes]:
        """Return the report of a day being sealed in every format."""
        report = await self._report(day)
        return {form: await asyncio.to_thread(write, report) for form, write in FORMS.items()}

    async def _report(self, day: ReconciliationDay) -> ReconciliationReport:
        return ReconciliationReport(
            self._gateway,
            day,
            await self._reports.of_day(self._gateway, day.day),
            await self._days.runs_of(self._gateway, day.day),
            await figures(
                self._database, self._gateway, day.day, span=self._span(day.day, day.day)
            ),
            await self._discrepancies.listed(
                DiscrepancyFilter(gateway=self._gateway, day=day.day, unresolved=True)
            ),
            await self._quarantined.of_day(self._gateway, day.day),
        )

    async def position(self, since: date, until: date) -> Position:
        """Return the current amounts at risk at all gateways, and a period's losses and disputes.

        Raises:
            DayOutOfReachError: the period is reversed or out of range.
        """
        if not FIRST_DAY <= since <= until <= LAST_DAY:
            raise DayOutOfReachError
        span = self._span(since, until)
        return await position(self._database, span=span, zone=self._zone.key)

    def _span(self, since: date, until: date) -> tuple[datetime, datetime]:
        following = until + timedelta(days=1)
        begin, end = (
            datetime(at.year, at.month, at.day, tzinfo=self._zone).astimezone(UTC)
            for at in (since, following)
        )
        return begin, end


def as_csv(report: ReconciliationReport) -> bytes:
    """Format a report as CSV: titled tables, one after another."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    for title, header, rows in _tables(report):
        writer.writerow([title])
        writer.writerow(header)
        writer.writerows([_defused(cell) for cell in row] for row in rows)
        writer.writerow([])
    return text.getvalue().encode("utf-8")


def as_text(report: ReconciliationReport) -> str:
    """Format a report as aligned text, without empty tables."""
    return _text_of(_tables(report))


def _text_of(tables: Sequence[Table]) -> str:
    lines = []
    for title, header, rows in tables:
        if not rows:
            continue
        cells = [header, *([str(cell) for cell in row] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines.append(title)
        lines += ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
        lines.append("")
    return "\n".join(lines)


def as_pdf(report: ReconciliationReport) -> bytes:
    """Format a report as PDF/A."""
    folder = resources.files("caas.reconciliation")
    template = (folder / TEMPLATE).read_bytes()
    content = json.dumps(
        {
            "gateway": report.gateway,
            "day": report.day.day.isoformat(),
            "verdict": report.day.verdict,
            "because": report.day.because or "",
            "sealed": _seal(report.day),
            "tables": [
                {"title": title, "header": header, "rows": [[str(c) for c in r] for r in rows]}
                for title, header, rows in _tables(report)
            ],
        }
    )
    written_at = report.runs[0].started_at if report.runs else None
    pages = typst.compile(
        template,
        format="pdf",
        sys_inputs={"report": content},
        pdf_standards=PDF_STANDARD,
        ignore_system_fonts=True,
        timestamp=written_at and written_at.astimezone(UTC).replace(microsecond=0),
    )
    assert isinstance(pages, bytes), "a PDF is one document"
    return pages


def _tables(report: ReconciliationReport) -> list[Table]:
    found = report.figures
    day = report.day
    return [
        (
            "Verdict",
            ["gateway", "day", "verdict", "because", "sealed by", "matching lines",
             "differing lines", "ties out"],
            [[report.gateway, day.day, day.verdict, day.because or "", day.sealed_by or "",
              report.matched_lines, report.differing_lines, "yes" if report.ties_out else "no"]],
        ),
        (
            "Settlement reports",
            ["part", "report", "origin", "status", "lines reported", "lines stored", "gross", "net",
             "currency", "late lines of"],
            [row for r in report.reports for row in _rows_of(r, report.figures)],
        ),
        (
            "Lines by class",
            ["class", "lines", "gross", "fee", "net", "currency"],
            [[it.line_class, it.lines, _plain(it.gross, it.currency), _plain(it.fee, it.currency),
              _plain(it.net, it.currency), it.currency] for it in found.lines],
        ),
        *_tables_of_discrepancies(report),
        (
            "Losses of the day by cause",
            ["cause", "amount", "currency"],
            [[it.cause, _plain(it.amount, it.currency), it.currency] for it in found.losses],
        ),
        (
            "Unallocated income of the day",
            ["amount", "currency"],
            [[_plain(it.amount, it.currency), it.currency] for it in found.unallocated_income],
        ),
        (
            "Runs",
            ["run", "mode", "state", "engine", "as of", "rule", "lines", "found", "cleared",
             "outcome"],
            [[r.id, r.mode, r.state, r.engine or "", r.as_of or "", r.rule_version, r.lines,
              counted(r.counts), counted(r.cleared), r.output_hash or r.because or ""]
             for r in report.runs if _found_something(r)],
        ),
    ]  # fmt: skip


def _seal(day: ReconciliationDay) -> str:
    return f"{day.sealed_by}, {day.sealed_at:%Y-%m-%d %H:%M} UTC" if day.sealed_at else ""


def _rows_of(report: SettlementReport, found: Figures) -> list[list[object]]:
    """Return a report with its sums, a row for each currency."""
    start = [report.part, report.report_ref, report.origin, report.status, report.line_count]
    late_of = report.late_of or ""
    rows: list[list[object]] = [
        [*start, it.lines, _plain(it.gross, it.currency), _plain(it.net, it.currency),
         it.currency, late_of]
        for it in found.reports if it.report_id == report.id
    ]  # fmt: skip
    for row in rows[1:]:
        row[: len(start)] = [report.part, "", "", "", ""]
    return rows or [[*start, report.lines_stored, "", "", "", late_of]]


def _found_something(run: ReconciliationRun) -> bool:
    """Return whether an hourly run found anything."""
    return run.lines > 0 or bool(run.cleared) or run.mode != "incremental" or run.state != "done"


def counted(counts: Mapping[str, int]) -> str:
    """Format counts by class or kind as one text."""
    return ", ".join(f"{number} {name}" for name, number in sorted(counts.items()))


def _tables_of_discrepancies(report: ReconciliationReport) -> list[Table]:
    found = report.figures
    return [
        (
            "Discrepancies of the day",
            ["kind", "status", "number", "at stake", "currency"],
            [[it.kind, it.status, it.discrepancies, _plain(it.amount, it.currency), it.currency]
             for it in found.of_day],
        ),
        (
            "Open discrepancies",
            ["discrepancy", "kind", "status", "owner", "due on", "at stake", "currency",
             "payment", "line"],
            [[it.id, it.kind, it.status, it.owner or "", it.due_on,
              _plain(it.amount, it.currency), it.currency, it.payment_id or "", it.line_no or ""]
             for it in report.open_discrepancies],
        ),
        (
            "Unreadable lines",
            ["place", "reason", "released by", "note"],
            [[it.place, it.reason, it.released_by or "", it.note or ""]
             for it in report.quarantined],
        ),
    ]  # fmt: skip


def _plain(amount: int, currency: str) -> str:
    return str(Money(amount, currency)).removesuffix(f" {currency}")


def _defused(cell: object) -> object:
    """Escape text that a spreadsheet would evaluate as a formula; numbers are unchanged."""
    text = str(cell)
    if not text.startswith(FORMULA_STARTS) or text.lstrip("-").replace(".", "", 1).isdigit():
        return cell
    return f"'{text}"


FORMS: Final[Mapping[str, Callable[[ReconciliationReport], bytes]]] = {
    "csv": as_csv,
    "pdf": as_pdf,
}


def position_text(found: Position) -> str:
    """Format the position report as aligned text, without empty tables."""
    return _text_of(
        [
            (
                "Exposure: delivered and not settled",
                ["payment type", "payments", "amount", "currency"],
                [[it.payment_type, it.payments, _plain(it.amount, it.currency), it.currency]
                 for it in found.exposure],
            ),
            (
                "Open discrepancies by age in days",
                ["kind", "age", "number", "overdue", "at stake", "currency"],
                [[it.kind, it.days, it.discrepancies, it.overdue, _plain(it.amount, it.currency),
                  it.currency] for it in found.ageing],
            ),
            (
                "Losses by cause",
                ["cause", "amount", "currency"],
                [[it.cause, _plain(it.amount, it.currency), it.currency] for it in found.losses],
            ),
            (
                "Unallocated income: kept, and owed to nobody",
                ["amount", "currency"],
                [[_plain(it.amount, it.currency), it.currency] for it in found.unallocated_income],
            ),
            (
                "Disputes",
                ["state", "disputes", "amount", "currency"],
                [[it.state, it.disputes, _plain(it.amount, it.currency), it.currency]
                 for it in found.disputes],
            ),
        ]
    )  # fmt: skip


def as_data(report: ReconciliationReport) -> dict[str, Any]:
    """Return a report as plain values for JSON."""
    return {
        **msgspec.to_builtins(report),
        "matched_lines": report.matched_lines,
        "differing_lines": report.differing_lines,
        "ties_out": report.ties_out,
    }

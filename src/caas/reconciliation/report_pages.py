"""Assembles the pages of a day's settlement report into one file.

Rules a change must keep: a page of another report, or changed totals of a closed report, is an
error; malformed lines are quarantined with a reason.
"""

from datetime import UTC
from pathlib import Path
from typing import Any, Final

import msgspec

from caas.billing_database.quarantined_lines import UNREADABLE, Quarantined
from caas.billing_database.settlement_reports import ReportSummary
from caas.external_systems.payment_gateway import ReportStatus, SettlementLine, SettlementPage
from caas.external_systems.report_files import BadReportError
from caas.reconciliation.file_checks import Where

COLUMNS: Final = (
    "line_no", "batch_id", "line_id", "transaction_id", "reference", "type", "gross", "fee", "net",
    "currency", "booked_at", "value_date",
)  # fmt: skip


class ReportChangedError(BadReportError):
    """The report changed while it was being fetched. Fetch it again."""

    code = "report_moved"


class ReportPages(msgspec.Struct):
    """State of a fetch: lines written, lines quarantined, and the next cursor."""

    path: Path
    lines: int = 0
    rows: int = 0
    quarantined: list[Quarantined] = msgspec.field(default_factory=list)
    last: SettlementPage | None = None
    cursor_sent: str | None = None
    rows_before: int = 0

    def take(self, page: SettlementPage, writer: Any) -> None:
        """Write the lines of a page.

        Raises:
            BadReportError: the page belongs to another report.
            ReportChangedError: the report's totals changed.
        """
        first = self.last
        if first is not None and (first.report_id, first.date) != (page.report_id, page.date):
            raise BadReportError("The pages belong to different reports.")
        if first is not None and page.status is ReportStatus.CLOSED:
            totals = (first.line_count, first.gross_total, first.net_total)
            if totals != (page.line_count, page.gross_total, page.net_total):
                raise ReportChangedError("The report's control totals changed between two pages.")
        for line in page.lines:
            writer.writerow(_cells(line))
        for bad in page.quarantined:
            number = self.rows_before + bad.position + 1
            self.quarantined.append(
                Quarantined(number + 1, number, None, UNREADABLE, bad.reason, bad.text)
            )
        self.lines += len(page.lines)
        self.rows += len(page.lines) + len(page.quarantined)
        self.last = page

    def reported(self, gateway: str, where: Where) -> ReportSummary:
        """Return the report's totals from its last page."""
        page = self.last
        assert page is not None, "a report has at least one page"
        return ReportSummary(
            gateway=gateway,
            day=where.lines_on,
            late_of=where.late_of,
            part="",
            report_ref=page.report_id,
            origin="gateway",
            format="canonical",
            closed=page.status is ReportStatus.CLOSED,
            line_count=page.line_count,
            gross_total=page.gross_total,
            net_total=page.net_total,
        )


def _cells(line: SettlementLine) -> tuple[object, ...]:
    booked_at = line.booked_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return (
        line.line_no, line.batch_id, None, line.transaction_id, line.reference, line.type,
        line.gross, line.fee, line.net, line.currency, booked_at, line.value_date.isoformat(),
    )  # fmt: skip

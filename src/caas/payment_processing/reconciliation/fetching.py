"""Diagram 10, "Fetch gateway settlement reports": page by page over HTTP, or from a file.

Either way the report ends as one file in the run's folder, on the workbench, with its control
totals checked before anything is applied (decision 33).

Rules a change must keep: the same report, fetched or given again, is the same report; pages that
repeat, loop or change the totals of a closed report are an error; what the gateway could not write
properly is kept aside with its reason; a report that has shrunk is refused.
"""

import asyncio
import csv
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date
from pathlib import Path
from typing import Any, Final

from caas.billing_database.settlement_reports import (
    ReportTold,
    SettlementReport,
    SettlementReports,
)
from caas.errors import UnavailableError
from caas.external_systems import report_files
from caas.external_systems.http_answers import GatewayFailure
from caas.external_systems.payment_gateway import (
    PaymentGateway,
    ReportStatus,
    SettlementLine,
    SettlementPage,
)
from caas.external_systems.reconciliation_workbench import Workbench
from caas.external_systems.reconciliation_workbench_reading import Quarantined, Sums
from caas.external_systems.report_files import BadReportError, ReportFile
from caas.rules.card_numbers import contains_card_number, scrub

PAGES_MAX: Final = 1_000_000
STORED_OTHERWISE: Final = "it says other than the line with its number that is stored"

COLUMNS: Final = (
    "line_no", "batch_id", "line_id", "transaction_id", "reference", "type", "gross", "fee", "net",
    "currency", "booked_at", "value_date",
)  # fmt: skip

Progress = Callable[[str, int, int], None]
"""Tell somebody how far it is: a phase, how much is done, and of how much."""


class ReportMovedError(BadReportError):
    """The report grew while it was being fetched; it will be whole the next time."""

    code = "report_moved"


class ReportUnavailableError(UnavailableError):
    """The gateway gave no settlement report; nothing was applied, ask again shortly."""

    code = "settlement_report_unavailable"


@dataclass(slots=True)
class Fetched:
    """A report on the workbench: who tells it, what is new in it, what could not be read."""

    told: ReportTold
    report: SettlementReport
    new: Sums
    quarantined: list[Quarantined]
    stored_otherwise: int = 0
    resume_cursor: str | None = None

    @property
    def lines(self) -> int:
        """How many lines the report has by our count: stored, new, and kept aside."""
        aside = len(self.quarantined) - self.stored_otherwise
        return self.report.lines_stored + self.new.lines + aside


@dataclass(slots=True)
class _Pages:
    """Pages on their way into a file."""

    path: Path
    lines: int = 0
    rows: int = 0
    quarantined: list[Quarantined] = field(default_factory=list)
    last: SettlementPage | None = None
    asked_with: str | None = None


class Fetching:
    """Brings reports to the workbench."""

    def __init__(
        self, *, gateway: PaymentGateway, reports: SettlementReports, progress: Progress
    ) -> None:
        """Fetch from this gateway and remember in these tables."""
        self._gateway = gateway
        self._reports = reports
        self._progress = progress

    async def from_gateway(self, day: date, bench: Workbench) -> Fetched:
        """Fetch a day's report over HTTP; what is stored of it is not fetched again.

        Raises:
            ReportUnavailableError: the gateway gave no usable answer.
            BadReportError: it contradicts itself, or what it said before.
        """
        known = await self._known(day, "")
        start = known.resume_cursor if known is not None else None
        pages = await self._pages(day, bench.folder / "pages.csv", start)
        told = _told_by_pages(self._gateway.name, day, pages)
        fetched = await self._onto_bench(told, bench, pages.path, pages)
        if not _adds_up(told, fetched):
            if start is None:
                raise _totals_differ(told, fetched)
            await self._reports.resume_at(fetched.report.id, None)
            raise ReportMovedError("The report changed where it had been read; it is read anew.")
        fetched.resume_cursor = None if fetched.quarantined else pages.asked_with
        return fetched

    async def from_file(self, day: date, path: Path, bench: Workbench) -> Fetched:
        """Take a report from a file in one of the known formats.

        Raises:
            BadReportError: it cannot be read, lacks lines, or contradicts what is stored.
        """
        file = await asyncio.to_thread(report_files.examine, path)
        await asyncio.to_thread(bench.read, file)
        await self._take_card_numbers_aside(bench)
        gaps = await asyncio.to_thread(bench.gaps)
        if gaps and file.format is report_files.CANONICAL:
            raise BadReportError(f"Line number {gaps[0]} is missing: the file lacks lines.")
        lines = (await asyncio.to_thread(bench.fresh)).lines
        told = await self._told_by_file(day, file, bench, lines)
        return await self._compare_with_stored(told, bench)

    async def _known(self, day: date, part: str) -> SettlementReport | None:
        parts = await self._reports.of_day(self._gateway.name, day)
        return next((report for report in parts if report.part == part), None)

    async def _pages(self, day: date, path: Path, cursor: str | None) -> _Pages:
        pages = _Pages(path)
        cursors: set[str | None] = set()
        with path.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for _ in range(PAGES_MAX):
                if cursor in cursors:
                    raise BadReportError("The pages of the report go round in a circle.")
                cursors.add(cursor)
                page = await self._page(day, cursor)
                _take_page(pages, page, writer)
                pages.asked_with = cursor
                self._progress("fetched", pages.rows, page.line_count)
                if page.next_cursor is None:
                    return pages
                cursor = page.next_cursor
        raise BadReportError(f"The report has more than {PAGES_MAX} pages.")

    async def _page(self, day: date, cursor: str | None) -> SettlementPage:
        try:
            return await self._gateway.settlements(day, cursor)
        except GatewayFailure as failure:
            raise ReportUnavailableError(
                f"The gateway gave no settlement report of {day}; nothing was applied, ask again "
                f"shortly. ({failure.sentence})"
            ) from failure

    async def _onto_bench(
        self, told: ReportTold, bench: Workbench, path: Path, pages: _Pages
    ) -> Fetched:
        if pages.lines:
            file = await asyncio.to_thread(report_files.examine, path)
            await asyncio.to_thread(bench.read, file)
            await self._take_card_numbers_aside(bench)
        else:
            await asyncio.to_thread(bench.read_nothing)
        fetched = await self._compare_with_stored(told, bench)
        fetched.quarantined += pages.quarantined
        return fetched

    async def _take_card_numbers_aside(self, bench: Workbench) -> None:
        candidates = await asyncio.to_thread(bench.card_candidates)
        holding = [place for place, text in candidates if contains_card_number(text)]
        if holding:
            await asyncio.to_thread(bench.card_numbers_aside, holding)

    async def _told_by_file(
        self, day: date, file: ReportFile, bench: Workbench, lines: int
    ) -> ReportTold:
        aside = len(await asyncio.to_thread(bench.quarantined))
        part, told_as = await asyncio.to_thread(_part_of, file, bench)
        return ReportTold(
            gateway=self._gateway.name,
            day=day,
            part=part,
            report_ref=told_as,
            origin="file",
            format=file.format.name,
            closed=True,
            line_count=lines + aside,
            gross_total=None,
            net_total=None,
        )

    async def _compare_with_stored(self, told: ReportTold, bench: Workbench) -> Fetched:
        """Leave out what is stored already, and see that nothing that is stored is gone."""
        stored = await self._reports.get(told.id)
        quarantined = [
            Quarantined(aside.place, aside.reason, scrub(aside.text))
            for aside in await asyncio.to_thread(bench.quarantined)
        ]
        before = (await asyncio.to_thread(bench.fresh)).lines
        contradicting: list[int] = []
        if stored is not None and stored.lines_stored:
            known = bench.folder / "known.csv"
            await self._reports.known_lines(stored.id, known)
            contradicting = await asyncio.to_thread(bench.forget_known, known)
            quarantined += [
                Quarantined(number + 1, STORED_OTHERWISE, f"line {number}")
                for number in contradicting
            ]
        new = await asyncio.to_thread(bench.fresh)
        if stored is not None and told.origin == "file":
            _refuse_shrunk(stored, known_again=before - new.lines)
        report = await self._reports.put(told)
        return Fetched(told, report, new, quarantined, len(contradicting))


def _take_page(pages: _Pages, page: SettlementPage, writer: Any) -> None:
    first = pages.last
    if first is not None and (first.report_id, first.date) != (page.report_id, page.date):
        raise BadReportError("The pages are not of one report.")
    if first is not None and page.status is ReportStatus.CLOSED:
        totals = (first.line_count, first.gross_total, first.net_total)
        if totals != (page.line_count, page.gross_total, page.net_total):
            raise ReportMovedError("The report's control totals changed between two pages.")
    for line in page.lines:
        writer.writerow(_cells(line))
    for bad in page.quarantined:
        place = pages.rows + bad.position + 2
        pages.quarantined.append(Quarantined(place, bad.reason, bad.text))
    pages.lines += len(page.lines)
    pages.rows += len(page.lines) + len(page.quarantined)
    pages.last = page


def _cells(line: SettlementLine) -> tuple[object, ...]:
    booked_at = line.booked_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return (
        line.line_no, line.batch_id, None, line.transaction_id, line.reference, line.type,
        line.gross, line.fee, line.net, line.currency, booked_at, line.value_date.isoformat(),
    )  # fmt: skip


def _told_by_pages(gateway: str, day: date, pages: _Pages) -> ReportTold:
    page = pages.last
    assert page is not None, "a report has at least one page"
    return ReportTold(
        gateway=gateway,
        day=day,
        part="",
        report_ref=page.report_id,
        origin="gateway",
        format="canonical",
        closed=page.status is ReportStatus.CLOSED,
        line_count=page.line_count,
        gross_total=page.gross_total,
        net_total=page.net_total,
    )


def _part_of(file: ReportFile, bench: Workbench) -> tuple[str, str]:
    """Return which part of a day a file is, and what its source calls it."""
    if file.format is report_files.CANONICAL:
        return "", f"file-{file.digest[:16]}"
    batches = bench.batches()
    if len(batches) == 1:
        return f"{file.format.name} {batches[0]}", batches[0]
    digest = hashlib.sha256("|".join(batches).encode()).hexdigest()[:16]
    return f"{file.format.name} {digest}", f"{len(batches)} batches"


def _adds_up(told: ReportTold, fetched: Fetched) -> bool:
    """Hold the control totals against what is stored and what is new; sums need every line."""
    stored, new = fetched.report, fetched.new
    if told.line_count is not None and fetched.lines != told.line_count:
        return False
    if fetched.quarantined:
        return True
    totals = (stored.gross_stored + new.gross, stored.net_stored + new.net)
    return totals == (told.gross_total, told.net_total)


def _totals_differ(told: ReportTold, fetched: Fetched) -> BadReportError:
    stored, new = fetched.report, fetched.new
    sentence = (
        f"The control totals do not agree: the gateway tells {told.line_count} lines, gross "
        f"{told.gross_total}, net {told.net_total}; there are {fetched.lines} lines, gross "
        f"{stored.gross_stored + new.gross}, net {stored.net_stored + new.net}."
    )
    return BadReportError(sentence) if told.closed else ReportMovedError(sentence)


def _refuse_shrunk(stored: SettlementReport, *, known_again: int) -> None:
    gone = stored.lines_stored - known_again
    if gone:
        raise BadReportError(f"{gone} lines of this report that are stored are not in the file.")

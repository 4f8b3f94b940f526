"""Diagram 10, "Fetch gateway settlement reports": page by page over HTTP, or from a file.

Both yield one file on the workbench, with its control totals checked (decision 33).

Rules a change must keep: fetching or submitting a report again gives the same report; repeated or
circular pages, and changed totals of a closed report, are errors; malformed lines are quarantined
with a reason; a report with fewer lines than stored is refused; this module stores nothing, so a
refused report has no effect.
"""

import asyncio
import csv
import hashlib
from collections.abc import Awaitable, Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Final, TypeVar
from uuid import UUID

import msgspec
from msgspec.structs import replace

from caas.billing_database.identifiers import derived_id
from caas.billing_database.line_identities import LineIdentities
from caas.billing_database.quarantined_lines import COUNTED, Quarantined, QuarantinedLines
from caas.billing_database.settlement_reports import (
    ReportSummary,
    SettlementReport,
    SettlementReports,
)
from caas.errors import UnavailableError
from caas.external_systems import report_files
from caas.external_systems.http_answers import GatewayFailure
from caas.external_systems.payment_gateway import (
    PaymentGateway,
    ReportStatus,
    SettlementFile,
    SettlementPage,
)
from caas.external_systems.reconciliation_workbench import Workbench
from caas.external_systems.reconciliation_workbench_reading import Sums
from caas.external_systems.report_files import BadReportError, ReportFile, ReportFormat
from caas.reconciliation.file_checks import Expected, Where, check_file
from caas.reconciliation.kept_aside import came_right, identity_of, kept_aside
from caas.reconciliation.known_rows import leave_out_stored_elsewhere, part_of_day, shrunk
from caas.reconciliation.report_pages import COLUMNS, ReportChangedError, ReportPages
from caas.rules.card_numbers import contains_card_number

PAGES_MAX: Final = 1_000_000

Answer = TypeVar("Answer")
Progress = Callable[[str, int, int], None]
"""Progress callback: phase, done, total."""


class ReportUnavailableError(UnavailableError):
    """The gateway returned no settlement report. Retry later."""

    code = "settlement_report_unavailable"


class Fetched(msgspec.Struct):
    """A report on the workbench: its source, its new lines, and its unreadable lines."""

    reported: ReportSummary
    parts: list[SettlementReport]
    stored: Sums
    new: Sums
    quarantined: list[Quarantined]
    come: list[UUID]
    resume_cursor: str | None = None
    resume_rows: int = 0
    elsewhere: dict[date, int] = msgspec.field(default_factory=dict)

    @property
    def lines(self) -> int:
        """Return the number of lines: stored, new, and quarantined."""
        aside = sum(bad.kind in COUNTED for bad in self.quarantined)
        return self.stored.lines + self.new.lines + aside

    @property
    def reports(self) -> list[UUID]:
        """Return the reports that hold its lines, including the one that takes the new lines."""
        return list({self.reported.id, *(part.id for part in self.parts)})


class Fetching:
    """Loads reports into the workbench."""

    def __init__(
        self,
        *,
        gateway: PaymentGateway,
        others: frozenset[str],
        reports: SettlementReports,
        identities: LineIdentities,
        quarantined: QuarantinedLines,
        progress: Progress,
        formats: tuple[ReportFormat, ...] = (),
    ) -> None:
        """Fetch from this gateway, or from files in these formats and the built-in ones.

        A file in the format of one of the `others` is refused.
        """
        self._formats = formats
        self._gateway = gateway
        self._others = others
        self._reports = reports
        self._identities = identities
        self._quarantined = quarantined
        self._progress = progress

    async def from_gateway(self, where: Where, bench: Workbench) -> Fetched:
        """Fetch a day's report from the gateway, as a file or page by page.

        Pages already stored are not fetched again.

        Raises:
            ReportUnavailableError: the gateway returned no usable response.
            BadReportError: the report contradicts itself or the stored one.
        """
        path = bench.folder / "report.csv"
        await self._refuse_if_followed_by_none(where)
        file = await self._response_to(where.day, self._gateway.settlement_file(where.day, path))
        if file is not None:
            return await self._from_gateway_file(where, file, path, bench)
        return await self._from_pages(where, bench)

    async def _refuse_if_followed_by_none(self, where: Where) -> None:
        """Wait with a day that may have no report of its own, until a later one has come."""
        by_day = self._gateway.capabilities.settlement_by_day
        if not by_day and not await self._reports.is_followed(self._gateway.name, where.day):
            raise ReportUnavailableError(
                f"No report of {where.day} has come, nor a later one that would cover it."
            )

    async def _from_gateway_file(
        self, where: Where, file: SettlementFile, path: Path, bench: Workbench
    ) -> Fetched:
        """Read the gateway's report file of a day; it may be empty."""
        reported = ReportSummary(
            gateway=self._gateway.name, day=where.lines_on, part="", report_ref=file.report_id,
            origin="gateway", format=file.format, closed=file.status is ReportStatus.CLOSED,
            line_count=None, gross_total=None, net_total=None, late_of=where.late_of,
        )  # fmt: skip
        known = await self._reports.get(reported.id)
        if known is not None and known.lines_stored and known.format != reported.format:
            raise BadReportError(
                f"The report of {where.day} is stored as {known.format}, but the "
                f"gateway now provides it as {reported.format}. Its lines would be "
                "stored twice."
            )
        if await asyncio.to_thread(report_files.has_lines, path):
            examined = await asyncio.to_thread(report_files.examine, path, bench.folder)
            await self._read_onto(bench, examined)
            await asyncio.to_thread(check_file, bench, where, Expected())
        else:
            await asyncio.to_thread(bench.read_nothing)
        fetched = await self._compare_with_stored(reported, bench, format_=report_files.STRIPE)
        fetched.reported = replace(reported, line_count=fetched.lines)
        return fetched

    async def _from_pages(self, where: Where, bench: Workbench) -> Fetched:
        known = await self._reports.get(_report_id(self._gateway.name, where.day, ""))
        resumed = known if known is not None and where.late_of is None else None
        pages = ReportPages(
            bench.folder / "pages.csv", rows_before=resumed.resume_rows if resumed else 0
        )
        start = resumed.resume_cursor if resumed else None
        await self._pages(where.day, pages, start)
        reported = pages.reported(self._gateway.name, where)
        await self._onto_bench(bench, pages)
        fetched = await self._compare_with_stored(reported, bench, whole=start is None)
        fetched.quarantined += pages.quarantined
        if not _totals_match(reported, fetched):
            if start is None:
                raise _totals_differ(reported, fetched)
            await self._reports.resume_at(reported.id, None)
            raise ReportChangedError("The report changed after it was fetched; fetch restarts.")
        if not fetched.quarantined and pages.cursor_sent is not None:
            fetched.resume_cursor = pages.cursor_sent
            fetched.resume_rows = pages.rows_before
        return fetched

    async def from_file(
        self, where: Where, path: Path, bench: Workbench, expected: Expected
    ) -> Fetched:
        """Read a report from a file in a known format.

        Raises:
            BadReportError: the file is unreadable, belongs to another day, lacks lines, or
                contradicts the stored report.
        """
        file = await asyncio.to_thread(
            partial(
                report_files.examine, path, bench.folder, self._formats,
                may_be_empty=expected.lines == 0,
            )
        )  # fmt: skip
        if (its := file.format.name) in self._others:
            raise BadReportError(f"It is a report of '{its}'. Reconcile it with --gateway {its}.")
        await self._read_onto(bench, file)
        canonical = file.format is report_files.CANONICAL
        gaps = await asyncio.to_thread(bench.gaps) if canonical else []
        if gaps:
            raise BadReportError(f"Line number {gaps[0]} is missing; the file is incomplete.")
        await asyncio.to_thread(check_file, bench, where, expected)
        if not file.lines:
            await self._refuse_if_stored(where, file.format)
        reported = await self._summary_of_file(where, file, bench)
        fetched = await self._compare_with_stored(reported, bench, format_=file.format)
        fetched.reported = replace(reported, line_count=fetched.lines)
        return fetched

    async def _pages(self, day: date, pages: ReportPages, cursor: str | None) -> None:
        cursors: set[str | None] = set()
        with pages.path.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for _ in range(PAGES_MAX):
                if cursor in cursors:
                    raise BadReportError("The pages of the report form a loop.")
                cursors.add(cursor)
                page = await self._page(day, cursor)
                pages.cursor_sent, pages.rows_before = cursor, pages.rows_before + pages.rows
                pages.rows = 0
                pages.take(page, writer)
                self._progress("fetched", pages.rows_before + pages.rows, page.line_count)
                if page.next_cursor is None:
                    return
                cursor = page.next_cursor
        raise BadReportError(f"The report has more than {PAGES_MAX} pages.")

    async def _page(self, day: date, cursor: str | None) -> SettlementPage:
        return await self._response_to(day, self._gateway.settlements(day, cursor))

    async def _response_to(self, day: date, call: Awaitable[Answer]) -> Answer:
        try:
            return await call
        except GatewayFailure as failure:
            raise ReportUnavailableError(
                f"The gateway returned no settlement report for {day}. Retry later. "
                f"({failure.sentence})"
            ) from failure

    async def _onto_bench(self, bench: Workbench, pages: ReportPages) -> None:
        if not pages.lines:
            await asyncio.to_thread(bench.read_nothing)
            return
        file = await asyncio.to_thread(report_files.examine, pages.path, bench.folder)
        await self._read_onto(bench, file, paged=True)

    async def _read_onto(self, bench: Workbench, file: ReportFile, *, paged: bool = False) -> None:
        """Read a file into the workbench and quarantine lines that contain a card number."""
        await asyncio.to_thread(partial(bench.read, file, paged=paged))
        candidates = await asyncio.to_thread(bench.card_candidates)
        holding = [place for place, text in candidates if contains_card_number(text)]
        if holding:
            await asyncio.to_thread(bench.card_numbers_aside, holding)

    async def _summary_of_file(
        self, where: Where, file: ReportFile, bench: Workbench
    ) -> ReportSummary:
        batches = await asyncio.to_thread(bench.batches)
        part, format_name = _part_of(file, batches)
        if file.format.lines_have_ids:
            source = (self._gateway.name, file.format.name, where.day)
            ids = await asyncio.to_thread(bench.ids)
            part = await part_of_day(self._identities, source, part, ids)
        if not part and not await self._is_day_report(where, batches):
            part = f"{file.format.name} {_name_of(file, batches)}"
        return ReportSummary(
            gateway=self._gateway.name,
            day=where.lines_on,
            part=part,
            report_ref=format_name,
            origin="file",
            format=file.format.name,
            closed=True,
            line_count=None,
            gross_total=None,
            net_total=None,
            late_of=where.late_of,
        )

    async def _refuse_if_stored(self, where: Where, format_: ReportFormat) -> None:
        """Refuse an empty file of a day of which lines in its format are stored."""
        reports = await self._reports.of_day(self._gateway.name, where.day)
        stored = sum(it.lines_stored for it in reports if it.format == format_.name)
        if stored:
            raise BadReportError(
                f"The report has shrunk: {stored} stored lines are no longer in it. The stored "
                "lines remain."
            )

    async def _is_day_report(self, where: Where, batches: list[str]) -> bool:
        """Return whether a canonical file is the day's own report, or one of its batches."""
        first = await self._reports.get(_report_id(self._gateway.name, where.day, ""))
        return first is None or await self._reports.shares_batch(first.id, batches)

    async def _compare_with_stored(
        self,
        reported: ReportSummary,
        bench: Workbench,
        *,
        whole: bool = True,
        format_: ReportFormat | None = None,
    ) -> Fetched:
        """Drop lines already stored, and check that no stored line is missing.

        For files, whose format is known, also drop lines stored in other reports.
        """
        identity = identity_of(format_)
        by_id = identity.by_id
        parts = await self._parts(reported)
        stored = Sums(
            sum(part.lines_stored for part in parts), sum(part.gross_stored for part in parts),
            sum(part.net_stored for part in parts),
        )  # fmt: skip
        asides = await self._quarantined.aside([part.id for part in parts])
        if stored.lines:
            known = bench.folder / "known.csv"
            await self._reports.known_lines([part.id for part in parts], known)
            again = await asyncio.to_thread(
                partial(bench.take_known, known, by_id=by_id, by_number=identity.by_number)
            )
            if whole and again < stored.lines and (again or not by_id):
                raise await shrunk(bench, stored.lines - again, format_)
            await asyncio.to_thread(bench.contradicting_aside)
        well_formed = await asyncio.to_thread(bench.well_formed) if asides else (set(), set())
        elsewhere: dict[date, int] = {}
        if format_ is not None:
            own = [reported.id, *(part.id for part in parts)]
            elsewhere = await leave_out_stored_elsewhere(
                self._identities, reported, own, bench, format_
            )
        quarantined = await kept_aside(bench, identity, any_stored=stored.lines > 0)
        come = came_right(asides, well_formed, quarantined, identity)
        if stored.lines:
            await asyncio.to_thread(bench.forget_known)
        new = await asyncio.to_thread(bench.fresh)
        return Fetched(reported, parts, stored, new, quarantined, come, elsewhere=elsewhere)

    async def _parts(self, reported: ReportSummary) -> list[SettlementReport]:
        """Return the reports that hold these lines; for a sealed day, including its late reports.

        The report that takes the new lines may be among them.
        """
        day = reported.late_of or reported.day
        first = await self._reports.get(_report_id(reported.gateway, day, reported.part))
        late = (
            await self._reports.late_parts(reported.gateway, day, reported.part)
            if reported.late_of
            else []
        )
        return [*([first] if first is not None else []), *late]


def _report_id(gateway: str, day: date, part: str) -> UUID:
    """Return the id of a day's own report."""
    return derived_id("settlement report", gateway, day, part)


def _part_of(file: ReportFile, batches: list[str]) -> tuple[str, str]:
    """Return which part of a day a file is, and its source's name for it."""
    if file.format is report_files.CANONICAL:
        return "", f"file-{file.digest[:16]}"
    name = f"{file.format.name} {_name_of(file, batches)}"
    return name, batches[0] if len(batches) == 1 else f"{len(batches)} batches"


def _name_of(file: ReportFile, batches: list[str]) -> str:
    """Return what the batches of a file are called together; without any it is that file."""
    if len(batches) == 1:
        return batches[0]
    if not batches:
        return file.digest[:16]
    return hashlib.sha256("|".join(batches).encode()).hexdigest()[:16]


def _totals_match(reported: ReportSummary, fetched: Fetched) -> bool:
    """Compare the control totals with the lines; amounts only if every line is readable."""
    stored, new = fetched.stored, fetched.new
    if reported.line_count is not None and fetched.lines != reported.line_count:
        return False
    if fetched.quarantined:
        return True
    totals = (stored.gross + new.gross, stored.net + new.net)
    return totals == (reported.gross_total, reported.net_total)


def _totals_differ(reported: ReportSummary, fetched: Fetched) -> BadReportError:
    stored, new = fetched.stored, fetched.new
    sentence = (
        f"The control totals do not match. The gateway reports {reported.line_count} lines, gross "
        f"{reported.gross_total}, net {reported.net_total}; found are {fetched.lines} lines, gross "
        f"{stored.gross + new.gross}, net {stored.net + new.net}."
    )
    return BadReportError(sentence) if reported.closed else ReportChangedError(sentence)

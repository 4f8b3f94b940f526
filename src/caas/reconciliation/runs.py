"""A reconciliation run (Diagram 10): fetch, compare, apply, and set the day's verdict.

Rules a change must keep: one run per gateway at a time; the compared data is stored before anything
is applied, so that an interrupted run can be repeated with the same result; a comparison begins
once the whole report is on this machine.
"""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import replace

from caas.billing_database.discrepancies import Discrepancies
from caas.billing_database.identifiers import derived_id, new_id
from caas.billing_database.line_identities import LineIdentities
from caas.billing_database.quarantined_lines import QuarantinedLines
from caas.billing_database.reconciliation_days import (
    DayNotFoundError,
    ReconciliationDay,
    ReconciliationDays,
    ReconciliationRun,
    RunEnd,
)
from caas.billing_database.report_terms import ReportTerms
from caas.billing_database.settlement_reports import STORED, SettlementReport, SettlementReports
from caas.billing_database.tables import BillingDatabase
from caas.errors import CaasError, RefusedError
from caas.external_systems.disk_space import reporting_full_disk
from caas.external_systems.payment_gateway import PaymentGateway
from caas.external_systems.reconciliation_engine import ReconciliationEngine
from caas.external_systems.reconciliation_workbench import Workbench
from caas.external_systems.report_files import BadReportError
from caas.payment_processing.flow import Alert
from caas.reconciliation.apply_results import ResultApplication
from caas.reconciliation.comparison import Compared, Comparison, ReadReport, Terms
from caas.reconciliation.fetching import Fetched, Fetching, Progress
from caas.reconciliation.file_checks import Expected, Where
from caas.reconciliation.finance_terms import FinanceTerms, Preview
from caas.reconciliation.judged_rows import Run
from caas.reconciliation.known_rows import remarks
from caas.reconciliation.report_pages import ReportChangedError
from caas.reconciliation.reporting import FIRST_DAY, DayOutOfReachError
from caas.reconciliation.run_cases import RunCases
from caas.reconciliation.throttle import SMALL_LINES_MAX, Throttle, throttled
from caas.rules.compared_relations import POSTING, RULE_VERSION, names
from caas.rules.settlement_dates import FeeTerms

FETCHES_MAX: Final = 3
CLOSE: Final = "close"
INCREMENTAL: Final = "incremental"
KEPT: Final = "compared"
KEPT_DAYS_MAX: Final = 400
SECONDS_IN_A_DAY: Final = 86_400


class NotReplayableError(RefusedError):
    """The data this run compared was not kept or is not on this machine."""

    code = "not_replayable"


class ReconciliationSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of this machine: time zone, folder, agreed fees, engine, and other gateways."""

    zone: ZoneInfo
    folder: Path
    fees: FeeTerms | None = None
    engine: ReconciliationEngine | None = None
    drop_folder: Path | None = None
    other_gateways: frozenset[str] = frozenset()


class Reconciled(msgspec.Struct, frozen=True):
    """Result of a run, and the verdict of its day."""

    run: ReconciliationRun
    day: ReconciliationDay


class Source(msgspec.Struct, frozen=True):
    """The source of a run's report, and the run's mode."""

    where: Where
    file: Path | None
    expected: Expected
    mode: str


class Runs:
    """Executes reconciliation runs."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        gateway: PaymentGateway,
        alert: Alert,
        settings: ReconciliationSettings,
        comparison: Comparison | None = None,
        apply_results: ResultApplication | None = None,
    ) -> None:
        """Reconcile this gateway with these tables."""
        self._tables = tables
        self._gateway = gateway
        self._cases = RunCases(tables.cases, alert, gateway.name)
        self._settings = settings
        self.days = ReconciliationDays(tables.database, zone=settings.zone.key)
        self.reports = SettlementReports(tables.database)
        self._identities = LineIdentities(tables.database)
        self.quarantined = QuarantinedLines(tables.database)
        self.discrepancies = Discrepancies(tables.database)
        self.finance_terms = FinanceTerms(
            ReportTerms(tables.database), gateway=gateway.name, zone=settings.zone
        )
        self._comparison = comparison or Comparison(
            tables.database, zone=settings.zone, engine=settings.engine
        )
        self._result_application = apply_results or ResultApplication(
            tables, reports=self.reports, discrepancies=self.discrepancies, days=self.days
        )

    async def reconcile(
        self,
        day: date,
        *,
        file: Path | None = None,
        expected: Expected = Expected(),  # noqa: B008 - it is frozen
        mode: str = CLOSE,
        progress: Progress = lambda *_: None,
        patience_seconds: float = 0.0,
    ) -> Reconciled:
        """Reconcile a day: fetch or read its report, compare, apply, and set the verdict.

        New lines for a sealed day go to the next open day as a late report. If another run is in
        progress, wait up to `patience_seconds`.

        Raises:
            BadReportError: the report is invalid; nothing was run.
            ReportUnavailableError: the gateway returned no usable response; retry later.
            AlreadyReconcilingError, DaySealedError, DayOutOfReachError: the day cannot be
                reconciled now.
        """
        today, now = await self.days.today()
        if not FIRST_DAY <= day <= max(today, now.date()):
            raise DayOutOfReachError
        async with self.days.alone(self._gateway.name, patience_seconds=patience_seconds):
            lines_on = await self.days.day_of_lines(self._gateway.name, day)
            where = Where(day=day, lines_on=lines_on, zone=self._settings.zone)
            source = Source(where, file, expected, INCREMENTAL if where.late_of else mode)
            run_id = await self._run_exclusively(source, progress)
        try:
            judged = await self.days.get(self._gateway.name, lines_on)
        except DayNotFoundError:  # the late lines were already stored; no day was opened
            judged = await self.days.get(self._gateway.name, day)
        return Reconciled(await self.days.run(run_id), judged)

    async def _run_exclusively(self, source: Source, progress: Progress) -> UUID:
        """Run under the gateway's lock and record the outcome, whatever it is."""
        run_id, where = new_id(), source.where
        await asyncio.to_thread(shutil.rmtree, self._running(), ignore_errors=True)
        if source.file is None and where.late_of is None:
            await self.days.open_day(self._gateway.name, where.lines_on)
        await self.days.begin(
            run_id, self._gateway.name, where.lines_on, source.mode, RULE_VERSION,
            late_of=where.late_of,
        )  # fmt: skip
        try:
            async with throttled(self._tables.database) as throttle:
                end = await self._run(run_id, source, progress, throttle)
        except CaasError as error:
            await self._refused(run_id, where.day, error)
            raise
        except BaseException as error:
            stopped = RunEnd(state="stopped", because=_stop_reason(error))
            with contextlib.suppress(CaasError):
                await asyncio.shield(self.days.end(run_id, stopped))
                if isinstance(error, Exception):
                    await self._cases.stopped(where.day, stopped.because or "")
            raise
        await self.days.end(run_id, end)
        await self._cases.ended(where.day)
        return run_id

    @asynccontextmanager
    async def kept_for_now(self, content: bytes) -> AsyncIterator[Path]:
        """Store uploaded content as a file for the duration of the block.

        Raises:
            DiskFullError: the disk is full.
        """
        file = self._settings.folder / "sent" / f"{new_id()}.csv"
        with reporting_full_disk(file.parent):
            await asyncio.to_thread(file.parent.mkdir, parents=True, exist_ok=True)
            try:
                await asyncio.to_thread(file.write_bytes, content)
                yield file
            finally:
                await asyncio.to_thread(file.unlink, missing_ok=True)

    async def preview(self, file: Path, mapping: dict[str, Any] | None = None) -> Preview:
        """Show how a file would be read; nothing is stored."""
        bench = _bench(self._settings.folder / "previewing")
        return await self.finance_terms.preview(file, bench, mapping)

    async def replay(self, run_id: UUID) -> str:
        """Repeat a run's comparison; return the digest of its result, which must equal the run's.

        Raises:
            RunNotFoundError: no run has this id.
            NotReplayableError: the compared data is not on this machine.
        """
        run = await self.days.run(run_id)
        kept = self._settings.folder / KEPT / str(run.id)
        if not kept.is_dir():
            raise NotReplayableError(run=str(run.id))
        async with _bench(self._settings.folder / "replaying") as bench:
            await asyncio.to_thread(bench.take_kept, kept)
            await self._comparison.judge(bench, Throttle())
            with closing(bench.outcome_lines(names(STORED))) as outcome:
                return await asyncio.to_thread(outcome.end)

    async def _run(
        self, run_id: UUID, source: Source, progress: Progress, throttle: Throttle
    ) -> RunEnd:
        for attempt in range(1, FETCHES_MAX + 1):
            terms = await self._terms(source)
            async with (
                _bench(self._running()) as bench,
                self._comparison.of(self._gateway.name, terms, bench, throttle) as comparing,
            ):
                if source.file is not None:
                    comparing.begin()  # it is on this machine already
                try:
                    fetched = await self._fetch(source, bench, progress)
                except ReportChangedError:
                    if attempt == FETCHES_MAX:
                        raise
                    continue
                throttle.is_small = fetched.new.lines <= SMALL_LINES_MAX
                progress("compared", 0, fetched.new.lines)
                compared = await comparing.end(await self._read_report(fetched))
                progress("compared", fetched.new.lines, fetched.new.lines)
                return await self._apply(
                    run_id, fetched, compared, source,
                    bench=bench, progress=progress, throttle=throttle,
                )  # fmt: skip
        raise AssertionError("the last attempt returns or raises")

    async def _fetch(self, source: Source, bench: Workbench, progress: Progress) -> Fetched:
        formats = await self.finance_terms.formats() if source.file is not None else ()
        fetching = Fetching(
            gateway=self._gateway,
            others=self._settings.other_gateways,
            reports=self.reports,
            progress=progress,
            formats=formats,
            identities=self._identities,
            quarantined=self.quarantined,
        )
        if source.file is None:
            return await fetching.from_gateway(source.where, bench)
        return await fetching.from_file(source.where, source.file, bench, source.expected)

    async def _read_report(self, fetched: Fetched) -> ReadReport:
        reported = fetched.reported
        fees = await self.finance_terms.fees_of(reported.format, reported.day)
        return ReadReport(str(reported.id), fees)

    async def _apply(
        self,
        run_id: UUID,
        fetched: Fetched,
        compared: Compared,
        source: Source,
        *,
        bench: Workbench,
        progress: Progress,
        throttle: Throttle,
    ) -> RunEnd:
        reported = fetched.reported
        kept = await throttle.alone(
            partial(bench.keep_compared, self._settings.folder / KEPT / str(run_id))
        )
        report = await self._take(fetched, bench)
        today, _ = await self.days.today()
        run = Run(
            id=run_id,
            gateway=reported.gateway,
            day=reported.day,
            today=today,
            report=report,
            closing=source.mode == CLOSE,
        )
        applied = await self._result_application.apply(run, bench, progress, throttle)
        await self.quarantined.release_come(fetched.come)
        if reported.late_of is None:
            await self.reports.resume_at(report.id, fetched.resume_cursor, rows=fetched.resume_rows)
        await asyncio.to_thread(_forget_old, self._settings.folder / KEPT)
        return RunEnd(
            state="done",
            engine=compared.engine,
            as_of=compared.as_of,
            lines=fetched.new.lines,
            input_hash=kept,
            output_hash=applied.output_hash,
            counts=applied.counts,
            cleared=applied.cleared,
            because=remarks(fetched.elsewhere, await asyncio.to_thread(bench.not_comparable)),
        )

    async def _take(self, fetched: Fetched, bench: Workbench) -> SettlementReport:
        """Store a compared report and its unreadable lines.

        A late report without new lines is not stored.
        """
        reported = fetched.reported
        if reported.late_of is not None:
            again = await asyncio.to_thread(bench.besides, "again")
            taken_now = any(row["class"] in POSTING for row in again)
            if fetched.parts and not (fetched.new.lines or fetched.quarantined or taken_now):
                return fetched.parts[-1]
            reported = replace(reported, line_count=None, gross_total=None, net_total=None)
        await self.days.open_day(reported.gateway, reported.day)
        report = await self.reports.put(reported)
        parts = [part.id for part in fetched.parts]
        await self.quarantined.keep(report.id, fetched.quarantined, parts=parts)
        return report

    async def _terms(self, source: Source) -> Terms:
        day = source.where.lines_on
        last_day, last_as_of = await self.days.last_compared(self._gateway.name, day)
        return Terms(
            day=day,
            fees=self._settings.fees,
            closing=source.mode == CLOSE,
            last_day=last_day,
            last_as_of=last_as_of,
            last_run_as_of=await self.days.last_run_as_of(self._gateway.name),
        )

    async def _refused(self, run_id: UUID, day: date, error: CaasError) -> None:
        """Open a case for a refused report; an unavailable gateway needs none."""
        await self.days.end(run_id, RunEnd(state="refused", because=error.sentence))
        if isinstance(error, BadReportError) and not isinstance(error, ReportChangedError):
            await self._cases.refused(day, error.sentence)

    def _running(self) -> Path:
        """Return the folder of running comparisons, without leftovers of killed runs."""
        return self._settings.folder / "running" / str(derived_id("running", self._gateway.name))


def _forget_old(kept: Path) -> None:
    """Delete comparison data that is too old to be replayed."""
    written = {folder: folder.stat().st_mtime for folder in kept.iterdir()}
    oldest = max(written.values()) - KEPT_DAYS_MAX * SECONDS_IN_A_DAY
    for folder, at in written.items():
        if at < oldest:
            shutil.rmtree(folder, ignore_errors=True)


def _stop_reason(error: BaseException) -> str:
    if isinstance(error, (asyncio.CancelledError, KeyboardInterrupt)):
        return "it was interrupted; run it again to resume"
    return f"unexpected error ({type(error).__name__}); see the log"


@asynccontextmanager
async def _bench(within: Path) -> AsyncIterator[Workbench]:
    """Open a workbench in a folder of its own for the duration of the block.

    Raises:
        DiskFullError: the disk is full.
    """
    folder = within / str(new_id())
    with reporting_full_disk(within):
        await asyncio.to_thread(folder.mkdir, parents=True)
        try:
            bench = await asyncio.to_thread(Workbench, folder)
            try:
                yield bench
            finally:
                await asyncio.to_thread(bench.close)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

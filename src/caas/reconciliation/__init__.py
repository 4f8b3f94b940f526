"""Reconciliation (Diagram 10): compares the gateway's settlement reports with our records.

Rule a change must keep: imports between the modules go one way: schedule, runs, then fetching,
comparison and apply_results.
"""

from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from caas.billing_database.gateway_claims import GatewayClaims
from caas.billing_database.reconciliation_days import (
    ReconciliationDay,
    ReconciliationDays,
    ReconciliationRun,
)
from caas.billing_database.settlement_reports import (
    QuarantinedLineNotFoundError,
    QuarantinedRow,
)
from caas.billing_database.tables import BillingDatabase
from caas.dual_control import checked_note
from caas.external_systems.payment_gateway import PaymentGateway
from caas.jobs import JobQueue
from caas.payment_processing.chargeback_lines import ChargebackLines
from caas.payment_processing.charges import Charges
from caas.payment_processing.flow import Alert
from caas.payment_processing.settlement import Settlement
from caas.reconciliation.bulk import Bulk
from caas.reconciliation.drop_folder import DropFolder
from caas.reconciliation.fetching import Progress
from caas.reconciliation.file_checks import Expected, NetWithoutCurrencyError
from caas.reconciliation.finance_terms import Preview
from caas.reconciliation.investigation import Investigation
from caas.reconciliation.late_lines import LateLines
from caas.reconciliation.reporting import Reporting
from caas.reconciliation.resolution_actions import ResolutionActions, Void
from caas.reconciliation.runs import (
    CLOSE,
    INCREMENTAL,
    Reconciled,
    ReconciliationSettings,
    Runs,
)
from caas.reconciliation.schedule import Schedule
from caas.rules.time_scale import TimeScale

__all__ = [
    "CLOSE",
    "INCREMENTAL",
    "Expected",
    "NetWithoutCurrencyError",
    "Reconciled",
    "Reconciliation",
    "ReconciliationSettings",
]


class Reconciliation:
    """Reconciles days, resolves discrepancies, seals days, and reports on them (Diagram 10)."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        gateway: PaymentGateway,
        charges: Charges,
        settlement: Settlement,
        void: Void,
        alert: Alert,
        time_scale: TimeScale,
        settings: ReconciliationSettings,
    ) -> None:
        """Reconcile this gateway; `void` is the seed's voidPayment."""
        self._tables = tables
        self._gateway_name = gateway.name
        self._runs = Runs(tables=tables, gateway=gateway, alert=alert, settings=settings)
        self.discrepancies = self._runs.discrepancies
        self.reports = self._runs.reports
        self.finance_terms = self._runs.finance_terms
        self.days: ReconciliationDays = self._runs.days
        self._late_lines = LateLines(tables, settlement, charges)
        self._resolution_actions = ResolutionActions(
            tables=tables,
            discrepancies=self.discrepancies,
            reports=self.reports,
            gateway=gateway,
            settlement=settlement,
            chargeback_lines=ChargebackLines(tables),
            charges=charges,
            void=void,
            time_scale=time_scale,
        )
        self._build_investigation(settings.zone)
        self.reporting = Reporting(
            tables.database, gateway=gateway.name, zone=settings.zone, days=self.days
        )
        self._build_jobs(alert, settings)

    def _build_jobs(self, alert: Alert, settings: ReconciliationSettings) -> None:
        """Set up the scheduled jobs and the drop folder."""
        self._schedule = Schedule(
            tables=self._tables,
            days=self.days,
            gateway=self._gateway_name,
            zone=settings.zone,
            reconcile=lambda day, mode: self._runs.reconcile(day, mode=mode),
        )
        self._drop_folder = DropFolder(
            settings.drop_folder,
            tables=self._tables,
            days=self.days,
            preview=self._runs.preview,
            reconcile=lambda day, file: self._runs.reconcile(day, file=file),
            alert=alert,
            gateway=self._gateway_name,
        )

    def _build_investigation(self, zone: ZoneInfo) -> None:
        """Set up the investigation of discrepancies."""
        claims = GatewayClaims(self._tables.database, zone=zone)
        self.investigation = Investigation(
            self._tables,
            discrepancies=self.discrepancies,
            reports=self.reports,
            days=self.days,
            resolution_actions=self._resolution_actions,
            claims=claims,
        )
        self.bulk = Bulk(
            discrepancies=self.discrepancies,
            investigation=self.investigation,
            claims=claims,
            gateway=self._gateway_name,
        )

    @property
    def gateway_name(self) -> str:
        """Return the name of the reconciled gateway."""
        return self._gateway_name

    def register(self, jobs: JobQueue) -> None:
        """Register the job handlers."""
        self._late_lines.register(jobs)
        self._resolution_actions.register(jobs)
        self._schedule.register(jobs)
        self._drop_folder.register(jobs)

    async def begin_schedule(self) -> None:
        """Schedule the recurring jobs; idempotent."""
        await self._schedule.begin()
        await self._drop_folder.begin()

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

        New lines for a sealed day go to the next open day as late lines. If another run is in
        progress, wait up to `patience_seconds`.

        Raises:
            BadReportError: the report is invalid; nothing was applied.
            ReportUnavailableError: the gateway returned no usable response; retry later.
            AlreadyReconcilingError, DaySealedError, DayOutOfReachError: the day cannot be
                reconciled now.
        """
        return await self._runs.reconcile(
            day, file=file, expected=expected, mode=mode, progress=progress,
            patience_seconds=patience_seconds,
        )  # fmt: skip

    async def reconcile_content(
        self, day: date, content: bytes, *, expected: Expected, patience_seconds: float = 0.0
    ) -> Reconciled:
        """Reconcile a day from an uploaded file; see `reconcile`."""
        async with self._runs.kept_for_now(content) as file:
            return await self._runs.reconcile(
                day, file=file, expected=expected, patience_seconds=patience_seconds
            )

    async def preview_content(
        self, content: bytes, mapping: dict[str, Any] | None = None
    ) -> Preview:
        """Show how an uploaded file would be read; nothing is stored.

        Raises:
            BadReportError: the file cannot be read.
        """
        async with self._runs.kept_for_now(content) as file:
            return await self._runs.preview(file, mapping)

    async def preview(self, file: Path, mapping: dict[str, Any] | None = None) -> Preview:
        """Show how a file would be read; nothing is stored.

        Raises:
            BadReportError: the file cannot be read.
        """
        return await self._runs.preview(file, mapping)

    async def replay(self, run_id: UUID) -> str:
        """Repeat a run's comparison; return the digest of its result, which must equal the run's.

        Raises:
            RunNotFoundError: no run has this id.
            NotReplayableError: the compared data is not on this machine.
        """
        return await self._runs.replay(run_id)

    async def run(self, run_id: UUID) -> ReconciliationRun:
        """Return a run.

        Raises:
            RunNotFoundError: no run has this id.
        """
        return await self.days.run(run_id)

    async def runs_of(self, day: date) -> list[ReconciliationRun]:
        """Return a day's runs, newest first."""
        return await self.days.runs_of(self._gateway_name, day)

    async def listed(self) -> list[ReconciliationDay]:
        """Return the days with their verdicts, newest first."""
        return await self.days.listed(self._gateway_name)

    async def quarantined(self, day: date) -> list[QuarantinedRow]:
        """Return a day's unreadable lines, including released ones."""
        return await self.reports.quarantined(self._gateway_name, day)

    async def verdict(self, day: date) -> ReconciliationDay:
        """Compute a day's verdict from the stored data.

        Raises:
            DayNotFoundError: the day was never compared.
        """
        return await self.days.get(self._gateway_name, day)

    async def seal(self, day: date, *, by: str) -> ReconciliationDay:
        """Seal a closed day with its report; afterwards the day cannot change.

        Raises:
            DayNotClosedError: it is incomplete, has open discrepancies, or is already sealed.
        """
        return await self.days.seal(self._gateway_name, day, by=by, forms=self.reporting.written)

    async def release_quarantined(
        self, report_id: UUID, place: int, *, by: str, note: str
    ) -> ReconciliationDay:
        """Release an unreadable line with a reason; return its day.

        Raises:
            QuarantinedLineNotFoundError: no line is quarantined at this place.
            DaySealedError: the day is sealed.
        """
        report = await self.reports.get(report_id)
        if report is None:
            raise QuarantinedLineNotFoundError
        async with self._tables.database.transaction() as connection:
            await self.days.refuse_sealed(self._gateway_name, report.day, within=connection)
        await self.reports.release(report_id, place, by=by, note=checked_note(note))
        return await self.days.get(self._gateway_name, report.day)

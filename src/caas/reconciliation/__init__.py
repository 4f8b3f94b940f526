"""Reconciliation (Diagram 10): compares the gateways' settlement reports with our records.

Rule a change must keep: imports between the modules go one way: schedule, runs, then fetching,
comparison and apply_results.
"""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, Never
from uuid import UUID
from zoneinfo import ZoneInfo

from caas.billing_database.bulk_proposals import BulkProposals
from caas.billing_database.gateway_claims import GatewayClaims
from caas.billing_database.identifiers import derived_id
from caas.billing_database.job_rows import Job
from caas.billing_database.quarantined_lines import (
    QuarantinedLineNotFoundError,
    QuarantinedRow,
)
from caas.billing_database.reconciliation_days import (
    ReconciliationDay,
    ReconciliationDays,
    ReconciliationRun,
)
from caas.billing_database.tables import BillingDatabase
from caas.dual_control import checked_note
from caas.errors import NotFoundError, RefusedError
from caas.external_systems.report_files import BadReportError
from caas.jobs import Answer, Done, JobQueue
from caas.payment_processing.chargeback_lines import ChargebackLines
from caas.payment_processing.charges import Charges
from caas.payment_processing.flow import Alert
from caas.payment_processing.gateways import Gateways
from caas.payment_processing.returned_refunds import ReturnedRefunds
from caas.payment_processing.settlement import Settlement
from caas.reconciliation.bulk import Bulk
from caas.reconciliation.drop_folder import DROPPED, DropFolder
from caas.reconciliation.fetching import Progress
from caas.reconciliation.file_checks import Expected, NetWithoutCurrencyError
from caas.reconciliation.finance_terms import Preview
from caas.reconciliation.investigation import Investigation
from caas.reconciliation.late_lines import LateLines
from caas.reconciliation.of_gateway import GatewayReconciliation, settings_of
from caas.reconciliation.own_refunds import OwnRefunds
from caas.reconciliation.resolution_actions import ResolutionActions, Void
from caas.reconciliation.runs import (
    CLOSE,
    INCREMENTAL,
    Reconciled,
    ReconciliationSettings,
)
from caas.reconciliation.schedule import DAILY, HOURLY
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


class GatewayNotNamedError(RefusedError):
    """Several payment gateways are configured. Name the one whose report this is."""

    code = "gateway_not_named"


class GatewayNotReconciledError(NotFoundError):
    """No payment gateway of this name is configured."""

    code = "gateway_not_reconciled"


class Reconciliation:
    """Reconciles days, resolves discrepancies, seals days, and reports on them (Diagram 10).

    Where a `gateway` can be named, None is the gateway of new payments.
    """

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        gateways: Gateways,
        charges: Charges,
        settlement: Settlement,
        void: Void,
        returned_refunds: ReturnedRefunds,
        alert: Alert,
        time_scale: TimeScale,
        settings: ReconciliationSettings,
    ) -> None:
        """Reconcile these gateways; `void` is the seed's voidPayment."""
        self._tables = tables
        self._by_gateway = _each(tables, gateways, alert, settings)
        first = self._by_gateway[gateways.for_new_payments]
        self._first = first
        self.discrepancies = first.runs.discrepancies
        self.reports = first.runs.reports
        self._quarantined = first.runs.quarantined
        self.finance_terms = first.finance_terms
        self.reporting = first.reporting
        self.days: ReconciliationDays = first.runs.days
        self._late_lines = LateLines(tables, settlement, charges)
        self._resolution_actions = ResolutionActions(
            tables=tables,
            discrepancies=self.discrepancies,
            reports=self.reports,
            gateways=gateways,
            settlement=settlement,
            chargeback_lines=ChargebackLines(tables),
            charges=charges,
            void=void,
            time_scale=time_scale,
        )
        self._build_investigation(settings.zone, OwnRefunds(tables, self.reports, returned_refunds))
        self._unassigned = _unassigned_reports(first, tables, gateways, alert, settings)

    def _build_investigation(self, zone: ZoneInfo, own_refunds: OwnRefunds) -> None:
        """Set up the investigation of discrepancies."""
        claims = GatewayClaims(self._tables.database, zone=zone)
        self.investigation = Investigation(
            self._tables,
            discrepancies=self.discrepancies,
            reports=self.reports,
            days=self.days,
            resolution_actions=self._resolution_actions,
            claims=claims,
            own_refunds=own_refunds,
        )
        self.bulk = Bulk(
            self._tables,
            discrepancies=self.discrepancies,
            investigation=self.investigation,
            proposals=BulkProposals(self._tables.database),
            claims=claims,
            gateways=self.gateways,
        )

    @property
    def gateways(self) -> tuple[str, ...]:
        """The names of the reconciled gateways, that of new payments first."""
        return tuple(self._by_gateway)

    def of(self, gateway: str | None = None) -> GatewayReconciliation:
        """Return the reconciliation of a gateway.

        Raises:
            GatewayNotReconciledError: no gateway of this name is configured.
        """
        if gateway is None:
            return self._first
        try:
            return self._by_gateway[gateway]
        except KeyError:
            raise GatewayNotReconciledError(gateway=gateway) from None

    def of_report(self, gateway: str | None) -> GatewayReconciliation:
        """Return the reconciliation that a report file belongs to.

        Raises:
            GatewayNotNamedError: there are several gateways, and none is named.
            GatewayNotReconciledError: no gateway of this name is configured.
        """
        if gateway is None and len(self._by_gateway) > 1:
            raise GatewayNotNamedError(_name_one(self.gateways), gateways=list(self.gateways))
        return self.of(gateway)

    def register(self, jobs: JobQueue) -> None:
        """Register the job handlers."""
        self._late_lines.register(jobs)
        self._resolution_actions.register(jobs)
        jobs.register(HOURLY, self._hourly)
        jobs.register(DAILY, self._daily)
        jobs.register(DROPPED, self._take_dropped)

    async def begin_schedule(self) -> None:
        """Schedule the recurring jobs of each gateway; idempotent."""
        for one in self._by_gateway.values():
            await one.begin_schedule()
        if self._unassigned is not None:
            await self._unassigned.begin()

    async def _hourly(self, job: Job) -> Answer:
        one = self._scheduled(job)
        return Done() if one is None else await one.schedule.hourly(job)

    async def _daily(self, job: Job) -> Answer:
        one = self._scheduled(job)
        return Done() if one is None else await one.schedule.daily(job)

    def _scheduled(self, job: Job) -> GatewayReconciliation | None:
        """Return the gateway of a job; None if it is not configured any more."""
        found = (it for it in self._by_gateway.values() if it.schedule.subject == job.subject)
        return next(found, None)

    async def _take_dropped(self, job: Job) -> Answer:
        folders = [self._unassigned, *(it.drop_folder for it in self._by_gateway.values())]
        found = (it for it in folders if it is not None and it.subject == job.subject)
        folder = next(found, None)
        return Done() if folder is None else await folder.look(job)

    async def reconcile(
        self,
        day: date,
        *,
        gateway: str | None = None,
        file: Path | None = None,
        expected: Expected = Expected(),  # noqa: B008 - it is frozen
        mode: str = CLOSE,
        progress: Progress = lambda *_: None,
        patience_seconds: float = 0.0,
    ) -> Reconciled:
        """Reconcile a gateway's day: fetch or read its report, compare, apply, set the verdict.

        New lines for a sealed day go to the next open day as late lines. If another run is in
        progress, wait up to `patience_seconds`.

        Raises:
            BadReportError: the report is invalid; nothing was applied.
            ReportUnavailableError: the gateway returned no usable response; retry later.
            AlreadyReconcilingError, DaySealedError, DayOutOfReachError: the day cannot be
                reconciled now.
            GatewayNotNamedError: a file is given, there are several gateways, and none is named.
        """
        one = self.of(gateway) if file is None else self.of_report(gateway)
        return await one.runs.reconcile(
            day, file=file, expected=expected, mode=mode, progress=progress,
            patience_seconds=patience_seconds,
        )  # fmt: skip

    async def reconcile_content(
        self,
        day: date,
        content: bytes,
        *,
        gateway: str | None = None,
        expected: Expected,
        patience_seconds: float = 0.0,
    ) -> Reconciled:
        """Reconcile a day from an uploaded file; see `reconcile`."""
        runs = self.of_report(gateway).runs
        async with runs.kept_for_now(content) as file:
            return await runs.reconcile(
                day, file=file, expected=expected, patience_seconds=patience_seconds
            )

    async def preview_content(
        self, content: bytes, mapping: dict[str, Any] | None = None
    ) -> Preview:
        """Show how an uploaded file would be read; nothing is stored.

        Raises:
            BadReportError: the file cannot be read.
        """
        async with self._first.runs.kept_for_now(content) as file:
            return await self._first.runs.preview(file, mapping)

    async def preview(self, file: Path, mapping: dict[str, Any] | None = None) -> Preview:
        """Show how a file would be read; nothing is stored.

        Raises:
            BadReportError: the file cannot be read.
        """
        return await self._first.runs.preview(file, mapping)

    async def replay(self, run_id: UUID) -> str:
        """Repeat a run's comparison; return the digest of its result, which must equal the run's.

        Raises:
            RunNotFoundError: no run has this id.
            NotReplayableError: the compared data is not on this machine.
        """
        return await self._first.runs.replay(run_id)

    async def run(self, run_id: UUID) -> ReconciliationRun:
        """Return a run.

        Raises:
            RunNotFoundError: no run has this id.
        """
        return await self.days.run(run_id)

    async def runs_of(self, day: date, *, gateway: str | None = None) -> list[ReconciliationRun]:
        """Return a day's runs, newest first."""
        return await self.days.runs_of(self.of(gateway).gateway, day)

    async def listed(self) -> list[ReconciliationDay]:
        """Return the days of every gateway with their verdicts, newest first."""
        found = [day for name in self.gateways for day in await self.days.listed(name)]
        return sorted(found, key=lambda day: day.day, reverse=True)

    async def quarantined(self, day: date, *, gateway: str | None = None) -> list[QuarantinedRow]:
        """Return a day's unreadable lines, including released ones."""
        return await self._quarantined.of_day(self.of(gateway).gateway, day)

    async def verdict(self, day: date, *, gateway: str | None = None) -> ReconciliationDay:
        """Compute a day's verdict from the stored data.

        Raises:
            DayNotFoundError: the day was never compared.
        """
        return await self.days.get(self.of(gateway).gateway, day)

    async def seal(self, day: date, *, by: str, gateway: str | None = None) -> ReconciliationDay:
        """Seal a closed day with its report; afterwards the day cannot change.

        Raises:
            DayNotClosedError: it is incomplete, has open discrepancies, or is already sealed.
        """
        one = self.of(gateway)
        return await self.days.seal(one.gateway, day, by=by, forms=one.reporting.written)

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
            await self.days.refuse_sealed(report.gateway, report.day, within=connection)
        await self._quarantined.release(report_id, place, by=by, note=checked_note(note))
        return await self.days.get(report.gateway, report.day)


def _each(
    tables: BillingDatabase, gateways: Gateways, alert: Alert, settings: ReconciliationSettings
) -> dict[str, GatewayReconciliation]:
    """Return the reconciliation of each gateway.

    Where there are several, each has a folder for its report files.
    """
    return {
        name: GatewayReconciliation(
            tables=tables,
            gateway=gateways.named(name),
            alert=alert,
            settings=settings_of(name, gateways, settings),
        )
        for name in gateways.names
    }


def _unassigned_reports(
    first: GatewayReconciliation,
    tables: BillingDatabase,
    gateways: Gateways,
    alert: Alert,
    settings: ReconciliationSettings,
) -> DropFolder | None:
    """Return what refuses report files that name none of several gateways."""
    if len(gateways.names) == 1:
        return None

    async def refuse(*_: object) -> Never:
        raise BadReportError(_name_one(gateways.names))

    return DropFolder(
        settings.drop_folder, tables=tables, days=first.runs.days, preview=refuse,
        reconcile=refuse, alert=alert, subject=derived_id("dropped reports"),
    )  # fmt: skip


def _name_one(gateways: Sequence[str]) -> str:
    return (
        f"Several payment gateways are configured: {', '.join(gateways)}. Name the one whose "
        "report this is; in the folder for report files, by a folder of its name."
    )

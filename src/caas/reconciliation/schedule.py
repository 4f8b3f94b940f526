"""Diagram 10, "Scheduled job (daily/hourly)": the recurring reconciliation jobs.

Every hour the current day's report is reconciled incrementally; every night the previous day is
closed, with every earlier incomplete day.

Rules a change must keep: due days are derived from stored days and verdicts, so a machine that was
down catches up, oldest day first; an unavailable gateway is retried without an alert.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import structlog

from caas.billing_database.gateway_calls import gateways_of_payments
from caas.billing_database.identifiers import derived_id
from caas.billing_database.job_rows import Job
from caas.billing_database.reconciliation_days import (
    AlreadyReconcilingError,
    DaySealedError,
    ReconciliationDays,
)
from caas.billing_database.tables import BillingDatabase
from caas.errors import CaasError
from caas.external_systems.report_files import BadReportError
from caas.jobs import Answer, RetryIn
from caas.reconciliation.fetching import ReportUnavailableError
from caas.reconciliation.runs import CLOSE, INCREMENTAL

HOURLY: Final = "reconcile_hourly"
DAILY: Final = "reconcile_daily"
HOUR_SECONDS: Final = 3600.0
AFTER_FAILURE_SECONDS: Final = 600.0
BUSY_SECONDS: Final = 30.0
CLOSING_HOUR: Final = 4
CATCH_UP_DAYS_MAX: Final = 31
UNFINISHED: Final = frozenset({"incomplete", "in progress"})

ReconcileDay = Callable[[date, str], Awaitable[object]]
"""Reconcile a day in a mode: incremental or close."""

_log = structlog.get_logger()


class Schedule:
    """Schedules the reconciliation of every day."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        days: ReconciliationDays,
        gateway: str,
        zone: ZoneInfo,
        reconcile: ReconcileDay,
        reports_daily: bool = True,
    ) -> None:
        """Reconcile this gateway's days in this time zone.

        A gateway that does not report every day has no days to close before its first payment or
        file: nothing would ever come for them.
        """
        self._tables = tables
        self._days = days
        self._gateway = gateway
        self._zone = zone
        self._reconcile = reconcile
        self._reports_daily = reports_daily
        self.subject = derived_id("reconciliation", gateway)

    async def begin(self) -> None:
        """Schedule both jobs; idempotent."""
        await self._tables.jobs.add_all(
            [(HOURLY, self.subject, 0.0, {}), (DAILY, self.subject, 0.0, {})]
        )

    async def hourly(self, _job: Job) -> Answer:
        """Reconcile the current day as far as its report has grown."""
        if not await self._is_used():
            return RetryIn(HOUR_SECONDS, begins_anew=True)
        today, _ = await self._days.today()
        return await self._try(today, INCREMENTAL) or RetryIn(HOUR_SECONDS, begins_anew=True)

    async def daily(self, _job: Job) -> Answer:
        """Close every past day that is not complete."""
        today, now = await self._days.today()
        reschedule = None
        for day in await self._due(today) if await self._is_used() else []:
            reschedule = await self._try(day, CLOSE) or reschedule
            if reschedule is not None and reschedule.due_in == BUSY_SECONDS:
                break  # closing a newer day first would miss lines in the older day's report
        next_night = seconds_to_closing(today, now, self._zone)
        return reschedule or RetryIn(next_night, begins_anew=True)

    async def _is_used(self) -> bool:
        return (
            self._reports_daily
            or await self._days.first(self._gateway) is not None
            or self._gateway in await gateways_of_payments(self._tables.database)
        )

    async def _due(self, today: date) -> list[date]:
        """Return the past days that are not complete, oldest first; at least yesterday.

        A day that was begun and is not complete stays due, however old it is (decision 292). Of
        days that were never begun, because the platform was down, those of the last month are due.
        """
        earliest = today - timedelta(days=CATCH_UP_DAYS_MAX)
        yesterday = today - timedelta(days=1)
        first = await self._days.first(self._gateway)
        since = max(earliest, first) if first is not None and first < yesterday else yesterday
        days = [since + timedelta(days=number) for number in range((today - since).days)]
        known = await self._days.listed(self._gateway)
        finished = {one.day for one in known if one.verdict not in UNFINISHED}
        begun = {one.day for one in known if one.day < since and one.verdict in UNFINISHED}
        return sorted(begun) + [day for day in days if day not in finished]

    async def _try(self, day: date, mode: str) -> RetryIn | None:
        """Reconcile a day; return when to retry if it could not be done."""
        try:
            await self._reconcile(day, mode)
        except DaySealedError:
            return None
        except AlreadyReconcilingError as error:
            return RetryIn(BUSY_SECONDS, error.sentence)
        except (ReportUnavailableError, BadReportError) as error:
            _log.warning("reconciliation.reschedule", day=str(day), because=error.sentence)
            return RetryIn(AFTER_FAILURE_SECONDS, error.sentence)
        except CaasError:
            raise
        except Exception as error:  # it has its case; the other days go on
            _log.exception("reconciliation.stopped", day=str(day))
            return RetryIn(AFTER_FAILURE_SECONDS, f"{type(error).__name__} on {day}")
        return None


def seconds_to_closing(today: date, now: datetime, zone: ZoneInfo) -> float:
    """Return the time until the next closing hour in the given zone."""
    following = today + timedelta(days=1)
    at = datetime(following.year, following.month, following.day, CLOSING_HOUR, tzinfo=zone)
    return (at.astimezone(UTC) - now).total_seconds()

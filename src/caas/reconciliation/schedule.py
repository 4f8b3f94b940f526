"""Diagram 10, "Scheduled job (daily/hourly)": jobs that comes back by itself.

Every hour the running day's report is taken in as far as it has grown; every night the day that
ended is closed, and with it every earlier day that is still incomplete.

Rules a change must keep: level-triggered: what is due follows from the days and their verdicts, so
a machine that slept for a week catches up, the oldest day first; a gateway that is silent is asked
again, not alerted.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import structlog

from caas.billing_database.identifiers import derived_id
from caas.billing_database.job_rows import Job
from caas.billing_database.reconciliation_days import (
    AlreadyReconcilingError,
    DaySealedError,
    ReconciliationDays,
)
from caas.billing_database.tables import BillingDatabase
from caas.external_systems.report_files import BadReportError
from caas.jobs import Answer, JobQueue, RetryIn
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
    """Has every day reconciled in time."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        days: ReconciliationDays,
        gateway: str,
        zone: ZoneInfo,
        reconcile: ReconcileDay,
    ) -> None:
        """Reconcile this gateway's days, by the market's calendar."""
        self._tables = tables
        self._days = days
        self._gateway = gateway
        self._zone = zone
        self._reconcile = reconcile

    def register(self, jobs: JobQueue) -> None:
        """Take the hourly and the daily job."""
        jobs.register(HOURLY, self._hourly)
        jobs.register(DAILY, self._daily)

    async def begin(self) -> None:
        """Make sure that both jobs will run; saying it again changes nothing."""
        subject = derived_id("reconciliation", self._gateway)
        await self._tables.jobs.add_all([(HOURLY, subject, 0.0, {}), (DAILY, subject, 0.0, {})])

    async def _hourly(self, _work: Job) -> Answer:
        today, _ = await self._days.today()
        return await self._try(today, INCREMENTAL) or RetryIn(HOUR_SECONDS, begins_anew=True)

    async def _daily(self, _work: Job) -> Answer:
        today, now = await self._days.today()
        reschedule = None
        for day in await self._due(today):
            reschedule = await self._try(day, CLOSE) or reschedule
            if reschedule is not None and reschedule.due_in == BUSY_SECONDS:
                break  # a newer day that is judged first misses what the older one's report tells
        next_night = seconds_to_closing(today, now, self._zone)
        return reschedule or RetryIn(next_night, begins_anew=True)

    async def _due(self, today: date) -> list[date]:
        """Return the days that ended and are not complete, the oldest first; yesterday at least."""
        earliest = today - timedelta(days=CATCH_UP_DAYS_MAX)
        yesterday = today - timedelta(days=1)
        first = await self._days.first(self._gateway)
        since = max(earliest, first) if first is not None and first < yesterday else yesterday
        days = [since + timedelta(days=number) for number in range((today - since).days)]
        finished = {
            known.day
            for known in await self._days.listed(self._gateway)
            if known.verdict not in UNFINISHED
        }
        return [day for day in days if day not in finished]

    async def _try(self, day: date, mode: str) -> RetryIn | None:
        """Reconcile a day; return when to try again, if it could not be done now."""
        try:
            await self._reconcile(day, mode)
        except DaySealedError:
            return None
        except AlreadyReconcilingError as error:
            return RetryIn(BUSY_SECONDS, error.sentence)
        except (ReportUnavailableError, BadReportError) as error:
            _log.warning("reconciliation.reschedule", day=str(day), because=error.sentence)
            return RetryIn(AFTER_FAILURE_SECONDS, error.sentence)
        return None


def seconds_to_closing(today: date, now: datetime, zone: ZoneInfo) -> float:
    """Return how long it is until the next night's closing hour in the market's zone."""
    following = today + timedelta(days=1)
    at = datetime(following.year, following.month, following.day, CLOSING_HOUR, tzinfo=zone)
    return (at.astimezone(UTC) - now).total_seconds()

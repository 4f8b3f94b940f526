"""Removes rows that are older than the retention policy, every day in small batches (decision 193).

Rule a change must keep: a run has a limit, and what is left goes on in the next one.
"""

from datetime import timedelta
from typing import Final

from caas.billing_database import removals
from caas.billing_database.identifiers import derived_id
from caas.billing_database.job_rows import Job
from caas.billing_database.tables import BillingDatabase
from caas.jobs import Answer, JobQueue, RetryIn
from caas.rules.retention import RetentionTerms

REMOVE_OLD_ROWS: Final = "remove_old_rows"
DAY_SECONDS: Final = 86_400.0
RUN_SECONDS: Final = 600.0
AGAIN_SECONDS: Final = 1.0


class Retention:
    """Removes old rows."""

    def __init__(self, *, tables: BillingDatabase, terms: RetentionTerms) -> None:
        """Remove rows of this database by these terms."""
        self._tables = tables
        self._terms = terms

    def register(self, jobs: JobQueue) -> None:
        """Register the daily job."""
        jobs.register(REMOVE_OLD_ROWS, self._remove)

    async def begin(self) -> None:
        """Schedule the daily job; idempotent."""
        await self._tables.jobs.add_all([(REMOVE_OLD_ROWS, derived_id("retention"), 0.0, {})])

    async def _remove(self, _work: Job) -> Answer:
        for table, days in self._terms.kept_days.items():
            removed = await removals.remove_all(
                self._tables.database, table,
                older_than=timedelta(days=days), seconds_max=RUN_SECONDS,
            )  # fmt: skip
            if removed is None:
                return RetryIn(AGAIN_SECONDS, begins_anew=True)
        return RetryIn(DAY_SECONDS, begins_anew=True)

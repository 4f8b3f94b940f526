"""Checks the database invariants continuously (decision 42).

Rules a change must keep: one process at a time checks, because the check is one job; a violated
invariant raises one alert with a case until the case is closed; a check is followed by a pause ten
times as long, so that a large database is not read all day.
"""

import asyncio
from typing import Final

from caas.billing_database import self_check
from caas.billing_database.identifiers import derived_id
from caas.billing_database.job_rows import Job
from caas.billing_database.tables import BillingDatabase
from caas.jobs import Answer, JobQueue, RetryIn
from caas.payment_processing.flow import Alert

CHECK_INVARIANTS: Final = "check_invariants"
INVARIANT_VIOLATED: Final = "invariant_violated"
REST_SECONDS: Final = 300.0
RESTS_PER_CHECK: Final = 10


class InvariantMonitor:
    """Runs every invariant and alerts operations to a violated one."""

    def __init__(self, *, tables: BillingDatabase, alert: Alert) -> None:
        """Check this database."""
        self._tables = tables
        self._alert = alert

    def register(self, jobs: JobQueue) -> None:
        """Register the check."""
        jobs.register(CHECK_INVARIANTS, self._check)

    async def begin(self) -> None:
        """Schedule the check; idempotent."""
        await self._tables.jobs.add_all([(CHECK_INVARIANTS, derived_id("invariants"), 0.0, {})])

    async def _check(self, _work: Job) -> Answer:
        clock = asyncio.get_running_loop().time
        began = clock()
        for found in await self_check.checked(self._tables.database):
            if found.broken:
                await self._alert(
                    INVARIANT_VIOLATED,
                    derived_id("invariant", found.invariant.name),
                    f"{found.invariant.sentence} {found.broken} rows say otherwise, such as "
                    f"{', '.join(found.examples)}.",
                )
        return RetryIn(max(REST_SECONDS, RESTS_PER_CHECK * (clock() - began)), begins_anew=True)

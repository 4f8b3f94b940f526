"""Checks the database invariants continuously (decisions 42, 192).

Every few minutes each invariant is checked over what was touched since its mark; once a night each
is checked over everything. Both read in small steps on a connection of their own.

Rules a change must keep: one process at a time checks, because the check is one job; each step is
followed by a rest ten times as long, so that purchases do not feel it; a violated invariant raises
one alert with a case until the case is closed, and so does one that was not checked in time.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import replace

from caas.billing_database import connection, invariant_scopes, self_check
from caas.billing_database.connection import DatabaseUnavailableError
from caas.billing_database.identifiers import derived_id
from caas.billing_database.invariants import EVERY_INVARIANT, ONCE_A_ROW, Invariant
from caas.billing_database.job_rows import Job
from caas.billing_database.self_check import (
    RESTS_PER_STEP,
    Checker,
    CheckLimits,
    Finding,
    InvariantCheck,
    KeptCheck,
)
from caas.billing_database.tables import BillingDatabase
from caas.errors import StartupError
from caas.jobs import Answer, JobQueue, RetryIn
from caas.payment_processing.flow import Alert
from caas.rules.check_terms import CheckTerms

CHECK_INVARIANTS: Final = "check_invariants"
INVARIANT_VIOLATED: Final = "invariant_violated"
INVARIANT_NOT_CHECKED: Final = "invariant_not_checked"
REST_SECONDS: Final = 300.0
RUN_SECONDS: Final = 300.0
"""After this long, a full check goes on in another run, after what was touched meanwhile."""
AGAIN_SECONDS: Final = 1.0
INTERRUPTED: Final = "interrupted"
TRIED_AGAIN_AFTER: Final = timedelta(minutes=30)
CHECKED_WITHIN: Final = timedelta(hours=1)
FULLY_CHECKED_WITHIN: Final = timedelta(days=2)
ONCE_A_ROW_AGAIN_AFTER: Final = timedelta(days=30)


class Interrupted(msgspec.Struct, frozen=True):
    """A full check that goes on in the next run: the last part read, and what was found so far.

    `until` is the next mark when it began.
    """

    name: str
    after: str
    until: datetime
    broken: int
    examples: tuple[str, ...]

    @staticmethod
    def read(work: Job) -> "Interrupted | None":
        """Return it from the job that continues it."""
        kept = work.payload.get(INTERRUPTED)
        return None if kept is None else msgspec.convert(kept, Interrupted)

    def written(self) -> object:
        """Return it for the job that continues it."""
        return msgspec.to_builtins(self)


class InvariantMonitor:
    """Checks every invariant and alerts operations to one that is violated or not checked."""

    def __init__(
        self, *, tables: BillingDatabase, alert: Alert, terms: CheckTerms, zone: ZoneInfo
    ) -> None:
        """Check this database; the full check is due at a time of day in this zone."""
        self._tables = tables
        self._database = tables.database
        self._alert = alert
        self._terms = terms
        self._zone = zone

    def register(self, jobs: JobQueue) -> None:
        """Register the check."""
        jobs.register(CHECK_INVARIANTS, self._check)

    async def begin(self) -> None:
        """Schedule the check; idempotent."""
        await self_check.begin(self._database)
        await self._tables.jobs.add_all([(CHECK_INVARIANTS, derived_id("invariants"), 0.0, {})])

    async def hasten(self) -> None:
        """Make the next check due now."""
        await self.begin()
        await self._tables.jobs.hasten([CHECK_INVARIANTS])

    async def _check(self, work: Job) -> Answer:
        ends_at = asyncio.get_running_loop().time() + RUN_SECONDS
        async with self._checker() as (checker, until):
            await self._check_touched(checker, until)
            left = await self._check_whole(checker, until, Interrupted.read(work), ends_at)
        await self._alert_unchecked(until)
        if left is None:
            return RetryIn(REST_SECONDS, payload={INTERRUPTED: None}, begins_anew=True)
        return RetryIn(AGAIN_SECONDS, payload={INTERRUPTED: left.written()}, begins_anew=True)

    async def _check_whole(
        self, checker: Checker, until: datetime, before: "Interrupted | None", ends_at: float
    ) -> "Interrupted | None":
        """Check what is due over everything; return where to go on if the time is over."""
        clock = asyncio.get_running_loop().time
        due = await self._due(until)
        due.sort(key=lambda it: before is None or it.name != before.name)
        for invariant in due:
            so_far = before if before is not None and before.name == invariant.name else None
            if so_far is None:
                so_far = Interrupted(invariant.name, "", until, 0, ())
            check = InvariantCheck(invariant, so_far.broken, so_far.examples)
            async for key in checker.check_whole(check, after=so_far.after):
                if clock() > ends_at and check.unfinished_because is None:
                    found = check.finding()
                    return replace(so_far, after=key, broken=found.broken, examples=found.examples)
            await self._keep(check.finding(), whole=True, until=so_far.until)
        return None

    @asynccontextmanager
    async def _checker(self) -> AsyncIterator[tuple[Checker, datetime]]:
        """Open a connection for checks; yield it with the time of the next mark."""
        try:
            reader = await connection.connect(self._database.dsn, connections_max=1, read_only=True)
        except StartupError as error:
            raise DatabaseUnavailableError(reason=error.sentence) from error
        try:
            async with reader.connection() as session:
                await session.execute(self_check.ALONE)
                limits = CheckLimits(self._terms.statement_seconds_max, RESTS_PER_STEP)
                yield Checker(session, limits), await invariant_scopes.whole_until(session)
        finally:
            await reader.close()

    async def _check_touched(self, checker: Checker, until: datetime) -> None:
        """Check what was touched since each invariant's mark; those without a mark come whole."""
        kept = await self_check.kept_checks(self._database)
        since: dict[datetime, list[Invariant]] = {}
        for invariant in filter(self_check.is_checked_often, EVERY_INVARIANT):
            mark = _mark(kept.get(invariant.name), until)
            if mark is not None:
                since.setdefault(mark, []).append(invariant)
        for mark, invariants in since.items():
            async for finding in checker.check_touched(invariants, mark):
                whole = not self_check.has_marks(finding.invariant)
                await self._keep(finding, whole=whole, until=until)

    async def _due(self, until: datetime) -> list[Invariant]:
        """Return the invariants to check over everything: without a mark, or not since the night.

        One that did not come to its end waits before it is tried again.
        """
        kept = await self_check.kept_checks(self._database)
        night = self._terms.last_due(until, self._zone)

        def is_due(invariant: Invariant) -> bool:
            known = kept.get(invariant.name)
            if known is None or known.tried_at is None:
                return True
            if known.unfinished_because and known.tried_at > until - TRIED_AGAIN_AFTER:
                return False
            fully, since = known.fully_checked_at, night
            if invariant.name in ONCE_A_ROW:
                since = night - ONCE_A_ROW_AGAIN_AFTER
            return _mark(known, until) is None or fully is None or fully < since

        return [invariant for invariant in EVERY_INVARIANT if is_due(invariant)]

    async def _keep(self, finding: Finding, *, whole: bool, until: datetime) -> None:
        await self_check.keep(self._database, finding, whole=whole, through=until)
        if finding.broken:
            await self._alert(
                INVARIANT_VIOLATED,
                derived_id("invariant", finding.invariant.name),
                f"{finding.invariant.sentence} {finding.broken} rows say otherwise, such as "
                f"{', '.join(finding.examples)}.",
            )

    async def _alert_unchecked(self, now: datetime) -> None:
        kept = await self_check.kept_checks(self._database)
        for invariant in EVERY_INVARIANT:
            known = kept.get(invariant.name)
            since = None if known is None else _unchecked_since(invariant, known, now)
            if known is not None and since is not None:
                because = known.unfinished_because or "No check came to its end."
                await self._alert(
                    INVARIANT_NOT_CHECKED,
                    derived_id("unchecked", invariant.name),
                    f"{invariant.name} has not been checked since {since:%Y-%m-%d %H:%M} UTC. "
                    f"{because}",
                )


def _mark(kept: KeptCheck | None, until: datetime) -> datetime | None:
    """Return the mark to read from; None if everything must be read."""
    if kept is None or kept.checked_through is None:
        return None
    is_old = kept.checked_through < until - self_check.MARK_AGE_MAX
    return None if is_old else kept.checked_through


def _unchecked_since(invariant: Invariant, kept: KeptCheck, now: datetime) -> datetime | None:
    """Return since when an invariant was not checked, if that is too long."""
    checked, fully = kept.checked_at or kept.since, kept.fully_checked_at or kept.since
    if self_check.is_checked_often(invariant) and checked < now - CHECKED_WITHIN:
        return checked
    within = FULLY_CHECKED_WITHIN
    if invariant.name in ONCE_A_ROW:
        within += ONCE_A_ROW_AGAIN_AFTER
    return fully if fully < now - within else None

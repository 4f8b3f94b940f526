"""Runs of the reconciliation and the verdicts of its days, as rows.

A day is `incomplete` until every report of it is closed, whole and compared; then it has `open
discrepancies`, or is `closed`. A closed day may be sealed; nothing of it changes any more.

Rules a change must keep: the verdict is computed from what is stored, never told; a missing report
is never a clean day; one run at a time for a gateway.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from caas.billing_database.connection import (
    ACQUIRE_TIMEOUT_SECONDS,
    UNREACHABLE,
    Connection,
    Database,
    DatabaseUnavailableError,
)
from caas.errors import ConflictError, NotFoundError

LOCK_SPACE: Final = 0x7265636F
ROWS_MAX: Final = 400

LOCK: Final = "select pg_advisory_lock($1, hashtext($2))"
PATIENCE: Final = "select set_config('lock_timeout', $1, false)"
PATIENCE_SECONDS_MIN: Final = 0.001
TODAY: Final = "select (db_now() at time zone $1)::date as today, db_now() as now"
BEGIN_DAY: Final = """
insert into reconciliation_days (gateway, day, because) values ($1, $2, 'never compared')
on conflict do nothing
"""
# Whoever begins is alone with this gateway: what is still running was killed.
KILLED: Final = """
update reconciliation_runs set state = 'stopped', finished_at = db_now()
 where gateway = $1 and state = 'running'
"""
BEGIN: Final = """
insert into reconciliation_runs (id, gateway, day, mode, state, rule_version, started_at)
values ($1, $2, $3, $4, 'running', $5, db_now())
"""
END: Final = """
update reconciliation_runs set state = $2, engine = $3, as_of = $4, lines = $5, input_hash = $6,
       output_hash = $7, counts = $8, because = $9, finished_at = db_now()
 where id = $1
"""
CLOSE: Final = """
update reconciliation_days set closed_by_run = $3, closed_at = db_now()
 where gateway = $1 and day = $2 and sealed_at is null
"""
COLUMNS: Final = "gateway, day, closed_by_run, closed_at, verdict, because, sealed_at, sealed_by"
ONE: Final = f"select {COLUMNS} from reconciliation_days where gateway = $1 and day = $2"
LISTED: Final = f"""
select {COLUMNS} from reconciliation_days where gateway = $1 order by day desc limit {ROWS_MAX}
"""
LAST_CLOSED: Final = """
select max(d.day) as day, max(r.as_of) as as_of
  from reconciliation_days d join reconciliation_runs r on r.id = d.closed_by_run
 where d.gateway = $1 and d.day < $2
"""
UNFINISHED: Final = """
select day from reconciliation_days
 where gateway = $1 and verdict = 'incomplete' and day < $2 and day >= $3 order by day
"""
FIRST: Final = "select min(day) as day from reconciliation_days where gateway = $1"
FACTS: Final = """
select d.closed_by_run is not null as compared,
       (select count(*) from settlement_reports r
         where r.gateway = d.gateway and r.day = d.day) as reports,
       (select count(*) from settlement_reports r
         where r.gateway = d.gateway and r.day = d.day and r.status = 'open') as open_reports,
       (select count(*) from settlement_reports r
         where r.gateway = d.gateway and r.day = d.day
           and r.line_count > r.lines_stored
             + (select count(*) from quarantined_lines q where q.report_id = r.id))
         as short_reports,
       (select count(*) from quarantined_lines q
          join settlement_reports r on r.id = q.report_id
         where r.gateway = d.gateway and r.day = d.day and q.released_at is null) as quarantined,
       (select count(*) from discrepancies o
         where o.gateway = d.gateway and o.day = d.day and o.status <> 'resolved') as discrepancies,
       (select count(*) from open_work w join discrepancies o on o.id = w.subject
         where w.kind = 'carry_out_resolution'
           and o.gateway = d.gateway and o.day = d.day) as being_carried_out
  from reconciliation_days d where d.gateway = $1 and d.day = $2
"""
SAY: Final = """
update reconciliation_days set verdict = $3, because = $4
 where gateway = $1 and day = $2 and sealed_at is null
   and (verdict, coalesce(because, '')) is distinct from ($3, coalesce($4, ''))
"""
SEAL: Final = """
update reconciliation_days set sealed_at = db_now(), sealed_by = $3
 where gateway = $1 and day = $2 and sealed_at is null and verdict = 'closed'
returning day
"""
RUN: Final = """
select id, gateway, day, mode, state, rule_version, engine, as_of, lines, input_hash, output_hash,
       counts, because, started_at, finished_at from reconciliation_runs
"""
ONE_RUN: Final = RUN + " where id = $1"
RUNS_OF_DAY: Final = RUN + " where gateway = $1 and day = $2 order by started_at desc"


class AlreadyReconcilingError(ConflictError):
    """Another reconciliation of this gateway is running; wait until it has ended."""

    code = "already_reconciling"


class DayNotFoundError(NotFoundError):
    """This day was never compared."""

    code = "reconciliation_day_not_found"


class RunNotFoundError(NotFoundError):
    """No run of the reconciliation has this id."""

    code = "reconciliation_run_not_found"


class DaySealedError(ConflictError):
    """The day is sealed; nothing of it changes any more."""

    code = "day_sealed"


class DayNotClosedError(ConflictError):
    """Only a closed day can be sealed: complete, and without open discrepancies."""

    code = "day_not_closed"


@dataclass(frozen=True, slots=True)
class ReconciliationDay:
    """A day's verdict, and its seal."""

    gateway: str
    day: date
    closed_by_run: UUID | None
    closed_at: datetime | None
    verdict: str
    because: str | None
    sealed_at: datetime | None
    sealed_by: str | None


@dataclass(frozen=True, slots=True)
class ReconciliationRun:
    """One comparison: what it was given, as of when, and what came out."""

    id: UUID
    gateway: str
    day: date
    mode: str
    state: str
    rule_version: str
    engine: str | None
    as_of: datetime | None
    lines: int
    input_hash: str | None
    output_hash: str | None
    counts: dict[str, Any]
    because: str | None
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnd:
    """How a run ended."""

    state: str
    engine: str | None = None
    as_of: datetime | None = None
    lines: int = 0
    input_hash: str | None = None
    output_hash: str | None = None
    counts: dict[str, Any] | None = None
    because: str | None = None


class ReconciliationDays:
    """The tables of days and runs."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database

    @asynccontextmanager
    async def alone(self, gateway: str, *, patience_seconds: float = 0.0) -> AsyncIterator[None]:
        """Be the only one who reconciles this gateway until the block is left.

        Raises:
            AlreadyReconcilingError: somebody else is, for longer than one has patience.
        """
        session = await _session(self._database.dsn)
        try:
            milliseconds = round(max(patience_seconds, PATIENCE_SECONDS_MIN) * 1000)
            await session.execute(PATIENCE, str(milliseconds))
            try:
                await session.execute(LOCK, LOCK_SPACE, gateway)
            except asyncpg.LockNotAvailableError as error:
                raise AlreadyReconcilingError(gateway=gateway) from error
            yield
        finally:
            await session.close()

    async def today(self, zone: str) -> tuple[date, datetime]:
        """Return the date in the market's zone, and the instant, by the database's clock."""
        row = await self._database.fetchrow(TODAY, zone)
        assert row is not None, "there is always a today"
        return row["today"], row["now"]

    async def begin(self, run_id: UUID, gateway: str, day: date, mode: str, rule: str) -> None:
        """Write down that a run has begun, and that those before it have ended.

        Raises:
            DaySealedError: nothing of this day changes any more.
        """
        async with self._database.transaction() as connection:
            await connection.execute(BEGIN_DAY, gateway, day)
            await self.refuse_sealed(gateway, day, within=connection)
            await connection.execute(KILLED, gateway)
            await connection.execute(BEGIN, run_id, gateway, day, mode, rule)

    async def refuse_sealed(self, gateway: str, day: date, *, within: Connection) -> None:
        """Refuse a change of a day that is sealed.

        Raises:
            DaySealedError: nothing of this day changes any more.
        """
        row = await within.fetchrow(ONE, gateway, day)
        if row is not None and row["sealed_at"] is not None:
            raise DaySealedError(f"The day {day} is sealed; nothing of it changes any more.")

    async def end(self, run_id: UUID, end: RunEnd) -> None:
        """Write down how a run ended."""
        async with self._database.connection() as connection:
            await connection.execute(
                END, run_id, end.state, end.engine, end.as_of, end.lines, end.input_hash,
                end.output_hash, end.counts or {}, end.because,
            )  # fmt: skip

    async def compared(self, gateway: str, day: date, run_id: UUID, *, within: Connection) -> None:
        """Write down that both directions of a day were compared."""
        await within.execute(CLOSE, gateway, day, run_id)

    async def get(self, gateway: str, day: date) -> ReconciliationDay:
        """Return a day.

        Raises:
            DayNotFoundError: it was never compared.
        """
        row = await self._database.fetchrow(ONE, gateway, day)
        if row is None:
            raise DayNotFoundError(f"The day {day} was never compared.")
        return ReconciliationDay(**dict(row))

    async def listed(self, gateway: str) -> list[ReconciliationDay]:
        """Return the days, the newest first."""
        rows = await self._database.fetch(LISTED, gateway)
        return [ReconciliationDay(**dict(row)) for row in rows]

    async def last_compared(
        self, gateway: str, before: date
    ) -> tuple[date | None, datetime | None]:
        """Return the last day before this one that was compared, and as of when."""
        row = await self._database.fetchrow(LAST_CLOSED, gateway, before)
        return (None, None) if row is None else (row["day"], row["as_of"])

    async def unfinished(self, gateway: str, *, before: date, since: date) -> list[date]:
        """Return the days of a span that are incomplete, the oldest first."""
        rows = await self._database.fetch(UNFINISHED, gateway, before, since)
        return [row["day"] for row in rows]

    async def first(self, gateway: str) -> date | None:
        """Return the first day that was ever looked at."""
        row = await self._database.fetchrow(FIRST, gateway)
        return None if row is None else row["day"]

    async def judge(self, gateway: str, day: date) -> ReconciliationDay:
        """Compute a day's verdict from what is stored, and write it down.

        Raises:
            DayNotFoundError: it was never compared.
        """
        row = await self._database.fetchrow(FACTS, gateway, day)
        if row is None:
            raise DayNotFoundError(f"The day {day} was never compared.")
        verdict, because = _verdict(dict(row))
        async with self._database.connection() as connection:
            await connection.execute(SAY, gateway, day, verdict, because)
        return await self.get(gateway, day)

    async def seal(self, gateway: str, day: date, *, by: str) -> ReconciliationDay:
        """Seal a closed day.

        Raises:
            DayNotClosedError: it is incomplete, has open discrepancies, or is sealed already.
        """
        judged = await self.judge(gateway, day)
        row = await self._database.fetchrow(SEAL, gateway, day, by)
        if row is None:
            state = "sealed already" if judged.sealed_at else judged.verdict
            raise DayNotClosedError(f"The day {day} is {state}; {judged.because or 'see there'}.")
        return await self.get(gateway, day)

    async def run(self, run_id: UUID) -> ReconciliationRun:
        """Return a run.

        Raises:
            RunNotFoundError: no run has this id.
        """
        row = await self._database.fetchrow(ONE_RUN, run_id)
        if row is None:
            raise RunNotFoundError(f"No run has the id {run_id}.")
        return ReconciliationRun(**dict(row))

    async def runs_of(self, gateway: str, day: date) -> list[ReconciliationRun]:
        """Return a day's runs, the newest first."""
        rows = await self._database.fetch(RUNS_OF_DAY, gateway, day)
        return [ReconciliationRun(**dict(row)) for row in rows]


async def _session(dsn: str) -> asyncpg.Connection:
    """Open a session beside the pool; the lock it takes ends with it, however it ends."""
    try:
        return await asyncpg.connect(dsn, timeout=ACQUIRE_TIMEOUT_SECONDS)
    except (TimeoutError, *UNREACHABLE) as error:
        raise DatabaseUnavailableError(reason=str(error)) from error


def _verdict(facts: dict[str, Any]) -> tuple[str, str | None]:
    lacking = {
        "no settlement report has come": not facts["reports"],
        "a report is still open": facts["open_reports"],
        "a report lacks lines": facts["short_reports"],
        f"lines that could not be read: {facts['quarantined']}": facts["quarantined"],
        "our records were not compared yet": not facts["compared"],
    }
    because = [sentence for sentence, applies in lacking.items() if applies]
    if because:
        return "incomplete", "; ".join(because)
    if facts["discrepancies"]:
        return "open discrepancies", f"not resolved: {facts['discrepancies']}"
    if facts["being_carried_out"]:
        return "open discrepancies", f"not carried out: {facts['being_carried_out']}"
    return "closed", None

"""Reconciliation runs and the status of each day.

A day is `incomplete` until all of its reports are closed, complete and compared; before it is over
it is `in progress` unless something is unresolved. Then it has `open discrepancies` or is `closed`.
A closed day can be sealed with its report and is then immutable.

Rules a change must keep: the status is computed on read, and only the seal is stored; a missing
report never counts as clean; one run at a time per gateway.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import date, datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec
from msgspec.structs import replace

from caas.billing_database.connection import (
    ACQUIRE_TIMEOUT_SECONDS,
    UNREACHABLE,
    Connection,
    Database,
    DatabaseUnavailableError,
)
from caas.billing_database.rows import columns, read_all, row_as
from caas.errors import ConflictError, NotFoundError

LOCK_SPACE: Final = 0x7265636F
ROWS_MAX: Final = 400
CLOSED: Final = "closed"
SEALINGS_MAX: Final = 3

LOCK: Final = "select pg_advisory_lock($1, hashtext($2))"
PATIENCE: Final = "select set_config('lock_timeout', $1, false)"
PATIENCE_SECONDS_MIN: Final = 0.001
TODAY: Final = "select (db_now() at time zone $1)::date as today, db_now() as now"
BEGIN_DAY: Final = """
insert into reconciliation_days (gateway, day) values ($1, $2) on conflict do nothing
"""
# Runs of a gateway hold its lock: one that is still marked as running was killed.
KILLED: Final = """
update reconciliation_runs set state = 'stopped', finished_at = db_now(),
       because = 'the process that ran it ended before it did'
 where gateway = $1 and state = 'running'
"""
BEGIN: Final = """
insert into reconciliation_runs (id, gateway, day, mode, state, rule_version, started_at, late_of)
values ($1, $2, $3, $4, 'running', $5, db_now(), $6)
"""
END: Final = """
update reconciliation_runs set state = $2, engine = $3, as_of = $4, lines = $5, input_hash = $6,
       output_hash = $7, counts = $8, cleared = $9, because = $10, finished_at = db_now()
 where id = $1
"""
CLOSE: Final = """
update reconciliation_days set closed_by_run = $3, closed_at = db_now()
 where gateway = $1 and day = $2 and sealed_at is null
"""
VERDICTS: Final = """
select v.gateway, v.day, v.closed_by_run, v.closed_at,
       case when not t.unfinished then v.verdict when o.unresolved > 0 then 'open discrepancies'
            else 'in progress' end as verdict,
       case when t.unfinished and o.unresolved > 0
            then concat('not resolved: ', o.unresolved, '; ', v.because)
            else v.because end as because, v.sealed_at, v.sealed_by
  from reconciliation_verdicts v cross join lateral (
       select v.verdict = 'incomplete' and v.only_unfinished
              and v.day >= (db_now() at time zone $2)::date as unfinished) t
 cross join lateral (select count(*) as unresolved from discrepancies d where t.unfinished
   and d.gateway = v.gateway and d.day = v.day and d.status <> 'resolved') o
 where v.gateway = $1
"""
ONE: Final = VERDICTS + " and v.day = $3"
LISTED: Final = VERDICTS + f" order by v.day desc limit {ROWS_MAX}"
SEALED: Final = """
select sealed_at is not null as sealed from reconciliation_days where gateway = $1 and day = $2
"""
LOCKED: Final = SEALED + " for update"
NEXT_OPEN: Final = """
select min(open.day)::date as day
  from generate_series($2::date + 1, $3::date + 1, '1 day') open(day)
 where not exists (select from reconciliation_days d
                    where d.gateway = $1 and d.day = open.day and d.sealed_at is not null)
"""
LAST_CLOSED: Final = """
select max(d.day) as day, max(r.as_of) as as_of
  from reconciliation_days d join reconciliation_runs r on r.id = d.closed_by_run
 where d.gateway = $1 and d.day < $2
"""
LAST_RUN: Final = """
select max(as_of) as as_of from reconciliation_runs where gateway = $1 and state = 'done'
"""
FIRST: Final = "select min(day) as day from reconciliation_days where gateway = $1"
SEAL: Final = """
update reconciliation_days set sealed_at = $4, sealed_by = $3 where gateway = $1 and day = $2
"""
# What a day's report is made of; where this stands still, so does the report.
MARK: Final = """
select d.sealed_at, d.closed_by_run,
       (select concat_ws('/', count(*), sum(r.lines_stored), max(r.updated_at))
          from settlement_reports r where r.gateway = $1 and r.day = $2) as reports,
       (select concat_ws('/', count(*), sum(o.version))
          from discrepancies o where o.gateway = $1 and o.day = $2) as discrepancies,
       (select concat_ws('/', count(*), count(q.released_at))
          from quarantined_lines q join settlement_reports r on r.id = q.report_id
         where r.gateway = $1 and r.day = $2) as aside,
       (select concat_ws('/', count(*), max(r.finished_at))
          from reconciliation_runs r where r.gateway = $1 and r.day = $2) as runs
  from reconciliation_days d where d.gateway = $1 and d.day = $2
"""
KEEP_SEALED: Final = """
insert into sealed_reports (gateway, day, form, content, digest, sealed_at)
values ($1, $2, $3, $4, sha256($4), $5)
"""
SEALED_REPORT: Final = """
select content, encode(digest, 'hex') as digest from sealed_reports
 where gateway = $1 and day = $2 and form = $3
"""


class ReconciliationRun(msgspec.Struct, frozen=True):
    """A comparison: its inputs, its as-of time and its results.

    `counts` are its new lines by class, and what it opened without one, by kind; `cleared` are the
    open discrepancies of any day that ended because of it, by kind.
    """

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
    counts: dict[str, int]
    cleared: dict[str, int]
    because: str | None
    started_at: datetime
    finished_at: datetime | None
    late_of: date | None


RUN: Final = f"select {columns(ReconciliationRun)} from reconciliation_runs"
ONE_RUN: Final = RUN + " where id = $1"
RUNS_OF_DAY: Final = RUN + " where gateway = $1 and day = $2 order by started_at desc"


class AlreadyReconcilingError(ConflictError):
    """Another reconciliation of this gateway is running. Wait until it has ended."""

    code = "already_reconciling"


class DayNotFoundError(NotFoundError):
    """This day was never reconciled."""

    code = "reconciliation_day_not_found"


class RunNotFoundError(NotFoundError):
    """No reconciliation run has this id."""

    code = "reconciliation_run_not_found"


class DaySealedError(ConflictError):
    """The day is sealed and cannot change."""

    code = "day_sealed"


class DayNotClosedError(ConflictError):
    """Only a closed day can be sealed: complete and without open discrepancies."""

    code = "day_not_closed"


class ReconciliationDay(msgspec.Struct, frozen=True):
    """A day's status and its seal."""

    gateway: str
    day: date
    closed_by_run: UUID | None
    closed_at: datetime | None
    verdict: str
    because: str | None
    sealed_at: datetime | None
    sealed_by: str | None


class RunEnd(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a run."""

    state: str
    engine: str | None = None
    as_of: datetime | None = None
    lines: int = 0
    input_hash: str | None = None
    output_hash: str | None = None
    counts: dict[str, int] = msgspec.field(default_factory=dict)
    cleared: dict[str, int] = msgspec.field(default_factory=dict)
    because: str | None = None


Forms = Callable[[ReconciliationDay], Awaitable[Mapping[str, bytes]]]
"""Write the report of a day that is being sealed, in each of its forms."""


class ReconciliationDays:
    """The tables of days and runs."""

    def __init__(self, database: Database, *, zone: str) -> None:
        """Read and write through this database; a day is over by the clock of this zone."""
        self._database = database
        self._zone = zone

    @asynccontextmanager
    async def alone(self, gateway: str, *, patience_seconds: float = 0.0) -> AsyncIterator[None]:
        """Hold the gateway's reconciliation lock for the block.

        Raises:
            AlreadyReconcilingError: another run holds it for too long.
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

    async def today(self) -> tuple[date, datetime]:
        """Return the date in the market's zone, and the instant, by the database's clock."""
        row = await self._database.fetchrow(TODAY, self._zone)
        assert row is not None, "there is always a today"
        return row["today"], row["now"]

    async def begin(
        self,
        run_id: UUID,
        gateway: str,
        day: date,
        mode: str,
        rule: str,
        *,
        late_of: date | None = None,
    ) -> None:
        """Record that a run started and that earlier ones ended.

        Raises:
            DaySealedError: the day is sealed.
        """
        async with self._database.transaction() as connection:
            await self.refuse_sealed(gateway, day, within=connection)
            await connection.execute(KILLED, gateway)
            await connection.execute(BEGIN, run_id, gateway, day, mode, rule, late_of)

    async def open_day(self, gateway: str, day: date) -> None:
        """Create the day for new lines, if it does not exist."""
        async with self._database.connection() as connection:
            await connection.execute(BEGIN_DAY, gateway, day)

    async def day_of_lines(self, gateway: str, day: date) -> date:
        """Return the day that receives lines of this one: itself, or the next unsealed day."""
        if not await self.is_sealed(gateway, day):
            return day
        today, _ = await self.today()
        row = await self._database.fetchrow(NEXT_OPEN, gateway, day, max(day, today))
        assert row is not None, "an aggregate is one row"
        if row["day"] is None:
            raise DaySealedError(f"The day {day} is sealed, and so is every day after it.")
        found: date = row["day"]
        return found

    async def is_sealed(self, gateway: str, day: date) -> bool:
        """Return whether a day is sealed."""
        row = await self._database.fetchrow(SEALED, gateway, day)
        return row is not None and bool(row["sealed"])

    async def refuse_sealed(self, gateway: str, day: date, *, within: Connection) -> None:
        """Reject a change of a sealed day.

        Raises:
            DaySealedError: the day is sealed.
        """
        row = await within.fetchrow(SEALED, gateway, day)
        if row is not None and row["sealed"]:
            raise DaySealedError(f"The day {day} is sealed and cannot change.")

    async def end(self, run_id: UUID, end: RunEnd) -> None:
        """Record the end of a run."""
        async with self._database.connection() as connection:
            await connection.execute(
                END, run_id, end.state, end.engine, end.as_of, end.lines, end.input_hash,
                end.output_hash, end.counts, end.cleared, end.because,
            )  # fmt: skip

    async def compared(self, gateway: str, day: date, run_id: UUID, *, within: Connection) -> None:
        """Record that a day was compared in both directions."""
        await within.execute(CLOSE, gateway, day, run_id)

    async def get(self, gateway: str, day: date) -> ReconciliationDay:
        """Return a day.

        Raises:
            DayNotFoundError: it was never reconciled.
        """
        row = await self._database.fetchrow(ONE, gateway, self._zone, day)
        if row is None:
            raise DayNotFoundError(f"The day {day} was never reconciled.")
        return row_as(ReconciliationDay, row)

    async def listed(self, gateway: str) -> list[ReconciliationDay]:
        """Return days, newest first."""
        return await read_all(ReconciliationDay, self._database, LISTED, gateway, self._zone)

    async def last_compared(
        self, gateway: str, before: date
    ) -> tuple[date | None, datetime | None]:
        """Return the last compared day before this one, and its as-of time."""
        row = await self._database.fetchrow(LAST_CLOSED, gateway, before)
        return (None, None) if row is None else (row["day"], row["as_of"])

    async def last_run_as_of(self, gateway: str) -> datetime | None:
        """Return the as-of time of the last successful run."""
        row = await self._database.fetchrow(LAST_RUN, gateway)
        return None if row is None else row["as_of"]

    async def first(self, gateway: str) -> date | None:
        """Return the first day ever reconciled."""
        row = await self._database.fetchrow(FIRST, gateway)
        return None if row is None else row["day"]

    async def seal(self, gateway: str, day: date, *, by: str, forms: Forms) -> ReconciliationDay:
        """Seal a closed day with its report in each format.

        Raises:
            DayNotFoundError: it was never reconciled.
            DayNotClosedError: it is incomplete, has open discrepancies, or is already sealed.
        """
        for _ in range(SEALINGS_MAX):
            judged = await self.get(gateway, day)
            if judged.sealed_at is not None or judged.verdict != CLOSED:
                state = f"sealed by {judged.sealed_by}" if judged.sealed_at else judged.verdict
                because = f" ({judged.because})" if judged.because else ""
                raise DayNotClosedError(f"The day {day} is {state}{because}. Nothing was changed.")
            mark = await self._database.fetchrow(MARK, gateway, day)
            _, now = await self.today()
            sealed = replace(judged, sealed_at=now, sealed_by=by, because=None)
            written = await forms(sealed)
            async with self._database.transaction() as connection:
                await connection.fetchrow(LOCKED, gateway, day)
                if await connection.fetchrow(MARK, gateway, day) != mark:
                    continue
                await connection.execute(SEAL, gateway, day, by, now)
                for form, content in written.items():
                    await connection.execute(KEEP_SEALED, gateway, day, form, content, now)
            return await self.get(gateway, day)
        raise DayNotClosedError(f"The day {day} changed while it was being sealed. Try again.")

    async def sealed_report(self, gateway: str, day: date, form: str) -> tuple[bytes, str] | None:
        """Return the sealed report in this format with its digest, or None."""
        row = await self._database.fetchrow(SEALED_REPORT, gateway, day, form)
        return None if row is None else (row["content"], row["digest"])

    async def run(self, run_id: UUID) -> ReconciliationRun:
        """Return a run.

        Raises:
            RunNotFoundError: no run has this id.
        """
        row = await self._database.fetchrow(ONE_RUN, run_id)
        if row is None:
            raise RunNotFoundError(f"No run has the id {run_id}.")
        return row_as(ReconciliationRun, row)

    async def runs_of(self, gateway: str, day: date) -> list[ReconciliationRun]:
        """Return a day's runs, newest first."""
        return await read_all(ReconciliationRun, self._database, RUNS_OF_DAY, gateway, day)


async def _session(dsn: str) -> asyncpg.Connection:
    """Open a session outside the pool; its lock ends with the session."""
    try:
        return await asyncpg.connect(dsn, timeout=ACQUIRE_TIMEOUT_SECONDS)
    except (TimeoutError, *UNREACHABLE) as error:
        raise DatabaseUnavailableError(reason=str(error)) from error

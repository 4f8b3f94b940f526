"""The jobs table (claim, finish, reschedule, pause), and the detection of dead processes.

Every session of a process holds a shared advisory lock in its name from its first statement on. A
process without one is dead or has lost all work in the database. A frozen process keeps its
sessions; only its leases expire.

Rules a change must keep:

- Leases use the database's clock. A claim raises the row's fence, and only the holder of that fence
  can finish or reschedule it, so a worker frozen past its lease changes nothing.
- A waiting row is held by no process; a claim whose result was lost is released by its id.
- A process is registered before it writes anything. It is dead only if it is missing in two
  consecutive checks, because a restarted server sees no processes at first. Jobs taken from it get
  a new fence.
"""

import asyncio
from collections.abc import Collection, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from caas.billing_database.connection import Connection, Database
from caas.billing_database.identifiers import new_id
from caas.billing_database.postponed_jobs import PostponedJobs
from caas.billing_database.unknown_claims import UnknownClaims
from caas.errors import ConflictError, UnavailableError

CLAIM_ROWS_MAX = 200

ADD = """
insert into jobs as o (kind, subject, due_at, payload, created_at)
select k, s, db_now() + make_interval(secs => d), p, db_now()
  from unnest($1::text[], $2::uuid[], $3::double precision[], $4::jsonb[]) as w(k, s, d, p)
on conflict (kind, subject) do update
   set due_at = least(o.due_at, excluded.due_at), payload = o.payload || excluded.payload,
       fence = o.fence + 1, lease_until = null, paused_at = null, held_by = excluded.held_by,
       attempts = case when o.paused_at is null then o.attempts else 0 end
"""
# Claims what is due; if that is less than asked for, the last row says when the next job is due.
CLAIM = """
with now_ as materialized (select db_now() as at), due as materialized (
  select o.kind, o.subject from jobs o, now_
   where o.due_at <= now_.at and (o.lease_until is null or o.lease_until < now_.at)
     and o.paused_at is null and o.kind = any ($1)
   order by o.due_at limit $3 for update of o skip locked
), claimed as (
  update jobs o set lease_until = now_.at + make_interval(secs => $2), fence = o.fence + 1,
         attempts = o.attempts + 1, held_by = this_process(), claim = $4
    from due, now_
   where o.kind = due.kind and o.subject = due.subject
  returning o.kind, o.subject, o.payload, o.attempts, o.fence
), ahead as (
  select extract(epoch from least(
           (select greatest(o.due_at, coalesce(o.lease_until, o.due_at)) from jobs o
             where o.due_at > now_.at and o.paused_at is null and o.kind = any ($1)
             order by o.due_at limit 1),
           (select min(o.lease_until) from jobs o
             where o.due_at <= now_.at and o.lease_until >= now_.at and o.paused_at is null
               and o.kind = any ($1))) - now_.at)::float8 as seconds
    from now_ where (select count(*) from due) < $3
)
select kind, subject, payload, attempts, fence, null::float8 as seconds from claimed
 union all select null, null, null, null, null, seconds from ahead
"""
# Undo a claim whose result was lost: its rows are due as before.
UNCLAIM = """
update jobs set lease_until = null, held_by = null, fence = fence + 1,
       attempts = greatest(attempts - 1, 0)
 where claim = any ($1) and lease_until is not null and paused_at is null
returning claim
"""
LEAVE = """
update jobs o set lease_until = null, held_by = null
  from unnest($1::text[], $2::uuid[], $3::bigint[]) as w(k, s, f)
 where o.kind = w.k and o.subject = w.s and o.fence = w.f and o.lease_until is not null
returning w.k, w.s, w.f
"""
# Not waited for: a job whose end is lost in a crash of the server runs again, which is harmless.
FINISH = """
with not_waited_for as materialized (select set_config('synchronous_commit', 'off', true))
delete from jobs o using not_waited_for, unnest($1::text[], $2::uuid[], $3::bigint[]) as w(k, s, f)
 where o.kind = w.k and o.subject = w.s and o.fence = w.f
"""
RESCHEDULE = """
update jobs set due_at = db_now() + make_interval(secs => $4), lease_until = null,
       held_by = null, last_error = $5, payload = payload || $6,
       attempts = case when $7 then 0 else attempts end
 where kind = $1 and subject = $2 and fence = $3
"""
PAUSE = """
update jobs set paused_at = db_now(), lease_until = null, held_by = null, last_error = $4
 where kind = $1 and subject = $2 and fence = $3
"""
RENEW = """
update jobs o set lease_until = db_now() + make_interval(secs => $4)
  from unnest($1::text[], $2::uuid[], $3::bigint[]) as w(k, s, f)
 where o.kind = w.k and o.subject = w.s and o.fence = w.f and o.lease_until is not null
"""
HASTEN = """
update jobs o
   set due_at = least(o.due_at, db_now() + make_interval(secs => q.place / $2::float8))
  from (select kind, subject, row_number() over (order by created_at desc) as place
          from jobs
         where kind = any ($1) and paused_at is null and lease_until is null and due_at > db_now()
         order by created_at desc limit $3) q
 where o.kind = q.kind and o.subject = q.subject and o.lease_until is null and o.paused_at is null
"""
HASTENED_ROWS_MAX = 1000
HASTENED_PER_SECOND = 50.0
END = "delete from jobs where kind = $1 and subject = $2"
IS_HELD = "select 1 from jobs where kind = $1 and subject = $2 and fence = $3"
HOLD = f"{IS_HELD} for update"
RELEASE = """
update jobs set paused_at = null, attempts = 0, due_at = db_now(), lease_until = null,
       payload = payload || '{"released_after": 0}'
 where kind = $1 and subject = $2 and paused_at is not null
returning exists (select from jobs o where o.subject = $2 and o.kind <> $1
                   and o.paused_at is not null) as others
"""


RELEASED_AFTER = "released_after"
"""Payload key: the number of attempts at which a person released the paused job."""


class NotPausedError(ConflictError):
    """The job is not paused, so it cannot be released."""

    code = "not_parked"


class Job(msgspec.Struct, frozen=True):
    """A job held by one worker until its lease ends."""

    kind: str
    subject: UUID
    payload: dict[str, Any]
    attempts: int
    fence: int


class Claimed(msgspec.Struct, frozen=True):
    """Claimed jobs, and the seconds until the next one is due; None if more are due or none is."""

    jobs: tuple[Job, ...]
    next_in: float | None


class JobRows(PostponedJobs):
    """The table of jobs."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        super().__init__(database)
        self._lost: UnknownClaims[UUID] = UnknownClaims(database, self._unclaim)
        self._left: UnknownClaims[tuple[str, UUID, int]] = UnknownClaims(database, self._leave)

    async def add(
        self,
        kind: str,
        subject: UUID,
        *,
        due_in: float = 0.0,
        payload: dict[str, Any] | None = None,
        within: Connection | None = None,
    ) -> None:
        """Schedule a job in `due_in` seconds, unless it is already due earlier."""
        await self.add_all([(kind, subject, due_in, payload or {})], within=within)

    async def add_all(
        self,
        job: Sequence[tuple[str, UUID, float, dict[str, Any]]],
        *,
        within: Connection | None = None,
    ) -> None:
        """Schedule many jobs in one statement; the jobs of one key become one."""
        if not job:
            return
        columns = [list(column) for column in zip(*_joined(job), strict=True)]
        if within is not None:
            await within.execute(ADD, *columns)
            return
        async with self._database.connection() as connection:
            await connection.execute(ADD, *columns)

    async def claim(
        self, kinds: Sequence[str], *, lease_seconds: float, rows_max: int = CLAIM_ROWS_MAX
    ) -> Claimed:
        """Claim at most `rows_max` due jobs of these kinds for one lease."""
        claim = new_id()
        try:
            rows = await self._database.fetch(CLAIM, list(kinds), lease_seconds, rows_max, claim)
        except (UnavailableError, asyncio.CancelledError):
            self._lost.add(claim)
            raise
        ahead = rows.pop()["seconds"] if rows and rows[-1]["kind"] is None else None
        return Claimed(
            tuple(
                Job(row["kind"], row["subject"], row["payload"], row["attempts"], row["fence"])
                for row in rows
            ),
            ahead,
        )

    def leave(self, job: Job) -> None:
        """Release a claimed job that no worker runs, once the database responds."""
        self._left.add((job.kind, job.subject, job.fence))

    async def _leave(self, left: Sequence[tuple[str, UUID, int]]) -> list[tuple[str, UUID, int]]:
        columns = (list(column) for column in zip(*left, strict=True))
        return [(*row,) for row in await self._database.fetch(LEAVE, *columns)]

    async def _unclaim(self, claims: Sequence[UUID]) -> list[UUID]:
        return [row["claim"] for row in await self._database.fetch(UNCLAIM, list(claims))]

    async def finish(self, done: Sequence[Job]) -> None:
        """Finish jobs; each only if this claim still holds it."""
        await self._database.fetch(
            FINISH,
            [job.kind for job in done],
            [job.subject for job in done],
            [job.fence for job in done],
        )

    async def renew(self, under_way: Sequence[Job], *, lease_seconds: float) -> None:
        """Extend the leases of jobs that are still running."""
        await self._database.fetch(
            RENEW,
            [job.kind for job in under_way],
            [job.subject for job in under_way],
            [job.fence for job in under_way],
            lease_seconds,
        )

    async def reschedule(
        self,
        job: Job,
        *,
        due_in: float,
        because: str | None = None,
        payload: dict[str, Any] | None = None,
        begins_anew: bool = False,
    ) -> None:
        """Reschedule a claimed job; optionally reset its attempts."""
        await self._database.fetch(
            RESCHEDULE, job.kind, job.subject, job.fence, due_in, because, payload or {},
            begins_anew,
        )  # fmt: skip

    async def hasten(self, kinds: Sequence[str]) -> None:
        """Make waiting jobs of these kinds due now, newest first, at a limited rate."""
        await self._database.fetch(HASTEN, list(kinds), HASTENED_PER_SECOND, HASTENED_ROWS_MAX)

    async def pause(self, job: Job, *, because: str) -> None:
        """Pause a job until a person releases it."""
        await self._database.fetch(PAUSE, job.kind, job.subject, job.fence, because)

    async def release(self, kind: str, subject: UUID, *, within: Connection) -> bool:
        """Release a paused job; return whether other jobs of the subject are still paused.

        Raises:
            NotPausedError: the subject has no paused job of this kind.
        """
        row = await within.fetchrow(RELEASE, kind, subject)
        if row is None:
            raise NotPausedError(kind=kind, subject=str(subject))
        return bool(row["others"])

    async def is_held(self, kind: str, subject: UUID, *, fence: int) -> bool:
        """Return whether the job still has this fence."""
        return await self._database.fetchrow(IS_HELD, kind, subject, fence) is not None

    async def hold(self, kind: str, subject: UUID, *, fence: int, within: Connection) -> bool:
        """Return whether the job has this fence, and keep it so until the transaction ends."""
        return await within.fetchrow(HOLD, kind, subject, fence) is not None

    async def end(self, kind: str, subject: UUID, *, within: Connection) -> None:
        """Delete a job that the caller's transaction has completed."""
        await within.execute(END, kind, subject)


def _joined(
    jobs: Sequence[tuple[str, UUID, float, dict[str, Any]]],
) -> list[tuple[str, UUID, float, dict[str, Any]]]:
    """Join the jobs of one key as the statement joins one with a job that waits."""
    joined = dict[tuple[str, UUID], tuple[float, dict[str, Any]]]()
    for kind, subject, due_in, payload in jobs:
        due, known = joined.get((kind, subject), (due_in, {}))
        joined[kind, subject] = min(due, due_in), known | payload
    return [(*key, *it) for key, it in joined.items()]


LOOK_SECONDS: Final = 1.0
SILENT: Final = "select silent_processes() as id"
FREE: Final = "select free_jobs_of($1, $2, $3) as freed"
NAMES: Final = "select names_of_dead($1) as name"


class Processes:
    """Detects dead processes and the jobs they held."""

    def __init__(self, database: Database) -> None:
        """Look through this database."""
        self._database = database

    async def silent(self) -> frozenset[int]:
        """Return the processes without a session."""
        return frozenset(row["id"] for row in await self._database.fetch(SILENT))

    async def names_of_dead(self, processes: Collection[int]) -> list[str]:
        """Return names of dead processes that no living one uses."""
        return [row["name"] for row in await self._database.fetch(NAMES, list(processes))]

    async def free_jobs_of(
        self,
        processes: Collection[int],
        kinds: Collection[str],
        awaited: Collection[str] = (),
    ) -> int:
        """Make jobs held by dead processes due; return their number.

        `kinds` are those whose unclaimed rows are their writer's safety net; `awaited` are those
        that end with a message which a dead process may have lost.
        """
        row = await self._database.fetchrow(FREE, list(processes), list(kinds), list(awaited))
        assert row is not None, "a count is one row"
        return int(row["freed"])

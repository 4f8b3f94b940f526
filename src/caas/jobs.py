"""Durable job queue on PostgreSQL with leases and fencing tokens.

The first attempt of a step usually runs inline; its job row is the safety net. Any number of
workers share the rows. A handler reads the current state and performs the next step, so running it
twice, late or on another machine is harmless.

Rules a change must keep: dispatch is by kind only; a failing job is retried with backoff, then
paused with a case, never dropped; an unavailable partner or database is retried without limit; no
error ends the worker loop, and no job blocks another; a live worker renews its leases, a frozen one
loses them when they expire, and a dead one within seconds (decision 111).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from uuid import UUID

import msgspec
import structlog

from caas.billing_database.batching import Batcher
from caas.billing_database.cases import PAUSED, Cases
from caas.billing_database.connection import Connection
from caas.billing_database.job_rows import LOOK_SECONDS, Claimed, Job, JobRows, Processes
from caas.errors import UnavailableError
from caas.external_systems.http_answers import (
    NotSentError,
    OutcomeUnknownError,
    TooManyRequestsError,
)
from caas.rules.time_scale import TimeScale

LEASE_SECONDS: Final = 60.0
LEASE_SECONDS_MIN: Final = 5.0
LEASES_RENEWED_EVERY: Final = 1 / 3
HANDLER_SECONDS_MAX: Final = 3600.0
DRAIN_SECONDS_MAX: Final = 3.0
RELEASE_DEAD_SECONDS_MAX: Final = 2.0
LOOK_AGAIN_SECONDS: Final = 1.0
LOOK_AGAIN_SECONDS_MIN: Final = 0.01
AT_ONCE_MAX: Final = 64
BACKOFF_SECONDS: Final = 2.0
BACKOFF_SECONDS_MAX: Final = 300.0
BACKOFF_DOUBLINGS_MAX: Final = 20
ATTEMPTS_MAX: Final = 8
NOTHING: Final = Claimed((), None)
NO_ANSWER: Final = (UnavailableError, NotSentError, OutcomeUnknownError, TooManyRequestsError)

_log = structlog.get_logger()


class Done(msgspec.Struct, frozen=True):
    """The job is complete."""


class RetryIn(msgspec.Struct, frozen=True):
    """Run again in `due_in` real seconds; this is not a failure.

    A recurring job that completed starts over: its attempts are reset.
    """

    due_in: float
    because: str | None = None
    payload: dict[str, object] | None = None
    begins_anew: bool = False


class Pause(msgspec.Struct, frozen=True):
    """Pause the job and open a case."""

    because: str


Answer = Done | RetryIn | Pause
Handler = Callable[[Job], Awaitable[Answer]]
ReleaseDead = Callable[[Sequence[str]], Awaitable[None]]


class JobQueue:
    """Claims and runs jobs."""

    def __init__(self, rows: JobRows, cases: Cases, time_scale: TimeScale) -> None:
        """Claim from these rows, with waits divided by the time scale."""
        self._rows = rows
        self._cases = cases
        self._time_scale = time_scale
        self._handlers: dict[str, Handler] = {}
        self._safety_nets: set[str] = set()
        self._awaited: set[str] = set()
        self._release_dead: ReleaseDead | None = None
        self._processes = Processes(cases.database)
        self._wake = asyncio.Event()
        self._under_way: dict[asyncio.Task[None], Job] = {}
        self._lease_seconds = max(time_scale.seconds(LEASE_SECONDS), LEASE_SECONDS_MIN)
        self._ending: Batcher[Job, None] = Batcher(self._finish)

    @property
    def rows(self) -> JobRows:
        """Return the jobs table, for adding jobs."""
        return self._rows

    def register(
        self, kind: str, handler: Handler, *, safety_net: bool = False, awaits_message: bool = False
    ) -> None:
        """Register the handler of a kind; each kind has one.

        `safety_net` is for kinds whose first attempt runs inline: if that process dies, the job is
        due at once. `awaits_message` is for kinds that poll until a message arrives at any process:
        if one dies, they poll at once.
        """
        assert kind not in self._handlers, f"{kind} already has a handler"
        self._handlers[kind] = handler
        if safety_net:
            self._safety_nets.add(kind)
        if awaits_message:
            self._awaited.add(kind)

    def release_dead_with(self, release_dead: "ReleaseDead") -> None:
        """Set the callback that cleans up outside the database after dead processes."""
        self._release_dead = release_dead

    def wake(self) -> None:
        """Wake the worker: a job became due."""
        self._wake.set()

    async def retry_lookup(self) -> None:
        """Make all jobs that await a message due: the connection is back.

        If the database is unavailable, they run at their normal interval.
        """
        try:
            await self._rows.hasten(sorted(self._awaited))
        except UnavailableError as error:
            _log.warning("jobs.lookup_not_retried", exc_info=error)
        self.wake()

    async def release(self, kind: str, subject: UUID, *, by: str) -> None:
        """Resume a paused job and close its case.

        Raises:
            NotPausedError: no such job is paused.
        """

        async def together(connection: Connection) -> None:
            if await self._rows.release(kind, subject, within=connection):
                return
            await self._cases.close(
                PAUSED, subject, resolution=f"'{kind}' was released.", owner=by, within=connection
            )

        await self._cases.database.in_transaction(together)
        self.wake()

    async def run(self) -> None:
        """Run due jobs until cancelled; jobs in progress get time to finish."""
        beside = (
            asyncio.create_task(self._keep_leases()),
            asyncio.create_task(self._watch_dead_processes()),
        )
        try:
            while True:
                self._wake.clear()
                free = AT_ONCE_MAX - len(self._under_way)
                claimed = await self._claimed(free) if free else NOTHING
                for job in claimed.jobs:
                    task = asyncio.create_task(self._run_job(job))
                    self._under_way[task] = job
                    task.add_done_callback(self._ended)
                if not free or len(claimed.jobs) < free:
                    await self._rest(claimed.next_in)
        finally:
            for task in beside:
                task.cancel()
            await self._drain()

    async def run_due(self) -> int:
        """Run all jobs due now, once; return their number."""
        claimed = await self._rows.claim(
            list(self._handlers), lease_seconds=self._lease_seconds, rows_max=AT_ONCE_MAX
        )
        await asyncio.gather(*(self._run_job(job) for job in claimed.jobs))
        return len(claimed.jobs)

    async def _claimed(self, rows_max: int) -> Claimed:
        try:
            return await self._rows.claim(
                list(self._handlers), lease_seconds=self._lease_seconds, rows_max=rows_max
            )
        except UnavailableError as error:
            _log.warning("jobs.database_unavailable", exc_info=error)
        except Exception:  # a database failure must not end the worker
            _log.exception("jobs.not_claimed")
        return NOTHING

    async def _run_job(self, job: Job) -> None:
        """Run one job; an error that cannot be stored leads to another attempt."""
        try:
            if await self._handle(job):
                await self._ending.write(job)
        except UnavailableError as error:
            _log.warning("jobs.not_ended", kind=job.kind, exc_info=error)
            self._rows.leave(job)
        except Exception:  # a database failure must not end the worker
            _log.exception("jobs.not_ended", kind=job.kind, subject=str(job.subject))

    async def _finish(self, done: Sequence[Job]) -> list[None]:
        await self._rows.finish(done)
        return [None] * len(done)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if len(self._under_way) == AT_ONCE_MAX:
            self._wake.set()
        del self._under_way[task]

    async def _keep_leases(self) -> None:
        """Renew the leases of running jobs."""
        while True:
            await asyncio.sleep(self._lease_seconds * LEASES_RENEWED_EVERY)
            if self._under_way:
                try:
                    await self._rows.renew(
                        list(self._under_way.values()), lease_seconds=self._lease_seconds
                    )
                except Exception:  # a lease that is not renewed expires
                    _log.exception("jobs.leases_not_renewed")

    async def _watch_dead_processes(self) -> None:
        """Release the jobs of processes that missed two consecutive checks."""
        silent: frozenset[int] = frozenset()
        while True:
            try:
                before, silent = silent, await self._processes.silent()
                dead = silent & before
                if dead:
                    await self._take_over(dead)
            except Exception as error:  # their leases expire as well
                silent = frozenset()
                _log.debug("jobs.processes_unknown", because=str(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def _take_over(self, dead: frozenset[int]) -> None:
        """Run what a dead process would have done next."""
        if self._release_dead is not None:
            try:
                async with asyncio.timeout(RELEASE_DEAD_SECONDS_MAX):
                    await self._release_dead(await self._processes.names_of_dead(dead))
            except Exception as error:  # its jobs are freed all the same
                _log.warning("jobs.dead_process_not_released", because=repr(error))
        if await self._processes.free_jobs_of(dead, self._safety_nets, self._awaited):
            self.wake()

    async def _drain(self) -> None:
        """Give running jobs a moment to finish, then cancel them."""
        tasks = list(self._under_way)
        if tasks:
            await asyncio.wait(tasks, timeout=DRAIN_SECONDS_MAX)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _rest(self, next_in: float | None) -> None:
        """Wait until a job is due or may be, at most `LOOK_AGAIN_SECONDS`."""
        wait = LOOK_AGAIN_SECONDS if next_in is None else next_in
        try:
            async with asyncio.timeout(min(max(wait, LOOK_AGAIN_SECONDS_MIN), LOOK_AGAIN_SECONDS)):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _handle(self, job: Job) -> bool:
        """Run the handler; return whether the job is complete."""
        try:
            async with asyncio.timeout(HANDLER_SECONDS_MAX):
                answer = await self._handlers[job.kind](job)
        except NO_ANSWER as error:
            await self._reschedule(job, because=error.sentence)
            return False
        except Exception as error:  # a bug in one handler must not stop the others
            _log.exception("jobs.failed", kind=job.kind, subject=str(job.subject))
            if job.attempts >= ATTEMPTS_MAX:
                await self._pause(job, f"{type(error).__name__}: {error}")
            else:
                await self._reschedule(job, because=f"{type(error).__name__}: {error}")
            return False
        return await self._follow(job, answer)

    async def _follow(self, job: Job, answer: Answer) -> bool:
        match answer:
            case Done():
                return True
            case RetryIn(due_in, because, payload, begins_anew):
                await self._rows.reschedule(
                    job, due_in=self._time_scale.seconds(due_in), because=because, payload=payload,
                    begins_anew=begins_anew,
                )  # fmt: skip
            case Pause(because):
                await self._pause(job, because)
        return False

    async def _reschedule(self, job: Job, *, because: str) -> None:
        doublings = min(job.attempts - 1, BACKOFF_DOUBLINGS_MAX)
        wait = min(BACKOFF_SECONDS * 2.0**doublings, BACKOFF_SECONDS_MAX)
        await self._rows.reschedule(job, due_in=self._time_scale.seconds(wait), because=because)

    async def _pause(self, job: Job, because: str) -> None:
        sentence = f"The job '{job.kind}' was paused after {job.attempts} attempts: {because}"
        await self._cases.open(PAUSED, job.subject, sentence, facts={"kind": job.kind})
        await self._rows.pause(job, because=because)

"""Everything that must still happen: whoever is free does what is due.

The happy path does its next step at once; the row of jobs is the safety net behind it. Any
number of workers on any number of machines share the rows; a handler looks at the whole state and
does the next thing, so that running it twice, late or elsewhere is harmless.

Rules a change must keep: dispatch is by kind and nothing else; a handler that fails is tried again
with growing waits and then parked with a case, never dropped; a partner or a database that does not
answer is waited for, however long; the loop never ends by an error, and no job waits for
another; whoever is slow but alive keeps its lease, whoever is frozen loses it when it ends, and
whoever is dead within seconds (decision 111).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import structlog

from caas.billing_database.batching import Batcher
from caas.billing_database.cases import PAUSED, Cases
from caas.billing_database.connection import Connection
from caas.billing_database.job_rows import Job, JobRows
from caas.billing_database.processes import LOOK_SECONDS, Processes
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
NO_ANSWER: Final = (UnavailableError, NotSentError, OutcomeUnknownError, TooManyRequestsError)

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing of this kind is left to do for the subject."""


@dataclass(frozen=True, slots=True)
class RetryIn:
    """Come back in `due_in` real seconds; that is no failure.

    What was done whole and only comes round again begins anew: the attempts before are forgotten.
    """

    due_in: float
    because: str | None = None
    payload: dict[str, object] | None = None
    begins_anew: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """A person must look; a case is opened."""

    because: str


Answer = Done | RetryIn | Pause
Handler = Callable[[Job], Awaitable[Answer]]
Bury = Callable[[Sequence[str]], Awaitable[None]]


class JobQueue:
    """The workers' side of the jobs table."""

    def __init__(self, rows: JobRows, cases: Cases, time_scale: TimeScale) -> None:
        """Claim from these rows, waiting at this pace."""
        self._rows = rows
        self._cases = cases
        self._time_scale = time_scale
        self._handlers: dict[str, Handler] = {}
        self._safety_nets: set[str] = set()
        self._awaited: set[str] = set()
        self._release_dead: Bury | None = None
        self._processes = Processes(cases.database)
        self._wake = asyncio.Event()
        self._under_way: dict[asyncio.Task[None], Job] = {}
        self._lease_seconds = max(time_scale.seconds(LEASE_SECONDS), LEASE_SECONDS_MIN)
        self._ending: Batcher[Job, None] = Batcher(self._finish)

    @property
    def rows(self) -> JobRows:
        """The table, for whoever adds work."""
        return self._rows

    def register(
        self, kind: str, handler: Handler, *, safety_net: bool = False, awaits_message: bool = False
    ) -> None:
        """Let `handler` do the work of this kind; one handler a kind.

        `safety_net` is for kinds that are written down by whoever begins to do them at once: when
        that process dies, they are due at once. `awaits_message` is for kinds that ask again until
        a message comes, which any process may receive: when one dies, they ask again at once.
        """
        assert kind not in self._handlers, f"{kind} has a handler already"
        self._handlers[kind] = handler
        if safety_net:
            self._safety_nets.add(kind)
        if awaits_message:
            self._awaited.add(kind)

    def release_dead_with(self, release_dead: "Bury") -> None:
        """Let `release_dead` end what dead processes left outside the database (`host:pid`)."""
        self._release_dead = release_dead

    def wake(self) -> None:
        """Look at once: something became due."""
        self._wake.set()

    async def retry_lookup(self) -> None:
        """Let every kind that awaits a message ask at once: the way to whoever is asked is back.

        A database that is away meanwhile is no error: they ask again at their interval.
        """
        try:
            await self._rows.hasten(sorted(self._awaited))
        except UnavailableError as error:
            _log.warning("jobs.not_asked_again", exc_info=error)
        self.wake()

    async def release(self, kind: str, subject: UUID, *, by: str) -> None:
        """Let parked work go on, and close the case that said it was parked.

        Raises:
            NotPausedError: nothing of this kind is parked for the subject.
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
        """Do what is due, until cancelled; what is under way then may still end."""
        beside = (
            asyncio.create_task(self._keep_leases()),
            asyncio.create_task(self._follow_the_dead()),
        )
        try:
            while True:
                self._wake.clear()
                free = AT_ONCE_MAX - len(self._under_way)
                claimed = await self._claimed(free) if free else []
                for job in claimed:
                    task = asyncio.create_task(self._piece(job))
                    self._under_way[task] = job
                    task.add_done_callback(self._ended)
                if not claimed:
                    await self._rest()
        finally:
            for task in beside:
                task.cancel()
            await self._drain()

    async def run_due(self) -> int:
        """Do everything that is due now, once; return how many pieces that were."""
        claimed = await self._rows.claim(
            list(self._handlers), lease_seconds=self._lease_seconds, rows_max=AT_ONCE_MAX
        )
        await asyncio.gather(*(self._piece(job) for job in claimed))
        return len(claimed)

    async def _claimed(self, rows_max: int) -> list[Job]:
        try:
            return await self._rows.claim(
                list(self._handlers), lease_seconds=self._lease_seconds, rows_max=rows_max
            )
        except UnavailableError as error:
            _log.warning("jobs.database_unavailable", exc_info=error)
        except Exception:  # a database in trouble must not end the worker
            _log.exception("jobs.not_claimed")
        return []

    async def _piece(self, job: Job) -> None:
        """Do one piece; what cannot even be written down is done again when that is possible."""
        try:
            if await self._do(job):
                await self._ending.write(job)
        except UnavailableError as error:
            _log.warning("jobs.not_ended", kind=job.kind, exc_info=error)
            self._rows.leave(job)
        except Exception:  # a database in trouble must not end the worker
            _log.exception("jobs.not_ended", kind=job.kind, subject=str(job.subject))

    async def _finish(self, done: Sequence[Job]) -> list[None]:
        await self._rows.finish(done)
        return [None] * len(done)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if len(self._under_way) == AT_ONCE_MAX:
            self._wake.set()
        del self._under_way[task]

    async def _keep_leases(self) -> None:
        """Renew the leases of what is under way; a frozen process does not come here."""
        while True:
            await asyncio.sleep(self._lease_seconds * LEASES_RENEWED_EVERY)
            if self._under_way:
                try:
                    await self._rows.renew(
                        list(self._under_way.values()), lease_seconds=self._lease_seconds
                    )
                except Exception:  # a lease that is not renewed is only lost
                    _log.exception("jobs.leases_not_renewed")

    async def _follow_the_dead(self) -> None:
        """Take up what processes had under way that are silent at two looks in a row."""
        silent: frozenset[int] = frozenset()
        while True:
            try:
                before, silent = silent, await self._processes.silent()
                dead = silent & before
                if dead:
                    await self._take_over(dead)
            except Exception as error:  # their leases end, too
                silent = frozenset()
                _log.debug("jobs.processes_not_known", because=str(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def _take_over(self, dead: frozenset[int]) -> None:
        """Do what dead processes would have done next."""
        if self._release_dead is not None:
            try:
                async with asyncio.timeout(RELEASE_DEAD_SECONDS_MAX):
                    await self._release_dead(await self._processes.names_of_dead(dead))
            except (UnavailableError, TimeoutError) as error:  # what they left expires, too
                _log.warning("jobs.dead_not_buried", because=str(error))
        if await self._processes.free_jobs_of(dead, self._safety_nets, self._awaited):
            self.wake()

    async def _drain(self) -> None:
        """Let what is under way end by itself for a moment, then stop it."""
        tasks = list(self._under_way)
        if tasks:
            await asyncio.wait(tasks, timeout=DRAIN_SECONDS_MAX)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _rest(self) -> None:
        wait = LOOK_AGAIN_SECONDS
        try:
            full = len(self._under_way) == AT_ONCE_MAX
            until_next = None if full else await self._rows.seconds_to_next(list(self._handlers))
            if until_next is not None:
                wait = min(max(until_next, LOOK_AGAIN_SECONDS_MIN), LOOK_AGAIN_SECONDS)
        except Exception as error:  # the next claim says so
            _log.debug("jobs.next_not_known", because=str(error))
        try:
            async with asyncio.timeout(wait):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _do(self, job: Job) -> bool:
        """Run the handler; return whether the work is done."""
        try:
            async with asyncio.timeout(HANDLER_SECONDS_MAX):
                answer = await self._handlers[job.kind](job)
        except NO_ANSWER as error:
            await self._reschedule(job, because=error.sentence)
            return False
        except Exception as error:  # a bug in one handler must not stop the rest
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
        sentence = f"The work '{job.kind}' was parked after {job.attempts} attempts: {because}"
        await self._cases.open(PAUSED, job.subject, sentence, facts={"kind": job.kind})
        await self._rows.pause(job, because=because)

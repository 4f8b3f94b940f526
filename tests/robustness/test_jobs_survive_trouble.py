"""Jobs goes on: through errors of its handlers, of partners, of the database, and freezing."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import asyncpg

from caas.billing_database import tables as billing_tables
from caas.billing_database.connection import Database
from caas.billing_database.identifiers import new_id
from caas.billing_database.job_rows import Claimed, Job
from caas.external_systems.http_answers import OutcomeUnknownError, UnknownReason
from caas.jobs import ATTEMPTS_MAX, Answer, Done, JobQueue, Pause, RetryIn
from caas.rules.time_scale import TimeScale

PATIENCE_SECONDS = 120.0
FAST = TimeScale(100_000.0)
ROW = "select attempts, paused_at is not null as parked from jobs where kind = $1"
MANY = 2000


def workers(database: Database, time_scale: TimeScale = FAST) -> JobQueue:
    """Open the table of jobs as one more worker does."""
    tables = billing_tables.opened(database)
    return JobQueue(tables.jobs, tables.cases, time_scale)


@asynccontextmanager
async def running(jobs: JobQueue) -> AsyncIterator[None]:
    """Let a worker run."""
    task = asyncio.create_task(jobs.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.002)


async def as_owner(database: Database, statement: str) -> None:
    """Run a statement as the owner of the schema."""
    owner = await asyncpg.connect(database.dsn)
    await owner.execute(statement)
    await owner.close()


def freeze(jobs: JobQueue) -> None:
    """Let a worker neither renew nor claim any more."""

    async def nothing(*_: object, **__: object) -> Claimed:
        return Claimed((), None)

    jobs.rows.claim = nothing  # type: ignore[method-assign]
    jobs.rows.renew = nothing  # type: ignore[assignment, method-assign]


def no_answer() -> OutcomeUnknownError:
    """What a partner's time-out looks like."""
    return OutcomeUnknownError(partner="The gateway", call="POST /", reason=UnknownReason.TIMED_OUT)


async def test_a_worker_survives_a_deadlock_while_it_claims(database: Database) -> None:
    """The loop ended by any database error but "unavailable", and with it the whole worker."""
    jobs = workers(database)
    done: list[Job] = []
    claim = jobs.rows.claim
    troubles = 3

    async def deadlocked(kinds: Sequence[str], *, lease_seconds: float, rows_max: int) -> Claimed:
        nonlocal troubles
        troubles -= 1
        if troubles >= 0:
            raise asyncpg.DeadlockDetectedError("deadlock detected")
        return await claim(kinds, lease_seconds=lease_seconds, rows_max=rows_max)

    async def handler(job: Job) -> Answer:
        done.append(job)
        return Done()

    jobs.rows.claim = deadlocked  # type: ignore[assignment, method-assign]
    jobs.register("kind", handler)
    await jobs.rows.add("kind", new_id())
    async with running(jobs):
        await until(lambda: bool(done))

    assert troubles < 0


async def test_a_worker_survives_that_it_cannot_write_down_what_it_did(database: Database) -> None:
    jobs = workers(database)
    done: list[Job] = []
    finish = jobs.rows.finish

    async def disk_full(works: Sequence[Job]) -> None:
        if len(done) == 1:
            raise asyncpg.DiskFullError("no space left on device")
        await finish(works)

    async def handler(job: Job) -> Answer:
        done.append(job)
        return Done()

    jobs.rows.finish = disk_full  # type: ignore[assignment, method-assign]
    jobs.register("kind", handler)
    await jobs.rows.add("kind", new_id())
    async with running(jobs):
        await until(lambda: len(done) == 1)
        await as_owner(database, "update caas.clock set moved = interval '1 minute'")
        await until(lambda: len(done) == 2)


async def test_a_partner_that_does_not_answer_is_never_given_up(database: Database) -> None:
    """A gateway that was down for ten minutes left its payments parked for a person."""
    jobs = workers(database)
    attempts: list[int] = []

    async def handler(job: Job) -> Answer:
        attempts.append(job.attempts)
        if job.attempts <= ATTEMPTS_MAX + 4:
            raise no_answer()
        return Done()

    jobs.register("kind", handler)
    await jobs.rows.add("kind", new_id())
    async with running(jobs):
        await until(lambda: len(attempts) > ATTEMPTS_MAX + 4)

    assert await database.fetchrow("select 1 from cases") is None


async def test_waits_do_not_overflow_however_long_a_partner_is_away(database: Database) -> None:
    """After 1024 attempts doubling the wait raised OverflowError, and the worker ended."""
    jobs = workers(database)
    attempts: list[int] = []

    async def handler(job: Job) -> Answer:
        attempts.append(job.attempts)
        if len(attempts) == 1:
            raise no_answer()
        return Done()

    jobs.register("kind", handler)
    await jobs.rows.add("kind", new_id())
    await as_owner(database, f"update caas.jobs set attempts = {MANY}")
    async with running(jobs):
        await until(lambda: len(attempts) == 2)

    assert attempts == [MANY + 1, MANY + 2]


async def test_a_poisoned_piece_is_parked_and_the_others_are_done(database: Database) -> None:
    """Fault F-W9."""
    jobs = workers(database)
    poisoned = new_id()
    done: list[Job] = []

    async def handler(job: Job) -> Answer:
        if job.subject == poisoned:
            raise ZeroDivisionError("a bug")
        done.append(job)
        return Done()

    jobs.register("kind", handler)
    await jobs.rows.add_all(
        [("kind", poisoned, 0.0, {}), *(("kind", new_id(), 0.0, {}) for _ in range(500))]
    )
    async with running(jobs):
        await until(lambda: len(done) == 500)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (row := await database.fetchrow(ROW, "kind")) or not row["parked"]:
                await asyncio.sleep(0.005)

    case = await database.fetchrow("select kind, sentence from cases where subject = $1", poisoned)
    assert row["attempts"] == ATTEMPTS_MAX
    assert case is not None
    assert (case["kind"], "a bug" in case["sentence"]) == ("jobs_parked", True)


async def test_a_slow_piece_keeps_nobody_waiting(database: Database) -> None:
    """All 64 pieces of a round waited for its slowest before any of them was ended."""
    jobs = workers(database)
    release = asyncio.Event()
    done: list[Job] = []

    async def slow(_: Job) -> Answer:
        await release.wait()
        return Done()

    async def quick(job: Job) -> Answer:
        done.append(job)
        return Done()

    jobs.register("slow", slow)
    jobs.register("quick", quick)
    await jobs.rows.add("slow", new_id())
    async with running(jobs):
        for number in range(1, 6):
            await jobs.rows.add("quick", new_id())
            jobs.wake()
            await until(lambda number=number: len(done) == number)  # type: ignore[misc]
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await database.fetchrow("select 1 from jobs where kind = 'quick'"):
                await asyncio.sleep(0.005)
        release.set()


async def test_a_slow_worker_keeps_its_piece_and_a_dead_one_loses_it(database: Database) -> None:
    slow, other = workers(database), workers(database)
    slow._lease_seconds = other._lease_seconds = 0.3
    began: list[str] = []
    release = asyncio.Event()

    def handler(name: str) -> Callable[[Job], asyncio.Future[Answer]]:
        async def handle(_: Job) -> Answer:
            began.append(name)
            await release.wait()
            return Done()

        return lambda job: asyncio.ensure_future(handle(job))

    slow.register("kind", handler("slow"))
    other.register("kind", handler("other"))
    await slow.rows.add("kind", new_id())
    async with running(slow):
        await until(lambda: began == ["slow"])
        async with running(other):
            await asyncio.sleep(1.0)
            while_alive = list(began)
            freeze(slow)
            await until(lambda: began == ["slow", "other"])
            release.set()

    assert while_alive == ["slow"]


async def test_a_piece_that_was_parked_begins_anew_when_a_person_asks_for_it(
    database: Database,
) -> None:
    jobs = workers(database)
    answers: list[Answer] = [Pause("somebody must look"), RetryIn(0.0, "not yet"), Done()]
    subject = new_id()
    seen: list[int] = []

    async def handler(job: Job) -> Answer:
        seen.append(job.attempts)
        return answers.pop(0)

    jobs.register("kind", handler)
    await jobs.rows.add("kind", subject)
    await jobs.run_due()
    paused = await jobs.run_due()
    await jobs.rows.add("kind", subject)
    async with running(jobs):
        await until(lambda: not answers)

    assert (paused, seen) == (0, [1, 1, 2])


async def test_jobs_of_one_key_that_are_added_together_are_one(database: Database) -> None:
    rows, subject = workers(database).rows, new_id()

    await rows.add_all([("kind", subject, 9.0, {"a": 1, "b": 1}), ("kind", subject, 0.0, {"b": 2})])

    claimed = await rows.claim(["kind"], lease_seconds=60.0)
    assert [(job.subject, job.payload) for job in claimed.jobs] == [(subject, {"a": 1, "b": 2})]

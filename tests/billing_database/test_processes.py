"""What a dead process had under way is taken up by another; what a frozen one has is not."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from uuid import UUID, uuid4

import pytest

from caas.billing_database import connection, tables
from caas.billing_database.connection import Database
from caas.billing_database.idempotency import InFlightError, StoredAnswer, hashed
from caas.billing_database.job_rows import Job, Processes
from caas.jobs import Answer, Done, JobQueue
from caas.rules.time_scale import TimeScale

KIND, LEASE_SECONDS, NET_SECONDS = "ring_the_bell", 3600.0, 3600.0
PATIENCE_SECONDS = 120.0
SPREAD_SECONDS_MAX = 1.0
DUE_IN = "select extract(epoch from due_at - db_now()) as seconds from jobs where kind = $1"


@pytest.fixture
async def dying(database_dsn: str) -> AsyncIterator[Database]:
    """A process that a test ends before its time."""
    opened = await connection.connect(database_dsn, connections_max=2)
    yield opened
    await opened.close()


async def until_silent(database: Database) -> frozenset[int]:
    """Wait until PostgreSQL has noticed that some process is gone."""
    processes = Processes(database)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (silent := await processes.silent()):
            await asyncio.sleep(0.01)
    return silent


async def test_work_of_a_dead_process_is_due_at_once_and_its_fence_is_void(
    database: Database, dying: Database
) -> None:
    claimed_by_dead, mine = tables.opened(dying).jobs, tables.opened(database).jobs
    subject, later = uuid4(), uuid4()
    await claimed_by_dead.add(KIND, subject)
    (claimed,) = (await claimed_by_dead.claim([KIND], lease_seconds=LEASE_SECONDS)).jobs
    await claimed_by_dead.add("in_a_month", later, due_in=NET_SECONDS)
    assert await Processes(database).silent() == frozenset()

    await dying.close()
    freed = await Processes(database).free_jobs_of(await until_silent(database), [KIND])

    assert freed == 1
    await mine.finish([claimed])
    (again,) = (await mine.claim([KIND, "in_a_month"], lease_seconds=LEASE_SECONDS)).jobs
    assert (again.subject, again.attempts) == (subject, 2)
    assert again.fence > claimed.fence
    await mine.finish([again])


async def test_a_frozen_process_keeps_what_it_has_until_its_lease_ends(
    database: Database, dying: Database
) -> None:
    """It has its sessions still, as a process that SIGSTOP stopped does."""
    theirs = tables.opened(dying).jobs
    await theirs.add(KIND, uuid4())
    (claimed,) = (await theirs.claim([KIND], lease_seconds=LEASE_SECONDS)).jobs

    silent = await Processes(database).silent()
    freed = await Processes(database).free_jobs_of([2**31 - 1], [KIND])

    assert (silent, freed) == (frozenset(), 0)
    jobs = tables.opened(database).jobs
    assert (await jobs.claim([KIND], lease_seconds=LEASE_SECONDS)).jobs == ()
    await theirs.finish([claimed])


async def test_a_worker_does_what_a_dead_process_was_doing_itself(
    database: Database, dying: Database
) -> None:
    """The row was the safety net of its writer, and due in an hour."""
    subject = uuid4()
    await tables.opened(dying).jobs.add(KIND, subject, due_in=NET_SECONDS)
    done: asyncio.Future[UUID] = asyncio.get_running_loop().create_future()

    async def do(job: Job) -> Answer:
        done.set_result(job.subject)
        return Done()

    await dying.close()
    async with working(database, lambda job: job.register(KIND, do, safety_net=True)):
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await done == subject


async def test_jobs_of_a_dead_process_are_freed_whatever_its_cleaning_up_meets(
    database: Database, dying: Database
) -> None:
    """An error that nobody foresaw kept its jobs until their leases ended."""
    subject = uuid4()
    await tables.opened(dying).jobs.add(KIND, subject, due_in=NET_SECONDS)
    done: asyncio.Future[UUID] = asyncio.get_running_loop().create_future()

    async def do(job: Job) -> Answer:
        done.set_result(job.subject)
        return Done()

    async def fails(_names: Sequence[str]) -> None:
        raise ValueError("unforeseen")

    def register(jobs: JobQueue) -> None:
        jobs.register(KIND, do, safety_net=True)
        jobs.release_dead_with(fails)

    await dying.close()
    async with working(database, register), asyncio.timeout(PATIENCE_SECONDS):
        assert await done == subject


class working:  # noqa: N801 - used as a function
    """A worker on this database until the block is left."""

    def __init__(self, database: Database, register: Callable[[JobQueue], None]) -> None:
        kept = tables.opened(database)
        self._work = JobQueue(kept.jobs, kept.cases, TimeScale(1.0))
        register(self._work)

    async def __aenter__(self) -> None:
        self._running = asyncio.create_task(self._work.run())

    async def __aexit__(self, *_: object) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)


async def test_a_key_is_taken_over_from_a_dead_process_and_from_no_other(
    database: Database, dying: Database
) -> None:
    theirs, mine = tables.opened(dying).keys, tables.opened(database).keys
    assert await theirs.begin("caller", "key", b"request") is None
    with pytest.raises(InFlightError):
        await mine.begin("caller", "key", b"request")

    await dying.close()
    await until_silent(database)
    taken = await mine.begin("caller", "key", b"request")

    assert taken is None
    assert not await mine.is_orphaned("caller", hashed("key"))
    await mine.end("caller", "key", StoredAnswer(201, b"{}"))
    assert await mine.begin("caller", "key", b"request") == StoredAnswer(201, b"{}")


async def test_a_process_whose_sessions_came_back_is_watched_again(
    database: Database, dying: Database
) -> None:
    """A server that was restarted heard nobody for a moment."""
    processes = Processes(database)
    await dying.fetch("select 1")
    name = (await dying.fetchrow("select this_process() as id"))["id"]  # type: ignore[index]
    await dying.close()
    await until_silent(database)
    await processes.free_jobs_of([name], [])
    assert await processes.silent() == frozenset()

    held = await database.fetchrow(
        "select pg_advisory_lock_shared(1667326323, $1) is not null as held", name
    )
    await processes.silent()
    row = await database.fetchrow("select gone_at from processes where id = $1", name)

    assert held is not None
    assert row is not None
    assert row["gone_at"] is None


async def test_a_death_asks_again_what_any_process_may_have_been_told(
    database: Database, dying: Database
) -> None:
    """Once for a death, spread out, and not again for the next one of a crash loop."""
    mine, processes = tables.opened(database).jobs, Processes(database)
    asked = [uuid4() for _ in range(3)]
    for subject in asked:
        await mine.add(KIND, subject, due_in=NET_SECONDS)
    await dying.fetch("select 1")
    await dying.close()
    dead = await until_silent(database)

    names = await processes.names_of_dead(dead)
    freed = [await processes.free_jobs_of(dead, [], [KIND]) for _ in range(2)]

    waits = await database.fetch(DUE_IN, KIND)
    assert freed == [3, 0]
    assert names == []  # this process goes on under the same name
    assert max(row["seconds"] for row in waits) < SPREAD_SECONDS_MAX
    assert len({row["seconds"] for row in waits}) == len(asked)

    another = await connection.connect(database.dsn, connections_max=1)
    await another.close()
    later = uuid4()
    await mine.add(KIND, later, due_in=NET_SECONDS)
    assert await processes.free_jobs_of(await until_silent(database), [], [KIND]) == 0

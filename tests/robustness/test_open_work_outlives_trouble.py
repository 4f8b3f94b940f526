"""Open work goes on: through errors of its handlers, of partners, of the database, and freezing."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import asyncpg

from caas.billing_database import books as billing_books
from caas.billing_database.connection import Database
from caas.billing_database.due_work import DueWork
from caas.billing_database.identifiers import new_id
from caas.external_systems.http_answers import OutcomeUnknownError, UnknownReason
from caas.open_work import ATTEMPTS_MAX, Again, Answer, Done, OpenWork, Park
from caas.rules.pace import Pace

PATIENCE_SECONDS = 120.0
FAST = Pace(100_000.0)
ROW = "select attempts, parked_at is not null as parked from open_work where kind = $1"
MANY = 2000


def workers(database: Database, pace: Pace = FAST) -> OpenWork:
    """Open the table of open work as one more worker does."""
    books = billing_books.opened(database)
    return OpenWork(books.work, books.cases, pace)


@asynccontextmanager
async def running(open_work: OpenWork) -> AsyncIterator[None]:
    """Let a worker run."""
    task = asyncio.create_task(open_work.run())
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


def freeze(open_work: OpenWork) -> None:
    """Let a worker neither renew nor claim any more."""

    async def nothing(*_: object, **__: object) -> list[DueWork]:
        return []

    open_work.rows.claim = nothing  # type: ignore[method-assign]
    open_work.rows.renew = nothing  # type: ignore[assignment, method-assign]


def no_answer() -> OutcomeUnknownError:
    """What a partner's time-out looks like."""
    return OutcomeUnknownError(partner="The gateway", call="POST /", reason=UnknownReason.TIMED_OUT)


async def test_a_worker_survives_a_deadlock_while_it_claims(database: Database) -> None:
    """The loop ended by any database error but "unavailable", and with it the whole worker."""
    open_work = workers(database)
    done: list[DueWork] = []
    claim = open_work.rows.claim
    troubles = 3

    async def deadlocked(
        kinds: Sequence[str], *, lease_seconds: float, rows_max: int
    ) -> list[DueWork]:
        nonlocal troubles
        troubles -= 1
        if troubles >= 0:
            raise asyncpg.DeadlockDetectedError("deadlock detected")
        return await claim(kinds, lease_seconds=lease_seconds, rows_max=rows_max)

    async def handler(work: DueWork) -> Answer:
        done.append(work)
        return Done()

    open_work.rows.claim = deadlocked  # type: ignore[assignment, method-assign]
    open_work.register("kind", handler)
    await open_work.rows.add("kind", new_id())
    async with running(open_work):
        await until(lambda: bool(done))

    assert troubles < 0


async def test_a_worker_survives_that_it_cannot_write_down_what_it_did(database: Database) -> None:
    open_work = workers(database)
    done: list[DueWork] = []
    finish = open_work.rows.finish

    async def disk_full(works: Sequence[DueWork]) -> None:
        if len(done) == 1:
            raise asyncpg.DiskFullError("no space left on device")
        await finish(works)

    async def handler(work: DueWork) -> Answer:
        done.append(work)
        return Done()

    open_work.rows.finish = disk_full  # type: ignore[assignment, method-assign]
    open_work.register("kind", handler)
    await open_work.rows.add("kind", new_id())
    async with running(open_work):
        await until(lambda: len(done) == 1)
        await as_owner(database, "update caas.clock set moved = interval '1 minute'")
        await until(lambda: len(done) == 2)


async def test_a_partner_that_does_not_answer_is_never_given_up(database: Database) -> None:
    """A gateway that was down for ten minutes left its payments parked for a person."""
    open_work = workers(database)
    attempts: list[int] = []

    async def handler(work: DueWork) -> Answer:
        attempts.append(work.attempts)
        if work.attempts <= ATTEMPTS_MAX + 4:
            raise no_answer()
        return Done()

    open_work.register("kind", handler)
    await open_work.rows.add("kind", new_id())
    async with running(open_work):
        await until(lambda: len(attempts) > ATTEMPTS_MAX + 4)

    assert await database.fetchrow("select 1 from cases") is None


async def test_waits_do_not_overflow_however_long_a_partner_is_away(database: Database) -> None:
    """After 1024 attempts doubling the wait raised OverflowError, and the worker ended."""
    open_work = workers(database)
    attempts: list[int] = []

    async def handler(work: DueWork) -> Answer:
        attempts.append(work.attempts)
        if len(attempts) == 1:
            raise no_answer()
        return Done()

    open_work.register("kind", handler)
    await open_work.rows.add("kind", new_id())
    await as_owner(database, f"update caas.open_work set attempts = {MANY}")
    async with running(open_work):
        await until(lambda: len(attempts) == 2)

    assert attempts == [MANY + 1, MANY + 2]


async def test_a_poisoned_piece_is_parked_and_the_others_are_done(database: Database) -> None:
    """Fault F-W9."""
    open_work = workers(database)
    poisoned = new_id()
    done: list[DueWork] = []

    async def handler(work: DueWork) -> Answer:
        if work.subject == poisoned:
            raise ZeroDivisionError("a bug")
        done.append(work)
        return Done()

    open_work.register("kind", handler)
    await open_work.rows.add_all(
        [("kind", poisoned, 0.0, {}), *(("kind", new_id(), 0.0, {}) for _ in range(500))]
    )
    async with running(open_work):
        await until(lambda: len(done) == 500)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (row := await database.fetchrow(ROW, "kind")) or not row["parked"]:
                await asyncio.sleep(0.005)

    case = await database.fetchrow("select kind, sentence from cases where subject = $1", poisoned)
    assert row["attempts"] == ATTEMPTS_MAX
    assert case is not None
    assert (case["kind"], "a bug" in case["sentence"]) == ("open_work_parked", True)


async def test_a_slow_piece_keeps_nobody_waiting(database: Database) -> None:
    """All 64 pieces of a round waited for its slowest before any of them was ended."""
    open_work = workers(database)
    release = asyncio.Event()
    done: list[DueWork] = []

    async def slow(_: DueWork) -> Answer:
        await release.wait()
        return Done()

    async def quick(work: DueWork) -> Answer:
        done.append(work)
        return Done()

    open_work.register("slow", slow)
    open_work.register("quick", quick)
    await open_work.rows.add("slow", new_id())
    async with running(open_work):
        for number in range(1, 6):
            await open_work.rows.add("quick", new_id())
            open_work.wake()
            await until(lambda number=number: len(done) == number)  # type: ignore[misc]
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await database.fetchrow("select 1 from open_work where kind = 'quick'"):
                await asyncio.sleep(0.005)
        release.set()


async def test_a_slow_worker_keeps_its_piece_and_a_dead_one_loses_it(database: Database) -> None:
    slow, other = workers(database), workers(database)
    slow._lease_seconds = other._lease_seconds = 0.3
    began: list[str] = []
    release = asyncio.Event()

    def handler(name: str) -> Callable[[DueWork], asyncio.Future[Answer]]:
        async def handle(_: DueWork) -> Answer:
            began.append(name)
            await release.wait()
            return Done()

        return lambda work: asyncio.ensure_future(handle(work))

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
    open_work = workers(database)
    answers: list[Answer] = [Park("somebody must look"), Again(0.0, "not yet"), Done()]
    subject = new_id()
    seen: list[int] = []

    async def handler(work: DueWork) -> Answer:
        seen.append(work.attempts)
        return answers.pop(0)

    open_work.register("kind", handler)
    await open_work.rows.add("kind", subject)
    await open_work.run_due()
    parked = await open_work.run_due()
    await open_work.rows.add("kind", subject)
    async with running(open_work):
        await until(lambda: not answers)

    assert (parked, seen) == (0, [1, 1, 2])

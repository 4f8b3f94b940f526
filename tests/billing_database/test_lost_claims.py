"""A claim whose answer was lost with the database is released when the database answers again.

A statement that reached a frozen server is run when the server goes on. The process that sent it is
alive, so nobody took what it had claimed from it until the lease ended: a caller who was told to
send the same request again was then told for a minute that the first was still running.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar
from uuid import uuid4

import pytest
from msgspec.structs import replace

from caas.billing_database import connection, idempotency, tables
from caas.billing_database.connection import Database, DatabaseUnavailableError
from caas.billing_database.idempotency import InFlightError, StoredAnswer, hashed
from caas.billing_database.identifiers import new_id
from caas.billing_database.job_rows import Job, JobRows
from caas.jobs import Answer, Done, JobQueue
from caas.payment_processing import CallerKey, PaymentRequest, initiation
from caas.payment_processing.initiation import Accepted
from caas.rules.payment_types import PaymentType
from caas.rules.time_scale import TimeScale
from tests.billing_database.test_unreachable import Wire, through_a_wire

LEASE_SECONDS, PATIENCE_SECONDS = 3600.0, 30.0
CALLER, KEY, REQUEST = "web", "the key of a request", b"a request"
PREPARED = ("another key of theirs", b"another request")
"""What is sent before, so that the statement is prepared and one message brings it."""
CAME = "select 1 from idempotency_keys where key_hash = $1 and answer_status is null"
CLAIMED = "select 1 from jobs where lease_until is not null"

Result = TypeVar("Result")
Frozen = tuple[Database, Wire]


@pytest.fixture
async def frozen(database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Frozen]:
    """Open a database whose server a test can freeze; no lease ends while the test runs."""
    monkeypatch.setattr(connection, "SILENCE_SECONDS", 0.1)
    monkeypatch.setattr(idempotency, "IN_FLIGHT_SECONDS_MAX", LEASE_SECONDS)
    monkeypatch.setattr(initiation, "IN_FLIGHT_SECONDS_MAX", LEASE_SECONDS)
    async with through_a_wire(database_dsn) as (opened, wire):
        yield opened, wire
        opened._closing = True


async def lost(
    wire: Wire, act: Callable[[], Awaitable[object]], *, swallowed: bool = False
) -> None:
    """Let a statement reach a frozen server, and its caller be told that the database is away.

    What is `swallowed` never reaches it.
    """
    wire.hold()
    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(DatabaseUnavailableError):
            await act()
    if swallowed:
        wire.hush()
    wire.let_go()


async def until_there(database: Database, query: str, *arguments: object) -> None:
    """Wait until the server has run what reached it while it was frozen."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await database.fetchrow(query, *arguments) is None:
            await asyncio.sleep(0.01)


async def served(act: Callable[[], Awaitable[Result]]) -> Result:
    """Send the same request until it is neither refused as running nor the database away."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                return await act()
            except (InFlightError, DatabaseUnavailableError):
                await asyncio.sleep(0.05)


async def test_a_request_whose_key_was_taken_by_a_lost_statement_can_be_sent_again(
    database: Database, frozen: Frozen
) -> None:
    """Once, also by way of another process, and only one of those who send it again runs."""
    opened, wire = frozen
    theirs, mine = tables.opened(opened).keys, tables.opened(database).keys
    await theirs.begin(CALLER, *PREPARED)

    await lost(wire, lambda: theirs.begin(CALLER, KEY, REQUEST))
    await until_there(database, CAME, hashed(KEY))

    assert await served(lambda: mine.begin(CALLER, KEY, REQUEST)) is None
    with pytest.raises(InFlightError):
        await theirs.begin(CALLER, KEY, REQUEST)
    await mine.end(CALLER, KEY, StoredAnswer(201, b"{}"))


async def test_a_key_that_could_not_be_given_back_is_given_back_later_and_by_its_attempt_alone(
    frozen: Frozen,
) -> None:
    opened, wire = frozen
    keys, attempt, another = tables.opened(opened).keys, new_id(), new_id()
    await keys.begin(CALLER, KEY, REQUEST, attempt=attempt)
    await keys.forget(CALLER, PREPARED[0], attempt=another)

    await lost(wire, lambda: keys.forget(CALLER, KEY, attempt=attempt), swallowed=True)

    again = await served(lambda: keys.begin(CALLER, KEY, REQUEST, attempt=another))
    assert again is None
    await keys.forget(CALLER, KEY, attempt=attempt)  # the lost one, run late
    with pytest.raises(InFlightError):
        await keys.begin(CALLER, KEY, REQUEST)
    await keys.forget(CALLER, KEY, attempt=another)


async def test_an_answer_that_could_not_be_kept_is_kept_when_the_database_answers(
    frozen: Frozen,
) -> None:
    opened, wire = frozen
    keys, answer = tables.opened(opened).keys, StoredAnswer(201, b'{"done": true}')
    await keys.begin(CALLER, KEY, REQUEST)

    await lost(wire, lambda: keys.end(CALLER, KEY, answer), swallowed=True)

    assert await served(lambda: keys.begin(CALLER, KEY, REQUEST)) == answer


async def test_a_payment_accepted_by_a_lost_statement_is_the_one_of_whoever_asks_again(
    database: Database, frozen: Frozen
) -> None:
    opened, wire = frozen
    kept, key = tables.opened(opened), CallerKey(CALLER, hashed(KEY), hashed(REQUEST))
    request = PaymentRequest(
        subject=uuid4(), customer=uuid4(), amount=50_000, currency="EUR", caller_key=key
    )

    def accept(request: PaymentRequest = request) -> Awaitable[Accepted | StoredAnswer]:
        return initiation.accept(
            kept, request, PaymentType.SERVICE, gateway="contract", time_scale=TimeScale(1.0),
            check=None,
        )  # fmt: skip

    await accept(replace(request, subject=uuid4(), caller_key=None))
    await lost(wire, accept)
    await until_there(database, CAME, hashed(KEY))
    again = await served(accept)

    assert isinstance(again, Accepted)
    assert not again.fresh
    made = await kept.payments.listed(subject=request.subject)
    assert [payment.id for payment in made] == [again.payment.id]


async def claimed_by(jobs: JobRows) -> tuple[Job, ...]:
    """Claim what is due."""
    return (await jobs.claim(["ring_the_bell"], lease_seconds=LEASE_SECONDS)).jobs


async def test_a_job_claimed_by_a_lost_statement_is_due_as_if_it_had_not_been_claimed(
    database: Database, frozen: Frozen
) -> None:
    opened, wire = frozen
    theirs, mine = tables.opened(opened).jobs, tables.opened(database).jobs
    subject = uuid4()
    await theirs.claim(["ring_the_bell"], lease_seconds=LEASE_SECONDS)
    await theirs.add("ring_the_bell", subject)

    await lost(wire, lambda: theirs.claim(["ring_the_bell"], lease_seconds=LEASE_SECONDS))
    await until_there(database, CLAIMED)

    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (claimed := await claimed_by(mine)):
            await asyncio.sleep(0.05)
    assert [(job.subject, job.attempts) for job in claimed] == [(subject, 1)]
    await mine.finish(claimed)


async def test_a_job_whose_end_could_not_be_written_down_is_done_again_before_its_lease_ends(
    database: Database, frozen: Frozen
) -> None:
    opened, wire = frozen
    theirs, mine = tables.opened(opened), tables.opened(database).jobs
    worker, subject = JobQueue(theirs.jobs, theirs.cases, TimeScale(0.01)), uuid4()

    async def ring(_work: Job) -> Answer:
        wire.hold()
        return Done()

    worker.register("ring_the_bell", ring)
    await theirs.jobs.add("ring_the_bell", subject)
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await worker.run_due() == 1
    wire.hush()
    wire.let_go()

    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (claimed := await claimed_by(mine)):
            await asyncio.sleep(0.05)
    assert [job.subject for job in claimed] == [subject]
    await mine.finish(claimed)

"""Who was frozen sets no job back that another process has (decision 260)."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from caas.billing_database.connection import Database, connect
from caas.billing_database.identifiers import new_id
from caas.billing_database.job_rows import JobRows
from caas.billing_database.postponed_jobs import Delay

KIND = "capture"
LATER = Delay(3600.0, "nobody answered", {"tries": 1})


@pytest.fixture
async def elsewhere(database: Database) -> AsyncIterator[JobRows]:
    """The jobs, as another process has them."""
    other = await connect(database.dsn)
    yield JobRows(other)
    await other.close()


@pytest.fixture
async def subject(database: Database) -> UUID:
    """A job that this process wrote, and whose first attempt it makes."""
    subject = new_id()
    await JobRows(database).add(KIND, subject)
    return subject


async def is_due(jobs: JobRows) -> bool:
    """Claim the job, if it is due."""
    return bool((await jobs.claim([KIND], lease_seconds=60.0)).jobs)


async def test_a_first_attempt_postpones_its_own_job(database: Database, subject: UUID) -> None:
    jobs = JobRows(database)

    await jobs.postpone_first(KIND, subject, LATER)

    assert not await is_due(jobs)


async def test_a_first_attempt_postpones_nothing_that_another_process_does(
    database: Database, elsewhere: JobRows, subject: UUID
) -> None:
    """What it believed unsent had been sent meanwhile."""
    [taken] = (await elsewhere.claim([KIND], lease_seconds=60.0)).jobs

    await JobRows(database).postpone_first(KIND, subject, LATER)

    assert await elsewhere.is_held(KIND, subject, fence=taken.fence)


async def test_a_first_attempt_postpones_nothing_that_was_woken(
    database: Database, subject: UUID
) -> None:
    jobs = JobRows(database)
    await jobs.postpone(KIND, subject, due_in=0.0)

    await jobs.postpone_first(KIND, subject, LATER)

    assert await is_due(jobs)


async def test_a_first_attempt_brings_no_job_back_that_has_ended(
    database: Database, subject: UUID
) -> None:
    jobs = JobRows(database)
    async with database.connection() as connection:
        await jobs.end(KIND, subject, within=connection)

    await jobs.postpone_first(KIND, subject, LATER)

    assert await database.fetch("select from jobs") == []


@pytest.mark.parametrize("issue", [1, 2, 3])
async def test_of_an_operation_another_process_has_only_a_later_issue_counts(
    database: Database, elsewhere: JobRows, subject: UUID, issue: int
) -> None:
    jobs = JobRows(database)
    await jobs.postpone_issue(KIND, subject, Delay(0.0, None, {}), issue=2)
    [taken] = (await elsewhere.claim([KIND], lease_seconds=60.0)).jobs

    await jobs.postpone_issue(KIND, subject, LATER, issue=issue)

    assert await elsewhere.is_held(KIND, subject, fence=taken.fence) is (issue <= 2)
    assert taken.payload["issue"] == 2


async def test_of_an_operation_its_own_process_sets_the_same_issue_and_no_earlier_one(
    database: Database, subject: UUID
) -> None:
    jobs = JobRows(database)
    await jobs.postpone_issue(KIND, subject, Delay(0.0, None, {}), issue=2)
    [taken] = (await jobs.claim([KIND], lease_seconds=60.0)).jobs

    await jobs.postpone_issue(KIND, subject, LATER, issue=1)
    assert await jobs.is_held(KIND, subject, fence=taken.fence)

    await jobs.postpone_issue(KIND, subject, LATER, issue=2)
    assert not await jobs.is_held(KIND, subject, fence=taken.fence)

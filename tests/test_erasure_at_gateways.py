"""A customer who was erased here is erased at the gateway, once nothing of them is open."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from caas.billing_database.connection import Database
from caas.billing_database.erasure_rows import ERASE_AT_GATEWAYS
from caas.billing_database.job_rows import Job
from caas.erasure_at_gateways import (
    AFTER_FAILURE_SECONDS,
    STILL_OPEN_SECONDS,
    ErasureAtGateways,
)
from caas.external_systems.http_answers import (
    GatewayFailure,
    OutcomeUnknownError,
    UnknownReason,
)
from caas.jobs import Answer, Done, RetryIn
from tests.installation import Installation, standing

JOB = "select subject from jobs where kind = $1"


@dataclass
class Keeper:
    """A gateway that keeps customers."""

    name: str = "keeper"
    fails: GatewayFailure | None = None
    erased: list[str] = field(default_factory=list)

    async def erase_customer(self, customer_reference: str) -> None:
        if self.fails is not None:
            raise self.fails
        self.erased.append(customer_reference)


@pytest.fixture
async def installation(database: Database) -> AsyncIterator[Installation]:
    """An installation with a car and a service on offer."""
    async with standing(database) as built:
        await built.car()
        await built.offer_heated_seats()
        yield built


async def run(installation: Installation, customer: UUID, gateway: object) -> Answer:
    """Let the job of an erasure run."""
    part = ErasureAtGateways(
        tables=installation.platform.tables, gateways=[gateway], zone="Europe/Madrid"
    )
    job = Job(kind=ERASE_AT_GATEWAYS, subject=customer, payload={}, attempts=1, fence=1)
    return await part._erase(job)


async def test_an_erasure_leaves_a_job_that_erases_at_the_gateway(
    installation: Installation,
) -> None:
    customer, keeper = await installation.customer(), Keeper()

    erasing = await installation.platform.erasure.erase(customer)
    planned = await installation.database.fetch(JOB, ERASE_AT_GATEWAYS)
    answer = await run(installation, customer, keeper)

    assert erasing.open == []
    assert [row["subject"] for row in planned] == [customer]
    assert (answer, keeper.erased) == (Done(), [str(customer)])


async def test_what_is_open_again_is_waited_for(installation: Installation) -> None:
    payment, keeper = await installation.buys(), Keeper()

    answer = await run(installation, payment.customer, keeper)

    assert isinstance(answer, RetryIn)
    assert (answer.due_in, keeper.erased) == (STILL_OPEN_SECONDS, [])


async def test_a_gateway_that_does_not_answer_is_asked_again(installation: Installation) -> None:
    silent = OutcomeUnknownError(partner="x", call="DELETE", reason=UnknownReason.TIMED_OUT)
    customer = await installation.customer()

    answer = await run(installation, customer, Keeper(fails=silent))
    without = await run(installation, customer, object())

    assert isinstance(answer, RetryIn)
    assert (answer.due_in, without) == (AFTER_FAILURE_SECONDS, Done())

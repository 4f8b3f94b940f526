"""A settlement whose webhook is lost is asked about soon, and not all are asked about at once."""

import asyncio
from uuid import uuid4

import asyncpg

from caas.billing_database.connection import Database
from caas.billing_database.job_rows import Job
from caas.jobs import RetryIn
from caas.payment_processing.gateway_calls import POLL_SETTLEMENT
from caas.payment_processing.settlement_polling import SettlementPolling
from caas.rules.payment_states import PaymentState
from caas.rules.settlement_dates import PollTerms
from caas.rules.time_scale import TimeScale
from tests.installation import PATIENCE_SECONDS, standing

DUE_IN = """
select extract(epoch from due_at - created_at)::float8 from caas.jobs where kind = $1
"""


def question(**payload: object) -> Job:
    return Job(POLL_SETTLEMENT, uuid4(), payload, 1, 1)


async def test_a_lost_webhook_is_noticed_at_the_first_question(
    database: Database, database_dsn: str
) -> None:
    """It was an hour; nobody brings a webhook here, and time is as it is."""
    owner = await asyncpg.connect(database_dsn)
    async with standing(database, scale=1.0) as installation:
        await installation.car()
        await installation.offer_heated_seats()
        payment = await installation.buys()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (waits := await owner.fetchval(DUE_IN, POLL_SETTLEMENT)) is None:
                await asyncio.sleep(0.01)  # the gateway has not taken the capture yet
        await installation.gateway_does("settle")
        await owner.execute("update caas.clock set moved = moved + interval '61 seconds'")

        after = await installation.until(payment.id, lambda one: one.state is PaymentState.SETTLED)
    await owner.close()

    assert 59 < waits <= 60
    assert after.settled_amount == payment.amount


async def test_a_payment_is_asked_about_less_and_less_often() -> None:
    polling = SettlementPolling(PollTerms(), time_scale=TimeScale())
    payload: dict[str, object] = {}
    waits: list[float] = []
    for _ in range(4):
        again = polling.again(question(**payload))
        payload = again.payload or {}
        waits.append(again.due_in)

    assert waits == [300, 900, 3600, 3600]


async def test_many_payments_at_once_form_a_line() -> None:
    polling = SettlementPolling(PollTerms(a_minute=600), time_scale=TimeScale())
    began = asyncio.get_running_loop().time()

    places = [polling.place(question()) for _ in range(20_000)]
    took = asyncio.get_running_loop().time() - began

    waits = [place.due_in for place in places if isinstance(place, RetryIn)]
    assert places[0] is None, "whoever comes first asks at once"
    assert 20_000 / 600 * 60 - took - 1 < max(waits) < 20_000 / 600 * 60 + 1
    assert all(place is None or (place.payload or {})["has_place"] for place in places)
    assert polling.place(question(has_place=True)) is None, "who had a place asks"

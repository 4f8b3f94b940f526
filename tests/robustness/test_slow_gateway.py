"""A gateway that does late what it was asked: nobody is told No while it may still say Yes."""

import asyncio
from datetime import timedelta

from caas.external_systems.http import HttpLimits
from caas.rules.payment_states import PaymentState
from tests.robustness.deaths import until_quiet
from tests.robustness.living_world import living_world
from tests.robustness.stories import service
from tests.robustness.three_ledgers import differences

PACE = 4.0
SLOW_MILLISECONDS = 8000
PATIENCE_SECONDS = 120.0
STATE = "select state from caas.payments"


async def test_what_the_gateway_does_long_after_we_hung_up_is_waited_for(server_dsn: str) -> None:
    """Fault F-G5: it knows nothing of the payment yet, and that proves nothing for a minute.

    All our tries and the first lookups are over before it does what it was asked.
    """
    async with living_world(server_dsn) as world:
        world.time_scale = PACE
        world.limits = HttpLimits(total_seconds=0.3, connect_seconds=0.2)
        process = await world.process()
        story = service("service", "pm_ok", PaymentState.SETTLED)
        request = await story.prepare(world, process)
        await world.gateway_fault({"operation": "initiate"}, latency_ms=SLOW_MILLISECONDS)

        await process.call(lambda: story.live(process.platform, request))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await world.owner.fetchval(STATE) == PaymentState.PENDING:
                await process.call(process.platform.jobs.run_due)
                await asyncio.sleep(0.1)
        assert world.transitioned == timedelta(), "no time was let pass but the time it took"
        await until_quiet(world, process)

        assert await story.ends(world, request) == []
        assert await differences(world) == []

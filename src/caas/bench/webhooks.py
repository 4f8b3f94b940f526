"""P4: webhooks of the gateway, verified, known from their repetitions, durable, answered.

Each is a new event with a signature of its own. What it says is applied later, by a worker, as in
operation; that is measured with whole lifecycles (P5).

Rule a change must keep: an event is answered 204, which says that it was new and is on disk.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from caas.bench import callers, stage
from caas.bench.cpu import Spending
from caas.bench.gateway_at_hand import GatewayAtHand
from caas.bench.ground import Goal, Ground, Round, Turn
from caas.bench.served import STORED, serving


@asynccontextmanager
async def ready(ground: Ground) -> AsyncIterator[Round]:
    """Serve a platform on a database of its own."""
    dsn = await ground.database("webhooks")
    async with (
        stage.standing(dsn, GatewayAtHand(), quick=ground.quick) as standing,
        serving(standing) as served,
    ):

        async def measured(seconds: int) -> Turn:
            theirs = await ground.yardstick.rate(seconds)
            events = served.events()
            spending = Spending(ground.postmaster)
            calls = await callers.call(events, status=STORED, seconds=seconds)
            spent = spending.each(calls.done) | calls.spent
            return Turn(theirs, calls.rate, spent)

        yield measured


GOAL: Final = Goal(
    what="signed webhooks verified, deduplicated, durable and answered, 64 connections",
    theirs="TPC-B /s",
    ours="webhooks /s",
    aim=2.5,
    ready=ready,
)

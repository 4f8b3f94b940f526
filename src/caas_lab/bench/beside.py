"""P7-beside: what customers feel of a day of a million lines being reconciled.

Payments are accepted over HTTP at a steady rate, alone and while a run goes on beside them on the
same ledger, by another process on the same cores. The run sees them, and rests (decision 81).

Rule a change must keep: the run finds no difference although payments come meanwhile, or the
measurement ends with an error.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from caas_lab.bench import callers
from caas_lab.bench.ground import Goal, Ground, Round, Turn
from caas_lab.bench.reconciliation import SMALL, days_of
from caas_lab.bench.served import ACCEPTED, Served, serving

A_SECOND: Final = 100
MILLISECONDS: Final = 1000
TURNS_ALONE: Final = 12
"""With five seconds each, long enough for what is rare to come."""


@asynccontextmanager
async def ready(ground: Ground) -> AsyncIterator[Round]:
    """Make a day ready, and serve a platform on its ledger."""
    async with days_of(ground, SMALL) as days:

        async def measured(seconds: int) -> Turn:
            async with (
                days.copied(SMALL) as dsn,
                serving(dsn, quick=ground.quick) as served,
            ):
                await _live(served, seconds)  # until the caches of the copy are warm
                alone, beside = [], []
                for _ in range(1 if ground.quick else TURNS_ALONE):
                    alone += await _live(served, seconds)
                run = asyncio.create_task(days.run(dsn))
                while not run.done():
                    beside += await _live(served, seconds)
                told = await run
            theirs, ours = callers.p99(alone), callers.p99(beside)
            return Turn(theirs * MILLISECONDS, ours * MILLISECONDS, days.each(told))

        yield measured


async def _live(served: Served, seconds: int) -> list[float]:
    """Let customers buy at a steady rate; return how long each waited."""
    purchases = await served.purchases(A_SECOND * seconds)
    calls = await callers.call(purchases, status=ACCEPTED, seconds=seconds, a_second=A_SECOND)
    return calls.took


GOAL: Final = Goal(
    what=f"99th percentile of an accept, {A_SECOND} a second, while a day is reconciled beside",
    theirs="alone, ms",
    ours="beside, ms",
    aim=1.5,
    ready=ready,
    at_most=True,
)

"""P4: webhooks of the gateway, verified, known from their repetitions, durable, answered.

Each is a new event with a signature of its own. What it says is applied later, by a worker, as in
operation; that is measured with whole lifecycles (P5).

Rule a change must keep: an event is answered 204, which says that it was new and is on disk.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from caas_lab.bench.ground import Goal, Ground, Round
from caas_lab.bench.served import STORED, rate, serving


@asynccontextmanager
async def ready(ground: Ground) -> AsyncIterator[Round]:
    """Serve a platform on a database of its own."""
    async with serving(await ground.database("webhooks"), quick=ground.quick) as served:
        yield lambda seconds: rate(ground, served.events, status=STORED, seconds=seconds)


GOAL: Final = Goal(
    what="signed webhooks verified, deduplicated, durable and answered, 64 connections",
    theirs="TPC-B /s",
    ours="webhooks /s",
    aim=2.5,
    ready=ready,
)

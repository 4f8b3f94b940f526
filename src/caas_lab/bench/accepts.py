"""P2 and P3: payments accepted over HTTP, durable before they are answered, 64 connections.

The call is the seed's initiateServicePayment with `Prefer: respond-async`: it is answered once the
intent, its first events, the caller's key and the work behind it are committed. P3 sets its slowest
answers against those of the same server when each request has a statement and a commit of its own.

Rule a change must keep: what is measured is the call as anybody could make it.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from caas.billing_database.connection import Connection
from caas.billing_database.payments import Acceptance, NewPayment, Payments
from caas_lab.bench import callers
from caas_lab.bench.cpu import Spending
from caas_lab.bench.ground import Goal, Ground, Round, Turn
from caas_lab.bench.served import ACCEPTED, rate, serving

MILLISECONDS: Final = 1000


@asynccontextmanager
async def ready(ground: Ground) -> AsyncIterator[Round]:
    """Serve a platform on a database of its own."""
    async with serving(await ground.database("accepts"), quick=ground.quick) as served:
        yield lambda seconds: rate(ground, served.purchases, status=ACCEPTED, seconds=seconds)


@asynccontextmanager
async def latency_ready(ground: Ground) -> AsyncIterator[Round]:
    """Serve a platform on a database of its own."""
    async with serving(await ground.database("latencies"), quick=ground.quick) as served:

        async def measured(seconds: int) -> Turn:
            with one_by_one(served.stage.platform.books.payments):
                alone = await served.purchases()
                theirs = await callers.call(alone, status=ACCEPTED, seconds=seconds)
            joined = await served.purchases()
            spending = Spending(ground.postmaster)
            ours = await callers.call(joined, status=ACCEPTED, seconds=seconds)
            spent = spending.each(ours.done) | ours.spent
            return Turn(theirs.p99 * MILLISECONDS, ours.p99 * MILLISECONDS, spent)

        yield measured


@contextmanager
def one_by_one(payments: Payments) -> Iterator[None]:
    """Let every payment be accepted in a statement and a commit of its own."""
    joined = payments.accept

    async def alone(payment: NewPayment, *, within: Connection | None = None) -> Acceptance:
        assert within is None, "an accept of this call has no transaction around it"
        return (await payments.accept_all([payment]))[0]

    payments.accept = alone  # type: ignore[method-assign]
    try:
        yield
    finally:
        payments.accept = joined  # type: ignore[method-assign]


GOAL: Final = Goal(
    what="durable accepts over HTTP, 64 connections",
    theirs="TPC-B /s",
    ours="accepts /s",
    aim=2.5,
    ready=ready,
)
LATENCY: Final = Goal(
    what="99th percentile of an accept, 64 connections",
    theirs="a commit per request, ms",
    ours="joined, ms",
    aim=0.25,
    ready=latency_ready,
    at_most=True,
)

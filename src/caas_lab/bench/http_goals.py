"""P2, P3 and P4: payments accepted and webhooks received over HTTP, on 64 connections.

P2: initiateServicePayment with `Prefer: respond-async`, answered once the payment, its first
events, the idempotency key and its jobs are committed. P3: its 99th percentile, against the same
server with a statement and a commit for each request. P4: new webhooks of the gateway, verified,
deduplicated and stored; a worker applies them later (P5).

Rules a change must keep: what is measured is a call that any client could make; a webhook is
answered 204, which says that it was new and is on disk.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from caas.billing_database.connection import Connection
from caas.billing_database.payments import Acceptance, NewPayment, Payments
from caas_lab.bench import load_generator
from caas_lab.bench.cpu import CpuUsage
from caas_lab.bench.goals import BenchServer, Goal, Measure, Measurement
from caas_lab.bench.served_api import ACCEPTED, STORED, rate, served_api

MILLISECONDS: Final = 1000


@asynccontextmanager
async def accepts_ready(server: BenchServer) -> AsyncIterator[Measure]:
    """Serve a platform on a database of its own."""
    async with served_api(await server.database("accepts"), quick=server.quick) as served:
        yield lambda seconds: rate(server, served.purchases, status=ACCEPTED, seconds=seconds)


@asynccontextmanager
async def latency_ready(server: BenchServer) -> AsyncIterator[Measure]:
    """Serve a platform on a database of its own."""
    async with served_api(await server.database("latencies"), quick=server.quick) as served:

        async def measured(seconds: int) -> Measurement:
            with commit_each(served.fixture.platform.tables.payments):
                alone = await served.purchases()
                theirs = await load_generator.send(alone, status=ACCEPTED, seconds=seconds)
            joined = await served.purchases()
            usage = CpuUsage(server.postmaster)
            ours = await load_generator.send(joined, status=ACCEPTED, seconds=seconds)
            cpu = usage.each(ours.done) | ours.cpu
            return Measurement(theirs.p99 * MILLISECONDS, ours.p99 * MILLISECONDS, cpu)

        yield measured


@contextmanager
def commit_each(payments: Payments) -> Iterator[None]:
    """Accept every payment in a statement and a commit of its own."""
    joined = payments.accept

    async def alone(payment: NewPayment, *, within: Connection | None = None) -> Acceptance:
        assert within is None, "an accept of this call has no transaction around it"
        return (await payments.accept_all([payment]))[0]

    payments.accept = alone  # type: ignore[method-assign]
    try:
        yield
    finally:
        payments.accept = joined  # type: ignore[method-assign]


@asynccontextmanager
async def webhooks_ready(server: BenchServer) -> AsyncIterator[Measure]:
    """Serve a platform on a database of its own."""
    async with served_api(await server.database("webhooks"), quick=server.quick) as served:
        yield lambda seconds: rate(server, served.events, status=STORED, seconds=seconds)


ACCEPTS: Final = Goal(
    what="durable accepts over HTTP, 64 connections",
    theirs="TPC-B /s",
    ours="accepts /s",
    aim=2.5,
    ready=accepts_ready,
)
LATENCY: Final = Goal(
    what="99th percentile of an accept, 64 connections",
    theirs="a commit per request, ms",
    ours="joined, ms",
    aim=0.25,
    ready=latency_ready,
    at_most=True,
)
WEBHOOKS: Final = Goal(
    what="signed webhooks verified, deduplicated, durable and answered, 64 connections",
    theirs="TPC-B /s",
    ours="webhooks /s",
    aim=2.5,
    ready=webhooks_ready,
)

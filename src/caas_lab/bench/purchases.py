"""U1, U2 and U3: what a customer and a small machine feel of a purchase, with all of `./caas up`.

U1: CPU of one purchase that arrives alone, from its request to its settlement, of the platform and
its database. U2: the purchases a second, offered at a steady rate, at which the 99th percentile of
the first answer stays below a tenth of a second. U3: the median of the first answer with follow-up
work (commands, confirmations, captures, settlements) beside it, over the same without: the vehicles
stay silent.

Rules a change must keep: purchases are offered at a rate, whatever the answers take; a purchase
counts when it is settled; the simulators share the cores.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from caas_lab.bench import load_generator
from caas_lab.bench.goals import BenchServer, Goal, Measure, Measurement
from caas_lab.bench.load_generator import Calls
from caas_lab.bench.over_the_wire import RunningPlatform, running
from caas_lab.bench.served_api import CREATED

ALONE_A_SECOND: Final = 20.0
CPU_MILLISECONDS_MAX: Final = 10.0
GOAL_A_SECOND: Final = 200.0
P99_SECONDS_MAX: Final = 0.1
FIRST_RATE: Final = 25.0
RATE_MAX: Final = 800.0
HALVINGS: Final = 3
KEPT_UP: Final = 0.95
CONNECTIONS: Final = 16
MILLISECONDS: Final = 1000.0


@asynccontextmanager
async def alone_ready(server: BenchServer) -> AsyncIterator[Measure]:
    """Prepare U1."""
    async with running(server, "alone") as up:

        async def measured(seconds: int) -> Measurement:
            requests = await up.purchases(int(ALONE_A_SECOND * seconds))
            usage = up.usage(server.postmaster)
            bought = await up.buy(requests, seconds, a_second=ALONE_A_SECOND)
            cpu = usage.each(bought.done)
            ours = (cpu["PostgreSQL"] + cpu["our"]) / MILLISECONDS
            return Measurement(CPU_MILLISECONDS_MAX, ours, cpu)

        yield measured


@asynccontextmanager
async def rate_ready(server: BenchServer) -> AsyncIterator[Measure]:
    """Prepare U2."""
    async with running(server, "rates") as up:

        async def measured(seconds: int) -> Measurement:
            return Measurement(GOAL_A_SECOND, await _highest_rate(up, seconds))

        yield measured


async def _highest_rate(up: RunningPlatform, seconds: int) -> float:
    """Double the rate until answers are late, then halve the interval; 0 if the first is late."""
    low, high = 0.0, FIRST_RATE
    while high <= RATE_MAX and await _is_in_time(up, high, seconds):
        low, high = high, high * 2
    for _ in range(HALVINGS):
        rate = (low + high) / 2
        if await _is_in_time(up, rate, seconds):
            low = rate
        else:
            high = rate
    return low


async def _is_in_time(up: RunningPlatform, rate: float, seconds: int) -> bool:
    requests = await up.purchases(int(rate * seconds))
    bought = await up.buy(requests, seconds, a_second=rate)
    return bought.p99 < P99_SECONDS_MAX and bought.rate > rate * KEPT_UP


@asynccontextmanager
async def first_answer_ready(server: BenchServer) -> AsyncIterator[Measure]:
    """Prepare U3."""
    async with running(server, "answers") as up:

        async def measured(seconds: int) -> Measurement:
            await up.until_settled()
            busy = await up.buy(await up.purchases(), seconds, connections=CONNECTIONS)
            await up.let_vehicles("silent")
            quiet = await _without_activations(up, seconds)
            await up.let_vehicles("obeys")
            return Measurement(quiet.p50 * MILLISECONDS, busy.p50 * MILLISECONDS)

        yield measured


async def _without_activations(up: RunningPlatform, seconds: int) -> Calls:
    return await load_generator.send(
        await up.purchases(), status=CREATED, seconds=seconds, connections=CONNECTIONS
    )


ALONE: Final = Goal(
    what="CPU of a purchase that arrives alone, from request to settlement",
    theirs="limit ms",
    ours="ms",
    aim=1.0,
    ready=alone_ready,
    at_most=True,
)
RATE: Final = Goal(
    what="purchases at a steady rate, first answer within 100 ms at the 99th percentile",
    theirs="wanted /s",
    ours="purchases /s",
    aim=1.0,
    ready=rate_ready,
)
FIRST_ANSWER: Final = Goal(
    what="median of the first answer, 16 connections, with follow-up work beside it",
    theirs="without, ms",
    ours="with, ms",
    aim=1.2,
    ready=first_answer_ready,
    at_most=True,
)

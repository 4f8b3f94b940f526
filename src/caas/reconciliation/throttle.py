"""Limits a reconciliation run's load while the platform serves customers.

While other sessions commit, a run performs one step at a time and rests longer than it worked.
Otherwise the workbench and the Billing Database work in parallel at full speed.

Rules a change must keep: throttling never changes a run's result; each rest has a limit; a thread
cannot be cancelled, so the workbench is not released before its thread ends; overlapping steps
finish in order, and none finishes after one that failed.
"""

import asyncio
import contextlib
import io
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice
from typing import Any, Final, TypeVar

from caas.billing_database.connection import Database
from caas.errors import UnavailableError

RESTS: Final = 9.0
"""Rest time as a multiple of work time while the platform is busy."""
REST_SECONDS_MAX: Final = 20.0
SERVED_A_SECOND: Final = 20.0
"""Commits per second above which the platform counts as busy; idle workers make fewer."""
LOOK_SECONDS: Final = 1.0
LOOKS: Final = 3
"""Number of samples whose mean counts; sessions report their commits up to a second late.

A run's own statements, about thirty when it begins, are too few for the mean of a busy platform.
"""

SMALL_LINES_MAX: Final = 2_000
"""Runs with fewer lines never rest; comparing them takes less time than one rest."""

FEED_LINES: Final = 60
FEED_SECONDS: Final = 0.01
"""Lines inserted per interval while the platform is busy."""

OVERLAPPING_MAX: Final = 2
"""Maximum number of overlapping steps; each holds a connection of the pool."""

AtBench = TypeVar("AtBench")

Turn = Callable[[], Awaitable[None]]
"""Waits for the previous step and raises its error."""


class Overlapping:
    """Steps that overlap but finish in order."""

    def __init__(self, throttle: "Throttle") -> None:
        """Start without steps."""
        self._throttle = throttle
        self._under_way: deque[asyncio.Task[None]] = deque()

    async def begin(self, step: Callable[[Turn], Coroutine[Any, Any, None]]) -> None:
        """Start a step, within the maximum; it awaits its turn before it finishes."""
        most = 1 if self._throttle.others_are_served else OVERLAPPING_MAX
        await self.at_most(most - 1)
        before = self._under_way[-1] if self._under_way else None
        self._under_way.append(asyncio.create_task(step(partial(_ended, before))))

    async def at_most(self, steps: int) -> None:
        """Wait until at most this many steps are running; raise the first error."""
        while len(self._under_way) > steps:
            await self._under_way[0]
            del self._under_way[0]

    async def give_up(self) -> None:
        """Cancel the running steps and wait for them."""
        for step in self._under_way:
            step.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)


async def _ended(step: asyncio.Task[None] | None) -> None:
    if step is not None:
        await asyncio.wait([step])  # cancelling the waiter does not cancel the step
        step.result()


class Throttle:
    """The load control of one run."""

    def __init__(self) -> None:
        """Start at full speed."""
        self.others_are_served = False
        self.is_small = False
        self._own_commits = 0
        self._working_since = time.monotonic()

    @property
    def threads(self) -> int:
        """Return the number of threads that the workbench may use."""
        return 1 if self.others_are_served else os.cpu_count() or 1

    async def side_by_side(
        self,
        at_bench: Callable[[], AtBench],
        meanwhile: Callable[[], Coroutine[Any, Any, None]],
    ) -> AtBench:
        """Run a computation in a thread, beside or after a coroutine; return its result."""
        if self.others_are_served:
            await meanwhile()
            await self.rest()
            return await self.alone(at_bench)
        working = asyncio.ensure_future(asyncio.to_thread(at_bench))
        try:
            await meanwhile()
        finally:
            await asyncio.wait([working])
            working.exception()  # if both raised, the first error is reported
        return working.result()

    @asynccontextmanager
    async def overlapping(self) -> AsyncIterator[Overlapping]:
        """Run the steps started in this block; all have finished when it exits."""
        steps = Overlapping(self)
        try:
            yield steps
            await steps.at_most(0)
        finally:
            await steps.give_up()

    async def alone(self, at_bench: Callable[[], AtBench]) -> AtBench:
        """Run a computation in a thread, then rest."""
        result = await asyncio.to_thread(at_bench)
        await self.rest()
        return result

    async def rest(self) -> None:
        """Rest in proportion to the work since the last rest."""
        if self.others_are_served and not self.is_small:
            worked = time.monotonic() - self._working_since
            await asyncio.sleep(min(RESTS * worked, REST_SECONDS_MAX))
        self._working_since = time.monotonic()

    async def fed(self, lines: bytes) -> AsyncIterator[bytes]:
        """Yield lines for one commit, all at once or at a limited rate."""
        waiting = io.BytesIO(lines)
        while self.others_are_served and (some := b"".join(islice(waiting, FEED_LINES))):
            yield some
            await asyncio.sleep(FEED_SECONDS)
        if left := waiting.read():
            yield left
        self._own_commits += 1
        self._working_since = time.monotonic()

    async def watch(self, database: Database) -> None:
        """Sample until cancelled whether the platform is busy."""
        known, own_before = 0, 0
        others: deque[int] = deque(maxlen=LOOKS)
        while True:
            with contextlib.suppress(UnavailableError):
                committed = await database.committed()
                own, self._own_commits = self._own_commits + 1, 0
                if known:
                    others.append(committed - known - own - own_before)
                    self.others_are_served = sum(others) > LOOKS * LOOK_SECONDS * SERVED_A_SECOND
                known, own_before = committed, own
            await asyncio.sleep(LOOK_SECONDS)


@asynccontextmanager
async def throttled(database: Database) -> AsyncIterator[Throttle]:
    """Monitor commits in this database for the duration of the block."""
    throttle = Throttle()
    watching = asyncio.create_task(throttle.watch(database))
    try:
        yield throttle
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching

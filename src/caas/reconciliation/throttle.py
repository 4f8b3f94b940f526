"""How much of the machine a run of Diagram 10 takes: all of it, or little while others are served.

Nobody waits for a run, and every customer waits for a payment. While others commit in the Billing
Database, a run does one thing at a time and rests longer than it worked; otherwise the workbench
and the Billing Database work side by side, as fast as they can.

Rules a change must keep: what a run finds never depends on its effort; each rest has a limit; a
thread cannot be stopped, so that nobody goes on, or gives up the workbench, before it has ended;
steps that overlap end in the order they began in, and none ends after one that failed.
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
"""So many times as long as it worked, a run rests while others are served."""
REST_SECONDS_MAX: Final = 20.0
SERVED_A_SECOND: Final = 20.0
"""Commits of others; workers that look whether something is to be done make fewer."""
LOOK_SECONDS: Final = 1.0
LOOKS: Final = 3
"""The busiest of so many looks counts: a session tells of its commits up to a second late."""

SMALL_LINES_MAX: Final = 2_000
"""So few lines are compared in less time than one rest would take: such a run never rests."""

FEED_LINES: Final = 60
FEED_SECONDS: Final = 0.01
"""While others are served, the Billing Database is given so many lines so often."""

OVERLAPPING_MAX: Final = 2
"""So many steps are under way at once: as many as keep the Billing Database from waiting for us.

Each holds a connection of the pool.
"""

AtBench = TypeVar("AtBench")

Turn = Callable[[], Awaitable[None]]
"""Waits until the step before has ended, and fails as it did."""


class Overlapping:
    """Steps, each of which begins before the one before it has ended."""

    def __init__(self, throttle: "Throttle") -> None:
        """Begin none yet."""
        self._throttle = throttle
        self._under_way: deque[asyncio.Task[None]] = deque()

    async def begin(self, step: Callable[[Turn], Coroutine[Any, Any, None]]) -> None:
        """Begin a step as soon as few enough are under way; it awaits its turn before it ends."""
        most = 1 if self._throttle.others_are_served else OVERLAPPING_MAX
        await self.at_most(most - 1)
        before = self._under_way[-1] if self._under_way else None
        self._under_way.append(asyncio.create_task(step(partial(_ended, before))))

    async def at_most(self, steps: int) -> None:
        """Wait until no more steps than these are under way; fail as the first that failed."""
        while len(self._under_way) > steps:
            await self._under_way[0]
            del self._under_way[0]

    async def give_up(self) -> None:
        """Stop what is under way, and wait until it has stopped."""
        for step in self._under_way:
            step.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)


async def _ended(step: asyncio.Task[None] | None) -> None:
    if step is not None:
        await asyncio.wait([step])  # who is stopped while waiting does not stop the step
        step.result()


class Throttle:
    """The effort of one run."""

    def __init__(self) -> None:
        """Begin at full effort."""
        self.others_are_served = False
        self.is_small = False
        self._own_commits = 0
        self._working_since = time.monotonic()

    @property
    def threads(self) -> int:
        """How many threads the workbench may compute with."""
        return 1 if self.others_are_served else os.cpu_count() or 1

    async def side_by_side(
        self,
        at_bench: Callable[[], AtBench],
        meanwhile: Callable[[], Coroutine[Any, Any, None]],
    ) -> AtBench:
        """Compute in a thread while something else goes on, or after it; return what came of it."""
        if self.others_are_served:
            await meanwhile()
            await self.rest()
            return await self.alone(at_bench)
        working = asyncio.ensure_future(asyncio.to_thread(at_bench))
        try:
            await meanwhile()
        finally:
            await asyncio.wait([working])
            working.exception()  # what both raised is told once, by whoever failed first
        return working.result()

    @asynccontextmanager
    async def overlapping(self) -> AsyncIterator[Overlapping]:
        """Run the steps that are begun in this block; all have ended behind it."""
        steps = Overlapping(self)
        try:
            yield steps
            await steps.at_most(0)
        finally:
            await steps.give_up()

    async def alone(self, at_bench: Callable[[], AtBench]) -> AtBench:
        """Compute in a thread, then rest."""
        result = await asyncio.to_thread(at_bench)
        await self.rest()
        return result

    async def rest(self) -> None:
        """Rest from what was done since the last rest."""
        if self.others_are_served and not self.is_small:
            worked = time.monotonic() - self._working_since
            await asyncio.sleep(min(RESTS * worked, REST_SECONDS_MAX))
        self._working_since = time.monotonic()

    async def fed(self, lines: bytes) -> AsyncIterator[bytes]:
        """Give lines to the Billing Database, all at once or little by little, for one commit."""
        waiting = io.BytesIO(lines)
        while self.others_are_served and (some := b"".join(islice(waiting, FEED_LINES))):
            yield some
            await asyncio.sleep(FEED_SECONDS)
        if left := waiting.read():
            yield left
        self._own_commits += 1
        self._working_since = time.monotonic()

    async def watch(self, database: Database) -> None:
        """See, as long as nobody stops it, whether others are served."""
        known, own_before = 0, 0
        others: deque[int] = deque(maxlen=LOOKS)
        while True:
            with contextlib.suppress(UnavailableError):
                committed = await database.committed()
                own, self._own_commits = self._own_commits + 1, 0
                if known:
                    others.append(committed - known - own - own_before)
                    self.others_are_served = max(others) > SERVED_A_SECOND * LOOK_SECONDS
                known, own_before = committed, own
            await asyncio.sleep(LOOK_SECONDS)


@asynccontextmanager
async def throttled(database: Database) -> AsyncIterator[Throttle]:
    """Watch what others commit in this database until the block is left."""
    throttle = Throttle()
    watching = asyncio.create_task(throttle.watch(database))
    try:
        yield throttle
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching

"""The clock of the simulators, and the agenda of what is due on it.

Banks and factories take days (Diagram 4: "Hours/Days Later"). Every simulated duration is divided
by the time scale, and the clock can be moved forward, so that days pass in a test.

Rules a change must keep: no other file of the simulators reads the machine's clock; things due at
the same instant happen in the order they were added; a long list of due things never delays a
request.
"""

import asyncio
import heapq
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

DUE_IN_ONE_GO_MAX = 200
REPORTING_ZONE: Final = "Europe/Madrid"


def rfc3339(instant: float) -> str:
    """Format an instant (seconds since 1970) for the wire."""
    return datetime.fromtimestamp(instant, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


class Clock:
    """The simulated time: the machine's, moved forward by `advance`."""

    def __init__(self, scale: float = 1.0, zone: str = REPORTING_ZONE) -> None:
        """Divide simulated durations by `scale`; days end at midnight in `zone`."""
        assert scale > 0
        self.scale = scale
        self._zone = ZoneInfo(zone)
        self.moved_seconds = 0.0

    def now(self) -> float:
        """Simulated seconds since 1970."""
        return time.time() + self.moved_seconds

    def machine_now(self) -> float:
        """Real seconds since 1970, for values that other machines compare with their clocks."""
        return time.time()

    def transition_to(self, instant: float) -> None:
        """Move forward to an instant; the clock never moves back."""
        self.moved_seconds = max(self.moved_seconds, instant - time.time())

    def span(self, world_seconds: float) -> float:
        """Return the real seconds of a simulated duration."""
        return world_seconds / self.scale

    def today(self) -> str:
        """Return the simulated date in the time zone of the merchant's reports."""
        return datetime.fromtimestamp(self.now(), self._zone).date().isoformat()


class Agenda:
    """Future events: a kind and an id at an instant, passed to the handler of the kind."""

    def __init__(self, clock: Clock) -> None:
        """Use this clock."""
        self.clock = clock
        self._due: list[tuple[float, int, str, str]] = []
        self._count = 0
        self._reported: dict[str, Callable[[str], None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")

    def register(self, kind: str, notify: Callable[[str], None]) -> None:
        """Register the handler of a kind."""
        self._reported[kind] = notify

    def note(self, instant: float, kind: str, subject_id: str) -> None:
        """Add an item of this kind that is due at an instant."""
        assert kind in self._reported, kind
        self._count += 1
        heapq.heappush(self._due, (instant, self._count, kind, subject_id))
        if instant < self._timer_at:
            self.wake()

    def advance(self, world_seconds: float) -> None:
        """Move the clock forward, handling each due item at its own instant."""
        self.advance_to(self.clock.now() + self.clock.span(world_seconds))

    def advance_to(self, target: float) -> None:
        """Move the clock forward to an instant; do nothing if it has passed."""
        while self._due and self._due[0][0] <= target:
            self.clock.transition_to(self._due[0][0])
            self._call_first()
        self.clock.transition_to(target)
        self.wake()

    def wake(self) -> None:
        """Recalculate which item is due first."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_at = float("inf")
        if not self._due:
            return
        self._timer_at = self._due[0][0]
        wait_seconds = max(0.0, self._timer_at - self.clock.now())
        self._timer = asyncio.get_running_loop().call_later(wait_seconds, self._ring)

    def stop(self) -> None:
        """Stop handling due items."""
        self._due.clear()
        self.wake()

    def _ring(self) -> None:
        now = self.clock.now()
        for _ in range(DUE_IN_ONE_GO_MAX):
            if not self._due or self._due[0][0] > now:
                break
            self._call_first()
        self.wake()

    def _call_first(self) -> None:
        _, _, kind, subject_id = heapq.heappop(self._due)
        self._reported[kind](subject_id)

"""When the gateway is asked about settlements, and how many questions it is asked in a minute.

At the end of a month many thousand payments are captured within minutes, and would all be asked
about in the same minute. Each takes a place in a line instead, one line for each process.

Rule a change must keep: a question that has its place asks when its time comes, whoever came since.
"""

import asyncio
from typing import Final

from caas.billing_database.job_rows import Job
from caas.jobs import RetryIn
from caas.rules.settlement_polls import PollTerms
from caas.rules.time_scale import TimeScale

SECONDS_IN_A_MINUTE: Final = 60.0


class SettlementPolling:
    """Says when each payment is asked about."""

    def __init__(self, terms: PollTerms, *, time_scale: TimeScale) -> None:
        """Keep these terms at this pace."""
        self._terms = terms
        self._time_scale = time_scale
        self._next_place = 0.0

    def place(self, job: Job) -> RetryIn | None:
        """Return when to come back to ask; None to ask now."""
        if job.payload.get("has_place"):
            return None
        now = asyncio.get_running_loop().time()
        place = max(now, self._next_place)
        self._next_place = place + self._time_scale.seconds(
            SECONDS_IN_A_MINUTE / self._terms.a_minute
        )
        if place <= now:
            return None
        wait = (place - now) * self._time_scale.scale
        return RetryIn(wait, "many payments are asked about", payload={"has_place": True})

    def again(self, job: Job, because: str | None = None) -> RetryIn:
        """Return when to ask the next time."""
        asked = int(job.payload.get("asked", 0)) + 1
        payload: dict[str, object] = {"asked": asked, "has_place": False}
        return RetryIn(self._terms.wait_before(asked), because, payload=payload)

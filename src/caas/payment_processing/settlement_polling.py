"""When captured payments are looked up, while no settlement webhook has come.

Each process limits its polls per minute, because at the end of a month many thousand payments are
captured within minutes.
"""

import asyncio
from typing import Final

from caas.billing_database.job_rows import Job
from caas.jobs import RetryIn
from caas.rules.settlement_dates import PollTerms
from caas.rules.time_scale import TimeScale

SECONDS_IN_A_MINUTE: Final = 60.0


class SettlementPolling:
    """Spreads the lookups of captured payments over time."""

    def __init__(self, terms: PollTerms, *, time_scale: TimeScale) -> None:
        self._terms = terms
        self._time_scale = time_scale
        self._next_place = 0.0

    def place(self, job: Job) -> RetryIn | None:
        """Return when to look the payment up; None for now."""
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
        """Return when to look it up the next time."""
        asked = int(job.payload.get("asked", 0)) + 1
        payload: dict[str, object] = {"asked": asked, "has_place": False}
        return RetryIn(self._terms.wait_before(asked), because, payload=payload)

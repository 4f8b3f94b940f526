"""When the gateway is asked about settlements, and how many questions it is asked in a minute.

At the end of a month many thousand payments are captured within minutes, and would all be asked
about in the same minute. Each takes a place in a line instead, one line for each process.

Rule a change must keep: a question that has its place asks when its time comes, whoever came since.
"""

import asyncio
from typing import Final

from caas.billing_database.due_work import DueWork
from caas.open_work import Again
from caas.rules.pace import Pace
from caas.rules.settlement_polls import PollTerms

SECONDS_IN_A_MINUTE: Final = 60.0


class SettlementPolling:
    """Says when each payment is asked about."""

    def __init__(self, terms: PollTerms, *, pace: Pace) -> None:
        """Keep these terms at this pace."""
        self._terms = terms
        self._pace = pace
        self._next_place = 0.0

    def place(self, work: DueWork) -> Again | None:
        """Return when to come back to ask; None to ask now."""
        if work.payload.get("has_place"):
            return None
        now = asyncio.get_running_loop().time()
        place = max(now, self._next_place)
        self._next_place = place + self._pace.seconds(SECONDS_IN_A_MINUTE / self._terms.a_minute)
        if place <= now:
            return None
        wait = (place - now) * self._pace.scale
        return Again(wait, "many payments are asked about", payload={"has_place": True})

    def again(self, work: DueWork, because: str | None = None) -> Again:
        """Return when to ask the next time."""
        asked = int(work.payload.get("asked", 0)) + 1
        payload: dict[str, object] = {"asked": asked, "has_place": False}
        return Again(self._terms.wait_before(asked), because, payload=payload)

"""What an action of a decision posts, as an event of its discrepancy.

Rule a change must keep: what is posted once is posted once for each decision, not once for ever.
"""

from typing import Any

from caas.billing_database.connection import Connection
from caas.billing_database.discrepancies import Discrepancies, Discrepancy, Step
from caas.reconciliation.validation import since_decided
from caas.rules.postings import Entry


class DecisionNotes:
    """Records what actions posted."""

    def __init__(self, discrepancies: Discrepancies) -> None:
        """Write to these discrepancies."""
        self._discrepancies = discrepancies

    async def post_once(
        self,
        discrepancy: Discrepancy,
        entries: tuple[Entry, ...],
        facts: dict[str, Any],
        connection: Connection,
    ) -> None:
        """Post entries and an event; the same facts are recorded once for each decision."""
        now = await self._discrepancies.get(discrepancy.id, within=connection)
        noted = since_decided(await self._discrepancies.events(now.id, within=connection))
        if not any(event.facts | facts == event.facts for event in noted):
            await self.note(now, entries, facts, connection)

    async def note(
        self,
        now: Discrepancy,
        entries: tuple[Entry, ...],
        facts: dict[str, Any],
        connection: Connection,
    ) -> None:
        """Post entries and an event that keeps the status."""
        step = Step(
            event="noted",
            status=now.status,
            by="reconciliation",
            facts=facts,
            resolution=now.resolution,
            entries=entries,
        )
        await self._discrepancies.step(now.id, step, within=connection)

"""Cases of a day whose run did not end: an unusable report, or our error (decision 286)."""

from datetime import date
from typing import Final
from uuid import UUID

from caas.billing_database.cases import Cases
from caas.billing_database.identifiers import derived_id
from caas.payment_processing.flow import Alert
from caas.reconciliation.apply_results import BY

REFUSED: Final = "settlement_report_refused"
STOPPED: Final = "reconciliation_stopped"


class RunCases:
    """Opens and closes the cases of one gateway's days."""

    def __init__(self, cases: Cases, alert: Alert, gateway: str) -> None:
        """Open cases of this gateway, each with an alert."""
        self._cases = cases
        self._alert = alert
        self._gateway = gateway

    async def refused(self, day: date, because: str) -> None:
        """Open the case of a report that is unusable; nothing of it was applied."""
        await self._open(REFUSED, day, f"The settlement report of {day} was refused. {because}")

    async def stopped(self, day: date, because: str) -> None:
        """Open the case of a run that an error of ours stopped."""
        sentence = f"A run of {day} stopped: {because}. Some of its lines are not posted."
        await self._open(STOPPED, day, sentence)

    async def ended(self, day: date) -> None:
        """Close the case of a day whose run had stopped."""
        because = "A later run of the day has ended."
        await self._cases.close(STOPPED, self._of(day), resolution=because, owner=BY)

    async def _open(self, kind: str, day: date, sentence: str) -> None:
        await self._cases.open(kind, self._of(day), sentence)
        await self._alert(kind, self._of(day), sentence)

    def _of(self, day: date) -> UUID:
        return derived_id("settlement report", self._gateway, day)

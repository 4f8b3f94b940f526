"""The watch over the laws: checked again and again while the platform runs (decision 42).

Rules a change must keep: one process at a time checks, because the check is one piece of open work;
a broken law is an alert with a case, once until the case is closed; a check is followed by a rest
ten times as long, so that a large database is not read all day.
"""

import asyncio
from typing import Final

from caas.billing_database import law_checks
from caas.billing_database.books import Books
from caas.billing_database.due_work import DueWork
from caas.billing_database.identifiers import derived_id
from caas.open_work import Again, Answer, OpenWork
from caas.payment_processing.flow import Alert

CHECK_LAWS: Final = "check_laws"
LAW_BROKEN: Final = "law_broken"
REST_SECONDS: Final = 300.0
RESTS_PER_CHECK: Final = 10


class LawWatch:
    """Has every law checked, and tells operations of a broken one."""

    def __init__(self, *, books: Books, alert: Alert) -> None:
        """Check these books."""
        self._books = books
        self._alert = alert

    def register(self, open_work: OpenWork) -> None:
        """Take the check."""
        open_work.register(CHECK_LAWS, self._check)

    async def begin(self) -> None:
        """Make sure that the laws are checked from now on; saying it again changes nothing."""
        await self._books.work.add_all([(CHECK_LAWS, derived_id("laws"), 0.0, {})])

    async def _check(self, _work: DueWork) -> Answer:
        clock = asyncio.get_running_loop().time
        began = clock()
        for found in await law_checks.checked(self._books.database):
            if found.broken:
                await self._alert(
                    LAW_BROKEN,
                    derived_id("law", found.law.name),
                    f"{found.law.sentence} {found.broken} rows say otherwise, such as "
                    f"{', '.join(found.examples)}.",
                )
        return Again(max(REST_SECONDS, RESTS_PER_CHECK * (clock() - began)), begins_anew=True)

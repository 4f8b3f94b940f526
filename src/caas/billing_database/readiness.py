"""Whether a process can serve over its database: it answers, takes writes and has our schema.

Rule a change must keep: the answer comes within two seconds, whatever the database does.
"""

import asyncio
from typing import Final

from caas.billing_database import schema_state
from caas.billing_database.connection import Database
from caas.errors import UnavailableError

READY_SECONDS_MAX: Final = 1.8


class Readiness:
    """Looks whether the database can be served over."""

    def __init__(self, database: Database) -> None:
        """Look at this one."""
        self._database = database

    async def why_not(self) -> str | None:
        """Return why this process cannot serve; None when it can."""
        try:
            async with asyncio.timeout(READY_SECONDS_MAX):
                return await self._looked_at()
        except (TimeoutError, UnavailableError) as error:
            reason = error.facts.get("reason") if isinstance(error, UnavailableError) else None
            return f"The Billing Database cannot serve: {reason or 'it is busy'}."

    async def _looked_at(self) -> str | None:
        pulse = await self._database.pulse.take()
        if not pulse.answers or pulse.because:
            return f"The Billing Database cannot serve: {pulse.because}."
        if self._database.refused_because:
            return f"The Billing Database refuses to write: {self._database.refused_because}."
        different = await schema_state.differences(self._database)
        if different:
            return f"The database's schema is not this version's: {different[0]}."
        return None

"""Whether a process can serve over its database: it answers, takes writes and has our schema.

Rules a change must keep: the answer comes within two seconds, whatever the database does; it is a
sentence of ours, with no words of a driver; a refusal to write that is over is seen to be over.
"""

import asyncio
from contextlib import suppress
from typing import Final

from caas.billing_database import schema_state
from caas.billing_database.connection import Database
from caas.billing_database.heartbeat import READ_ONLY, in_words
from caas.errors import UnavailableError

READY_SECONDS_MAX: Final = 1.8
OLD_SESSIONS_MAX: Final = 3
WRITE: Final = "update processes set name = name where id = this_process()"


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
        except TimeoutError:
            return "The Billing Database cannot serve: it is busy."
        except UnavailableError as error:
            return f"The Billing Database cannot serve: {in_words(error.__cause__ or error)}."

    async def _looked_at(self) -> str | None:
        heartbeat = await self._database.heartbeat.take()
        if not heartbeat.answers or heartbeat.because:
            return f"The Billing Database cannot serve: {heartbeat.because}."
        refused = self._database.refused_because
        if refused is not None and not await self._writes_again(refused):
            return f"The Billing Database cannot serve: {refused}."
        different = await schema_state.differences(self._database)
        if different:
            return f"The database's schema is not this version's: {different[0]}."
        return None

    async def _writes_again(self, refused: str) -> bool:
        """Return whether a read-only database takes writes again; a full disk is not asked so.

        A row that is there finds room where a new one does not.
        """
        if refused != READ_ONLY:
            return False
        for _ in range(OLD_SESSIONS_MAX):  # one that began while it was read-only stays so
            with suppress(UnavailableError):
                await self._database.fetch(WRITE)
                self._database.forget_refusal()
                return True
        return False

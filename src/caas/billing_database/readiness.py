"""Readiness: the database responds, is writable and has our schema.

Rules a change must keep: a check takes at most two seconds; reasons are our own sentences, without
driver messages; recovery from a read-only state is detected.
"""

import asyncio
from contextlib import suppress
from typing import Final

from caas.billing_database import schema_catalog
from caas.billing_database.connection import Database
from caas.billing_database.heartbeat import READ_ONLY, in_words
from caas.errors import UnavailableError

READY_SECONDS_MAX: Final = 1.8
OLD_SESSIONS_MAX: Final = 3
WRITE: Final = "update processes set name = name where id = this_process()"


class Readiness:
    """Checks whether the database can serve."""

    def __init__(self, database: Database) -> None:
        """Look at this one."""
        self._database = database

    async def why_not(self) -> str | None:
        """Return why this process is not ready, or None."""
        try:
            async with asyncio.timeout(READY_SECONDS_MAX):
                return await self._looked_at()
        except TimeoutError:
            return "The Billing Database is unavailable: it is busy."
        except UnavailableError as error:
            return f"The Billing Database is unavailable: {in_words(error.__cause__ or error)}."

    async def _looked_at(self) -> str | None:
        heartbeat = await self._database.heartbeat.take()
        if not heartbeat.answers or heartbeat.because:
            return f"The Billing Database is unavailable: {heartbeat.because}."
        refused = self._database.refused_because
        if refused is not None and not await self._writes_again(refused):
            return f"The Billing Database is unavailable: {refused}."
        different = await schema_catalog.differences(self._database)
        if different:
            return f"The database's schema is not this version's: {different[0]}."
        return None

    async def _writes_again(self, refused: str) -> bool:
        """Return whether a read-only database is writable again; not used for a full disk.

        Updating an existing row can succeed where an insert does not.
        """
        if refused != READ_ONLY:
            return False
        for _ in range(OLD_SESSIONS_MAX):  # one that began while it was read-only stays so
            with suppress(UnavailableError):
                await self._database.fetch(WRITE)
                self._database.forget_refusal()
                return True
        return False

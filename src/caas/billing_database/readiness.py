"""Readiness: the database responds, is writable and has our schema.

Rules a change must keep: a check takes at most two seconds; reasons are our own sentences, without
driver messages; recovery from a read-only state and from a full disk is detected.
"""

import asyncio
from contextlib import suppress
from typing import Final

import asyncpg

from caas.billing_database import schema_catalog
from caas.billing_database.connection import Connection, Database
from caas.billing_database.heartbeat import DISK_FULL, READ_ONLY, in_words
from caas.errors import UnavailableError

READY_SECONDS_MAX: Final = 1.8
OLD_SESSIONS_MAX: Final = 3
WRITE: Final = "update processes set name = name where id = this_process()"
SPILL: Final = "select count(*) from generate_series(1, 100000)"
PROBES: Final = {
    READ_ONLY: (WRITE,),
    DISK_FULL: ("set local work_mem = '64kB'", SPILL),
}
"""What fails as long as the reason lasts; `SPILL` writes about two megabytes, and keeps none."""


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
        """Return whether a database that was read-only, or whose disk was full, is writable again.

        Updating an existing row succeeds on a full disk; a temporary file needs new space there.
        """
        probe = PROBES.get(refused)
        if probe is None:
            return False
        for _ in range(OLD_SESSIONS_MAX):  # one that began while it was read-only stays so
            with suppress(UnavailableError):
                async with self._database.transaction() as connection:
                    await self._probe(connection, probe)
                self._database.forget_refusal()
                return True
        return False

    async def _probe(self, connection: Connection, probe: tuple[str, ...]) -> None:
        with suppress(asyncpg.ConfigurationLimitExceededError):  # temp_file_limit, not the disk
            for statement in probe:
                await connection.execute(statement)

"""Processes of the platform, and which of them are dead.

Every session of a process holds a shared advisory lock in its name, from before its first statement
until PostgreSQL ends the session. A process without one is dead, or has lost all that it had under
way in the database. A frozen process keeps its sessions: only the end of its leases tells of it.

Rules a change must keep: a process is in the table before it writes anything; it is taken for dead
only when it is silent at two looks in a row, because a server that was restarted hears nobody for a
moment; what is taken from it gets another fence.
"""

from collections.abc import Collection
from typing import Final

from caas.billing_database.connection import Database

LOOK_SECONDS: Final = 1.0
SILENT: Final = "select silent_processes() as id"
FREE: Final = "select free_jobs_of($1, $2, $3) as freed"
NAMES: Final = "select names_of_dead($1) as name"


class Processes:
    """Which processes are dead, and what they left under way."""

    def __init__(self, database: Database) -> None:
        """Look through this database."""
        self._database = database

    async def silent(self) -> frozenset[int]:
        """Return the processes of which no session is left."""
        return frozenset(row["id"] for row in await self._database.fetch(SILENT))

    async def names_of_dead(self, processes: Collection[int]) -> list[str]:
        """Return the names of dead processes that no living one bears."""
        return [row["name"] for row in await self._database.fetch(NAMES, list(processes))]

    async def free_jobs_of(
        self,
        processes: Collection[int],
        kinds: Collection[str],
        awaited: Collection[str] = (),
    ) -> int:
        """Make what dead processes had under way due; return how many pieces that were.

        `kinds` are those of which a row that nobody claimed is the safety net of its writer;
        `awaited` are those that a message ends which any process may have received, and lost.
        """
        row = await self._database.fetchrow(FREE, list(processes), list(kinds), list(awaited))
        assert row is not None, "a count is one row"
        return int(row["freed"])

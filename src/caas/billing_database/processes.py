"""The platform's processes, and detection of dead ones.

Every session of a process holds a shared advisory lock in its name from its first statement on. A
process without one is dead or has lost all work in the database. A frozen process keeps its
sessions; only its leases expire.

Rules a change must keep: a process is registered before it writes anything; it is dead only if it
is missing in two consecutive checks, because a restarted server sees no processes at first; jobs
taken from it get a new fence.
"""

from collections.abc import Collection
from typing import Final

from caas.billing_database.connection import Database

LOOK_SECONDS: Final = 1.0
SILENT: Final = "select silent_processes() as id"
FREE: Final = "select free_jobs_of($1, $2, $3) as freed"
NAMES: Final = "select names_of_dead($1) as name"


class Processes:
    """Detects dead processes and the jobs they held."""

    def __init__(self, database: Database) -> None:
        """Look through this database."""
        self._database = database

    async def silent(self) -> frozenset[int]:
        """Return the processes without a session."""
        return frozenset(row["id"] for row in await self._database.fetch(SILENT))

    async def names_of_dead(self, processes: Collection[int]) -> list[str]:
        """Return names of dead processes that no living one uses."""
        return [row["name"] for row in await self._database.fetch(NAMES, list(processes))]

    async def free_jobs_of(
        self,
        processes: Collection[int],
        kinds: Collection[str],
        awaited: Collection[str] = (),
    ) -> int:
        """Make jobs held by dead processes due; return their number.

        `kinds` are those whose unclaimed rows are their writer's safety net; `awaited` are those
        that end with a message which a dead process may have lost.
        """
        row = await self._database.fetchrow(FREE, list(processes), list(kinds), list(awaited))
        assert row is not None, "a count is one row"
        return int(row["freed"])

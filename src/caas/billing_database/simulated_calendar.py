"""The calendar of a simulated installation: time can be moved forward.

The database's owner moves the clock; the platform's own sessions cannot.

Rules a change must keep: only `caas up` creates one, for the database it started; time only moves
forward; signed-in sessions stay valid.
"""

from datetime import datetime
from typing import Final

import asyncpg

from caas.billing_database.connection import ACQUIRE_TIMEOUT_SECONDS

NOW: Final = "select caas.db_now()"
APPLY: Final = "update caas.clock set moved = moved + make_interval(secs => $1)"
KEEP_SIGNED_IN: Final = """
update caas.sessions
   set idle_until = idle_until + make_interval(secs => $1),
       ends_at = ends_at + make_interval(secs => $1)
 where ended_at is null and idle_until > caas.db_now() and ends_at > caas.db_now()
"""


class SimulatedCalendar:
    """The movable clock of a database."""

    def __init__(self, owner_dsn: str) -> None:
        """Move the clock of this database, as the one who owns it."""
        self._dsn = owner_dsn

    async def now(self) -> datetime:
        """Return the platform's current time."""
        owner = await asyncpg.connect(self._dsn, timeout=ACQUIRE_TIMEOUT_SECONDS)
        try:
            moment: datetime = await owner.fetchval(NOW)
            return moment
        finally:
            await owner.close()

    async def transition_to(self, moment: datetime) -> datetime:
        """Move the clock to this time, unless it has passed; return the current time."""
        owner = await asyncpg.connect(self._dsn, timeout=ACQUIRE_TIMEOUT_SECONDS)
        try:
            async with owner.transaction():
                await owner.execute("lock table caas.clock in exclusive mode")
                seconds = (moment - await owner.fetchval(NOW)).total_seconds()
                if seconds > 0:
                    await owner.execute(KEEP_SIGNED_IN, seconds)
                    await owner.execute(APPLY, seconds)
                now: datetime = await owner.fetchval(NOW)
            return now
        finally:
            await owner.close()

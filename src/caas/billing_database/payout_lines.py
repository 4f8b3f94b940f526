"""What the stored settlement lines say of the movements that a payout consists of.

Rules a change must keep: lines are found by the index on their ids; of a converted movement, the
lines in the payout's currency count.
"""

from collections.abc import Sequence
from datetime import date
from typing import Final

from caas.billing_database.connection import Database

PARTS: Final = ("", ":out", ":in")
"""How the ids of a movement's lines end: the movement itself, and its conversion."""
NETS: Final = """
select split_part(l.line_id, ':', 1) as movement, sum(l.net)::bigint as net
  from settlement_lines l join settlement_reports r on r.id = l.report_id
 where l.line_id = any ($1) and r.gateway = $2 and l.currency = $3
 group by 1
"""
TODAY: Final = "select (db_now() at time zone 'UTC')::date"


class PayoutLines:
    """Reads settlement lines by the ids of their movements."""

    def __init__(self, database: Database) -> None:
        """Read from this database."""
        self._database = database

    async def nets(self, gateway: str, movements: Sequence[str], currency: str) -> dict[str, int]:
        """Return what is stored as the net amount of each movement, where it is stored."""
        ids = [movement + part for movement in movements for part in PARTS]
        rows = await self._database.fetch(NETS, ids, gateway, currency)
        return {row["movement"]: row["net"] for row in rows}

    async def today(self) -> date:
        """Return the date in UTC, by the database's clock."""
        row = await self._database.fetchrow(TODAY)
        assert row is not None, "there is always a today"
        today: date = row[0]
        return today

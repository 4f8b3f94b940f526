"""Which lines of reports are stored already, whatever report or day they stand in.

A provider's row is one row however often it is exported: in the balance report and in the payout
report, for one day and for another. What tells it is the provider's own id, or all that it says.

Rules a change must keep: rows are looked for by the time they were booked at, so that the cost
grows with the file and never with the ledger; the digest is that of `settlement_reports.KNOWN`.
"""

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

from caas.billing_database.connection import Database
from caas.billing_database.settlement_reports import COPY_SECONDS_MAX

ELSEWHERE: Final = """
select coalesce(r.late_of, r.day), l.line_no, l.line_id,
       md5(l.batch_id || '|' || coalesce(l.line_id, '')
       || '|' || coalesce(l.transaction_id, '') || '|' || coalesce(l.reference, '')
       || '|' || l.type || '|' || l.gross || '|' || l.fee || '|' || l.net || '|' || l.currency
       || '|' || to_char(l.booked_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '|'
       || l.value_date), l.net, l.currency
  from settlement_lines l join settlement_reports r on r.id = l.report_id
 where l.booked_at >= $4::timestamptz and l.booked_at <= $5::timestamptz
   and r.gateway = $1::text and r.format = $2::text and not (r.id = any ($3::uuid[]))
"""
SHARING: Final = """
select regexp_replace(r.part, ' ?late of \\d{4}-\\d\\d-\\d\\d$', '') as part, s.shared
  from settlement_reports r cross join lateral (
       select count(*) as shared from (
         select l.line_id from settlement_lines l
          where l.report_id = r.id and l.line_id = any ($4)
         union
         select q.line_id from quarantined_lines q
          where q.report_id = r.id and q.released_at is null and q.line_id = any ($4)) i) s
 where r.gateway = $1 and r.format = $2 and coalesce(r.late_of, r.day) = $3 and r.origin = 'file'
 order by s.shared desc, r.received_at, r.id
"""


class Sharing(NamedTuple):
    """A part of a day's reports, and how many of some rows it holds."""

    part: str
    rows: int


class LineIdentities:
    """Finds stored lines by what identifies them."""

    def __init__(self, database: Database) -> None:
        """Look in this database."""
        self._database = database

    async def elsewhere(
        self,
        source: tuple[str, str],
        own: Sequence[UUID],
        booked: tuple[datetime, datetime],
        path: Path,
    ) -> None:
        """Write the lines of other reports of a gateway and format, booked in a time, to a file."""
        async with self._database.connection() as connection:
            await connection.copy_from_query(
                ELSEWHERE, *source, list(own), *booked, output=path, format="csv",
                timeout=COPY_SECONDS_MAX,
            )  # fmt: skip

    async def sharing(
        self, gateway: str, format_: str, day: date, ids: Sequence[str]
    ) -> list[Sharing]:
        """Return the parts of a day that came as files of a format, those with most rows first."""
        rows = await self._database.fetch(SHARING, gateway, format_, day, list(ids))
        return [Sharing(row["part"], row["shared"]) for row in rows]

"""Which lines of reports are stored already, whatever report or day they stand in.

A provider's row is one row however often it is exported: in the balance report and in the payout
report, for one day and for another. What tells it is the provider's own id, or all that it says.

Rules a change must keep: rows are looked for by their ids, by an index, and those without one by
the time they were booked at, so that the cost grows with the file and never with the ledger; an id
is looked for whatever time comes with it; the digest is that of `settlement_reports.KNOWN`.
"""

import asyncio
import shutil
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

from caas.billing_database.connection import Database
from caas.billing_database.reconciliation_snapshot import BY_KEY
from caas.billing_database.settlement_reports import COPY_SECONDS_MAX

STORED: Final = """
select coalesce(r.late_of, r.day), l.line_no, l.line_id,
       md5(l.batch_id || '|' || coalesce(l.line_id, '')
       || '|' || coalesce(l.transaction_id, '') || '|' || coalesce(l.reference, '')
       || '|' || l.type || '|' || l.gross || '|' || l.fee || '|' || l.net || '|' || l.currency
       || '|' || to_char(l.booked_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '|'
       || l.value_date), l.net, l.currency
  from {found} join settlement_reports r on r.id = l.report_id
 where r.gateway = $1::text and r.format = $2::text and not (r.id = any ($3::uuid[])) and {are}
"""
# What is known by all that it says has the time it was booked at, so that no other need be read.
BY_TIME: Final = STORED.format(
    found="settlement_lines l",
    are="l.booked_at >= $4::timestamptz and l.booked_at <= $5::timestamptz"
    " and (not $6::boolean or l.line_id is null)",
)
BY_ID: Final = STORED.format(
    found="told_ids k join settlement_lines l on l.line_id = k.line_id", are="true"
)
REPORTED_IDS: Final = "create temp table told_ids (line_id text) on commit drop"
SHARING: Final = """
select regexp_replace(r.part, ' ?late of \\d{4}-\\d\\d-\\d\\d$', '') as part,
       s.stored + q.aside as rows, q.aside > 0 and s.stored >= r.lines_stored as comes_right
  from settlement_reports r
 cross join lateral (select count(*) as stored from settlement_lines l
                      where l.report_id = r.id and l.line_id = any ($4)) s
 cross join lateral (select count(distinct q.line_id) as aside from quarantined_lines q
                      where q.report_id = r.id and q.released_at is null
                        and q.line_id = any ($4)) q
 where r.gateway = $1 and r.format = $2 and coalesce(r.late_of, r.day) = $3 and r.origin = 'file'
 order by 2 desc, r.received_at, r.id
"""


class Sharing(NamedTuple):
    """A part of a day's reports, how many of some rows it holds, and whether it comes whole now.

    It does when they are all that are stored of it, and some that are kept aside.
    """

    part: str
    rows: int
    comes_right: bool


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
        *,
        by_id: Path | None,
    ) -> None:
        """Write the lines of other reports of a gateway and format that a file may have.

        Where a format gives each line an id, these ids are looked for, whenever they were booked;
        what has none is looked for where it was booked.
        """
        if by_id is not None:
            await self._by_id(source, own, by_id, path.with_suffix(".ids"))
        async with self._database.connection() as connection:
            await connection.copy_from_query(
                BY_TIME, *source, list(own), *booked, by_id is not None, output=path,
                format="csv", timeout=COPY_SECONDS_MAX,
            )  # fmt: skip
        if by_id is not None:
            await asyncio.to_thread(_append, path.with_suffix(".ids"), path)

    async def _by_id(
        self, source: tuple[str, str], own: Sequence[UUID], ids: Path, path: Path
    ) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(f"{BY_KEY}; {REPORTED_IDS}")
            await connection.copy_to_table(
                "told_ids", source=ids, format="csv", timeout=COPY_SECONDS_MAX
            )
            await connection.execute("analyze told_ids")
            await connection.copy_from_query(
                BY_ID, *source, list(own), output=path, format="csv", timeout=COPY_SECONDS_MAX
            )

    async def sharing(
        self, gateway: str, format_: str, day: date, ids: Sequence[str]
    ) -> list[Sharing]:
        """Return the parts of a day that came as files of a format, those with most rows first."""
        rows = await self._database.fetch(SHARING, gateway, format_, day, list(ids))
        return [Sharing(row["part"], row["rows"], row["comes_right"]) for row in rows]


def _append(source: Path, target: Path) -> None:
    with source.open("rb") as lines, target.open("ab") as file:
        shutil.copyfileobj(lines, file)

"""Detects settlement lines that are already stored from another report or day.

A provider's row is the same row in the balance report and the payout report, and in exports of
different days. It is identified by the provider's id or, without one, by all its fields.

Rules a change must keep: rows are found by an index on their id, and rows without one by their
booking time, so that cost grows with the file and not with the ledger; ids are matched whatever
their time; the digest is that of `settlement_reports.KNOWN`.
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
# A line identified by its content has its booking time, so only that time range is read.
BY_TIME: Final = STORED.format(
    found="settlement_lines l",
    are="l.booked_at >= $4::timestamptz and l.booked_at <= $5::timestamptz"
    " and (not $6::boolean or l.line_id is null)",
)
BY_ID: Final = STORED.format(
    found="file_ids k join settlement_lines l on l.line_id = k.line_id", are="true"
)
REPORTED_IDS: Final = "create temp table file_ids (line_id text) on commit drop"
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
    """A partial report of a day: how many of the given rows it holds; whether it is complete."""

    part: str
    rows: int
    comes_right: bool


class LineIdentities:
    """Finds stored lines by identity."""

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
        """Write a gateway's stored lines from other reports that the file may contain.

        In formats with line ids, ids are matched whatever their booking time; lines without an id
        are matched within the file's time range.
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
                "file_ids", source=ids, format="csv", timeout=COPY_SECONDS_MAX
            )
            await connection.execute("analyze file_ids")
            await connection.copy_from_query(
                BY_ID, *source, list(own), output=path, format="csv", timeout=COPY_SECONDS_MAX
            )

    async def sharing(
        self, gateway: str, format_: str, day: date, ids: Sequence[str]
    ) -> list[Sharing]:
        """Return the partial reports of a day in a format, those with most rows first."""
        rows = await self._database.fetch(SHARING, gateway, format_, day, list(ids))
        return [Sharing(row["part"], row["rows"], row["comes_right"]) for row in rows]


def _append(source: Path, target: Path) -> None:
    with source.open("rb") as lines, target.open("ab") as file:
        shutil.copyfileobj(lines, file)

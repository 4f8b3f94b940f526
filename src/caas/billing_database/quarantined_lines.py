"""Lines of settlement reports that are kept aside: what each says, which line it is, how it ended.

Rules a change must keep: a line is kept aside until that very line is stored and came as it is
stored, or a person says why it may be missing; what is kept aside once is not kept again when it
comes as it was.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from caas.billing_database.connection import Database
from caas.billing_database.rows import columns, read_all
from caas.errors import NotFoundError

UNREADABLE: Final = "unreadable"
CONTRADICTS: Final = "contradicts"
REPEATED: Final = "repeated"
COUNTED: Final = (UNREADABLE, REPEATED)
"""Kinds of which each is a line of its report that is not stored."""

# A stored line `l` is the line `q` of report `r`: by the id of its provider; by its number and what
# could be read of it; or, without either, by what could be read, in a run that began later.
IS_STORED: Final = r"""(q.has_own_id and exists (
   select from settlement_lines l join settlement_reports s on s.id = l.report_id
    where l.line_id = q.line_id and s.gateway = r.gateway and s.format = r.format)
 or not q.has_own_id and exists (
   select from settlement_reports s join settlement_lines l on l.report_id = s.id
    where s.gateway = r.gateway and s.format = r.format
      and coalesce(s.late_of, s.day) = coalesce(r.late_of, r.day)
      and regexp_replace(s.part, ' ?late of \d{4}-\d\d-\d\d$', '')
        = regexp_replace(r.part, ' ?late of \d{4}-\d\d-\d\d$', '')
      and case when r.format = 'canonical' then l.line_no = q.line_no
               else coalesce(q.transaction_id, q.reference) is not null and exists (
                 select from reconciliation_runs n
                  where n.id = l.run_id and n.started_at > q.found_at) end
      and (q.kind = 'contradicts' or
           (coalesce(q.batch_id, l.batch_id) = l.batch_id
            and coalesce(q.transaction_id, l.transaction_id, '') = coalesce(l.transaction_id, '')
            and coalesce(q.reference, l.reference, '') = coalesce(l.reference, '')
            and (r.format = 'canonical' or coalesce(q.type, l.type) = l.type)))))
"""
# As many as there are of one text: what a person released stays released when it comes as it was.
QUARANTINE: Final = """
insert into quarantined_lines (report_id, place, line_no, line_id, kind, reason, text, has_own_id,
    batch_id, transaction_id, reference, type, found_at)
select $1, q.place, q.line_no, q.line_id, q.kind, q.reason, q.text, q.has_own_id,
       q.batch_id, q.transaction_id, q.reference, q.type, db_now()
  from (select *, row_number() over (partition by kind, text order by place) as turn
          from unnest($3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[],
                      $9::boolean[], $10::text[], $11::text[], $12::text[], $13::text[])
            as q(place, line_no, line_id, kind, reason, text, has_own_id, batch_id, transaction_id,
                 reference, type)) q
 where q.turn > (
   select count(*) from quarantined_lines k
    where (k.report_id = $1 or k.report_id = any ($2)) and k.kind = q.kind and k.text = q.text
      and k.released_by is distinct from 'reconciliation')
"""


class QuarantinedRow(msgspec.Struct, frozen=True):
    """A line that could not be read, or contradicts what is stored, until it is released."""

    report_id: UUID
    place: int
    line_no: int | None
    kind: str
    reason: str
    text: str
    found_at: datetime
    released_at: datetime | None
    released_by: str | None
    note: str | None


OF_DAY: Final = f"""
select {columns(QuarantinedRow, "q")}
  from quarantined_lines q join settlement_reports r on r.id = q.report_id
 where r.gateway = $1 and r.day = $2 order by q.report_id, q.place, q.found_at
"""
RELEASE: Final = """
update quarantined_lines set released_at = db_now(), released_by = $3, note = $4
 where report_id = $1 and place = $2 and released_at is null
returning place
"""
ASIDE: Final = """
select id, line_no, line_id, has_own_id, text from quarantined_lines
 where report_id = any ($1) and released_at is null
"""
RELEASE_COME: Final = f"""
update quarantined_lines q set released_at = db_now(), released_by = 'reconciliation',
       note = 'The line came as it should.'
  from settlement_reports r
 where q.id = any ($1) and q.released_at is null and r.id = q.report_id and {IS_STORED}
"""


class QuarantinedLineNotFoundError(NotFoundError):
    """No quarantined line stands at this place of this report."""

    code = "quarantined_line_not_found"


class Quarantined(NamedTuple):
    """A line to be kept aside: its place, what is wrong with it, and what identifies it."""

    place: int
    line_no: int | None
    line_id: str | None
    kind: str
    reason: str
    text: str
    has_own_id: bool = False
    batch_id: str | None = None
    transaction_id: str | None = None
    reference: str | None = None
    type: str | None = None


class Aside(NamedTuple):
    """A line that is kept aside: its row, and which line of the report it is."""

    row: UUID
    line_no: int | None
    line_id: str | None
    has_own_id: bool
    text: str


class QuarantinedLines:
    """The table of lines that are kept aside."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database

    async def keep(
        self, report_id: UUID, lines: Sequence[Quarantined], *, parts: Sequence[UUID] = ()
    ) -> None:
        """Keep lines aside that this report, or another part of it, does not keep yet."""
        if lines:
            columns = [list(column) for column in zip(*lines, strict=True)]
            async with self._database.connection() as connection:
                await connection.execute(QUARANTINE, report_id, list(parts), *columns)

    async def aside(self, reports: Sequence[UUID]) -> list[Aside]:
        """Return the lines of these reports that are kept aside and not released."""
        return [Aside(*row) for row in await self._database.fetch(ASIDE, list(reports))]

    async def release_come(self, rows: Sequence[UUID]) -> None:
        """Release what was kept aside of lines that came well formed, and are stored so."""
        if rows:
            async with self._database.connection() as connection:
                await connection.execute(RELEASE_COME, list(rows))

    async def of_day(self, gateway: str, day: date) -> list[QuarantinedRow]:
        """Return what of a day was kept aside, released or not."""
        return await read_all(QuarantinedRow, self._database, OF_DAY, gateway, day)

    async def release(self, report_id: UUID, place: int, *, by: str, note: str) -> None:
        """Release what is kept aside at a place of a report.

        Raises:
            QuarantinedLineNotFoundError: nothing is.
        """
        if not await self._database.fetch(RELEASE, report_id, place, by, note):
            raise QuarantinedLineNotFoundError(report=str(report_id), place=place)

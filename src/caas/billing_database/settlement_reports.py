"""Settlement reports and their lines as rows: what the gateway said, and what became of each line.

Rules a change must keep: a line is stored once, with its class, in the transaction that does
what follows from it; a report's own sums move with its lines; a report changes only when a run
applies it.
"""

from collections.abc import AsyncIterable, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.connection import Connection, Database
from caas.billing_database.identifiers import derived_id
from caas.billing_database.rows import columns, read_all, read_one, row_as

COPY_SECONDS_MAX: Final = 600

STORED: Final = (
    ("report_id", "uuid"), ("line_no", "bigint"), ("batch_id", "text"), ("line_id", "text"),
    ("transaction_id", "text"), ("reference", "text"), ("type", "text"), ("gross", "bigint"),
    ("fee", "bigint"), ("net", "bigint"), ("currency", "text"), ("booked_at", "timestamptz"),
    ("value_date", "date"), ("payment_id", "uuid"), ("class", "text"), ("at_stake", "bigint"),
    ("fee_agreed", "bigint"), ("method", "text"), ("commission", "bigint"), ("markup", "bigint"),
    ("scheme_fees", "bigint"), ("interchange", "bigint"), ("rate", "numeric"),
    ("payout_fee", "bigint"), ("payout_unit", "bigint"),
)  # fmt: skip
"""What is stored of a line, in the order its file has it; run and time follow from the run."""


class SettlementReport(msgspec.Struct, frozen=True):
    """A report as it stands, with what of it is stored."""

    id: UUID
    gateway: str
    day: date
    part: str
    report_ref: str
    origin: str
    format: str
    status: str
    line_count: int | None
    gross_total: int | None
    net_total: int | None
    lines_stored: int
    gross_stored: int
    net_stored: int
    resume_cursor: str | None
    resume_rows: int
    late_of: date | None


COLUMNS: Final = columns(SettlementReport)
PUT: Final = f"""
insert into settlement_reports as r (id, gateway, day, part, report_ref, origin, format, status,
    line_count, gross_total, net_total, received_at, updated_at, late_of)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, db_now(), db_now(), $12)
on conflict (id) do update set status = excluded.status, report_ref = excluded.report_ref,
    line_count = coalesce(excluded.line_count, r.line_count),
    gross_total = coalesce(excluded.gross_total, r.gross_total),
    net_total = coalesce(excluded.net_total, r.net_total), updated_at = db_now()
returning {COLUMNS}
"""
ONE: Final = f"select {COLUMNS} from settlement_reports where id = $1"
OF_DAY: Final = f"""
select {COLUMNS} from settlement_reports where gateway = $1 and day = $2 order by part
"""
FOLLOWED: Final = """
select exists (select from settlement_reports
                where gateway = $1 and day > $2 and status = 'closed' and lines_stored > 0) as is_so
"""
LATE_PARTS: Final = f"""
select {COLUMNS} from settlement_reports where gateway = $1 and late_of = $2 and part = any ($3)
 order by day
"""
SHARES_BATCH: Final = """
select not has_lines and not has_asides
       or exists (select from settlement_lines where report_id = $1 and batch_id = any ($2))
       or exists (select from quarantined_lines where report_id = $1
                     and (batch_id = any ($2) or batch_id is null and not has_lines)) as shares
  from (select exists (select from settlement_lines where report_id = $1) as has_lines,
               exists (select from quarantined_lines where report_id = $1) as has_asides) r
"""
# The digest is of the same text as the workbench's.
KNOWN: Final = """
select line_no, line_id, md5(batch_id || '|' || coalesce(line_id, '')
       || '|' || coalesce(transaction_id, '') || '|' || coalesce(reference, '')
       || '|' || type || '|' || gross || '|' || fee || '|' || net || '|' || currency || '|'
       || to_char(booked_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '|'
       || value_date)
  from settlement_lines where report_id = any ($1)
"""
OF_RUN: Final = """
select set_config('caas.run_id', $1, true), set_config('caas.run_at', db_now()::text, true)
"""
ADVANCE: Final = """
update settlement_reports set lines_stored = lines_stored + $2, gross_stored = gross_stored + $3,
       net_stored = net_stored + $4, updated_at = db_now()
 where id = $1
"""
RESUME_AT: Final = """
update settlement_reports set resume_cursor = $2, resume_rows = $3 where id = $1
"""
IDENTIFY: Final = """
insert into identified_lines (report_id, line_no, payment_id, at)
select i.report_id, i.line_no, i.payment_id, db_now()
  from unnest($1::uuid[], $2::bigint[], $3::uuid[]) as i(report_id, line_no, payment_id)
  join settlement_lines l on l.report_id = i.report_id and l.line_no = i.line_no
 where l.payment_id is null
on conflict do nothing
"""
# What was agreed for its fee stands with its line, or with the discrepancy that was found later.
LINE: Final = """
select report_id, line_no, batch_id, line_id, transaction_id, reference, type, gross, fee, net,
       currency, booked_at, value_date, payment_id, class, at_stake,
       coalesce(fee_agreed, (
         select (e.facts->>'fee_agreed')::bigint
           from discrepancies d join discrepancy_events e on e.discrepancy_id = d.id and e.seq = 1
          where d.report_id = $1 and d.line_no = $2 and d.kind = 'fee_drift')),
       posts, method, commission, markup, scheme_fees, interchange, rate::text, payout_fee
  from settlement_lines where report_id = $1 and line_no = $2
"""


class ReportSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a source says of a report; totals are None where it gives none."""

    gateway: str
    day: date
    part: str
    report_ref: str
    origin: str
    format: str
    closed: bool
    line_count: int | None
    gross_total: int | None
    net_total: int | None
    late_of: date | None = None

    @property
    def id(self) -> UUID:
        """The report's id: the same report, however often and whichever way it comes."""
        late = () if self.late_of is None else ("late of", self.late_of)
        return derived_id("settlement report", self.gateway, self.day, self.part, *late)

    @property
    def stored_part(self) -> str:
        """What distinguishes it from the other reports of the day that takes its lines."""
        return self.part if self.late_of is None else late_part(self.part, self.late_of)


class StoredLine(msgspec.Struct, frozen=True):
    """A line with its class, as it was judged first."""

    report_id: UUID
    line_no: int
    batch_id: str
    line_id: str | None
    transaction_id: str | None
    reference: str | None
    type: str
    gross: int
    fee: int
    net: int
    currency: str
    booked_at: datetime
    value_date: date
    payment_id: UUID | None
    line_class: str
    at_stake: int
    fee_agreed: int | None
    posts: bool
    method: str | None
    commission: int | None
    markup: int | None
    scheme_fees: int | None
    interchange: int | None
    rate: str | None
    payout_fee: int | None

    @property
    def fee_drift(self) -> int:
        """How much more was kept than agreed; none where the fee is not what differs."""
        kept = self.fee if self.payout_fee is None else self.payout_fee
        return 0 if self.fee_agreed is None else kept - self.fee_agreed


def late_part(part: str, late_of: date) -> str:
    """Return how a part of a sealed day's report is called on the day that takes it."""
    return f"{part} late of {late_of}".strip()


class SettlementReports:
    """The tables of reports and lines."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database

    async def put(self, reported: ReportSummary) -> SettlementReport:
        """Write a report down, or what is new about it; return it as it stands."""
        row = await self._database.fetchrow(
            PUT,
            reported.id,
            reported.gateway,
            reported.day,
            reported.stored_part,
            reported.report_ref,
            reported.origin,
            reported.format,
            "closed" if reported.closed else "open",
            reported.line_count,
            reported.gross_total,
            reported.net_total,
            reported.late_of,
        )
        assert row is not None, "an upsert returns its row"
        return row_as(SettlementReport, row)

    async def get(self, report_id: UUID) -> SettlementReport | None:
        """Return a report, or None."""
        return await read_one(SettlementReport, self._database, ONE, report_id)

    async def of_day(self, gateway: str, day: date) -> list[SettlementReport]:
        """Return a day's reports."""
        return await read_all(SettlementReport, self._database, OF_DAY, gateway, day)

    async def is_followed(self, gateway: str, day: date) -> bool:
        """Return whether a closed report with lines has come for a later day."""
        row = await self._database.fetchrow(FOLLOWED, gateway, day)
        assert row is not None, "a condition is one row"
        return bool(row["is_so"])

    async def late_parts(self, gateway: str, day: date, part: str) -> list[SettlementReport]:
        """Return what of a sealed day's report came late, the earliest first."""
        parts = [part, late_part(part, day)]  # older rows have the bare one
        return await read_all(SettlementReport, self._database, LATE_PARTS, gateway, day, parts)

    async def shares_batch(self, report_id: UUID, batches: Sequence[str]) -> bool:
        """Return whether a line of the report, stored or aside, is of one of these batches.

        A report without any line has no batch yet, and neither has what cannot be read of it.
        """
        row = await self._database.fetchrow(SHARES_BATCH, report_id, list(batches))
        return row is not None and bool(row["shares"])

    async def known_lines(self, reports: Sequence[UUID], path: Path) -> None:
        """Write the numbers, ids and digests of the stored lines of reports into a file."""
        async with self._database.connection() as connection:
            await connection.copy_from_query(
                KNOWN, list(reports), output=path, format="csv", timeout=COPY_SECONDS_MAX
            )

    async def append(
        self, lines: AsyncIterable[bytes], *, run_id: UUID, within: Connection
    ) -> None:
        """Append lines, as CSV in the order of `STORED`; `advance` follows in the same commit."""
        await within.execute(OF_RUN, str(run_id))
        await within.copy_to_table(
            "settlement_lines",
            source=lines,
            columns=[name for name, _ in STORED],
            format="csv",
            timeout=COPY_SECONDS_MAX,
        )

    async def advance(
        self, report_id: UUID, lines: int, gross: int, net: int, *, within: Connection
    ) -> None:
        """Move the report's sums with the lines that were appended: their number, gross and net."""
        await within.execute(ADVANCE, report_id, lines, gross, net)

    async def identify(
        self, lines: Sequence[tuple[UUID, int, UUID]], *, within: Connection
    ) -> None:
        """Write down whose lines are that were nobody's when they were judged."""
        if lines:
            columns = [list(column) for column in zip(*lines, strict=True)]
            await within.execute(IDENTIFY, *columns)

    async def resume_at(self, report_id: UUID, cursor: str | None, *, rows: int = 0) -> None:
        """Remember where the next fetch of an open report begins, and behind how many rows."""
        async with self._database.connection() as connection:
            await connection.execute(RESUME_AT, report_id, cursor, rows if cursor else 0)

    async def line(
        self, report_id: UUID, line_no: int, *, within: Connection | None = None
    ) -> StoredLine | None:
        """Return a stored line, or None."""
        row = await (within or self._database).fetchrow(LINE, report_id, line_no)
        return None if row is None else StoredLine(*row)

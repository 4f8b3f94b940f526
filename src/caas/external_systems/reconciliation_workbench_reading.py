"""How a report is read on the workbench: its rows as text, each line checked, the rest aside.

Rules a change must keep: a file is looked at again for each question, and never held; an error
names the line; what is there twice counts once, and what contradicts itself is refused.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from caas.external_systems.disk_space import is_out_of_space
from caas.external_systems.reconciliation_workbench_identities import (
    SAME,
    STORED_OTHERWISE,
    content,
)
from caas.external_systems.reconciliation_workbench_totals import ProviderTotals, distinct_names
from caas.external_systems.report_files import ADYEN, BadReportError, ReportFile, statement
from caas.external_systems.report_text import quoted

if TYPE_CHECKING:
    import duckdb


LINE_BYTES_MAX: Final = 65_536
QUARANTINED_CHARS_MAX: Final = 500
GAPS_SHOWN_MAX: Final = 3
PART: Final = 1_000_000_000
"""As far apart are the numbers of the parts of one row."""
FORMULA: Final = re.compile(r"^(?:[=+@\t\r]|-(?![0-9]))")
ON_LINE: Final = re.compile(r"CSV Error on Line: (\d+)\n(?:Original Line:.*\n)?(.*)")
CARD_CANDIDATE: Final = r"([0-9][^0-9A-Za-z]?){13}"
PLACE: Final = r"^\{'place': \d+, 'formula': \w+, "
IDENTIFIER: Final = "[A-Za-z0-9][!-?A-~]{0,199}"
UUID_TEXT: Final = r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}"


class Unreadable(NamedTuple):
    """A line that is not taken: its place in the file, the reason, and what identifies it.

    `beside`: the file has a well-formed line with its identifier.
    """

    place: int
    line_no: int | None
    line_id: str | None
    reason: str
    text: str
    batch_id: str | None
    transaction_id: str | None
    reference: str | None
    type: str | None
    beside: bool


class Days(msgspec.Struct, frozen=True):
    """The days that a file's rows are of, and those of the payouts they stand in."""

    own: list[date]
    of_payouts: list[date]


class Sums(msgspec.Struct, frozen=True):
    """How many lines there are, and what they come to in minor units of whatever currency."""

    lines: int
    gross: int
    net: int


class ReportReading(ProviderTotals):
    """A report on its way into `fresh_lines`, in a DuckDB that is given."""

    def __init__(self, connection: "duckdb.DuckDBPyConnection") -> None:
        """Read into this database."""
        super().__init__(connection)

    def read(self, report: ReportFile, *, paged: bool = False) -> None:
        """Read a report into `fresh_lines`, each line once, and what is not well formed aside.

        A line that pages repeat counts once; one that a file repeats is kept aside.

        Raises:
            BadReportError: its structure is broken; the sentence names the line.
        """
        import duckdb  # noqa: PLC0415  # slow to import, and only a comparison needs it

        try:
            self._read_whole(report, paged=paged)
        except duckdb.Error as error:
            if is_out_of_space(error):
                raise
            raise _plain_message(error) from error

    def _read_whole(self, report: ReportFile, *, paged: bool) -> None:
        self._read_raw(report)
        if report.format is ADYEN:
            self._refuse_open_payout()
        if report.format.mapping is not None:
            self._refuse_trailers(report, report.format.mapping)
        self._connection.execute(report.format.statement(report.columns))
        self._connection.execute(statement("checks"))
        self._refuse_formulas()
        self._connection.execute(statement("lines"))
        self._refuse_contradictions(paged=paged)
        if report.format.lines_have_ids:
            self._once_each()

    def read_nothing(self) -> None:
        """Take a report without lines."""
        self._connection.execute(
            "create temp table checked (place bigint, formula boolean, line_no varchar,"
            " batch_id varchar, line_id varchar, transaction_id varchar, reference varchar,"
            " type varchar, gross varchar, fee varchar, net varchar, currency varchar,"
            " booked_at timestamp, value_date date, dated date, also_dated date, method varchar,"
            " commission bigint, markup bigint, scheme_fees bigint, interchange bigint,"
            " rate varchar, payout_fee bigint, payout_unit bigint, refused varchar,"
            " reason varchar);"
            "create view raw as from checked select place"
        )
        self._connection.execute(statement("lines"))

    def batches(self) -> list[str]:
        """Return the batches the lines belong to, those that are kept aside included."""
        rows = self._connection.execute(
            f"from checked select distinct batch_id where {_is_identifier('batch_id')} order by all"
        ).fetchall()
        return [row[0] for row in rows]

    def quarantined(self) -> list[Unreadable]:
        """Return what is kept aside, in the order of the file."""
        if not self._one("from checked select count(*) where reason is not null"):
            return []
        named = ", ".join(
            f"if({_is_identifier(f'c.{it}')}, c.{it}, null)"
            for it in ("batch_id", "transaction_id", "reference", "type")
        )
        rows = self._connection.execute(
            "with good as materialized (from fresh_lines select line_no, line_id)"
            " from checked c join raw r using (place) select place, try_cast(c.line_no as bigint),"
            f" c.line_id, reason, left(regexp_replace(cast(r as varchar), ?, '{{'), ?), {named},"
            " coalesce(try_cast(c.line_no as bigint) in (from good select line_no)"
            " or c.line_id in (from good select line_id where line_id is not null), false)"
            " where reason is not null order by place, c.line_no",
            [PLACE, QUARANTINED_CHARS_MAX],
        ).fetchall()
        return [Unreadable(*row) for row in rows]

    def gaps(self) -> list[int]:
        """Return the first line numbers that are missing; a quarantined line is not missing."""
        highest, lines = self._row(
            "from checked select coalesce(max(try_cast(line_no as bigint)), 0),"
            " count(distinct line_no) + count(*) filter (where line_no is null)"
        )
        if highest <= lines:
            return []
        rows = self._connection.execute(
            "from range(1, (from checked select coalesce(max(try_cast(line_no as bigint)), 0) + 1))"
            " n(line_no) anti join (from checked select try_cast(line_no as bigint) as line_no)"
            " using (line_no) order by line_no limit ?",
            [GAPS_SHOWN_MAX],
        ).fetchall()
        return [row[0] for row in rows]

    def fresh(self) -> Sums:
        """Add up the lines that are well formed."""
        return self._sums("fresh_lines")

    def card_numbers_aside(self, places: Iterable[int]) -> None:
        """Take lines out that hold a card number."""
        self._connection.executemany(
            "update checked set reason = 'it holds a card number' where place = ?",
            [[place] for place in places],
        )

    def rows(self) -> int:
        """Count the rows of the file behind its header."""
        return int(self._one("from raw select count(*)"))

    def nets(self) -> dict[str, int]:
        """Return what the column of the net comes to, by currency, as far as it can be read."""
        rows = self._connection.execute(
            "from checked c semi join currencies n on n.code = c.currency"
            " select currency, cast(sum(cast(net as bigint)) as bigint)"
            r" where regexp_full_match(net, '-?\d{1,15}') group by currency"
        ).fetchall()
        return dict(rows)

    def sums_by_type(self) -> list[tuple[Any, ...]]:
        """Return type, currency, number, gross, fee and net of the well-formed lines."""
        return self._connection.execute(
            "from fresh_lines select type, currency, count(*), cast(sum(gross) as bigint),"
            " cast(sum(fee) as bigint), cast(sum(net) as bigint) group by all order by all"
        ).fetchall()

    def first_lines(self, limit: int) -> list[dict[str, Any]]:
        """Return the first well-formed lines."""
        cursor = self._connection.execute("from fresh_lines order by line_no limit ?", [limit])
        columns = [column[0] for column in cursor.description]
        return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]

    def days(self, zone: str) -> Days | None:
        """Return the days of the well-formed lines; None if there is no such line.

        They are those that the format dates its rows with, in its own zone; where it gives an
        instant, those of this zone.
        """
        own = self._connection.execute(
            "from (from checked select distinct dated, date_trunc('minute', booked_at) as minute"
            " where reason is null) select distinct coalesce(dated,"
            " cast(timezone(?, timezone('UTC', minute)) as date)) order by 1",
            [zone],
        ).fetchall()
        payouts = self._connection.execute(
            "from checked select distinct also_dated"
            " where reason is null and also_dated is not null order by 1"
        ).fetchall()
        return Days([row[0] for row in own], [row[0] for row in payouts]) if own else None

    def well_formed(self) -> tuple[set[int], set[str]]:
        """Return the numbers and the ids of the well-formed lines."""
        rows = self._connection.execute("from fresh_lines select line_no, line_id").fetchall()
        return {row[0] for row in rows}, {row[1] for row in rows if row[1] is not None}

    def take_known(self, known: Path, *, by_id: bool, by_number: bool) -> int:
        """Take the numbers, ids and digests of the stored lines; return how many came again.

        A line is known by the id its format gives it, by its number, or else by all its values; it
        has the number it is stored with, and what is new is numbered behind what is stored.
        """
        self._connection.execute(
            "create table known_lines as from read_csv(?, header = false, auto_detect = false,"
            " columns = {'line_no': 'BIGINT', 'line_id': 'VARCHAR', 'digest': 'VARCHAR'})",
            [str(known)],
        )
        if by_id:
            self._once_each(known=True)
        if by_id or not by_number:
            self._number_as_stored(by_id=by_id)
        return int(
            self._one(
                "from known_lines k semi join (from checked select try_cast(line_no as bigint) as"
                " line_no) using (line_no) select count(*)"
            )
        )

    def gone(self, *, by_id: bool, by_number: bool) -> list[str]:
        """Name the first stored lines that the report does not have any more.

        A line is identified by its id or its number; where it has neither, by all its values, and
        named by where it stood in its file.
        """
        name = "'line ' || line_no" if by_number else f"'line ' || (line_no % {PART} + 1)"
        if by_id:
            name = f"coalesce(nullif(line_id, ''), {name})"
        rows = self._connection.execute(
            "from known_lines k anti join (from checked select try_cast(line_no as bigint)"
            f" as line_no) using (line_no) select {name} order by line_no limit ?",
            [GAPS_SHOWN_MAX],
        ).fetchall()
        return [row[0] for row in rows]

    def contradicting_aside(self) -> None:
        """Keep lines aside of which something else is stored."""
        self._connection.execute(
            f"update checked set reason = '{STORED_OTHERWISE}' where place in"
            " (from placed_lines l join known_lines k using (line_no) select place"
            f" where k.digest <> md5({content('l')})) and reason is null"
        )

    def known(self, numbers: Iterable[int]) -> set[int]:
        """Return which of these line numbers are stored already."""
        rows = self._connection.execute(
            "from known_lines select line_no where line_no = any (?)", [list(numbers)]
        ).fetchall()
        return {row[0] for row in rows}

    def forget_known(self) -> None:
        """Leave out the lines that are stored already."""
        self._connection.execute(
            "delete from checked where try_cast(line_no as bigint) in"
            " (from known_lines select line_no)"
        )

    def card_candidates(self) -> list[tuple[int, str]]:
        """Return the lines whose identifiers have as many digits as a card number has."""
        others = "batch_id, line_id, transaction_id"
        # Nearly every reference is a UUID; elsewhere one is looked for where the digits suffice.
        searched = f"concat_ws(' ', {others}, if({is_uuid('reference')}, null, reference))"
        return self._connection.execute(
            f"from checked select place, concat_ws(' ', {others}, reference)"
            f" where reason is null and regexp_matches({searched}, '{CARD_CANDIDATE}')"
            f" and regexp_matches(regexp_replace({searched}, '{UUID_TEXT}', '', 'g'),"
            f" '{CARD_CANDIDATE}')"
        ).fetchall()

    def _read_raw(self, report: ReportFile) -> None:
        """Look at the file as rows of text; each look reads the file again, and keeps nothing."""
        columns = dict.fromkeys(distinct_names(report.columns), "VARCHAR")
        read = [quoted(name) for name in report.format.read(report.columns)]
        # Comparing spares the pattern for cells that begin with a digit or a letter.
        begins_oddly = " or ".join(f"{it} < '0' or {it} >= ':' and {it} < 'A'" for it in read)
        is_formula = " or ".join(f"regexp_matches({it}, '^([=+@\\t\\r]|-[^0-9])')" for it in read)
        ragged = report.format.mapping is not None and report.format.mapping.ragged
        path = str(report.path).replace("'", "''")
        self._connection.execute(
            f"create view raw as from read_csv('{path}', header = true, auto_detect = false,"
            f" delim = '{report.delimiter}', quote = '\"', escape = '\"', strict_mode = true,"
            f" skip = {report.header_line}, null_padding = {str(ragged).lower()},"
            f" max_line_size = {LINE_BYTES_MAX}, columns = {struct_of(columns)})"
            f" select row_number() over () + 1 as place,"
            f" case when {begins_oddly} then {is_formula} end as formula, *"
        )

    def _refuse_formulas(self) -> None:
        place = self._one("from checked select min(place) where formula")
        if place is not None:
            row = self._row(f"from raw where place = {place}")
            cells = (value for value in row[2:] if value and FORMULA.match(value))
            cell = next(cells, "")
            raise BadReportError(
                f"The cell '{cell[:40]}' is a formula; the file went through a spreadsheet.",
                line=row[0],
            )

    def _refuse_contradictions(self, *, paged: bool) -> None:
        """A line that is there again counts once; one that says something else is an error."""
        lines, numbers = self._row("from fresh_lines select count(*), count(distinct line_no)")
        if lines == numbers:
            return
        row = self._connection.execute(
            f"from fresh_lines l select line_no group by line_no"
            f" having count(distinct md5({content('l')})) > 1 order by line_no limit 1"
        ).fetchone()
        if row is not None:
            raise BadReportError(f"Line number {row[0]} is there twice and says different things.")
        again = (
            "reason is null and place not in"
            " (from checked select min(place) where reason is null group by line_no)"
        )
        self._connection.execute(
            f"delete from checked where {again}"
            if paged
            else f"update checked set reason = '{SAME}' where {again}"
        )

    def _sums(self, relation: str, condition: str = "") -> Sums:
        row = self._connection.execute(
            f"from {relation} select count(*), cast(coalesce(sum(gross), 0) as bigint),"
            f" cast(coalesce(sum(net), 0) as bigint) {condition}"
        ).fetchone()
        assert row is not None, "a sum is one row"
        return Sums(*row)

    def _row(self, query: str) -> tuple[Any, ...]:
        row = self._connection.execute(query).fetchone()
        assert row is not None, "a count is one row"
        return row

    def _one(self, query: str) -> Any:
        row = self._connection.execute(query).fetchone()
        assert row is not None, "an aggregate is one row"
        return row[0]


def _is_identifier(column: str) -> str:
    """Return the condition that a text is an identifier, and no e-mail address."""
    return f"coalesce(regexp_full_match({column}, '{IDENTIFIER}'), false)"


def is_uuid(column: str) -> str:
    """Return the condition that a text is a UUID as we write it; comparing spares a pattern."""
    return f"coalesce(cast(try_cast({column} as uuid) as varchar) = {column}, false)"


def struct_of(columns: Mapping[str, str]) -> str:
    """Return columns and their types as DuckDB writes a struct."""
    named = ((name.replace("'", "''"), kind) for name, kind in columns.items())
    parts = ", ".join(f"'{name}': '{kind}'" for name, kind in named)
    return "{" + parts + "}"


def _plain_message(error: "duckdb.Error") -> BadReportError:
    found = ON_LINE.search(str(error))
    if found is None:
        return BadReportError(f"It cannot be read as CSV ({str(error).splitlines()[0]}).")
    what = found[2].strip().rstrip(".") or "it does not fit the header"
    return BadReportError(f"{what}: the line is broken or cut off.", line=int(found[1]))

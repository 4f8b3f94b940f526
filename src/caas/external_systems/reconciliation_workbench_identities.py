"""What identifies the rows of a file on the workbench, and which of them are stored elsewhere.

Rules a change must keep: the parts of one row (a conversion) are known with their row; of rows with
one id, one counts and the others are kept aside.
"""

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from caas.external_systems.report_files import statement

if TYPE_CHECKING:
    import duckdb


KNOWN: Final = "line_no bigint, line_id varchar, digest varchar"
TWICE: Final = "its identifier is there twice and says different things"
SAME: Final = "its identifier is there twice; both rows say the same"
STORED_OTHERWISE: Final = "it differs from the stored line with its number"
OTHERWISE: Final = "it says other than the line with its identifier that is stored for "


class RowIdentities:
    """The identities of a file's rows, in a DuckDB that is given."""

    def __init__(self, connection: "duckdb.DuckDBPyConnection") -> None:
        """Look at this database."""
        self._connection = connection

    def ids(self) -> list[str]:
        """Return the ids that rows have, those that cannot be read included."""
        rows = self._connection.execute(
            "from checked select distinct line_id where line_id is not null order by 1"
        ).fetchall()
        return [row[0] for row in rows]

    def ids_into(self, path: Path) -> Path:
        """Write these ids into a file, one a line, and return it."""
        self._connection.execute(
            "copy (from checked select distinct line_id where line_id is not null order by 1)"
            f" to '{path}' (format csv, header false)"
        )
        return path

    def booked(self) -> tuple[datetime, datetime] | None:
        """Return the first and the last instant of the well-formed lines."""
        row = self._connection.execute(
            "from checked select min(booked_at), max(booked_at) where reason is null"
        ).fetchone()
        return None if row is None or row[0] is None else (row[0], row[1])

    def _once_each(self, *, known: bool = False) -> None:
        """Count a row once that is there again with its id, and keep the others aside.

        The row that agrees with what is stored counts, or else the first.
        """
        agrees = f"l.digest is not distinct from md5({content('l')})" if known else "false"
        stored = "left join known_lines k on k.line_id = l.line_id" if known else ""
        agrees = agrees.replace("l.digest", "k.digest")
        stated = "l.type, l.gross, l.fee, l.net, l.currency, l.transaction_id"
        self._connection.execute(
            f"update checked set reason = null where reason in ('{TWICE}', '{SAME}');"
            "create temp table twice as with again as (from fresh_lines select line_id"
            " where line_id is not null group by line_id having count(*) > 1)"
            f" from placed_lines l semi join again using (line_id) {stored}"
            f" select l.line_id, place, ({stated}) as stated, row_number() over"
            f" (partition by l.line_id order by {agrees} desc, place) as turn;"
            "update checked set reason = if(t.stated is distinct from f.stated,"
            f" '{TWICE}', '{SAME}') from twice t join twice f on f.line_id = t.line_id"
            " and f.turn = 1 where t.turn > 1 and checked.place = t.place"
            " and checked.line_id = t.line_id;"
            "drop table twice"
        )

    def _number_as_stored(self, *, by_id: bool) -> None:
        """Give lines the numbers they are stored with, and new lines numbers behind those.

        They are known by their ids, and those without by all their values: as many of one content
        as are stored, wherever they stand in a later file.
        """
        highest = "(from known_lines select coalesce(max(line_no % 1000000000), 0))"
        behind = f"try_cast(checked.line_no as bigint) + {highest}"
        nameless = "line_id is null" if by_id else "true"
        digest = f"md5({content('l')})"
        self._connection.execute(
            "create temp table numbered as from"
            f" (from placed_lines l select place, line_no as own, {digest} as digest, row_number()"
            f" over (partition by {digest} order by place, line_no) as turn where {nameless}) p"
            " left join (from known_lines select line_no as known, digest, row_number()"
            f" over (partition by digest order by line_no) as turn where {nameless}) k"
            " using (digest, turn) select place, own, known;"
            + (statement("numbers_by_id") + ";" if by_id else "")
            + f"update checked set line_no = cast({behind} as varchar)"
            f" where reason is not null and {nameless};"
            f"update checked set line_no = cast(coalesce(n.known, {behind}) as varchar)"
            f" from numbered n where reason is null and {nameless} and checked.place = n.place"
            " and try_cast(checked.line_no as bigint) = n.own;"
            "drop table numbered"
        )

    def leave_out_elsewhere(self, path: Path, *, by_id: bool, by_number: bool) -> dict[date, int]:
        """Leave out rows that this file of stored lines has; return how many, by their day."""
        self._connection.execute(
            f"create table if not exists known_lines ({KNOWN});"
            "create temp table elsewhere as from read_csv(?, header = false, auto_detect = false,"
            " columns = {'day': 'DATE', 'line_no': 'BIGINT', 'line_id': 'VARCHAR',"
            " 'digest': 'VARCHAR', 'net': 'BIGINT', 'currency': 'VARCHAR'})",
            [str(path)],
        )
        identity = "digest || '|' || " + ("line_no" if by_number else "turn")
        if by_id:
            identity = f"coalesce(regexp_replace(line_id, ':(out|in)$', ''), {identity})"
        turn = "row_number() over (partition by digest order by {}) as turn"
        self._connection.execute(
            "create temp table hits as"
            f" from (from (from (from fresh_lines l select *, md5({content('l')}) as digest)"
            f" anti join known_lines using (line_no) select *, {turn.format('line_no')})"
            f" select *, {identity} as identity) f"
            f" join (from (from elsewhere select *, {turn.format('day, line_no')})"
            f" select {identity} as identity, min(day) as day group by all) e using (identity)"
            " select f.line_no, e.day, exists (from elsewhere o where o.line_id = f.line_id"
            f" and {str(by_id).lower()} and (o.net, o.currency) is distinct from"
            " (f.net, f.currency)) as otherwise"
        )
        self._connection.execute(
            f"update checked set reason = '{OTHERWISE}' || h.day from hits h"
            " where h.otherwise and reason is null"
            " and try_cast(checked.line_no as bigint) = h.line_no;"
            "delete from checked where reason is null and try_cast(line_no as bigint) in"
            " (from hits select line_no where not otherwise)"
        )
        rows = self._connection.execute(
            "from hits select day, count(*) where not otherwise group by day order by day"
        ).fetchall()
        return dict(rows)


def content(line: str) -> str:
    """Return the text of which a line's digest is taken, in DuckDB as in PostgreSQL."""
    columns = (
        "batch_id", "line_id", "transaction_id", "reference", "type", "gross", "fee", "net",
        "currency", "booked_at", "value_date",
    )  # fmt: skip
    return " || '|' || ".join(f"coalesce(cast({line}.{name} as varchar), '')" for name in columns)

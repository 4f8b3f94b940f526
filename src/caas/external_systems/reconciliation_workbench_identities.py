"""What identifies the rows of a file on the workbench, and which of them are stored elsewhere.

Rules a change must keep: the parts of one row (a conversion) are known with their row; the first of
rows with one id counts.
"""

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import duckdb


KNOWN: Final = "line_no bigint, line_id varchar, digest varchar"
TWICE: Final = "its identifier is there twice and says different things"
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

    def _once_each(self) -> None:
        """Count a row once that is there again with its id; keep one aside that says otherwise."""
        self._connection.execute(
            "create temp table first_rows as from checked select line_id, min(place) as place"
            " where reason is null and line_id is not null group by line_id having count(*) > 1"
        )
        stated = "c.type, c.gross, c.fee, c.net, c.currency, c.transaction_id"
        first = stated.replace("c.", "f.")
        self._connection.execute(
            f"update checked set reason = '{TWICE}' where place in (from first_rows r"
            " join checked f on f.place = r.place and f.line_id = r.line_id"
            " join checked c on c.line_id = r.line_id and c.place > r.place"
            f" select c.place where c.reason is null and ({stated}) is distinct from ({first}));"
            "delete from checked where reason is null and (line_id, place) in (from first_rows r"
            " join checked c on c.line_id = r.line_id and c.place > r.place"
            " select (c.line_id, c.place) where c.reason is null);"
            "drop table first_rows"
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
        identity = "digest || '|' || line_no" if by_number else "digest"
        if by_id:
            identity = "coalesce(regexp_replace(line_id, ':(out|in)$', ''), digest)"
        self._connection.execute(
            "create temp table hits as"
            f" from (from (from fresh_lines l select *, md5({content('l')}) as digest)"
            f" select *, {identity} as identity) f"
            f" join (from elsewhere select {identity} as identity, min(day) as day group by all) e"
            " using (identity)"
            f" anti join (from known_lines select {identity} as identity) k using (identity)"
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

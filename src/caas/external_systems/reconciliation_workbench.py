"""The workbench of Diagram 10: a DuckDB in a folder of its own, where a report is judged.

Whatever the size of a report, the memory of this process stays small: DuckDB is given a limit,
keeps its tables in a file and puts aside there what does not fit, and rows come and go in files.

Rules a change must keep: nothing here decides what a line means, the classification text does;
every method may block for seconds, so that callers run it in a thread; what leaves the workbench
leaves in the order of `rank`, in the same bytes each time.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from caas.external_systems.reconciliation_outcome_lines import OutcomeLines
from caas.external_systems.reconciliation_workbench_closing import close
from caas.external_systems.reconciliation_workbench_reading import (
    ReportReading,
    Sums,
    is_uuid,
    struct_of,
)
from caas.external_systems.report_files import statement
from caas.external_systems.report_text import ZONES, quoted
from caas.rules.compared_relations import (
    AGREEING,
    KNOWN_PAYMENTS,
    OUTCOME,
    RELATIONS,
    REPORT_LINES,
    RUN_TERMS,
    Columns,
    declared,
    names,
)
from caas.rules.money import EXPONENTS

MEMORY_LIMIT: Final = "280MB"
PARQUET: Final = (
    "format parquet, compression zstd, dictionary_size_limit 1000, write_bloom_filter false"
)
"""Nobody searches what is kept; columns that differ in every line are not tried as dictionaries."""
HASHED_BYTES: Final = 1 << 20
SEEN_BEFORE: Final = 10**12
"""Lines that were judged before have ranks below this one's negative."""

# A row that was converted is three lines: its own, and the conversion out of and into a currency.
PARTS: Final = (("", 0), (":out", 1), (":in", 2))


class Chunk(msgspec.Struct, frozen=True):
    """A piece of the new lines, from one line number to another; how many were set apart."""

    first: int
    last: int
    apart: int
    sums: Sums


class Workbench(ReportReading):
    """One comparison's DuckDB; open it, use it from one thread at a time, close it."""

    def __init__(self, folder: Path) -> None:
        """Work in this folder, which exists and is empty."""
        import duckdb  # noqa: PLC0415  # slow to import, and only a comparison needs it

        self.folder = folder
        connection = duckdb.connect(
            str(folder / "workbench.duckdb"),
            config={
                "memory_limit": MEMORY_LIMIT,
                "threads": 1,
                "fsync_mode": "NONE",  # it is thrown away; a run that was cut off begins anew
                "temp_directory": str(folder / "aside"),
                "preserve_insertion_order": False,
                "autoinstall_known_extensions": False,
            },
        )
        super().__init__(connection)
        connection.execute(statement("macros"))
        for name, columns in RELATIONS.items():
            self._connection.execute(f"create table {name} ({declared(columns)})")
        self._fill("currencies", "code text, factor bigint", _factors())
        self._fill("parts", "suffix text, part integer", PARTS)
        self._fill("zones", "code text, minutes integer", list(ZONES.items()))

    def close(self) -> None:
        """Give up the database; its folder is the caller's to remove.

        A computation whose caller was stopped is interrupted, and waited for.
        """
        close(self._connection)

    # -- the relations of the comparison -----------------------------------------------------

    def keys(self) -> Path:
        """Write down which payments the lines refer to, in the order of their ids.

        The fresh lines need not be taken yet, so that they can be while these are looked up.
        """
        return self._copy(
            "keys.csv",
            "from (from report_lines select reference where standing <> 'seen'"
            " union all from fresh_lines select reference)"
            f" select distinct try_cast(reference as uuid) where {is_uuid('reference')} order by 1",
        )

    def transactions(self) -> Path:
        """Write down the transactions of lines whose payment is unknown or learnt another."""
        return self._copy(
            "transactions.csv",
            "from report_lines l left join book_payments p on p.payment_id = l.reference"
            " select distinct l.transaction_id where l.standing <> 'seen'"
            " and l.transaction_id is distinct from p.transaction_id"
            " and l.transaction_id is not null order by 1",
        )

    def take_lines(self, path: Path) -> None:
        """Add lines that the Billing Database gave: seen before, or to be judged again."""
        before = int(self._one("from report_lines select coalesce(max(rank), 0)"))
        self._connection.execute(
            "insert into report_lines by name"
            f" from read_csv(?, header = false, auto_detect = false,"
            f" columns = {_types(REPORT_LINES)})"
            " select * replace (? + row_number() over () as rank)",
            [str(path), before],
        )

    def take_seen(self, *paths: Path) -> None:
        """Add lines of the same payments that were judged before; they stand before all others."""
        self._connection.execute(
            "insert into report_lines by name from ("
            " from read_csv(?, header = false, auto_detect = false,"
            f" columns = {_types(REPORT_LINES)}) select distinct on (report, line_no) *)"
            f" select * replace (- {SEEN_BEFORE} - (row_number() over (order by report, line_no))"
            " as rank)",
            [[str(path) for path in paths]],
        )

    def take_again(self, path: Path) -> None:
        """Add more lines that are judged again: behind those seen, and before all others.

        They stay in the order in which they came, or a run without a new line could turn a verdict.
        """
        self._connection.execute(
            "insert into report_lines by name from (from read_csv(?, header = false,"
            f" auto_detect = false, columns = {_types(REPORT_LINES)})"
            f" select * replace (row_number() over () - {SEEN_BEFORE} as rank)) n"
            " anti join report_lines l on l.report = n.report and l.line_no = n.line_no",
            [str(path)],
        )

    def take_fresh(self, report: str) -> Sums:
        """Move the fresh lines of a report behind those that were there before; add them up.

        Their rank is their place, and follows from their numbers: they need not be sorted here.
        What was read is dropped, so that the comparison has its memory.
        """
        taken = self.fresh()
        before = int(self._one("from report_lines select coalesce(max(rank), 0)"))
        self._connection.execute(
            "insert into report_lines by name from fresh_lines select *, 'new' as standing,"
            " gross as counts, ? as report, ? + line_no as rank",
            [report, before],
        )
        self._connection.execute(
            "drop view fresh_lines; drop view placed_lines; drop table checked"
        )
        return taken

    def take_summary(self, path: Path) -> None:
        """Add what was known of the payments the lines refer to, but for their disputes."""
        end = names(KNOWN_PAYMENTS).index("disputes_known")
        self._connection.execute(
            "insert into book_payments by name from read_csv(?, header = false,"
            f" auto_detect = false, columns = {_types(KNOWN_PAYMENTS[:end])})"
            " select *, 0 as disputes_known, 0 as disputes_count, 0 as disputes_back",
            [str(path)],
        )

    def take_besides(self, path: Path) -> None:
        """Add what it knew of other payments, and more of those that were added before."""
        self._connection.execute(f"create temp table besides ({declared(KNOWN_PAYMENTS)})")
        self._load("besides", path, KNOWN_PAYMENTS)
        self._connection.execute(
            "delete from book_payments where payment_id in (from besides select payment_id);"
            "insert into book_payments from besides; drop table besides"
        )

    def take_terms(self, terms: Mapping[str, object]) -> None:
        """Say by which day and which fees is judged."""
        columns = ", ".join("?" for _ in RUN_TERMS)
        self._connection.execute(
            f"insert into run_terms values ({columns})", [terms[name] for name in names(RUN_TERMS)]
        )

    def take_fees(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Return what was agreed for one payment method and one type of line."""
        self.fill("fee_terms", rows)

    def fill(self, relation: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Put rows into a relation as they are."""
        order = names(RELATIONS[relation])
        marks = ", ".join("?" for _ in order)
        if rows:
            self._connection.executemany(
                f"insert into {relation} values ({marks})",
                [[row[name] for name in order] for row in rows],
            )

    def compute_with(self, threads: int) -> None:
        """Compute with so many threads from now on; at first it is one."""
        self._connection.execute(f"set threads = {threads}")

    # -- judging -----------------------------------------------------------------------------

    def count(self, relation: str = "report_lines") -> int:
        """Count the rows of a relation."""
        return int(self._one(f"from {relation} select count(*)"))

    def classify(self, text: str) -> None:
        """Run the classification here."""
        self._connection.execute(f"create table outcome as {text}")

    def hand_out(self, file_format: str) -> None:
        """Write every relation into the folder, for an engine elsewhere."""
        for name in RELATIONS:
            self._connection.execute(
                f"copy {name} to '{self.folder / name}.{file_format}' (format {file_format}"
                + (", header false)" if file_format == "csv" else ")")
            )

    def take_outcome(self, path: Path) -> None:
        """Take what another engine found."""
        self._connection.execute(f"create table outcome ({declared(OUTCOME)})")
        if path.suffix == ".parquet":
            self._load_parquet("outcome", path)
        else:
            self._load("outcome", path, OUTCOME)

    def keep_compared(self, folder: Path) -> str:
        """Keep the relations as Parquet, so that they can be judged again; return their digest.

        The folder is there once they are whole.
        """
        keeping = self.folder / "keeping"
        keeping.mkdir()
        digest = hashlib.sha256()
        for name in RELATIONS:
            path = keeping / f"{name}.parquet"
            self._connection.execute(f"copy {name} to '{path}' ({PARQUET})")
            with path.open("rb") as file:
                while piece := file.read(HASHED_BYTES):
                    digest.update(piece)
        folder.parent.mkdir(parents=True, exist_ok=True)
        keeping.rename(folder)
        return digest.hexdigest()

    def take_kept(self, folder: Path) -> None:
        """Take relations that were kept."""
        for name in RELATIONS:
            self._load_parquet(name, folder / f"{name}.parquet")

    # -- what came of it ---------------------------------------------------------------------

    def classes(self) -> list[dict[str, Any]]:
        """Return, by standing, class and currency, how many there are and what they come to."""
        return self._dicts(
            "from outcome select standing, class, currency, count(*) as lines,"
            " cast(sum(gross) as bigint) as gross, cast(sum(fee) as bigint) as fee,"
            " cast(sum(net) as bigint) as net, cast(sum(at_stake) as bigint) as at_stake"
            " group by all order by all"
        )

    def classes_of_new(self) -> dict[str, int]:
        """Count the new lines of each class."""
        rows = self._connection.execute(
            "from outcome select class, count(*) where standing = 'new' group by class"
        ).fetchall()
        return dict(rows)

    def not_comparable(self) -> int:
        """Count new lines whose fee was kept in another currency, and agreed with no provider."""
        return int(
            self._one(
                "from outcome o, run_terms t select count(*) where o.standing = 'new'"
                " and o.payout_fee is not null and o.class in ('matched', 'partial_settlement')"
                " and t.fee_per_mille is not null"
                " and not exists (from fee_terms f where f.kind = o.type)"
            )
        )

    def judged(self) -> Sums:
        """Add up the new lines that came out of the comparison."""
        return self._sums("outcome", "where standing = 'new'")

    def outcome_lines(self, stored: Sequence[str]) -> OutcomeLines:
        """Hand over the new lines in the columns they are stored in, and all else behind them."""
        otherwise = {
            "report_id": "report as report_id",
            "fee_agreed": "if(class = 'fee_drift', fee_agreed, null) as fee_agreed",
        }
        wanted = ", ".join(otherwise.get(name, quoted(name)) for name in stored)
        return OutcomeLines(
            self._connection,
            [
                f"from outcome select {wanted} where standing = 'new' order by line_no",
                "from outcome where standing <> 'new' order by all",
            ],
            self.folder / "outcome.csv",
        )

    def set_apart(self, awaited: Path) -> None:
        """Find the new lines that need more than storing.

        They differ, or they settle a payment that is not settled in our records, or one whose
        settlement somebody waits for.
        """
        self._connection.execute(
            "create table awaited as from read_csv(?, header = false, auto_detect = false,"
            " columns = {'payment_id': 'VARCHAR'})",
            [str(awaited)],
        )
        self._connection.execute(
            "create table apart as from outcome where standing = 'new'"
            f" and (class not in ({_listed(AGREEING)}) or settles is not null and"
            " (state = 'Capturing' and settles > settled"
            " or payment_id in (from awaited select payment_id))"
            " or type in ('refund', 'refund_reversal')"
            " and payment_id in (from awaited select payment_id)) order by line_no"
        )

    def chunks(self, lines_max: int) -> list[Chunk]:
        """Cut the new lines, in their order, into pieces of this size."""
        rows = self._connection.execute(
            "from (from outcome select line_no, gross, net, (row_number() over (order by line_no)"
            " - 1) // ? as piece where standing = 'new') select min(line_no), max(line_no),"
            " count(*) filter (where line_no in (from apart select line_no)),"
            " count(*), cast(sum(gross) as bigint), cast(sum(net) as bigint)"
            " group by piece order by piece",
            [lines_max],
        ).fetchall()
        return [Chunk(first, last, apart, Sums(*sums)) for first, last, apart, *sums in rows]

    def apart(self, chunk: Chunk) -> list[dict[str, Any]]:
        """Return the lines of a piece that need more than storing, in their order."""
        if not chunk.apart:
            return []
        return self._dicts(
            "from apart where line_no between ? and ? order by line_no", [chunk.first, chunk.last]
        )

    def besides(self, standing: str) -> list[dict[str, Any]]:
        """Return the outcome of what is no new line: judged again, or a record without one."""
        return self._dicts(
            "from outcome where standing = ? order by rank, payment_id, class", [standing]
        )

    # -- inside ------------------------------------------------------------------------------

    def _dicts(self, query: str, arguments: Sequence[object] = ()) -> list[dict[str, Any]]:
        cursor = self._connection.execute(query, list(arguments))
        columns = [column[0] for column in cursor.description]
        return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]

    def _fill(self, table: str, columns: str, rows: Sequence[tuple[object, ...]]) -> None:
        values = ", ".join(f"('{code}', {number})" for code, number in rows)
        self._connection.execute(
            f"create table {table} ({columns}); insert into {table} values {values}"
        )

    def _load(self, relation: str, path: Path, columns: Columns) -> None:
        self._connection.execute(
            f"insert into {relation} from read_csv(?, header = false, auto_detect = false,"
            f" columns = {_types(columns)})",
            [str(path)],
        )

    def _load_parquet(self, relation: str, path: Path) -> None:
        self._connection.execute(f"insert into {relation} from read_parquet('{path}')")

    def _copy(self, name: str, query: str) -> Path:
        path = self.folder / name
        self._connection.execute(f"copy ({query}) to '{path}' (format csv, header false)")
        return path


def _types(columns: Columns) -> str:
    return struct_of({name: kind.upper() for name, kind in columns})


def _factors() -> list[tuple[object, ...]]:
    return [(code, 10**exponent) for code, exponent in EXPONENTS.items()]


def _listed(words: Iterable[str]) -> str:
    return ", ".join(f"'{word}'" for word in sorted(words))

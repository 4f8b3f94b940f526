"""The plans of all statements that a block executes, and what is wrong with them.

The server reports each plan with what it read (auto_explain), of statements within functions,
too. Plans are generic ones, as a connection uses after a few executions.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import asyncpg
import pytest

GROWING_ROWS = 450
"""A table with about as many rows as there are copies of the world grows with the payments."""
READ_ROWS_MAX = 5_000
SETTINGS = {
    "session_preload_libraries": "auto_explain",
    "plan_cache_mode": "force_generic_plan",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_format": "json",
    "auto_explain.log_level": "notice",
    "auto_explain.log_nested_statements": "on",
}
TABLES = """
select c.relname, c.reltuples::bigint as rows, c.relpages < 320 and exists (
         select from pg_index x join pg_class i on i.oid = x.indexrelid
           join pg_am m on m.oid = i.relam and m.amname = 'brin'
          where x.indrelid = c.oid) as is_short_in_time
  from pg_class c where c.relnamespace = 'caas'::regnamespace and c.relkind in ('r', 'p')
"""
INDEXES = """
select i.relname as name, t.relname as of_table, x.indpred is not null as is_partial
  from pg_index x join pg_class i on i.oid = x.indexrelid join pg_class t on t.oid = x.indrelid
 where i.relnamespace = 'caas'::regnamespace
"""
SCANS = frozenset({"Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Index Scan"})
ROW_BY_ROW = frozenset({
    "Append", "Hash Join", "Index Only Scan", "Index Scan", "Limit", "LockRows", "Memoize",
    "Merge Append", "Nested Loop", "ProjectSet", "Result", "Seq Scan", "Subquery Scan", "Unique",
    "WindowAgg",
})  # fmt: skip
"""Nodes that ask for no more rows than they pass on."""


class Table(NamedTuple):
    """A table, and whether it has an index by time that has too few ranges to be of use yet."""

    rows: int
    is_short_in_time: bool


UNKNOWN = Table(0, is_short_in_time=False)


class Plans:
    """The plans heard, judged by the sizes of the tables and of what they read."""

    def __init__(
        self, tables: Mapping[str, Table], indexes: Mapping[str, str], partial: frozenset[str]
    ) -> None:
        self._tables = tables
        self._indexes = indexes
        self._partial = partial
        self.faults: dict[str, dict[str, str]] = {}
        self.statements: set[str] = set()

    def forget(self) -> None:
        """Begin anew."""
        self.faults.clear()
        self.statements.clear()

    def hear(self, message: str) -> None:
        """Judge the plan in a notice of the server."""
        heard: dict[str, Any] = json.loads(message.partition("plan:\n")[2])
        statement = " ".join(heard["Query Text"].split())
        if statement.startswith("explain"):
            return
        self.statements.add(statement)
        for table, what in self._wrong(heard["Plan"], bounded=False):
            self.faults.setdefault(statement, {})[table] = what

    def __str__(self) -> str:
        """Say of each statement which table it reads too much of."""
        return "\n".join(
            f"{', '.join(f'{table} ({what})' for table, what in found.items())}: {statement}"
            for statement, found in sorted(self.faults.items())
        )

    def _wrong(self, node: Mapping[str, Any], *, bounded: bool) -> Iterator[tuple[str, str]]:
        kind = node["Node Type"]
        index = str(node.get("Index Name", ""))
        is_row_by_row = bounded and kind in ROW_BY_ROW and "Filter" not in node
        bounded = kind == "Limit" or is_row_by_row or index in self._partial
        table = str(node.get("Relation Name") or self._indexes.get(index, ""))
        known = self._tables.get(table, UNKNOWN)
        is_of_time = "at >=" in node.get("Filter", "") and known.is_short_in_time
        is_large = kind in SCANS and known.rows >= GROWING_ROWS and not is_of_time
        if is_large and (what := _reads(node, index, bounded=bounded)):
            yield table, what
        for child in node.get("Plans", ()):
            is_passed_on = child.get("Parent Relationship") in ("Outer", "Member", "Subquery")
            yield from self._wrong(child, bounded=bounded and is_passed_on)


def _reads(node: Mapping[str, Any], index: str, *, bounded: bool) -> str | None:
    """Say what is wrong with a scan of a large table; an index of few rows may be read whole."""
    removed = sum(node.get(f"Rows Removed by {why}", 0) for why in ("Filter", "Index Recheck"))
    rows = (node.get("Actual Rows", 0) + removed) * node.get("Actual Loops", 1)
    if "Index Cond" not in node and not bounded:
        return f"all of the index {index}" if index else "all of it"
    return f"{rows:,.0f} rows of {index}" if rows > READ_ROWS_MAX else None


@asynccontextmanager
async def heard(dsn: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Plans]:
    """Hear every plan of the sessions that begin in this block."""
    name = urlsplit(dsn).path.removeprefix("/")
    owner = await asyncpg.connect(dsn)
    await owner.execute("analyze")
    indexes = await owner.fetch(INDEXES)
    plans = Plans(
        {name: Table(*sizes) for name, *sizes in await owner.fetch(TABLES)},
        {row["name"]: row["of_table"] for row in indexes},
        frozenset(row["name"] for row in indexes if row["is_partial"]),
    )
    for setting, value in SETTINGS.items():
        await owner.execute(f"alter database {name} set {setting} = '{value}'")

    def hear(_session: object, fields: Mapping[str, str], _query: object) -> None:
        if "plan:\n" in fields.get("M", ""):
            plans.hear(fields["M"])

    monkeypatch.setattr(asyncpg.connection.Connection, "_process_log_message", hear)
    try:
        yield plans
    finally:
        for setting in SETTINGS:
            await owner.execute(f"alter database {name} reset {setting}")
        await owner.close()

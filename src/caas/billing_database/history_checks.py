"""Compares the history with a signed head or an older export.

Stored leaves are genuine if they give the head's root. Each row is then compared with its leaf: it
may be changed or missing. A row that no head covers, and that is too old for the next one, was
inserted later. A row that retention has removed is not missing.

Rules a change must keep: every difference is reported as precisely as possible; nothing is written.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec

from caas.billing_database.connection import Connection, Database, Row
from caas.billing_database.event_chain import EVENTS_TABLE, ChainLine, Export
from caas.billing_database.history_heads import (
    BY_NAME,
    ROWS_AT_ONCE,
    SECONDS_MAX,
    HistoryTable,
    columns_of,
    key_sql,
    row_digest,
)
from caas.billing_database.removals import REMOVABLE, removed_key
from caas.rules.signed_heads import DIGEST_BYTES, GrowingTree, SignedHead, TableHead

REWRITTEN: Final = "it was rewritten"
MISSING: Final = "it is missing"

KEPT: Final = """
select digests from history_leaves where of_table = $1 and first_leaf < $2 order by first_leaf
"""
LOOKED_FROM: Final = "select looked_from from history_trees where of_table = $1"
# Each leaf with its row. A row without a leaf matters once no head will cover it.
SIDE_BY_SIDE: Final = """
with leaf as (
  select k.key, substr(l.digests, (k.i::integer - 1) * 32 + 1, 32) as digest, l.columns
    from history_leaves l cross join lateral unnest(l.keys) with ordinality k (key, i)
   where l.of_table = $1
), present as (
  select {key} as key, array[{texts}] as texts, {too_late} as too_late
    from {table} t where {only}
)
select coalesce(l.key, p.key) as key, l.digest, l.columns, p.texts, p.too_late, {gone} as removed
  from leaf l full join present p on p.key = l.key
 where l.key is not null or p.too_late
"""


class Difference(msgspec.Struct, frozen=True):
    """A row, or a table if the key is empty, and what is wrong with it."""

    table: str
    key: str
    because: str


async def differences_from_head(database: Database, head: SignedHead) -> list[Difference]:
    """Compare every table with a head."""
    found: list[Difference] = []
    for name, counted in head.tables.items():
        table = BY_NAME.get(name)
        if table is None:
            found.append(Difference(name, "", "this version has no such table"))
            continue
        async with (
            database.connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            found += await _leaves_differ(connection, name, counted, head.number)
            found += [it async for it in _rows_differ(connection, table)]
    return found


async def _leaves_differ(
    connection: Connection, name: str, counted: TableHead, number: int
) -> list[Difference]:
    tree = GrowingTree()
    async for row in connection.cursor(KEPT, name, counted.rows, timeout=SECONDS_MAX):
        digests: bytes = row["digests"]
        for at in range(0, len(digests), DIGEST_BYTES):
            if tree.size < counted.rows:
                tree.append(digests[at : at + DIGEST_BYTES])
    if tree.size < counted.rows:
        missing = counted.rows - tree.size
        return [Difference(name, "", f"{missing} rows that head {number} counts are not known")]
    if tree.root.hex() != counted.root:
        because = (
            f"its digests are not those of head {number}: what was changed with them is not named "
            "here, but is when you compare with an export"
        )
        return [Difference(name, "", because)]
    return []


async def _rows_differ(connection: Connection, table: HistoryTable) -> AsyncIterator[Difference]:
    columns = await columns_of(connection, table)
    names = [column.name for column in columns]
    gone = removed_key(table.name) if table.name in REMOVABLE else "false"
    looked_from = await connection.fetchval(LOOKED_FROM, table.name)
    has_time = table.at is not None and looked_from is not None
    query = SIDE_BY_SIDE.format(
        table=table.name,
        key=key_sql(table, columns),
        texts=", ".join(column.text for column in columns),
        too_late=f"t.{table.at} < $2" if has_time else "false",
        only=table.only,
        gone=gone,
    )
    arguments = (table.name, looked_from) if has_time else (table.name,)
    async for row in connection.cursor(
        query, *arguments, prefetch=ROWS_AT_ONCE, timeout=SECONDS_MAX
    ):
        because = _why(row, table.name, names)
        if because:
            yield Difference(table.name, row["key"], because)


def _why(row: Row, table: str, names: Sequence[str]) -> str | None:
    if row["digest"] is None:
        return "no head counts it, and its time is that of rows that were counted long ago"
    if row["texts"] is None:
        return None if row["removed"] else MISSING
    values = dict(zip(names, row["texts"], strict=True))
    columns: list[str] = row["columns"]
    if not values.keys() >= set(columns):
        return "columns that were digested no longer exist"
    same = row_digest(table, columns, [values[name] for name in columns]) == row["digest"]
    return None if same else REWRITTEN


async def differences_from_export(
    now: AsyncIterator[ChainLine], before: Export
) -> list[Difference]:
    """Compare the current events, in order, with those of an older export."""
    there = {_key(line): before.digest(line) for line in before.lines}
    found: list[Difference] = []
    async for line in now:
        digest = there.pop(_key(line), None)
        if digest is not None and digest != before.digest(line):
            found.append(Difference(EVENTS_TABLE, _key(line), REWRITTEN))
    return found + [Difference(EVENTS_TABLE, key, MISSING) for key in there]


def differences_of_exports(now: Export, before: Export) -> list[Difference]:
    """Compare an export with an older one."""
    there = {_key(line): before.digest(line) for line in now.lines}
    return [
        Difference(EVENTS_TABLE, _key(line), REWRITTEN if _key(line) in there else MISSING)
        for line in before.lines
        if there.get(_key(line)) != before.digest(line)
    ]


def payments_gone(differences: Sequence[Difference]) -> list[tuple[str, int]]:
    """Return the payments whose first events are missing, with the number missing."""
    lacking: dict[str, set[int]] = {}
    for it in differences:
        if it.table == EVENTS_TABLE and it.because == MISSING and it.key:
            payment, _, seq = it.key.partition("/")
            lacking.setdefault(payment, set()).add(int(seq))
    return [
        (payment, len(seqs)) for payment, seqs in lacking.items()
        if seqs == set(range(1, len(seqs) + 1))
    ]  # fmt: skip


def _key(line: ChainLine) -> str:
    return f"{line.payment_id}/{line.seq}"

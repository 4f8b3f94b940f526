"""Signed heads of the append-only history: a Merkle tree per table (decision 118).

Rows are found by time and become a leaf once. Rows of a transaction that commits late are covered
by the next head: the search starts at the oldest transaction that was open at the previous head,
less a margin.

Rules a change must keep: every append-only table of the schema is listed, except those that store
heads; digested columns never change legitimately; the text of a row does not depend on session
settings; leaves are appended once, in one transaction; the cost of a head depends on the rows since
the last one, not on the size of the history.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from caas.billing_database.connection import Connection, Database
from caas.rules.signed_heads import GrowingTree, SignedHead, TableHead, body_of, leaf_digest

SLACK_HOURS: Final = 24
"""How long after its time a row may still appear: longer than any transaction or report run."""


class HistoryTable(msgspec.Struct, frozen=True):
    """A table of the history.

    `at` is the time column, or None to scan all rows. `columns` are those that never change, None
    for all; `only` selects final rows.
    """

    name: str
    at: str | None
    key: tuple[str, ...] = ("id",)
    columns: tuple[str, ...] | None = None
    only: str = "true"


HISTORY: Final = (
    HistoryTable("audit_events", "at"),
    HistoryTable("delivery_evidence", "recorded_at"),
    HistoryTable("discrepancy_entries", "at"),
    HistoryTable("discrepancy_events", "at", ("discrepancy_id", "seq")),
    HistoryTable("discrepancy_evidence", "attached_at"),
    HistoryTable("entitlement_changes", "at"),
    HistoryTable("fee_terms", "kept_at", ("gateway", "method", "kind", "valid_from", "kept_at")),
    HistoryTable("gateway_calls", "asked_at"),
    HistoryTable("gateway_claim_entries", "at"),
    HistoryTable("gateway_claim_events", "at", ("discrepancy_id", "seq")),
    HistoryTable("gateway_customers", "at", ("gateway", "customer")),
    HistoryTable("identified_lines", "at", ("report_id", "line_no")),
    HistoryTable("invoices", "issued_at"),
    HistoryTable("ledger_entries", "at"),
    HistoryTable("order_events", "at", ("order_id", "version")),
    HistoryTable("ota_commands", "created_at", ("command_id",)),
    HistoryTable(
        "payment_events", "at", ("payment_id", "seq"),  # exports contain these and are verified
        ("payment_id", "seq", "event", "from_state", "to_state", "source", "facts", "at", "hash"),
    ),
    HistoryTable("payment_taxes", "recorded_at", ("payment_id",)),
    HistoryTable("report_mappings", "kept_at", ("name", "version")),
    HistoryTable("resolution_claims", "claimed_at", ("payment_id",)),
    HistoryTable("sealed_reports", "sealed_at", ("gateway", "day", "form")),
    HistoryTable("service_orders", "created_at"),
    HistoryTable("settlement_lines", "at", ("report_id", "line_no")),
    HistoryTable("subscription_events", "at", ("subscription", "version")),
    HistoryTable("vehicle_events", "at", ("vin", "version")),
    HistoryTable("webhook_inbox", "received_at"),
    HistoryTable("webhook_quarantine", "received_at"),
    HistoryTable("written_off_invoices", "at", ("invoice",)),
    # Mutable rows, limited to the columns that never change.
    HistoryTable(
        "refunds", "created_at",
        columns=("id", "payment_id", "gateway", "amount", "currency", "reason", "requested_by",
                 "created_at"),
    ),
    HistoryTable(
        "disputes", None,
        columns=("id", "payment_id", "claimed_amount", "claimed_currency", "currency", "reason",
                 "origin", "opened_at"),
    ),
    HistoryTable("outcome_decisions", "decided_at", only="state <> 'proposed'"),
    HistoryTable("deposit_decisions", "decided_at", only="state <> 'proposed'"),
    HistoryTable("discrepancy_resolutions", "decided_at", only="state <> 'proposed'"),
    HistoryTable("credit_note_decisions", "decided_at", only="state <> 'proposed'"),
)  # fmt: skip
BY_NAME: Final = {table.name: table for table in HISTORY}
OF_THE_HEADS: Final = frozenset({"history_heads", "history_leaves"})
"""Append-only tables that cover each other: each head contains the previous one's digest."""

COLUMNS: Final = """
select a.attname as name, format_type(a.atttypid, null) as type
  from pg_attribute a
 where a.attrelid = ('caas.' || $1)::regclass and a.attnum > 0 and not a.attisdropped
   and a.attgenerated = ''
 order by a.attnum
"""


class Column(msgspec.Struct, frozen=True):
    """A column and the SQL expression for its text."""

    name: str
    text: str


def column_of(name: str, type_name: str) -> Column:
    """Return the expression for a column of this type, independent of session settings."""
    if type_name == "timestamp with time zone":
        return Column(name, f"extract(epoch from t.{name})::text")
    if type_name == "bytea":
        return Column(name, f"encode(t.{name}, 'hex')")
    return Column(name, f"t.{name}::text")


def key_sql(table: HistoryTable, columns: Sequence[Column]) -> str:
    """Return the SQL for a row's key: its key columns as text, joined by a slash."""
    texts = {column.name: column.text for column in columns}
    return " || '/' || ".join(texts[name] for name in table.key)


def row_digest(table: str, columns: Sequence[str], values: Sequence[str | None]) -> bytes:
    """Return the leaf of a row: the digest of the table name and every column."""
    row = dict(zip(columns, values, strict=True))
    content = json.dumps([table, row], ensure_ascii=False, separators=(",", ":"))
    return leaf_digest(content.encode())


ROWS_AT_ONCE: Final = 1000
SECONDS_MAX: Final = 3000
HEADS_LISTED_MAX: Final = 400

Sign = Callable[[str], SignedHead]
Also = Callable[[Connection, SignedHead], Awaitable[None]]

LAST: Final = """
select head, body, public_key, signature, made_at, db_now() - made_at as age
  from history_heads order by head desc limit $1
"""
ONE: Final = "select body, public_key, signature from history_heads where head = $1"
KEEP: Final = """
insert into history_heads (head, body, public_key, signature, made_at) values ($1, $2, $3, $4, $5)
on conflict (head) do nothing returning head
"""
NOW: Final = "select db_now()"
# Read before the snapshot: transactions open now may commit rows with later times.
LOOK_FROM: Final = f"""
select least(db_now(), min(a.xact_start) + (db_now() - clock_timestamp()))
       - interval '{SLACK_HOURS} hours'
  from pg_stat_activity a where a.datname = current_database()
"""
# Taken before the snapshot, which then includes what the previous holder appended.
ALONE: Final = "lock table history_trees in share row exclusive mode"
TREE: Final = "select size, peaks from history_trees where of_table = $1"
GROWN: Final = """
insert into history_trees (of_table, size, peaks, looked_from) values ($1, $2, $3, $4)
on conflict (of_table) do update set size = excluded.size, peaks = excluded.peaks,
   looked_from = greatest(history_trees.looked_from, excluded.looked_from)
"""
LEAVES: Final = """
insert into history_leaves (of_table, first_leaf, head, columns, keys, digests)
values ($1, $2, $3, $4, $5, $6)
"""
# Of a table: the rows that no head counts. Those that could have been counted since then are known
# by the heads that were made since then.
FRESH: Final = """
with since as (
  select coalesce((select looked_from from history_trees where of_table = $1), '-infinity') as at
), counted as materialized (
  select unnest(l.keys) as key from history_leaves l where l.of_table = $1 and {counted_since}
)
select {key} as key, {texts} from {table} t
 where {written_since} and {only} and not exists (select from counted c where c.key = {key})
"""
COUNTED_SINCE: Final = """l.head >= (
  select coalesce(min(h.head), 0) from history_heads h, since s
   where h.made_at >= s.at - interval '1 day')"""


class KeptHead(msgspec.Struct, frozen=True):
    """A stored head and its age."""

    signed: SignedHead
    made_at: datetime
    age: timedelta


async def last_heads(database: Database, *, rows_max: int = HEADS_LISTED_MAX) -> list[KeptHead]:
    """Return the newest heads, newest first."""
    return [
        KeptHead(
            SignedHead(row["body"], row["public_key"], row["signature"]),
            row["made_at"],
            row["age"],
        )
        for row in await database.fetch(LAST, rows_max)
    ]


async def head(database: Database, number: int) -> SignedHead | None:
    """Return a head by its number."""
    row = await database.fetchrow(ONE, number)
    return None if row is None else SignedHead(*row.values())


async def made(database: Database, *, sign: Sign, also: Also | None = None) -> SignedHead | None:
    """Append uncovered rows and store the head, with `also` in the same transaction.

    None if another process stored this head first; the next head covers these rows.
    """
    last = await last_heads(database, rows_max=1)
    number = last[0].signed.number + 1 if last else 1
    tables = {table.name: await _grown(database, table, number) for table in HISTORY}
    async with database.transaction() as connection:
        made_at = await connection.fetchval(NOW)
        body = body_of(
            number,
            made_at=made_at.isoformat(timespec="seconds"),
            digest_before=last[0].signed.digest if last else "",
            tables=tables,
        )
        signed = sign(body)
        kept = await connection.fetchrow(
            KEEP, number, signed.body, signed.public_key, signed.signature, made_at
        )
        if kept is None:
            return None
        if also is not None:
            await also(connection, signed)
    return signed


async def _grown(database: Database, table: HistoryTable, number: int) -> TableHead:
    """Append a table's uncovered rows to its tree, one process at a time."""
    async with database.connection() as connection:
        look_from = await connection.fetchval(LOOK_FROM)
        async with connection.transaction(isolation="repeatable_read"):
            await connection.execute(ALONE)
            kept = await connection.fetchrow(TREE, table.name)
            tree = GrowingTree(kept["size"], kept["peaks"]) if kept else GrowingTree()
            columns = await columns_of(connection, table)
            async for keys, digests in _fresh(connection, table, columns):
                names = [column.name for column in columns]
                await connection.execute(
                    LEAVES, table.name, tree.size, number, names, keys, b"".join(digests)
                )
                for digest in digests:
                    tree.append(digest)
            await connection.execute(GROWN, table.name, tree.size, list(tree.peaks), look_from)
    return TableHead(tree.size, tree.root.hex())


async def columns_of(connection: Connection, table: HistoryTable) -> list[Column]:
    """Return the columns of a table that are digested."""
    rows = await connection.fetch(COLUMNS, table.name)
    found = [column_of(row["name"], row["type"]) for row in rows]
    return [it for it in found if table.columns is None or it.name in table.columns]


async def _fresh(
    connection: Connection, table: HistoryTable, columns: Sequence[Column]
) -> AsyncIterator[tuple[list[str], list[bytes]]]:
    """Yield keys and digests of uncovered rows in batches."""
    query = FRESH.format(
        table=table.name,
        key=key_sql(table, columns),
        texts=", ".join(column.text for column in columns),
        counted_since=COUNTED_SINCE if table.at else "true",
        written_since=f"t.{table.at} >= (select at from since)" if table.at else "true",
        only=table.only,
    )
    names = [column.name for column in columns]
    keys: list[str] = []
    digests: list[bytes] = []
    async for row in connection.cursor(
        query, table.name, prefetch=ROWS_AT_ONCE, timeout=SECONDS_MAX
    ):
        key, *values = row
        keys.append(key)
        digests.append(row_digest(table.name, names, values))
        if len(keys) == ROWS_AT_ONCE:
            yield keys, digests
            keys, digests = [], []
    if keys:
        yield keys, digests

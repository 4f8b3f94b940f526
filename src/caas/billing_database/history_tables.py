"""The append-only tables of the history, and how their rows are digested (decision 118).

Rules a change must keep: every append-only table of the schema is listed, except those that store
heads; digested columns never change legitimately; the text of a row does not depend on session
settings.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from caas.rules.merkle import leaf_digest

SLACK_HOURS: Final = 24
"""How long after its time a row may still appear: longer than any transaction or report run."""


@dataclass(frozen=True, slots=True)
class HistoryTable:
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
        columns=("id", "payment_id", "amount", "currency", "reason", "requested_by", "created_at"),
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


@dataclass(frozen=True, slots=True)
class Column:
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

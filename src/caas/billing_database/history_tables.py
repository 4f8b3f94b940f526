"""The tables whose rows are never changed, and how a row of each is digested (decision 118).

Rules a change must keep: every append-only table of the schema stands here, but those that keep the
heads themselves; what is digested of a row is what nothing legitimate ever changes; a row is the
same text in every session, whatever its settings.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from caas.rules.merkle import leaf_digest

SLACK_HOURS: Final = 24
"""A row is looked for that long after its time: no transaction, and no run of a report, is longer.
"""


@dataclass(frozen=True, slots=True)
class HistoryTable:
    """A table of the history.

    `at` tells when a row was written, None where nothing does: then all rows are looked through.
    `columns` are those that never change, None for every column; `only` says which rows are final.
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
        "payment_events", "at", ("payment_id", "seq"),  # an export holds these, and is checked
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
    # What moves on, as far as it never changes: what it is for, or how it was decided.
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
"""Append-only as well, and covered by each other: a head holds the digest of the one before it."""

COLUMNS: Final = """
select a.attname as name, format_type(a.atttypid, null) as type
  from pg_attribute a
 where a.attrelid = ('caas.' || $1)::regclass and a.attnum > 0 and not a.attisdropped
   and a.attgenerated = ''
 order by a.attnum
"""


@dataclass(frozen=True, slots=True)
class Column:
    """A column, and the SQL that writes a value of it as text."""

    name: str
    text: str


def column_of(name: str, type_name: str) -> Column:
    """Return how a column of this type is written, in every session alike."""
    if type_name == "timestamp with time zone":
        return Column(name, f"extract(epoch from t.{name})::text")
    if type_name == "bytea":
        return Column(name, f"encode(t.{name}, 'hex')")
    return Column(name, f"t.{name}::text")


def key_sql(table: HistoryTable, columns: Sequence[Column]) -> str:
    """Return the SQL for a row's key: its key columns as they are digested, joined by a slash."""
    texts = {column.name: column.text for column in columns}
    return " || '/' || ".join(texts[name] for name in table.key)


def row_digest(table: str, columns: Sequence[str], values: Sequence[str | None]) -> bytes:
    """Return the leaf of a row: the digest of the table and of every column with its value."""
    row = dict(zip(columns, values, strict=True))
    content = json.dumps([table, row], ensure_ascii=False, separators=(",", ":"))
    return leaf_digest(content.encode())

"""What Diagram 10 compares, as relations: their columns, and the version of the rule itself.

The classification is one SQL text for three engines; the columns it reads and writes are named
here once, so that whoever fills a relation and whoever runs the text agree.

Rules a change must keep:

1. Only text and bigint: dates and instants are ISO texts, which every engine sorts alike.
2. A change of the text, of a column or of its meaning is a new `RULE_VERSION`.
"""

from typing import Final

from caas.rules import postings
from caas.rules.discrepancies import BOOKED

RULE_VERSION: Final = "4"

Columns = tuple[tuple[str, str], ...]

REPORT_LINES: Final[Columns] = (
    ("rank", "bigint"),
    ("standing", "text"),
    ("counts", "bigint"),
    ("report", "text"),
    ("line_no", "bigint"),
    ("batch_id", "text"),
    ("line_id", "text"),
    ("transaction_id", "text"),
    ("reference", "text"),
    ("type", "text"),
    ("gross", "bigint"),
    ("fee", "bigint"),
    ("net", "bigint"),
    ("currency", "text"),
    ("booked_at", "text"),
    ("value_date", "text"),
    ("method", "text"),
    ("commission", "bigint"),
    ("markup", "bigint"),
    ("scheme_fees", "bigint"),
    ("interchange", "bigint"),
    ("rate", "text"),
    ("payout_fee", "bigint"),
    ("payout_unit", "bigint"),
)
"""The lines to judge, and those judged before that still count, in the order of `rank`."""

KNOWN_PAYMENTS: Final[Columns] = (
    ("payment_id", "text"),
    ("transaction_id", "text"),
    ("state", "text"),
    ("version", "bigint"),
    ("currency", "text"),
    ("captured", "bigint"),
    ("settled", "bigint"),
    ("refunds_known", "bigint"),
    ("refunds_done", "bigint"),
    ("disputes_known", "bigint"),
    ("disputes_count", "bigint"),
    ("disputes_back", "bigint"),
    ("delivered_amount", "bigint"),
    ("expected_on", "text"),
    ("missing_from", "text"),
    ("refund_expected_on", "text"),
)
"""What the Billing Database knew of a payment at one instant."""

RUN_TERMS: Final[Columns] = (
    ("as_of", "text"),
    ("fee_per_mille", "bigint"),
    ("fee_fixed", "bigint"),
    ("dispute_fee", "bigint"),
)
"""One row: the day that is judged by, and the fees agreed with the gateway."""

FEE_TERMS: Final[Columns] = (
    ("method", "text"),
    ("kind", "text"),
    ("rate_ppm", "bigint"),
    ("fixed", "bigint"),
    ("tolerance", "bigint"),
)
"""What the gateway may keep by payment method (or '*') and kind of line, where it was agreed."""

OUTCOME: Final[Columns] = (
    ("rank", "bigint"),
    ("standing", "text"),
    ("report", "text"),
    ("line_no", "bigint"),
    ("batch_id", "text"),
    ("line_id", "text"),
    ("transaction_id", "text"),
    ("reference", "text"),
    ("type", "text"),
    ("gross", "bigint"),
    ("fee", "bigint"),
    ("net", "bigint"),
    ("currency", "text"),
    ("booked_at", "text"),
    ("value_date", "text"),
    ("payment_id", "text"),
    ("class", "text"),
    ("at_stake", "bigint"),
    ("settles", "bigint"),
    ("state", "text"),
    ("version", "bigint"),
    ("settled", "bigint"),
    ("captured", "bigint"),
    ("fee_agreed", "bigint"),
    ("missing_from", "text"),
    ("method", "text"),
    ("commission", "bigint"),
    ("markup", "bigint"),
    ("scheme_fees", "bigint"),
    ("interchange", "bigint"),
    ("rate", "text"),
    ("payout_fee", "bigint"),
    ("payout_unit", "bigint"),
)
"""What became of each line, and of each record that should have had one."""

RELATIONS: Final[dict[str, Columns]] = {
    "report_lines": REPORT_LINES,
    "book_payments": KNOWN_PAYMENTS,
    "run_terms": RUN_TERMS,
    "fee_terms": FEE_TERMS,
}

MATCHED: Final = "matched"
GIVEN_BACK: Final = "given_back"
OF_PROVIDER: Final = frozenset(postings.OF_PROVIDER)
"""Classes of what is no payment's money; each moves between the bank and an account of its own."""

AGREEING: Final = OF_PROVIDER | {MATCHED, GIVEN_BACK}
"""Classes that are no discrepancy."""

POSTING: Final = frozenset({MATCHED, GIVEN_BACK, *BOOKED})
"""Classes whose money moved as the line says, and stands in the ledger from then on."""


def declared(columns: Columns) -> str:
    """Write the columns as SQL declares them, which DuckDB and PostgreSQL do alike."""
    return ", ".join(f'"{name}" {kind}' for name, kind in columns)


def names(columns: Columns) -> list[str]:
    """Return the columns' names in their order."""
    return [name for name, _ in columns]

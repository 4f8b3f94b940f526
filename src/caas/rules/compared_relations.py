"""The relations that reconciliation compares (Diagram 10), and the version of the rule.

One SQL text classifies lines on three engines. Its input and output columns are defined once here,
for the code that fills the relations and the code that runs the query.

Rules a change must keep:

1. Columns are text or bigint. Dates and times are ISO text, which every engine sorts alike.
2. Changing the query, a column or a column's meaning requires a new `RULE_VERSION`.
"""

from typing import Final

from caas.rules import postings
from caas.rules.discrepancies import BOOKED

RULE_VERSION: Final = "12"

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
"""The lines to classify and those of earlier runs, in order of `rank`; `counts` is the money that a
line accounts for."""

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
"""What the Billing Database recorded about each payment at one point in time."""

RUN_TERMS: Final[Columns] = (
    ("as_of", "text"),
    ("fee_per_mille", "bigint"),
    ("fee_fixed", "bigint"),
    ("dispute_fee", "bigint"),
)
"""One row: the as-of date and the fees agreed with the gateway."""

FEE_TERMS: Final[Columns] = (
    ("method", "text"),
    ("kind", "text"),
    ("rate_ppm", "bigint"),
    ("fixed", "bigint"),
    ("tolerance", "bigint"),
)
"""Agreed fees by payment method (or '*') and kind of line."""

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
"""The result for each line, and for each payment that should have had a line.

`fee_agreed` is there where more than the tolerance differs from it, whatever the class.
"""

RELATIONS: Final[dict[str, Columns]] = {
    "report_lines": REPORT_LINES,
    "book_payments": KNOWN_PAYMENTS,
    "run_terms": RUN_TERMS,
    "fee_terms": FEE_TERMS,
}

MATCHED: Final = "matched"
GIVEN_BACK: Final = "given_back"
OF_PROVIDER: Final = frozenset(postings.OF_PROVIDER)
"""Classes that belong to no payment; each moves money between the bank and its own account."""

AGREEING: Final = OF_PROVIDER | {MATCHED, GIVEN_BACK}
"""Classes that are not discrepancies."""

POSTING: Final = frozenset({MATCHED, GIVEN_BACK, *BOOKED})
"""Classes whose money moved as the line reports and is posted to the ledger."""


def declared(columns: Columns) -> str:
    """Return the column definitions in SQL that DuckDB and PostgreSQL both accept."""
    return ", ".join(f'"{name}" {kind}' for name, kind in columns)


def names(columns: Columns) -> list[str]:
    """Return the column names in order."""
    return [name for name, _ in columns]

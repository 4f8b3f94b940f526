"""How long rows are kept that neither the law nor a payment needs (decision 193).

Rules a change must keep: what the law keeps is not listed; nothing is removed earlier than
`DAYS_MIN`, which the database enforces as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

KEEP: Final = "keep"
DAYS_MIN: Final[Mapping[str, int]] = {
    "idempotency_keys": 90, "gateway_calls": 180, "webhook_inbox": 180,
}  # fmt: skip
DAYS: Final[Mapping[str, int]] = {
    "idempotency_keys": 90, "gateway_calls": 400, "webhook_inbox": 400,
}  # fmt: skip


class RetentionTermsError(ValueError):
    """A term of retention cannot be read."""


@dataclass(frozen=True, slots=True)
class RetentionTerms:
    """The days for which the rows of each table are kept; a table without days is kept."""

    kept_days: Mapping[str, int] = field(default_factory=lambda: DAYS)

    def days(self, table: str) -> int | None:
        """Return the days of a table; None if its rows stay."""
        return self.kept_days.get(table)


def read_retention_terms(text: str) -> RetentionTerms:
    """Parse `table=days` or `table=keep`, comma separated; tables not named have the default.

    Raises:
        RetentionTermsError: a table is unknown, or its days are too few or no whole number.
    """
    kept = dict(DAYS)
    for part in filter(None, (part.strip() for part in text.split(","))):
        table, _, days = (word.strip() for word in part.partition("="))
        if table not in DAYS_MIN:
            raise RetentionTermsError
        if days == KEEP:
            del kept[table]
        elif days.isascii() and days.isdigit() and int(days) >= DAYS_MIN[table]:
            kept[table] = int(days)
        else:
            raise RetentionTermsError
    return RetentionTerms(kept)

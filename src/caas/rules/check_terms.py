"""The terms of integrity checks: how long a statement may take, and when everything is read.

Rule a change must keep: the time of day is that of the market, so that it is night there.
"""

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

STATEMENT_SECONDS: Final = 300.0
FULL_AT: Final = time(3)


class CheckTermsError(ValueError):
    """A term of the integrity checks cannot be read."""


@dataclass(frozen=True, slots=True)
class CheckTerms:
    """The time limit of a statement of a check, and the time of day of the full check."""

    statement_seconds_max: float = STATEMENT_SECONDS
    full_at: time = FULL_AT

    def last_due(self, now: datetime, zone: ZoneInfo) -> datetime:
        """Return when a full check was last due."""
        local = now.astimezone(zone)
        due = datetime.combine(local.date(), self.full_at, zone)
        return due if due <= local else datetime.combine(
            local.date() - timedelta(days=1), self.full_at, zone
        )  # fmt: skip


def read_check_terms(statement_seconds_max: str, full_at: str) -> CheckTerms:
    """Parse the terms; empty text means the default.

    Raises:
        CheckTermsError: the limit is not a number above zero, or the time is not `HH:MM`.
    """
    try:
        seconds = float(statement_seconds_max or STATEMENT_SECONDS)
        at = time.fromisoformat(full_at) if full_at else FULL_AT
    except ValueError as error:
        raise CheckTermsError from error
    if not 0 < seconds < float("inf") or at.tzinfo is not None:
        raise CheckTermsError
    return CheckTerms(seconds, at)

"""The polling schedule for settlements whose webhook did not arrive (decision 119).

Polls start soon after the capture, become hourly, and then daily once the settlement is late enough
for a person to look at it. A lost webhook costs a minute.

Rule a change must keep: waits are real seconds; the last wait of the terms repeats until daily
polls begin.
"""

from dataclasses import dataclass
from typing import Final

WAIT_SECONDS_MIN: Final = 10.0
WAITS_MAX: Final = 20
A_MINUTE_MAX: Final = 60_000
DAILY_SECONDS: Final = 86_400.0
DAILY_AFTER_SECONDS: Final = 10 * 86_400.0
"""From here on, poll daily: the settlement is a discrepancy to be investigated."""


class PollTermsError(ValueError):
    """The polling terms are invalid."""


@dataclass(frozen=True, slots=True)
class PollTerms:
    """Seconds from the capture to the first poll, and between polls.

    `a_minute` limits the polls that one process makes per minute, for all payments.
    """

    waits: tuple[float, ...] = (60.0, 300.0, 900.0, 3600.0)
    a_minute: int = 600

    def __post_init__(self) -> None:
        """Validate the waits.

        Raises:
            PollTermsError: there are none, one is too short, or there are too many.
        """
        sane = all(WAIT_SECONDS_MIN <= wait <= DAILY_AFTER_SECONDS for wait in self.waits)
        if not (sane and 0 < len(self.waits) <= WAITS_MAX):
            raise PollTermsError
        if not 0 < self.a_minute <= A_MINUTE_MAX:
            raise PollTermsError

    def wait_before(self, question: int) -> float:
        """Return the wait before the n-th poll of a payment, counted from zero."""
        wait = self.waits[min(question, len(self.waits) - 1)]
        repeated = max(0, question - len(self.waits) + 1)
        late = sum(self.waits) + repeated * self.waits[-1] > DAILY_AFTER_SECONDS
        return max(wait, DAILY_SECONDS) if late else wait


def read_poll_terms(waits: str, a_minute: str) -> PollTerms:
    """Parse comma-separated waits in seconds and a number; empty text gives the default.

    Raises:
        PollTermsError: the terms are invalid.
    """
    default = PollTerms()
    try:
        return PollTerms(
            tuple(float(part) for part in waits.split(",")) if waits else default.waits,
            int(a_minute) if a_minute else default.a_minute,
        )
    except ValueError as error:
        raise PollTermsError from error

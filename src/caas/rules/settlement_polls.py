"""How often the gateway is asked about a settlement whose webhook did not come (decision 119).

Soon after the capture at first, then hourly, and daily once a settlement is so late that people
look after it. A webhook that was lost costs a minute, and nobody is asked without end.

Rule a change must keep: waits are real seconds; the last one of the terms repeats until the daily
ones begin.
"""

from dataclasses import dataclass
from typing import Final

WAIT_SECONDS_MIN: Final = 10.0
WAITS_MAX: Final = 20
A_MINUTE_MAX: Final = 60_000
DAILY_SECONDS: Final = 86_400.0
DAILY_AFTER_SECONDS: Final = 10 * 86_400.0
"""From then on once a day: by then the settlement is a discrepancy, and somebody has it."""


class PollTermsError(ValueError):
    """These are no terms for asking."""


@dataclass(frozen=True, slots=True)
class PollTerms:
    """Seconds from the capture to the first question, and from each to the next.

    `a_minute` is how many questions one process asks in a minute, about all payments.
    """

    waits: tuple[float, ...] = (60.0, 300.0, 900.0, 3600.0)
    a_minute: int = 600

    def __post_init__(self) -> None:
        """Refuse waits that would never let the gateway rest.

        Raises:
            PollTermsError: there is none, one is too short, or there are too many.
        """
        sane = all(WAIT_SECONDS_MIN <= wait <= DAILY_AFTER_SECONDS for wait in self.waits)
        if not (sane and 0 < len(self.waits) <= WAITS_MAX):
            raise PollTermsError
        if not 0 < self.a_minute <= A_MINUTE_MAX:
            raise PollTermsError

    def wait_before(self, question: int) -> float:
        """Return how long to wait before the n-th question about a payment, counted from zero."""
        wait = self.waits[min(question, len(self.waits) - 1)]
        repeated = max(0, question - len(self.waits) + 1)
        late = sum(self.waits) + repeated * self.waits[-1] > DAILY_AFTER_SECONDS
        return max(wait, DAILY_SECONDS) if late else wait


def read_poll_terms(waits: str, a_minute: str) -> PollTerms:
    """Read waits in seconds separated by commas, and a number; the default for what is empty.

    Raises:
        PollTermsError: they are no terms.
    """
    default = PollTerms()
    try:
        return PollTerms(
            tuple(float(part) for part in waits.split(",")) if waits else default.waits,
            int(a_minute) if a_minute else default.a_minute,
        )
    except ValueError as error:
        raise PollTermsError from error

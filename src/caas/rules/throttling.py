"""Sign-in throttling: waits that grow with each failed attempt, up to a limit.

Rules a change must keep: the wait doubles with each failure beyond the free ones, up to a limit;
old failures expire.
"""

from dataclasses import dataclass
from typing import Final

FIRST_WAIT_SECONDS: Final = 30.0
WAIT_SECONDS_MAX: Final = 900.0
FORGOTTEN_AFTER_SECONDS: Final = 6 * 3600.0
_DOUBLINGS_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class Slowing:
    """How many failures are free before waits begin."""

    free_tries: int

    def wait_seconds(self, failures: int) -> float:
        """Return the wait after so many failures."""
        past = failures - self.free_tries
        if past < 0:
            return 0.0
        doubled = FIRST_WAIT_SECONDS * 2.0 ** min(past, _DOUBLINGS_MAX)
        return min(doubled, WAIT_SECONDS_MAX)


OF_A_LOGIN: Final = Slowing(free_tries=5)
OF_A_DEVICE: Final = Slowing(free_tries=10)
OF_AN_ADDRESS: Final = Slowing(free_tries=30)

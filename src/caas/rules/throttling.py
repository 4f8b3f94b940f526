"""How long nobody may try again after wrong tries: longer each time, and never for ever.

Rules a change must keep: the wait doubles with each wrong try past the free ones, up to a limit;
what went wrong long ago is forgotten.
"""

from dataclasses import dataclass
from typing import Final

FIRST_WAIT_SECONDS: Final = 30.0
WAIT_SECONDS_MAX: Final = 900.0
FORGOTTEN_AFTER_SECONDS: Final = 6 * 3600.0
_DOUBLINGS_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class Slowing:
    """How many wrong tries are free before the waits begin."""

    free_tries: int

    def wait_seconds(self, failures: int) -> float:
        """Return how long to wait after so many wrong tries."""
        past = failures - self.free_tries
        if past < 0:
            return 0.0
        doubled = FIRST_WAIT_SECONDS * 2.0 ** min(past, _DOUBLINGS_MAX)
        return min(doubled, WAIT_SECONDS_MAX)


OF_A_LOGIN: Final = Slowing(free_tries=5)
OF_A_DEVICE: Final = Slowing(free_tries=10)
OF_AN_ADDRESS: Final = Slowing(free_tries=30)

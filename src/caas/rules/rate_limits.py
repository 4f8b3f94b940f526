"""Rate limits (token buckets per caller), and sign-in throttling.

The clock is an argument. A bucket holds `burst` tokens and refills at `per_second`; a request takes
one. Buckets are local to the process, so the effective limit grows with the number of processes.
Each failed sign-in lengthens the wait before the next attempt.

Rules a change must keep: at most `OWNERS_MAX` buckets are kept, the most recently used; all
addresses of an IPv6 network share one bucket, because one customer usually controls all of them;
the sign-in wait doubles with each failure beyond the free ones, up to a limit; old failures expire.
"""

import math
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple

OWNERS_MAX: Final = 10_000
PER_SECOND_MAX: Final = 1_000_000
IPV6_NETWORK_BITS: Final = 64


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A sustained rate per second and a burst size."""

    per_second: float
    burst: int


UNLIMITED: Final = RateLimit(PER_SECOND_MAX, PER_SECOND_MAX)
DEFAULT_KEY_LIMIT: Final = RateLimit(1_000, 2_000)
DEFAULT_ADDRESS_LIMIT: Final = RateLimit(50, 500)


class Quota(NamedTuple):
    """The result for one request: allowed or not, tokens left, seconds until the next one."""

    granted: bool
    remaining: int
    wait_seconds: int
    full_in_seconds: int


class TokenBuckets:
    """The token buckets of all callers under one limit."""

    def __init__(self, limit: RateLimit) -> None:
        """Start every caller with a full bucket."""
        self.limit = limit
        self._held: dict[str, tuple[float, float]] = {}

    def take(self, owner: str, *, now: float) -> Quota:
        """Take one of the owner's tokens, if any."""
        tokens = self._tokens(owner, now)
        granted = tokens >= 1.0
        self._keep(owner, tokens - 1.0 if granted else tokens, now)
        return self._quota(tokens - 1.0 if granted else tokens, granted=granted)

    def look(self, owner: str, *, now: float) -> Quota:
        """Return the owner's quota without taking a token."""
        tokens = self._tokens(owner, now)
        return self._quota(tokens, granted=tokens >= 1.0)

    def give_back(self, owner: str, *, now: float) -> None:
        """Return a token that was taken for a legitimate request."""
        self._keep(owner, min(self._tokens(owner, now) + 1.0, float(self.limit.burst)), now)

    def _tokens(self, owner: str, now: float) -> float:
        held = self._held.get(owner)
        if held is None:
            return float(self.limit.burst)
        tokens, since = held
        return min(tokens + (now - since) * self.limit.per_second, float(self.limit.burst))

    def _keep(self, owner: str, tokens: float, now: float) -> None:
        self._held.pop(owner, None)
        if len(self._held) >= OWNERS_MAX:
            del self._held[next(iter(self._held))]
        self._held[owner] = (tokens, now)

    def _quota(self, tokens: float, *, granted: bool) -> Quota:
        missing = max(1.0 - tokens, 0.0)
        return Quota(
            granted,
            int(tokens),
            math.ceil(missing / self.limit.per_second),
            math.ceil((self.limit.burst - tokens) / self.limit.per_second),
        )


def owner_of(address: str) -> str:
    """Return the bucket key for a network address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Address(int(parsed) >> IPV6_NETWORK_BITS << IPV6_NETWORK_BITS))


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

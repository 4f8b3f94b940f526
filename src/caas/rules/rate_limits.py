"""How often one caller may ask: a token bucket for each, on whatever clock the caller of it names.

A bucket holds `burst` tokens and gains `per_second` of them; a request takes one. Buckets are kept
in this process alone, so that with several processes a caller has the sum of them.

Rules a change must keep: at most `OWNERS_MAX` buckets are held, those used last; addresses of one
IPv6 network count as one, because whoever has one address of it has them all.
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
    """So many requests a second in the long run, and so many at once."""

    per_second: float
    burst: int


UNLIMITED: Final = RateLimit(PER_SECOND_MAX, PER_SECOND_MAX)
DEFAULT_KEY_LIMIT: Final = RateLimit(1_000, 2_000)
DEFAULT_ADDRESS_LIMIT: Final = RateLimit(50, 500)


class Quota(NamedTuple):
    """What a request was granted: whether, how many more at once, and how long until one more."""

    granted: bool
    remaining: int
    wait_seconds: int
    full_in_seconds: int


class TokenBuckets:
    """The buckets of everybody who asks under one limit."""

    def __init__(self, limit: RateLimit) -> None:
        """Give everybody a full bucket at first."""
        self.limit = limit
        self._held: dict[str, tuple[float, float]] = {}

    def take(self, owner: str, *, now: float) -> Quota:
        """Take a token of this owner, when there is one."""
        tokens = self._tokens(owner, now)
        granted = tokens >= 1.0
        self._keep(owner, tokens - 1.0 if granted else tokens, now)
        return self._quota(tokens - 1.0 if granted else tokens, granted=granted)

    def look(self, owner: str, *, now: float) -> Quota:
        """Say whether there is a token, and take none."""
        tokens = self._tokens(owner, now)
        return self._quota(tokens, granted=tokens >= 1.0)

    def refund_order(self, owner: str, *, now: float) -> None:
        """Return a token that was taken for a request that turned out to be welcome."""
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
    """Return under which name an address of the network has its bucket."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Address(int(parsed) >> IPV6_NETWORK_BITS << IPV6_NETWORK_BITS))

"""Authentication and rate limits of incoming calls.

A request with a valid key takes a token from the key's bucket; any other request takes one from its
address: requests without a valid key, documentation pages, and webhooks until their signature is
verified. Once an address has no tokens left, only recently validated keys are checked, so that
guessing keys causes no queries.

Rules a change must keep: load balancer probes are never limited; unauthenticated traffic does not
lock out valid keys at the same address; nothing here waits.
"""

import time
from typing import Final

from caas.api.authentication import Authentication
from caas.api.call import Call
from caas.api.problems import UnauthenticatedError
from caas.rules.rate_limits import RateLimit, TokenBuckets
from caas.web.limits import AddressLimit, refuse_without_token
from caas.web.response import RawHeader

PROBES: Final = frozenset({"/health", "/live", "/ready"})
WEBHOOK_PATHS: Final = "/webhooks/"
METRICS: Final = "/metrics"
"""Paths that respond while the database is down, and report it."""
WELCOME_MAX: Final = 10_000
POLICY: Final = "key"
_SUCCESS_BELOW: Final = 400


class Admission:
    """Token buckets of keys and addresses."""

    def __init__(
        self, authentication: Authentication, *, key_limit: RateLimit, address_limit: RateLimit
    ) -> None:
        """Create the buckets with these limits."""
        self._authentication = authentication
        self._keys = TokenBuckets(key_limit)
        self._addresses = AddressLimit(address_limit)
        self._welcome: set[int] = set()
        window = max(round(key_limit.burst / key_limit.per_second), 1)
        self._policy = (b"ratelimit-policy", f'"{POLICY}";q={key_limit.burst};w={window}'.encode())

    async def admit(self, call: Call, *, needs_key: bool) -> None:
        """Authenticate the call if its route requires it, and take a token.

        Raises:
            UnauthenticatedError: a valid key is required and missing.
            RateLimitedError: the key or the address has no token left.
        """
        if not needs_key:
            if call.path not in PROBES:
                self._addresses.take(call)
            return
        header = call.headers.get(b"authorization")
        await self._recognise(call, header)
        self._welcome_back(header)
        call.quota = self._keys.take(call.by.name, now=time.monotonic())
        refuse_without_token(call.quota)

    def settle(self, call: Call, status: int) -> None:
        """Return the token of a webhook whose signature is valid."""
        if call.path.startswith(WEBHOOK_PATHS) and 0 < status < _SUCCESS_BELOW:
            self._addresses.give_back(call)

    def headers(self, call: Call) -> tuple[RawHeader, ...]:
        """Return the rate limit headers (draft-ietf-httpapi-ratelimit-headers)."""
        if call.quota is None:
            return ()
        _, remaining, _, seconds = call.quota
        return (self._policy, (b"ratelimit", b'"key";r=%d;t=%d' % (remaining, seconds)))

    async def _recognise(self, call: Call, header: bytes | None) -> None:
        if hash(header) not in self._welcome:
            refuse_without_token(self._addresses.look(call))
        known = self._authentication
        find = known.caller_last_known if call.path == METRICS else known.caller
        try:
            call.caller = await find(header)
        except UnauthenticatedError:
            self._addresses.take(call)
            raise

    def _welcome_back(self, header: bytes | None) -> None:
        if len(self._welcome) >= WELCOME_MAX:
            self._welcome.clear()
        self._welcome.add(hash(header))

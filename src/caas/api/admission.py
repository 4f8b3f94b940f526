"""Who may come in, and how often: a bucket of tokens for every key and for every address.

A request with a valid key costs a token of its key; every other one costs a token of its address:
one without a valid key, the pages of the documentation, and a webhook until its signature is shown
to be its sender's. When an address has none left, only keys that were found valid a moment ago are
looked at, so that guessing keys does not become queries.

Rules a change must keep: a probe of a load balancer is never limited; whoever has a valid key is
not shut out by strangers at the same address; nothing here waits.
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
"""Is answered while the database is away: it says so."""
WELCOME_MAX: Final = 10_000
POLICY: Final = "key"
_SUCCESS_BELOW: Final = 400


class Admission:
    """The tokens of keys and addresses."""

    def __init__(
        self, authentication: Authentication, *, key_limit: RateLimit, address_limit: RateLimit
    ) -> None:
        """Let callers in under these limits."""
        self._authentication = authentication
        self._keys = TokenBuckets(key_limit)
        self._addresses = AddressLimit(address_limit)
        self._welcome: set[int] = set()
        window = max(round(key_limit.burst / key_limit.per_second), 1)
        self._policy = (b"ratelimit-policy", f'"{POLICY}";q={key_limit.burst};w={window}'.encode())

    async def admit(self, call: Call, *, needs_key: bool) -> None:
        """Find out who calls, when that is needed, and take a token.

        Raises:
            UnauthenticatedError: a valid key is needed and there is none.
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
        """Give the token back of a webhook that was its sender's."""
        if call.path.startswith(WEBHOOK_PATHS) and 0 < status < _SUCCESS_BELOW:
            self._addresses.refund_order(call)

    def headers(self, call: Call) -> tuple[RawHeader, ...]:
        """Return what a caller is told of its limit (draft-ietf-httpapi-ratelimit-headers)."""
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

"""Authentication by API key, authorization by scope, rate limits, and the call they admit.

A call sends `Authorization: Bearer <key>`. The seed's "Caller" column is a scope of the key
(decision 18). Keys are random with 256 bits, so only their SHA-256 is stored. At startup the API
writes the keys of CAAS_API_KEYS to the Billing Database:

CAAS_API_KEYS = name:scope+scope:key, name:scope:key, ...

- name: letters, digits, ".", "_", "-"; identifies the caller in logs, and whose idempotency keys it
  uses. Two keys may share a name, so that a key can be rotated without downtime.
- scope: one of `caas.rules.scopes`; `any` allows every call. `customer=<id>` or `dealership=<name>`
  restricts the key to the objects of that customer or dealership; it cannot be combined with the
  scope fleet.
- key: 32 characters or more.

Removing a key from the setting does not revoke it, because other processes may still start with it;
`ApiKeys.revoke` does, permanently and within seconds everywhere. Configured keys belong to no
account: they can propose but never approve (`caas.dual_control`).

A request with a valid key takes a token from the key's bucket; any other request takes one from its
address: requests without a valid key, documentation pages, and webhooks until their signature is
verified. Once an address has no tokens left, only recently validated keys are checked, so that
guessing keys causes no queries.

Rules a change must keep: keys are compared by digest in constant time; a key is looked up again
after `REMEMBERED_SECONDS`; key values never appear in a log, a repr or an error; load balancer
probes are never limited; unauthenticated traffic does not lock out valid keys at the same address;
admission never waits; the settings import this module, so it imports nothing of the API.
"""

import asyncio
import hashlib
import hmac
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import msgspec

from caas.api.problems import ScopeMissingError, UnauthenticatedError
from caas.billing_database.accounts import Actor
from caas.billing_database.api_keys import ApiKey, ApiKeys
from caas.errors import StartupError, UnavailableError
from caas.rules.rate_limits import Quota, RateLimit, TokenBuckets
from caas.rules.scopes import Scope
from caas.web.limits import AddressLimit, refuse_without_token
from caas.web.request import Request
from caas.web.response import RawHeader

KEY_CHARS_MIN: Final = 32
KEY_CHARS_MAX: Final = 256
_KEY: Final = re.compile(f"[!-~]{{{KEY_CHARS_MIN},{KEY_CHARS_MAX}}}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, repr=False)
class ConfiguredKey:
    """A key as configured."""

    name: str
    key: str
    scopes: frozenset[str]
    customer: UUID | None = None
    dealership: str | None = None


def parse_api_keys(text: str) -> tuple[ConfiguredKey, ...]:
    """Parse CAAS_API_KEYS.

    Raises:
        StartupError: an entry is not `name:scope+scope:key`; the sentence says which entry, without
            its key.
    """
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    return tuple(_configured(number, entry) for number, entry in enumerate(entries, start=1))


def _configured(number: int, entry: str) -> ConfiguredKey:
    name, _, rest = entry.partition(":")
    scopes_text, _, key = rest.partition(":")
    if not _NAME.fullmatch(name) or not key:
        raise StartupError(f"CAAS_API_KEYS, entry {number}: it must be name:scope+scope:key.")
    if _KEY.fullmatch(key) is None:
        raise StartupError(
            f"CAAS_API_KEYS, entry {number} ({name}): the key must be {KEY_CHARS_MIN} to "
            f"{KEY_CHARS_MAX} visible ASCII characters."
        )
    parts = [part for part in scopes_text.split("+") if part]
    scopes = frozenset(part for part in parts if "=" not in part)
    narrowed = dict(part.split("=", 1) for part in parts if "=" in part)
    return _checked(number, ConfiguredKey(name, key, scopes), narrowed)


def _checked(number: int, key: ConfiguredKey, narrowed: dict[str, str]) -> ConfiguredKey:
    where = f"CAAS_API_KEYS, entry {number} ({key.name})"
    unknown = sorted(key.scopes - frozenset(Scope))
    if unknown or not key.scopes:
        raise StartupError(
            f"{where}: {', '.join(unknown) or 'no scope'} is not a scope. Valid scopes are "
            f"{', '.join(Scope)}."
        )
    if not narrowed.keys() <= {"customer", "dealership"}:
        raise StartupError(f"{where}: restrict a key with customer=<id> or dealership=<name>.")
    try:
        customer = UUID(narrowed["customer"]) if "customer" in narrowed else None
    except ValueError as error:
        raise StartupError(f"{where}: customer= requires a customer id.") from error
    if narrowed and Scope.FLEET in key.scopes:
        raise StartupError(f"{where}: the scope fleet cannot be combined with a restriction.")
    return ConfiguredKey(key.name, key.key, key.scopes, customer, narrowed.get("dealership"))


REMEMBERED_SECONDS: Final = 2.0
LOOK_UP_SECONDS_MAX: Final = 1.0
REMEMBERED_KEYS_MAX: Final = 10_000
_BEARER: Final = re.compile(rb"[Bb]earer +([!-~]{%d,%d})" % (KEY_CHARS_MIN, KEY_CHARS_MAX))


class Caller(msgspec.Struct, frozen=True):
    """The authenticated caller; a customer or dealership restricts it to that one."""

    name: str
    scopes: frozenset[str]
    customer: UUID | None = None
    dealership: str | None = None
    account: UUID | None = None
    key: UUID | None = None

    @property
    def actor(self) -> Actor:
        """The actor for the audit trail: the account that created the key, if any."""
        return Actor(self.name, self.account, self.key)

    @property
    def owner(self) -> str:
        """Whose idempotency keys it uses: its account's, or those of its configured name.

        A key of the same account takes another's place (decision 291); a restricted one is for
        other people than its maker.
        """
        if self.account is None:
            return self.name
        within = self.customer or self.dealership
        return f"account:{self.account}" if within is None else f"account:{self.account}:{within}"

    @property
    def is_restricted(self) -> bool:
        """Whether the caller sees only its own customer's or dealership's objects."""
        return self.customer is not None or self.dealership is not None

    @property
    def sells_for_any_vehicle(self) -> bool:
        """Whether the caller may sell services for any vehicle (`fleet`)."""
        may = Scope.FLEET in self.scopes or Scope.ANY in self.scopes
        return may and not self.is_restricted

    def require(self, allowed: frozenset[str]) -> None:
        """Require one of these scopes; without scopes, any key will do.

        Raises:
            ScopeMissingError: the key has none of them; the sentence names them.
        """
        if allowed and not (self.scopes & allowed or Scope.ANY in self.scopes):
            needed = " or ".join(sorted(allowed))
            raise ScopeMissingError(f"This call requires a key with the scope {needed}.")


class Authentication:
    """Authenticates callers by their API key."""

    def __init__(self, keys: ApiKeys) -> None:
        """Use this key table."""
        self._keys = keys
        self._remembered: dict[bytes, tuple[float, ApiKey | None, Caller | None]] = {}
        self._looking: dict[bytes, asyncio.Task[Caller | None]] = {}

    async def caller(self, authorization: bytes | None) -> Caller:
        """Return the caller for an Authorization header.

        Raises:
            UnauthenticatedError: the header is missing or holds no valid key.
        """
        match = _BEARER.fullmatch(authorization or b"")
        if match is None:
            raise UnauthenticatedError
        digest = hashlib.sha256(match[1]).digest()
        remembered = self._remembered.get(digest)
        if remembered is not None and remembered[0] > asyncio.get_running_loop().time():
            caller = remembered[2] if _is_same(remembered[1], digest) else None
        else:
            caller = await self._look_up_once(digest)
        if caller is None:
            raise UnauthenticatedError
        return caller

    async def caller_last_known(self, authorization: bytes | None) -> Caller:
        """Return the caller as last seen while the database is unavailable.

        Only for responses that reveal nothing secret to a key revoked in the meantime.

        Raises:
            UnauthenticatedError: the header is missing or holds no known key.
        """
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS_MAX):
                return await self.caller(authorization)
        except (UnavailableError, TimeoutError):
            match = _BEARER.fullmatch(authorization or b"")
            assert match is not None, "only a well-formed key is looked up"
            digest = hashlib.sha256(match[1]).digest()
            _, key, caller = self._remembered.get(digest, (0.0, None, None))
            if caller is not None and _is_same(key, digest):
                return caller
        return await self.caller(authorization)

    async def bootstrap(self, configured: Iterable[ConfiguredKey]) -> None:
        """Store the configured keys, except revoked ones."""
        for key in configured:
            digest = hashlib.sha256(key.key.encode()).digest()
            await self._keys.put(
                key_hash=digest,
                name=key.name,
                scopes=key.scopes,
                customer=key.customer,
                dealership=key.dealership,
            )
            await self._look_up(digest)  # known even if the database is unavailable later

    async def _look_up_once(self, digest: bytes) -> Caller | None:
        """Look the key up once for all concurrent requests that use it."""
        looking = self._looking.get(digest)
        if looking is None:
            looking = asyncio.get_running_loop().create_task(self._look_up(digest))
            self._looking[digest] = looking
            looking.add_done_callback(lambda _: self._looking.pop(digest, None))
        return await asyncio.shield(looking)

    async def _look_up(self, digest: bytes) -> Caller | None:
        key = await self._keys.find(digest)
        caller = None
        if key is not None and _is_same(key, digest):
            caller = Caller(key.name, key.scopes, key.customer, key.dealership, key.account, key.id)
        if len(self._remembered) >= REMEMBERED_KEYS_MAX:
            self._remembered.clear()
        until = asyncio.get_running_loop().time() + REMEMBERED_SECONDS
        self._remembered[digest] = (until, key, caller)
        return caller


def _is_same(key: ApiKey | None, digest: bytes) -> bool:
    return key is not None and hmac.compare_digest(key.key_hash, digest)


class Call(Request):
    """A request to the API; admission fills in the caller."""

    caller: Caller | None = None
    quota: Quota | None = None

    @property
    def by(self) -> Caller:
        """The authenticated caller."""
        assert self.caller is not None, (
            "an operation that needs a caller runs only after authentication"
        )
        return self.caller


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
        call.quota = self._keys.take(f"{call.by.owner}:{call.by.name}", now=time.monotonic())
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

"""Authentication by `Authorization: Bearer <key>` and authorization by scope.

The seed's "Caller" column is a scope of the key (decision 18). Keys are random with 256 bits, so
only their SHA-256 is stored. At startup the API writes the keys of CAAS_API_KEYS
(`configured_keys`) to the Billing Database.

Removing a key from the setting does not revoke it, because other processes may still start with it;
`ApiKeys.revoke` does, permanently and within seconds everywhere. Configured keys belong to no
account: they can propose but never approve (`caas.dual_control`).

Rules a change must keep: keys are compared by digest in constant time; a key is looked up again
after `REMEMBERED_SECONDS`; key values are never logged.
"""

import asyncio
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from caas.api.configured_keys import KEY_CHARS_MAX, KEY_CHARS_MIN, ConfiguredKey
from caas.api.problems import ScopeMissingError, UnauthenticatedError
from caas.billing_database.actors import Actor
from caas.billing_database.api_keys import ApiKey, ApiKeys
from caas.errors import UnavailableError
from caas.rules.scopes import Scope

REMEMBERED_SECONDS: Final = 2.0
LOOK_UP_SECONDS_MAX: Final = 1.0
REMEMBERED_KEYS_MAX: Final = 10_000
_BEARER: Final = re.compile(rb"[Bb]earer +([!-~]{%d,%d})" % (KEY_CHARS_MIN, KEY_CHARS_MAX))


@dataclass(frozen=True, slots=True)
class Caller:
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

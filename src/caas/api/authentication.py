"""Who is calling, and what they may do: `Authorization: Bearer <key>` and scopes.

The seed's "Caller" column is a scope of the caller's key (decision 18). Keys are random, of 256
bits, so that their SHA-256 is all that needs to be stored. They come into the Billing Database from
the setting CAAS_API_KEYS (`configured_keys`) when the API starts.

Taking a key out of the setting does not revoke it, because other processes may still start with
it; `ApiKeys.revoke` does, for ever, and within seconds everywhere. Keys of the settings belong to
no account: they propose, and never approve as the second person (`caas.dual_control`).

Rules a change must keep: a key is compared by its digest, in constant time; a key is looked up
again after `REMEMBERED_SECONDS`; what the key is never reaches a log.
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
    """Who made a request; with a customer or a dealership it acts for that one only."""

    name: str
    scopes: frozenset[str]
    customer: UUID | None = None
    dealership: str | None = None
    account: UUID | None = None
    key: UUID | None = None

    @property
    def actor(self) -> Actor:
        """Who acts with this key: the account that made it, if one did."""
        return Actor(self.name, self.account, self.key)

    @property
    def is_restricted(self) -> bool:
        """Whether the caller sees only what belongs to its customer or dealership."""
        return self.customer is not None or self.dealership is not None

    @property
    def sells_for_any_vehicle(self) -> bool:
        """Whether the caller sells services for vehicles that are not the customer's (`fleet`)."""
        may = Scope.FLEET in self.scopes or Scope.ANY in self.scopes
        return may and not self.is_restricted

    def require(self, allowed: frozenset[str]) -> None:
        """Refuse the call unless the key has one of these scopes (none named: any key will do).

        Raises:
            ScopeMissingError: it has none of them; the sentence names them.
        """
        if allowed and not (self.scopes & allowed or Scope.ANY in self.scopes):
            needed = " or ".join(sorted(allowed))
            raise ScopeMissingError(f"This call needs a key with the scope {needed}.")


class Authentication:
    """Tells who is calling from the key they send."""

    def __init__(self, keys: ApiKeys) -> None:
        """Look keys up here."""
        self._keys = keys
        self._remembered: dict[bytes, tuple[float, ApiKey | None, Caller | None]] = {}
        self._looking: dict[bytes, asyncio.Task[Caller | None]] = {}

    async def caller(self, authorization: bytes | None) -> Caller:
        """Return whose key this Authorization header carries.

        Raises:
            UnauthenticatedError: there is no header, or no valid key in it.
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
        """Return whose key this is, as it was last found while the database does not answer.

        For what must be told just then, and no secret from a key that was revoked meanwhile.

        Raises:
            UnauthenticatedError: there is no header, or no valid key in it.
        """
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS_MAX):
                return await self.caller(authorization)
        except (UnavailableError, TimeoutError):
            match = _BEARER.fullmatch(authorization or b"")
            assert match is not None, "what is no key is not looked up"
            digest = hashlib.sha256(match[1]).digest()
            _, key, caller = self._remembered.get(digest, (0.0, None, None))
            if caller is not None and _is_same(key, digest):
                return caller
        return await self.caller(authorization)

    async def bootstrap(self, configured: Iterable[ConfiguredKey]) -> None:
        """Make the keys of the settings valid, except those that were revoked."""
        for key in configured:
            digest = hashlib.sha256(key.key.encode()).digest()
            await self._keys.put(
                key_hash=digest,
                name=key.name,
                scopes=key.scopes,
                customer=key.customer,
                dealership=key.dealership,
            )
            await self._look_up(digest)  # so that it is known while the database is away

    async def _look_up_once(self, digest: bytes) -> Caller | None:
        """Look the key up once for all who ask for it at this moment."""
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

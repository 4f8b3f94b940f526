"""Keys of the API's callers as rows: their digest, their scopes, for whom they may act.

Rules a change must keep: only the digest of a key is ever stored or compared; a revoked key stays
revoked, also when the settings still list it; a key belongs to the account that made it, for ever.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from caas.billing_database.actors import Actor
from caas.billing_database.connection import Connection, Database, Row
from caas.billing_database.identifiers import new_id
from caas.billing_database.rows import columns
from caas.errors import NotFoundError, StartupError
from caas.rules.scopes import Scope

NEEDS_SECOND: Final = frozenset({Scope.OPERATIONS, Scope.ANY})
"""With one of these a key acts as operations do, so that two people make it (decision 50)."""

FIND: Final = """
select k.id, key_hash, name, scopes, k.customer, k.dealership, account, activated_at,
       k.created_at, revoked_at
  from api_keys k left join accounts a on a.id = k.account
 where key_hash = $1 and revoked_at is null and activated_at is not null
   and (a.disabled_at is null or not scopes && $2::text[])
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A caller's key as it is stored; the key itself is known to the caller alone."""

    id: UUID
    key_hash: bytes
    name: str
    scopes: frozenset[str]
    customer: UUID | None = None
    dealership: str | None = None
    account: UUID | None = None
    activated_at: datetime | None = None
    created_at: datetime | None = None
    revoked_at: datetime | None = None

    @property
    def proposed_account(self) -> UUID | None:
        """Who made it, and so never activates it where two people are needed."""
        return self.account


ONE: Final = f"""
select {columns(ApiKey)}
  from api_keys where id = $1 and activated_at is null and revoked_at is null for update
"""
LISTED: Final = f"""
select {columns(ApiKey)}
  from api_keys order by name, created_at
"""
PUT: Final = """
insert into api_keys as k (id, key_hash, name, scopes, customer, dealership, created_at,
                           activated_at)
values ($1, $2, $3, $4, $5, $6, db_now(), db_now())
on conflict (key_hash) do update set name = excluded.name
 where k.account is null and k.name is distinct from excluded.name
"""
IS_ANOTHER: Final = """
select 1 from api_keys where key_hash = $1 and account is null
   and (scopes, customer, dealership) is distinct from ($2::text[], $3::uuid, $4::text)
"""
MAKE: Final = """
insert into api_keys (id, key_hash, name, scopes, dealership, account, created_at, activated_at)
values ($1, $2, $3, $4, $5, $6, db_now(), case when not $7 then db_now() end)
"""
ACTIVATE: Final = """
update api_keys set activated_at = db_now(), activated_account = $2
 where id = $1 and activated_at is null and revoked_at is null returning id
"""
REVOKE: Final = """
update api_keys set revoked_at = db_now() where name = $1 and revoked_at is null returning id
"""
REVOKE_ONE: Final = """
update api_keys set revoked_at = db_now() where id = $1 and revoked_at is null returning id
"""


class ApiKeyNotFoundError(NotFoundError):
    """No key that is still valid has this name."""

    code = "api_key_not_found"


class KeyKeepsScopesError(StartupError):
    """A key keeps its scopes and whom it is narrowed to."""

    code = "key_keeps_scopes"


def needs_second_person(scopes: frozenset[str]) -> bool:
    """Say whether a key with these scopes works only once a second person has activated it."""
    return bool(scopes & NEEDS_SECOND)


class ApiKeys:
    """The table of the callers' keys."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database

    async def find(self, key_hash: bytes) -> ApiKey | None:
        """Return the key with this digest, unless it is unknown, not active yet or revoked.

        A key that acts as operations do ends with the account that made it.
        """
        row = await self._database.fetchrow(FIND, key_hash, sorted(NEEDS_SECOND))
        return None if row is None else _key(row)

    async def make(
        self,
        *,
        key_hash: bytes,
        name: str,
        scopes: frozenset[str],
        dealership: str | None,
        account: UUID,
        within: Connection,
    ) -> UUID:
        """Keep a key that an account made; it may wait for a second person. Return its id."""
        key_id = new_id()
        await within.execute(
            MAKE, key_id, key_hash, name, sorted(scopes), dealership, account,
            needs_second_person(scopes),
        )  # fmt: skip
        return key_id

    async def proposed(self, key_id: UUID, *, within: Connection) -> ApiKey | None:
        """Return a key that waits for a second person, locked."""
        row = await within.fetchrow(ONE, key_id)
        return None if row is None else _key(row)

    async def decide(
        self, proposal_id: UUID, *, approved: bool, by: Actor, within: Connection
    ) -> bool:
        """Activate a key, or revoke it; False when somebody else has decided."""
        if approved:
            return await within.fetchrow(ACTIVATE, proposal_id, by.account) is not None
        return await within.fetchrow(REVOKE_ONE, proposal_id) is not None

    async def put(
        self,
        *,
        key_hash: bytes,
        name: str,
        scopes: frozenset[str],
        customer: UUID | None = None,
        dealership: str | None = None,
    ) -> None:
        """Make a key of the settings valid, unless it was revoked once or belongs to an account.

        Raises:
            KeyKeepsScopesError: it is known with other scopes, or was narrowed otherwise.
        """
        await self._database.fetch(
            PUT, new_id(), key_hash, name, sorted(scopes), customer, dealership
        )
        if await self._database.fetchrow(
            IS_ANOTHER, key_hash, sorted(scopes), customer, dealership
        ):
            raise KeyKeepsScopesError(
                f"CAAS_API_KEYS gives the key '{name}' other scopes than it has. A key keeps its "
                "scopes and whom it is narrowed to; give the caller another key."
            )

    async def revoke(self, name: str) -> int:
        """Revoke every key of this name for ever; return how many those were.

        Raises:
            ApiKeyNotFoundError: no valid key has this name.
        """
        rows = await self._database.fetch(REVOKE, name)
        if not rows:
            raise ApiKeyNotFoundError(f"No valid key has the name {name}.")
        return len(rows)

    async def revoke_one(self, key_id: UUID, *, within: Connection) -> None:
        """Revoke one key for ever.

        Raises:
            ApiKeyNotFoundError: no valid key has this id.
        """
        if await within.fetchrow(REVOKE_ONE, key_id) is None:
            raise ApiKeyNotFoundError(f"No valid key has the id {key_id}.")

    async def listed(self) -> list[ApiKey]:
        """Return every key, the revoked ones too."""
        rows = await self._database.fetch(LISTED)
        return [_key(row) for row in rows]


def _key(row: Row) -> ApiKey:
    return ApiKey(**{**row, "scopes": frozenset(row["scopes"])})

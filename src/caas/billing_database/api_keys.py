"""Keys of the API's callers as rows: their digest, their scopes, for whom they may act.

Rules a change must keep: only the digest of a key is ever stored or compared; a revoked key stays
revoked, also when the settings still list it.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from caas.billing_database.connection import Database
from caas.billing_database.identifiers import new_id
from caas.errors import NotFoundError

FIND = """
select id, key_hash, name, scopes, customer, dealership, created_at, revoked_at
  from api_keys where key_hash = $1 and revoked_at is null
"""
LISTED = """
select id, key_hash, name, scopes, customer, dealership, created_at, revoked_at
  from api_keys order by name, created_at
"""
PUT = """
insert into api_keys as k (id, key_hash, name, scopes, customer, dealership, created_at)
values ($1, $2, $3, $4, $5, $6, db_now())
on conflict (key_hash) do update set name = excluded.name, scopes = excluded.scopes,
       customer = excluded.customer, dealership = excluded.dealership
 where (k.name, k.scopes, k.customer, k.dealership)
       is distinct from (excluded.name, excluded.scopes, excluded.customer, excluded.dealership)
"""
REVOKE = """
update api_keys set revoked_at = db_now() where name = $1 and revoked_at is null returning id
"""

REVOKE_ONE = """
update api_keys set revoked_at = db_now() where id = $1 and revoked_at is null returning id
"""


class ApiKeyNotFoundError(NotFoundError):
    """No key that is still valid has this name."""

    code = "api_key_not_found"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A caller's key as it is stored; the key itself is known to the caller alone."""

    id: UUID
    key_hash: bytes
    name: str
    scopes: frozenset[str]
    customer: UUID | None = None
    dealership: str | None = None
    created_at: datetime | None = None
    revoked_at: datetime | None = None


class ApiKeys:
    """The table of the callers' keys."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database

    async def find(self, key_hash: bytes) -> ApiKey | None:
        """Return the key with this digest, unless it is unknown or revoked."""
        row = await self._database.fetchrow(FIND, key_hash)
        return None if row is None else ApiKey(**{**row, "scopes": frozenset(row["scopes"])})

    async def put(
        self,
        *,
        key_hash: bytes,
        name: str,
        scopes: frozenset[str],
        customer: UUID | None = None,
        dealership: str | None = None,
    ) -> None:
        """Make the key valid with these scopes, unless it was revoked once."""
        await self._database.fetch(
            PUT, new_id(), key_hash, name, sorted(scopes), customer, dealership
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

    async def revoke_one(self, key_id: UUID) -> None:
        """Revoke one key for ever.

        Raises:
            ApiKeyNotFoundError: no valid key has this id.
        """
        if await self._database.fetchrow(REVOKE_ONE, key_id) is None:
            raise ApiKeyNotFoundError(f"No valid key has the id {key_id}.")

    async def listed(self) -> list[ApiKey]:
        """Return every key, the revoked ones too."""
        rows = await self._database.fetch(LISTED)
        return [ApiKey(**{**row, "scopes": frozenset(row["scopes"])}) for row in rows]

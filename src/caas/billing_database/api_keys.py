"""API keys: digest, scopes and restriction.

Rules a change must keep: only digests are stored and compared; a revoked key stays revoked even if
it is still configured; a key always belongs to the account that created it.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.accounts import Actor
from caas.billing_database.connection import Connection, Database, Row
from caas.billing_database.decisions import LastDecision
from caas.billing_database.identifiers import new_id
from caas.billing_database.rows import columns, read_one
from caas.errors import NotFoundError, StartupError
from caas.rules.scopes import Scope

NEEDS_SECOND: Final = frozenset({Scope.OPERATIONS, Scope.ANY})
"""Scopes with which a key acts as operations, so that two people must create it (decision 107)."""

FIND: Final = """
select k.id, key_hash, name, scopes, k.customer, k.dealership, account, activated_at,
       k.created_at, revoked_at
  from api_keys k left join accounts a on a.id = k.account
 where key_hash = $1 and revoked_at is null and activated_at is not null
   and (a.disabled_at is null or not scopes && $2::text[])
"""


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key as stored; only the caller has the key itself."""

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
        """The account that created the key and therefore cannot activate it."""
        return self.account


ONE: Final = f"""
select {columns(ApiKey)}
  from api_keys where id = $1 and activated_at is null and revoked_at is null for update
"""
LAST: Final = """
select k.revoked_at is null as approved, case when k.revoked_at is null then a.login end as by,
       coalesce(k.revoked_at, k.activated_at) as at
  from api_keys k left join accounts a on a.id = k.activated_account
 where k.id = $1 and coalesce(k.revoked_at, k.activated_at) is not null
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
    """No valid key has this name."""

    code = "api_key_not_found"


class KeyKeepsScopesError(StartupError):
    """The scopes and the restriction of a key cannot be changed. Create a new key."""

    code = "key_keeps_scopes"


def needs_second_person(scopes: frozenset[str]) -> bool:
    """Return whether a key with these scopes must be activated by a second person."""
    return bool(scopes & NEEDS_SECOND)


class ApiKeys:
    """The table of API keys."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database

    async def find(self, key_hash: bytes) -> ApiKey | None:
        """Return the active key with this digest, or None.

        A key with operations scopes ends with the account that created it.
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
        """Store a key created by an account and return its id; it may need activation."""
        key_id = new_id()
        await within.execute(
            MAKE, key_id, key_hash, name, sorted(scopes), dealership, account,
            needs_second_person(scopes),
        )  # fmt: skip
        return key_id

    async def proposed(self, key_id: UUID, *, within: Connection) -> ApiKey | None:
        """Return a key that awaits activation, locked."""
        row = await within.fetchrow(ONE, key_id)
        return None if row is None else _key(row)

    async def decide(
        self, proposal_id: UUID, *, approved: bool, by: Actor, within: Connection
    ) -> bool:
        """Activate or revoke a key; return False if it was already decided."""
        if approved:
            return await within.fetchrow(ACTIVATE, proposal_id, by.account) is not None
        return await within.fetchrow(REVOKE_ONE, proposal_id) is not None

    async def last_decision(self, key_id: UUID, *, within: Connection) -> LastDecision | None:
        """Return by whom a key was activated, or when it was revoked; None if it waits."""
        return await read_one(LastDecision, within, LAST, key_id)

    async def put(
        self,
        *,
        key_hash: bytes,
        name: str,
        scopes: frozenset[str],
        customer: UUID | None = None,
        dealership: str | None = None,
    ) -> None:
        """Store a configured key, unless it was revoked or belongs to an account.

        Raises:
            KeyKeepsScopesError: it exists with other scopes or another restriction.
        """
        await self._database.fetch(
            PUT, new_id(), key_hash, name, sorted(scopes), customer, dealership
        )
        if await self._database.fetchrow(
            IS_ANOTHER, key_hash, sorted(scopes), customer, dealership
        ):
            raise KeyKeepsScopesError(
                f"CAAS_API_KEYS gives the key '{name}' other scopes or another restriction "
                "than those stored. They cannot be changed: issue a new key."
            )

    async def revoke(self, name: str) -> int:
        """Revoke every key with this name permanently; return their number.

        Raises:
            ApiKeyNotFoundError: no valid key has this name.
        """
        rows = await self._database.fetch(REVOKE, name)
        if not rows:
            raise ApiKeyNotFoundError(f"No valid key has the name {name}.")
        return len(rows)

    async def revoke_one(self, key_id: UUID, *, within: Connection) -> None:
        """Revoke one key permanently.

        Raises:
            ApiKeyNotFoundError: no valid key has this id.
        """
        if await within.fetchrow(REVOKE_ONE, key_id) is None:
            raise ApiKeyNotFoundError(f"No valid key has the id {key_id}.")

    async def listed(self) -> list[ApiKey]:
        """Return all keys, including revoked ones."""
        rows = await self._database.fetch(LISTED)
        return [_key(row) for row in rows]


def _key(row: Row) -> ApiKey:
    return ApiKey(**{**row, "scopes": frozenset(row["scopes"])})

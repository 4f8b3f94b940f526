"""People who work here, as far as dual control knows them: accounts, and the keys they made."""

import hashlib
import secrets
from dataclasses import dataclass
from uuid import UUID

from msgspec.structs import replace

from caas.billing_database.accounts import Accounts, Actor, Role, StaffMember
from caas.billing_database.api_keys import ApiKeys
from caas.billing_database.connection import Connection, Database
from caas.rules.scopes import Scope

NOBODYS_PASSWORD = "$argon2id$of-nobody"
COMMAND_LINE = Actor("Ana")


async def employed(database: Database, login: str) -> Actor:
    """Give somebody an account of operations, and return them as signed in."""
    await Accounts(database).add_staff(StaffMember(login, Role.OPERATIONS, None), NOBODYS_PASSWORD)
    row = await database.fetchrow("select id from accounts where login = $1", login)
    assert row is not None
    return Actor(login, UUID(str(row["id"])))


@dataclass(frozen=True, slots=True)
class Made:
    """A key that somebody made: as it is sent, and whoever acts with it."""

    key: str
    actor: Actor


async def key_of(
    database: Database, maker: Actor, name: str, *scopes: Scope, activated_by: Actor | None = None
) -> Made:
    """Let somebody make a key, and another one activate it."""
    key, table = secrets.token_urlsafe(32), ApiKeys(database)
    account = maker.account
    assert account is not None, "whoever makes a key has an account"

    async def together(connection: Connection) -> UUID:
        key_id = await table.make(
            key_hash=hashlib.sha256(key.encode()).digest(), name=name, scopes=frozenset(scopes),
            dealership=None, account=account, within=connection,
        )  # fmt: skip
        if activated_by is not None:
            await table.decide(key_id, approved=True, by=activated_by, within=connection)
        return key_id

    return Made(key, replace(maker, name=name, key=await database.in_transaction(together)))

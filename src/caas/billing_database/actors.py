"""Actors: a person's account, or a name without an account (decision 50).

A session and all API keys of an account count as one person. Configured keys and the command line
have a name and no account.

Rule a change must keep: approval rights are checked and locked in the transaction that decides, so
that disabling an account or revoking a key takes effect before or after it.
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from caas.billing_database.connection import Connection

ACCOUNT: Final = """
select id from accounts where id = $1 and role = 'operations' and disabled_at is null for share
"""
KEY: Final = """
select id from api_keys
 where id = $1 and account = $2 and revoked_at is null and activated_at is not null for share
"""


@dataclass(frozen=True, slots=True)
class Actor:
    """The actor's display name, account and API key."""

    name: str
    account: UUID | None = None
    key: UUID | None = None


async def may_approve(actor: Actor, *, within: Connection) -> bool:
    """Return whether the account, and its key if any, are valid now."""
    if await within.fetchrow(ACCOUNT, actor.account) is None:
        return False
    return actor.key is None or await within.fetchrow(KEY, actor.key, actor.account) is not None

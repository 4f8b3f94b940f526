"""Who does something: a person's account, or a name without one (decision 50).

A session and every API key that an account made are one person. Keys of the settings and the
command line give a name and belong to no account.

Rule a change must keep: whether somebody may approve is asked inside the transaction that decides;
the rows asked for stay locked until it commits, so that an account that is disabled, or a key that
is revoked, comes before the decision or after it.
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
    """Who acts: the name that is shown, the account that counts, the API key it acts with."""

    name: str
    account: UUID | None = None
    key: UUID | None = None


async def may_approve(actor: Actor, *, within: Connection) -> bool:
    """Say whether the account, and the key it acts with, if any, are valid now."""
    if await within.fetchrow(ACCOUNT, actor.account) is None:
        return False
    return actor.key is None or await within.fetchrow(KEY, actor.key, actor.account) is not None

"""Event subscriptions.

Rules a change must keep: a subscription is created and ended, and otherwise unchanged except for
re-encryption of its secret; secrets are stored encrypted and deleted at the end.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from caas.billing_database.connection import Connection, Database
from caas.billing_database.rows import columns, read_all, row_as
from caas.errors import NotFoundError


@dataclass(frozen=True, slots=True)
class EventSubscription:
    """An event subscription; without types it receives all.

    `secret` is set only if it was stored before secrets were encrypted.
    """

    id: UUID
    url: str
    types: list[str]
    secret: str | None = field(repr=False)
    encrypted_secret: bytes | None = field(repr=False)
    created_by: str
    created_at: datetime
    ended_at: datetime | None


COLUMNS: Final = f"select {columns(EventSubscription)}"
ONE: Final = f"{COLUMNS} from event_subscriptions where id = $1"
LISTED: Final = f"""
{COLUMNS} from event_subscriptions where ended_at is null and ($1::uuid is null or id < $1)
 order by id desc limit $2
"""
RUNNING: Final = "select count(*) as running from event_subscriptions where ended_at is null"
ADD: Final = """
insert into event_subscriptions (id, url, types, encrypted_secret, created_by, created_at)
values ($1, $2, $3, $4, $5, db_now())
"""
END: Final = """
update event_subscriptions set ended_at = db_now(), secret = null, encrypted_secret = null
 where id = $1 and ended_at is null returning id
"""
ENCRYPTED: Final = """
update event_subscriptions set encrypted_secret = $2, secret = null
 where id = $1 and ended_at is null
"""


class EventSubscriptionNotFoundError(NotFoundError):
    """No event subscription has this id."""

    code = "event_subscription_not_found"


class EventSubscriptions:
    """The table of event subscriptions."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database

    async def get(self, subscription_id: UUID) -> EventSubscription:
        """Return a subscription.

        Raises:
            EventSubscriptionNotFoundError: no subscription has this id.
        """
        row = await self._database.fetchrow(ONE, subscription_id)
        if row is None:
            raise EventSubscriptionNotFoundError(f"No subscription has the id {subscription_id}.")
        return row_as(EventSubscription, row)

    async def listed(self, *, before: UUID | None, rows_max: int) -> list[EventSubscription]:
        """Return the active subscriptions, newest first."""
        return await read_all(EventSubscription, self._database, LISTED, before, rows_max)

    async def running(self, *, within: Connection) -> int:
        """Count the active subscriptions."""
        return int(await within.fetchval(RUNNING))

    async def add(  # the columns of a subscription, by name
        self,
        subscription_id: UUID,
        *,
        url: str,
        types: list[str],
        encrypted_secret: bytes,
        by: str,
        within: Connection,
    ) -> None:
        """Add a subscription."""
        await within.execute(ADD, subscription_id, url, types, encrypted_secret, by)

    async def encrypted(self, subscription_id: UUID, encrypted_secret: bytes) -> None:
        """Store the secret encrypted with the newest key."""
        await self._database.fetch(ENCRYPTED, subscription_id, encrypted_secret)

    async def end(self, subscription_id: UUID, *, within: Connection) -> bool:
        """End a subscription; return whether it was active."""
        return await within.fetchval(END, subscription_id) is not None

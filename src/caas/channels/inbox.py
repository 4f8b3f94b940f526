"""What somebody was told: the same messages that were sent, to read again here.

Rule a change must keep: whoever reads or marks a message is its recipient.
"""

from typing import Final
from uuid import UUID

from caas.billing_database.accounts import Role
from caas.billing_database.sessions import Session
from caas.channels.page_routes import SIGNED_IN, PageRoute, get
from caas.channels.replies import Reply
from caas.channels.rooms import Channels
from caas.channels.visit import Visit
from caas.notifications import CUSTOMER, DEALERSHIP, OPERATIONS, Notifications

AUDIENCES: Final = {
    Role.CUSTOMER: CUSTOMER,
    Role.SALES: DEALERSHIP,
    Role.OPERATIONS: OPERATIONS,
}


async def unread(notifications: Notifications, session: Session) -> int:
    """Count what somebody has not read yet."""
    return await notifications.unread(recipient_of(session), audience=AUDIENCES[session.role])


def recipient_of(session: Session) -> str | UUID:
    """Return as whom somebody is told things."""
    return session.customer or session.dealership or OPERATIONS


async def messages(channels: Channels, visit: Visit) -> Reply:
    """Show what somebody was told, newest first, and take it as read from now on."""
    told = await channels.rooms.notifications.inbox(
        recipient_of(visit.by),
        audience=AUDIENCES[visit.by.role],
        language=visit.language,
        before=_before(visit),
    )
    reply = channels.page(visit, "messages.html", told=told)
    if visit.unread:
        await channels.rooms.notifications.mark_read(
            recipient_of(visit.by), audience=AUDIENCES[visit.by.role]
        )
    return reply


def _before(visit: Visit) -> UUID | None:
    try:
        return UUID(visit.query.get("before", ""))
    except ValueError:
        return None


INBOX_ROUTES: Final[tuple[PageRoute, ...]] = (get("/messages", messages, SIGNED_IN),)

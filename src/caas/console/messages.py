"""The notification inbox of a user.

Rule a change must keep: only its recipient reads a message or marks it as read.
"""

from typing import Final
from uuid import UUID

from caas.billing_database.accounts import Role
from caas.billing_database.sessions import Session
from caas.console.context import Console
from caas.console.page_routes import SIGNED_IN, PageRoute, get
from caas.console.request import PageRequest
from caas.notifications import ALERT, CUSTOMER, DEALERSHIP, OPERATIONS, Message, Notifications
from caas.web.response import Response

AUDIENCES: Final = {
    Role.CUSTOMER: CUSTOMER,
    Role.SALES: DEALERSHIP,
    Role.OPERATIONS: OPERATIONS,
}


OF_AN_ORDER: Final = frozenset(
    {
        "reservation_complete", "factory_refused", "vehicle_ready",
        "payment_confirmed", "reservation_lost", "delivery_scheduled", "vehicle_delivered",
        "withdrawal_received", "order_withdrawn", "vehicle_returned",
    }
)  # fmt: skip
OF_A_PAYMENT: Final = frozenset(
    {
        "reservation_failed",
        "final_payment_not_made",
        "reservation_not_possible",
        "subscription_payment_to_confirm",
        "subscription_payment_retried",
        "subscription_payment_in_grace",
        "subscription_cancelled_payment_failed",
        "payment_method_to_confirm",
        "payment_method_changed",
        "payment_method_not_changed",
        "service_active",
        "service_payment_failed",
        "service_not_activated_not_charged",
    }
)
OF_A_SUBSCRIPTION: Final = frozenset(
    {"subscription_active", "subscription_not_activated", "subscription_ended"}
)
"""The kind of a message's subject, by template; messages of other templates have no link."""


async def unread(notifications: Notifications, session: Session) -> int:
    """Return the number of a person's unread messages."""
    return await notifications.unread(recipient_of(session), audience=AUDIENCES[session.role])


def recipient_of(session: Session) -> str | UUID:
    """Return the recipient of a session's messages."""
    return session.customer or session.dealership or OPERATIONS


async def messages(console: Console, request: PageRequest) -> Response:
    """List a person's messages, newest first, and mark them as read."""
    messages = await console.platform.notifications.inbox(
        recipient_of(request.by),
        audience=AUDIENCES[request.by.role],
        language=request.language,
        before=request.place("before"),
    )
    links = [_link(request.by.role, one) for one in messages]
    t = console.renderer.translator(request.language)
    titles = [
        t.named("case", one.facts["kind"]) if one.template == ALERT else one.title
        for one in messages
    ]
    reply = console.page(
        request, "messages.html", messages=list(zip(messages, links, titles, strict=True))
    )
    if request.unread:
        await console.platform.notifications.mark_read(
            recipient_of(request.by), audience=AUDIENCES[request.by.role]
        )
    return reply


def _link(role: Role, messages: Message) -> str | None:
    """Return the path of a message's subject if its reader has a page for it."""
    if role is Role.SALES:
        is_of_order = messages.template in OF_AN_ORDER
        return f"/intranet/orders/{messages.subject}" if is_of_order else None
    if role is Role.OPERATIONS:
        return f"/operations/alerts/{messages.id}"
    for templates, path in (
        (OF_AN_ORDER, "/car"), (OF_A_PAYMENT, "/payments"), (OF_A_SUBSCRIPTION, "/subscriptions"),
    ):  # fmt: skip
        if messages.template in templates:
            return f"{path}/{messages.subject}"
    return "/invoices" if messages.template in {"invoice_sent", "credit_note_sent"} else None


INBOX_ROUTES: Final[tuple[PageRoute, ...]] = (get("/messages", messages, SIGNED_IN),)

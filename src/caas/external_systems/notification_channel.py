"""How a message leaves the platform: the port, with two adapters beside it.

Seed: "Send Access Credentials", "Notify Failure", "Service Active Notification", "Invoice Sent",
"Payment Failed Notification", "Alert Operations". `local_outbox` writes files one can read,
`apprise_channel` reaches people.

Rules a change must keep:
- `send` returns when the message is handed over and raises otherwise; it never drops one silently.
- A message that is sent again keeps its id: at least once, and recognisable.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from caas.errors import CaasError


class MessageNotDeliveredError(CaasError):
    """The message is not known to have been handed over; it is sent again later."""

    code = "not_delivered"
    http_status = 503


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that goes with a message, such as an invoice."""

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingMessage:
    """A message to a customer, a dealership or operations; `id` is the same at every attempt."""

    id: str
    recipient: str
    subject: str
    text: str
    written_at: datetime
    attachments: tuple[Attachment, ...] = ()


class NotificationChannel(Protocol):
    """One way to people."""

    async def send(self, message: OutgoingMessage) -> None:
        """Hand a message over.

        Raises:
            MessageNotDeliveredError: it was not handed over; try again later.
        """
        ...

    async def forget(self, message_ids: frozenset[str]) -> None:
        """Remove what this machine still keeps of these messages."""
        ...

    async def close(self) -> None:
        """Let go of what is held open."""
        ...

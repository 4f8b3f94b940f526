"""The port through which messages leave the platform.

It carries "Send Access Credentials", "Notify Failure", "Service Active Notification", "Invoice
Sent", "Payment Failed Notification" and "Alert Operations". Adapters: `local_outbox` writes files,
`apprise_channel` sends mail, chat and SMS.

Rules a change must keep:

- `send` returns when the message was handed over and raises otherwise; it never drops a message
  silently.
- A message that is sent again keeps its id: delivery is at least once, and repetitions are
  recognisable.
"""

from datetime import datetime
from typing import Protocol

import msgspec

from caas.errors import CaasError


class MessageNotDeliveredError(CaasError):
    """The message is not known to have been handed over; it is sent again later."""

    code = "not_delivered"
    http_status = 503


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """A file that goes with a message, such as an invoice."""

    name: str
    media_type: str
    content: bytes


class OutgoingMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message to a customer, a dealership or operations; `id` is the same at every attempt."""

    id: str
    recipient: str
    subject: str
    text: str
    written_at: datetime
    attachments: tuple[Attachment, ...] = ()


class NotificationChannel(Protocol):
    """A channel for messages."""

    async def send(self, message: OutgoingMessage) -> None:
        """Send a message.

        Raises:
            MessageNotDeliveredError: it was not sent; retry later.
        """
        ...

    async def forget(self, message_ids: frozenset[str]) -> None:
        """Delete this machine's copies of these messages."""
        ...

    async def close(self) -> None:
        """Release open resources."""
        ...

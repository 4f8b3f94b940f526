"""Sends messages through any service that apprise supports (mail, chat, SMS).

Rules a change must keep: apprise blocks, so it runs in a small thread pool, and a thread that takes
too long counts as not delivered; the service URL contains credentials and never appears in an
error.
"""

import asyncio
import mimetypes
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from caas.errors import StartupError
from caas.external_systems.http import Secret
from caas.external_systems.notification_channel import (
    Attachment,
    MessageNotDeliveredError,
    OutgoingMessage,
)

if TYPE_CHECKING:
    import apprise

SEND_SECONDS_MAX: Final = 20.0
THREADS_MAX: Final = 4
PLACE_OF_RECIPIENT: Final = "{recipient}"


class AppriseChannel:
    """An apprise URL; `{recipient}` in it is replaced for each message."""

    def __init__(self, address: Secret, *, send_seconds_max: float = SEND_SECONDS_MAX) -> None:
        """Validate the URL.

        Raises:
            StartupError: apprise does not support it.
        """
        self._address = address
        self._send_seconds_max = send_seconds_max
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="apprise")
        if not self._opened("nobody@example.com"):
            raise StartupError(
                "CAAS_NOTIFY_URL is not an address apprise knows, such as "
                "mailtos://user:password@host?to={recipient}; leave it empty for a local outbox."
            )

    async def send(self, message: OutgoingMessage) -> None:
        """Send a message.

        Raises:
            MessageNotDeliveredError: the service refused it or did not respond in time.
        """
        loop = asyncio.get_running_loop()
        fulfilment = loop.run_in_executor(self._threads, self._hand_over, message)
        try:
            delivered = await asyncio.wait_for(fulfilment, self._send_seconds_max)
        except TimeoutError:
            delivered = False
        if not delivered:
            raise MessageNotDeliveredError(message_id=message.id)

    async def forget(self, message_ids: frozenset[str]) -> None:
        """Do nothing: sent messages are not stored here."""

    async def close(self) -> None:
        """Cancel messages that have not started."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _hand_over(self, message: OutgoingMessage) -> bool:
        service = self._opened(message.recipient)
        with tempfile.TemporaryDirectory(prefix="caas-attachments-") as folder:
            files = [
                str(_written(attachment, Path(folder) / str(number)))
                for number, attachment in enumerate(message.attachments)
            ]
            return bool(
                service.notify(
                    title=message.subject, body=self._body_of(message), attach=files or None
                )
            )

    def _body_of(self, message: OutgoingMessage) -> str:
        """Add the recipient to the body if the service's URL cannot address it."""
        if PLACE_OF_RECIPIENT in self._address.reveal():
            return message.text
        return f"{message.recipient}\n\n{message.text}"

    def _opened(self, recipient: str) -> "apprise.Apprise":
        import apprise  # noqa: PLC0415  # most installations and commands send nothing by it

        service = apprise.Apprise(asset=apprise.AppriseAsset(app_id="CaaS", async_mode=False))
        place = quote(recipient, safe="")
        service.add(self._address.reveal().replace(PLACE_OF_RECIPIENT, place))
        return service


def _written(attachment: Attachment, stem: Path) -> Path:
    extension = mimetypes.guess_extension(attachment.media_type) or ".bin"
    stem.mkdir()
    path = stem / (Path(attachment.name).stem[:80] + extension)
    path.write_bytes(attachment.content)
    return path

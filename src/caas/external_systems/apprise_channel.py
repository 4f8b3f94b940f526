"""Messages to people, over any service that apprise knows (mail, chat, telephone).

Seed: the notifications of Diagrams 2, 3, 4 and 6, and "Alert Operations" of Diagram 11.

Rules a change must keep:
- apprise waits for its service in a thread; a thread that takes too long counts as not delivered,
  and there are only a few of them.
- The address of the service holds passwords: it is a secret, and no error repeats it.
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
    NotDeliveredError,
    OutgoingMessage,
)

if TYPE_CHECKING:
    import apprise

SEND_SECONDS_MAX: Final = 20.0
THREADS_MAX: Final = 4
PLACE_OF_RECIPIENT: Final = "{recipient}"


class AppriseChannel:
    """One apprise address; `{recipient}` in it stands for the recipient of each message."""

    def __init__(self, address: Secret, *, send_seconds_max: float = SEND_SECONDS_MAX) -> None:
        """Check the address.

        Raises:
            StartupError: apprise does not know such an address.
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
        """Hand a message to the service.

        Raises:
            NotDeliveredError: the service refused it, or did not answer in time.
        """
        loop = asyncio.get_running_loop()
        fulfilment = loop.run_in_executor(self._threads, self._hand_over, message)
        try:
            delivered = await asyncio.wait_for(fulfilment, self._send_seconds_max)
        except TimeoutError:
            delivered = False
        if not delivered:
            raise NotDeliveredError(message_id=message.id)

    async def forget(self, message_ids: frozenset[str]) -> None:
        """Keep nothing: what was handed over is the service's and its reader's."""

    async def close(self) -> None:
        """Drop what no thread has begun."""
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
        """Name the recipient where the service's address cannot."""
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

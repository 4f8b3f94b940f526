"""The mail that people got: the messages of the platform's local outbox, each a file.

Seed: the arrows that end at Customer and at Dealership.

Rule a change must keep: a message is read as its reader gets it, whole, after it was sent.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path
from typing import Final

MOMENT: Final = "%Y%m%dT%H%M%S.%f"


@dataclass(frozen=True, slots=True)
class Mail:
    """A message: when it was written, to whom, what it says."""

    at: datetime
    recipient: str
    title: str
    text: str


class Mailbox:
    """Reads a folder of messages, each once."""

    def __init__(self, folder: Path) -> None:
        """Read this outbox."""
        self._folder = folder
        self._read: dict[str, Mail] = {}

    def to(self, recipient: str) -> list[Mail]:
        """Return everything that was sent to this address, oldest first."""
        for path in self._folder.glob("*.eml"):
            if path.name not in self._read:
                self._read[path.name] = _mail(path)
        mails = [mail for mail in self._read.values() if mail.recipient == recipient]
        return sorted(mails, key=lambda mail: mail.at)


def _mail(path: Path) -> Mail:
    message = message_from_bytes(path.read_bytes(), policy=policy.default)
    body = message.get_body(preferencelist=("plain",))
    return Mail(
        at=datetime.strptime(path.name.partition("-")[0], MOMENT).replace(tzinfo=UTC),
        recipient=str(message["X-Recipient"]),
        title=str(message["Subject"]),
        text=body.get_content() if body is not None else "",
    )

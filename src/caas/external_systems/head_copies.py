"""Stores copies of signed heads outside the database: in a folder, at a URL, or by mail.

Rule a change must keep: an existing head is never overwritten; a different one with the same number
is reported as tampering.
"""

import asyncio
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from caas.errors import CaasError, UnavailableError
from caas.external_systems.apprise_channel import AppriseChannel
from caas.external_systems.http import HttpClient, Secret
from caas.external_systems.notification_channel import Attachment, OutgoingMessage
from caas.rules.signed_heads import SignedHead

KEEPER: Final = "The keeper of the heads"
OK_STATUSES: Final = range(200, 300)
HTTP_SCHEMES: Final = ("http://", "https://")


class CopyNotKeptError(UnavailableError):
    """The copy of the head was not confirmed. It will be sent again."""

    code = "copy_not_kept"


class OtherHeadError(CaasError):
    """A different head with this number is already stored there."""

    code = "other_head"


class HeadCopies(Protocol):
    """A place for copies of heads."""

    async def keep(self, head: SignedHead) -> None:
        """Store a copy; repeating it changes nothing.

        Raises:
            CopyNotKeptError: storage is not confirmed; send it again.
            OtherHeadError: a different head with this number exists.
        """
        ...


def file_name(head: SignedHead) -> str:
    """Return the file name of a head."""
    return f"head-{head.number:08}.json"


class HeadFolder:
    """A folder with one file per head."""

    def __init__(self, folder: Path) -> None:
        """Use this folder; it is created with the first head."""
        self._folder = folder

    async def keep(self, head: SignedHead) -> None:
        """Write the head's file atomically."""
        try:
            await asyncio.to_thread(self._write, head)
        except OSError as error:
            raise CopyNotKeptError(
                f"Head {head.number} cannot be written to {self._folder}: {error.strerror}. Check "
                "the disk and the rights of the folder."
            ) from error

    def _write(self, head: SignedHead) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / file_name(head)
        if path.exists():
            if path.read_text("utf-8") != head.text:
                raise OtherHeadError(f"{path} is not the head {head.number} of the database.")
            return
        fresh = path.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as file:
            file.write(head.text)
            file.flush()
            os.fsync(file.fileno())
        fresh.chmod(0o444)
        fresh.replace(path)


class HeadAddress:
    """A URL that receives each head by POST with a stable idempotency key."""

    def __init__(self, url: str) -> None:
        """Post to this address."""
        parts = urlsplit(url)
        self._client = HttpClient(f"{parts.scheme}://{parts.netloc}", partner=KEEPER)
        self._target = parts.path or "/"

    async def keep(self, head: SignedHead) -> None:
        """Post the head."""
        name = file_name(head)
        answer = await self._client.send("POST", self._target, body=head.text.encode(), key=name)
        if answer.status not in OK_STATUSES:
            raise CopyNotKeptError(f"{KEEPER} answered {answer.status} to {name}.")


class HeadMail:
    """Recipients at an apprise URL; the head is attached."""

    def __init__(self, address: Secret) -> None:
        """Write to this address."""
        self._channel = AppriseChannel(address)

    async def keep(self, head: SignedHead) -> None:
        """Send the head."""
        await self._channel.send(
            OutgoingMessage(
                id=file_name(head),
                recipient="auditor",
                subject=f"Head {head.number} of the history",
                text=f"Made at {head.made_at}. Digest: {head.digest}. Keep the attached file.",
                written_at=datetime.fromisoformat(head.made_at),
                attachments=(
                    Attachment(
                        name=file_name(head),
                        media_type="application/json",
                        content=head.text.encode(),
                    ),
                ),
            )
        )


def copies_at(places: Sequence[str]) -> tuple[HeadCopies, ...]:
    """Return the configured places: folders, HTTP URLs and apprise URLs.

    Raises:
        StartupError: a place is invalid.
    """
    return tuple(_copies_at(place) for place in places)


def _copies_at(place: str) -> HeadCopies:
    if place.startswith(HTTP_SCHEMES):
        return HeadAddress(place)
    return HeadMail(Secret(place)) if "://" in place else HeadFolder(Path(place))

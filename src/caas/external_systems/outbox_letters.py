"""The letters of a local outbox, read again: what people would have got, where nobody sends mail.

Rules a change must keep: a letter is read as its reader would get it, whole; only files that the
outbox named are opened.
"""

import asyncio
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path
from typing import Final

MOMENT: Final = "%Y%m%dT%H%M%S.%f"
NAME: Final = re.compile(r"\d{8}T\d{6}\.\d{6}-[A-Za-z0-9_-]{1,100}")


@dataclass(frozen=True, slots=True)
class Letter:
    """A message: when it was written, to whom, what it says, and which files came with it."""

    name: str
    at: datetime
    recipient: str
    title: str
    text: str
    attachments: tuple[str, ...] = ()


class OutboxLetters:
    """Reads the folder of an outbox."""

    def __init__(self, folder: Path) -> None:
        """Read this folder; it need not be there yet."""
        self._folder = folder

    async def newest(self, rows_max: int, *, before: str | None = None) -> list[Letter]:
        """Return the newest letters, or those before the one of this name, newest first."""
        return await asyncio.to_thread(self._newest, rows_max, before)

    def _newest(self, rows_max: int, before: str | None) -> list[Letter]:
        if not self._folder.is_dir():
            return []
        names = [it.name.removesuffix(".eml") for it in os.scandir(self._folder)
                 if it.name.endswith(".eml")]  # fmt: skip
        wanted = sorted(
            (it for it in names if NAME.fullmatch(it) and (before is None or it < before)),
            reverse=True,
        )
        return [read_letter(self._folder / f"{name}.eml") for name in wanted[:rows_max]]


def read_letter(path: Path) -> Letter:
    """Return the letter in a file of an outbox."""
    message = message_from_bytes(path.read_bytes(), policy=policy.default)
    body = message.get_body(preferencelist=("plain",))
    return Letter(
        name=path.name.removesuffix(".eml"),
        at=datetime.strptime(path.name.partition("-")[0], MOMENT).replace(tzinfo=UTC),
        recipient=str(message["X-Recipient"]),
        title=str(message["Subject"]),
        text=body.get_content() if body is not None else "",
        attachments=tuple(it.get_filename() or "" for it in message.iter_attachments()),
    )

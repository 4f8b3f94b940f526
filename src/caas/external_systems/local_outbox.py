"""The local outbox: writes each message as one .eml file, and reads the files again.

The notifications of Diagrams 2, 3, 4 and 6 on a machine without a mail account.

Rules a change must keep:

- A file appears complete or not at all; the same message is always one file.
- The outbox is bounded: the oldest messages are deleted.
- Message content is sanitised before it becomes part of a path or a header.
- A message is read in full, as its recipient would see it; only files that the outbox named are
  opened.
"""

import asyncio
import os
import re
import threading
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Final

import msgspec

from caas.external_systems.notification_channel import MessageNotDeliveredError, OutgoingMessage

MESSAGES_MAX: Final = 10_000
MADE_AT_ONCE: Final = 10
FILE_NAME_CHARS_MAX: Final = 100
HEADER_CHARS_MAX: Final = 200
OUTBOX: Final = "outbox"
"""The folder's name in the data folder."""
SENDER: Final = "caas@localhost"
_NOT_IN_FILE_NAMES: Final = re.compile(r"[^A-Za-z0-9_-]+")
_NOT_IN_HEADERS: Final = re.compile(r"[\x00-\x1f\x7f\s]+")
_MEDIA_TYPE: Final = re.compile(r"([a-z]+)/([a-z0-9.+-]+)")


class LocalOutbox:
    """A folder with one .eml file per message; names sort by time."""

    def __init__(self, folder: Path, *, messages_max: int = MESSAGES_MAX) -> None:
        """Write into this folder; it is created with the first message."""
        assert messages_max > 0
        self._folder = folder
        self._messages_max = messages_max
        self._free_slots = 0
        self._one_at_a_time = threading.Lock()

    async def send(self, message: OutgoingMessage) -> None:
        """Write the message's file.

        Raises:
            MessageNotDeliveredError: the folder cannot be written to.
        """
        try:
            await asyncio.to_thread(self._write, message)
        except OSError as error:
            raise MessageNotDeliveredError(
                f"The outbox {self._folder} cannot be written to: {error.strerror}. "
                "Check the disk and the rights of the folder.",
                message_id=message.id,
            ) from error

    async def forget(self, message_ids: frozenset[str]) -> None:
        """Remove the files of these messages."""
        await asyncio.to_thread(self._remove, message_ids)

    async def close(self) -> None:
        """Do nothing: no file stays open."""

    def _write(self, message: OutgoingMessage) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        written = _as_email(message).as_bytes()
        name = _file_name(message)
        unfinished = self._folder / f".{name}.{threading.get_native_id()}.part"
        try:
            handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode=0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(written)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self._folder / name)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        self._make_space()

    def _remove(self, message_ids: frozenset[str]) -> None:
        endings = tuple(f"-{_id_in_file_name(one)}.eml" for one in message_ids)
        if endings and self._folder.is_dir():
            for file in os.scandir(self._folder):
                if file.name.endswith(endings):
                    (self._folder / file.name).unlink(missing_ok=True)

    def _make_space(self) -> None:
        """Delete the oldest messages; list the (possibly long) folder only when it may be full."""
        with self._one_at_a_time:
            if self._free_slots > 0:
                self._free_slots -= 1
                return
            names = sorted(it.name for it in os.scandir(self._folder) if it.name.endswith(".eml"))
            surplus = len(names) - self._messages_max
            if surplus > 0:
                surplus += self._messages_max // MADE_AT_ONCE
            for oldest in names[: max(surplus, 0)]:
                (self._folder / oldest).unlink(missing_ok=True)
            self._free_slots = self._messages_max - len(names) + max(surplus, 0)


def _file_name(message: OutgoingMessage) -> str:
    moment = message.written_at.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%f")
    return f"{moment}-{_id_in_file_name(message.id)}.eml"


def _id_in_file_name(message_id: str) -> str:
    return _NOT_IN_FILE_NAMES.sub("-", message_id)[:FILE_NAME_CHARS_MAX]


def _as_email(message: OutgoingMessage) -> EmailMessage:
    email = EmailMessage()
    email["From"] = SENDER
    email["X-Recipient"] = _in_one_line(message.recipient)
    email["Subject"] = _in_one_line(message.subject)
    email["Date"] = message.written_at.astimezone(UTC)
    email["X-Message-Id"] = _in_one_line(message.id)
    email.set_content(message.text, cte="8bit")  # keeps links on one line of the file
    for attachment in message.attachments:
        kind = _MEDIA_TYPE.fullmatch(attachment.media_type)
        maintype, subtype = kind.groups() if kind else ("application", "octet-stream")
        name = _in_one_line(attachment.name)
        email.add_attachment(attachment.content, maintype, subtype, filename=name)
    return email


def _in_one_line(text: str) -> str:
    return _NOT_IN_HEADERS.sub(" ", text).strip()[:HEADER_CHARS_MAX]


MOMENT: Final = "%Y%m%dT%H%M%S.%f"
NAME: Final = re.compile(r"\d{8}T\d{6}\.\d{6}-[A-Za-z0-9_-]{1,100}")


class Letter(msgspec.Struct, frozen=True):
    """A message of the outbox: time, recipient, text and attachments."""

    name: str
    at: datetime
    recipient: str
    title: str
    text: str
    attachments: tuple[str, ...] = ()


class OutboxLetters:
    """Reads the folder of an outbox."""

    def __init__(self, folder: Path) -> None:
        """Read this folder, which may not exist yet."""
        self._folder = folder

    async def newest(self, rows_max: int, *, before: str | None = None) -> list[Letter]:
        """Return the newest messages, or those before the one of this name, newest first."""
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
    """Read the message in a file of an outbox."""
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

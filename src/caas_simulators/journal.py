"""An append-only file of JSON lines, so that a restarted simulator remembers what it did.

Rules: a record is written before the answer that tells of it; a last line cut short by a crash is
dropped, anything else that cannot be read is an error; one process at a time writes a file.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

_Record = TypeVar("_Record")
IN_USE_ATTEMPTS_MAX = 100
IN_USE_PAUSE_SECONDS = 0.05

_ENCODER = msgspec.json.Encoder()


class StoredAnswer(msgspec.Struct, kw_only=True, tag_field="record", tag="answer"):
    """The answer that a key stands for until it is forgotten."""

    key: str
    fingerprint: str
    status: int
    body: str
    forgotten_at: float


class Event(msgspec.Struct, kw_only=True, tag_field="record", tag="event"):
    """A webhook to be delivered at least once."""

    id: str
    type: str
    subject_id: str
    reference: str
    body: str


class Delivered(msgspec.Struct, kw_only=True, tag_field="record", tag="delivered"):
    """An event that needs no further delivery."""

    event_id: str


class ClockMoved(msgspec.Struct, kw_only=True, tag_field="record", tag="clock_moved"):
    """The world's clock was moved forward by this much in all."""

    seconds: float


class JournalInUseError(Exception):
    """Another simulator writes this journal."""


class Journal(Generic[_Record]):
    """The records of one simulator; without a path nothing is kept."""

    def __init__(self, path: Path | None, decoder: msgspec.json.Decoder[_Record]) -> None:
        """Open the file for appending, unless there is none."""
        self._decoder = decoder
        self.records_read = 0
        self._file = None if path is None else _opened(path)

    def replay(self) -> Iterator[_Record]:
        """Yield what was written before, and be ready to go on behind it."""
        if self._file is None:
            return
        whole_bytes = 0
        for line in self._file.readall().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            whole_bytes += len(line)
            self.records_read += 1
            yield self._decoder.decode(line)
        self._file.truncate(whole_bytes)
        self._file.seek(whole_bytes)

    def write(self, *records: _Record) -> None:
        """Append records; they survive the end of this process from here on."""
        if self._file is not None:
            self._file.write(b"".join(_ENCODER.encode(record) + b"\n" for record in records))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _opened(path: Path) -> FileIO:
    """Open the file for us alone; a simulator that is just ending lets go of it in a moment.

    Raises:
        JournalInUseError: another one has it, perhaps a stopped one, and two would ruin it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")
    for _ in range(IN_USE_ATTEMPTS_MAX):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(IN_USE_PAUSE_SECONDS)
        else:
            return file
    file.close()
    raise JournalInUseError(
        f"{path} is in use by another simulator, which may be stopped: end that one, start again."
    )

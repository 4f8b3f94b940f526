"""A journal of JSON lines from which a restarted simulator restores its state.

Records are appended. When the file is several times the size of its last snapshot, it is replaced
by a snapshot of the state.

Rules a change must keep: a record is written before the response that depends on it; a last line
cut short by a crash is dropped, any other unreadable line is an error; one process at a time writes
a file; a snapshot is taken between two events of the loop, when memory and file agree.
"""

import asyncio
import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator
from io import FileIO
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

_Record = TypeVar("_Record")
IN_USE_ATTEMPTS_MAX = 100
IN_USE_PAUSE_SECONDS = 0.05
COMPACT_BYTES_MIN = 1 << 20
COMPACT_GROWTH = 4
_COMPACTED = b'{"record":"compacted"'

_ENCODER = msgspec.json.Encoder()


class StoredAnswer(msgspec.Struct, kw_only=True, tag_field="record", tag="answer"):
    """The stored response of a key until it expires."""

    key: str
    fingerprint: str
    status: int
    body: str
    forgotten_at: float


class Event(msgspec.Struct, kw_only=True, tag_field="record", tag="event"):
    """A webhook to deliver at least once."""

    id: str
    type: str
    subject_id: str
    reference: str
    body: str


class Delivered(msgspec.Struct, kw_only=True, tag_field="record", tag="delivered"):
    """An event that needs no further delivery."""

    event_id: str


class ClockMoved(msgspec.Struct, kw_only=True, tag_field="record", tag="clock_moved"):
    """The total time by which the clock was moved forward."""

    seconds: float


class Compacted(msgspec.Struct, kw_only=True, tag_field="record", tag="compacted"):
    """The first line of a snapshot: how many records were written before it."""

    records: int


class JournalInUseError(Exception):
    """Another simulator writes this journal."""


class Journal(Generic[_Record]):
    """The records of one simulator; without a path nothing is kept."""

    def __init__(self, path: Path | None, decoder: msgspec.json.Decoder[_Record]) -> None:
        """Open the file for appending, if a path is given."""
        self._decoder = decoder
        self._path = path
        self.records_read = 0
        self._records = 0
        self._bytes = 0
        self._compact_at = COMPACT_BYTES_MIN
        self._snapshot: Callable[[], Iterable[_Record]] | None = None
        self._file = None if path is None else _opened(path)

    def replay(self) -> Iterator[_Record]:
        """Yield the stored records, and prepare to append."""
        if self._file is None:
            return
        whole_bytes = 0
        for line in self._file.readall().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            whole_bytes += len(line)
            if line.startswith(_COMPACTED):
                self.records_read = msgspec.json.decode(line, type=Compacted).records
                continue
            self.records_read += 1
            yield self._decoder.decode(line)
        self._file.truncate(whole_bytes)
        self._file.seek(whole_bytes)
        self._records, self._bytes = self.records_read, whole_bytes

    def compact_with(self, snapshot: Callable[[], Iterable[_Record]]) -> None:
        """Set the source of snapshots, after replay; compact if worthwhile."""
        self._snapshot = snapshot
        if self._bytes > COMPACT_BYTES_MIN:
            self.compact()

    def write(self, *records: _Record) -> None:
        """Append records; they then survive the end of this process."""
        if self._file is None:
            return
        written = b"".join(_ENCODER.encode(record) + b"\n" for record in records)
        self._file.write(written)
        self._records += len(records)
        self._bytes += len(written)
        if self._bytes > self._compact_at and self._snapshot is not None:
            self._compact_at *= 2  # Scheduled only once until it has run.
            asyncio.get_running_loop().call_soon(self.compact)

    def compact(self) -> None:
        """Replace the file by a snapshot; a crash meanwhile leaves the file unchanged."""
        if self._file is None or self._file.closed or self._snapshot is None:
            return
        assert self._path is not None
        lines = [_ENCODER.encode(Compacted(records=self._records))]
        lines += [_ENCODER.encode(record) for record in self._snapshot()]
        fresh = self._path.with_name(f"{self._path.name}.new")
        fresh.unlink(missing_ok=True)
        file = _opened(fresh)
        file.write(b"".join(line + b"\n" for line in lines))
        os.fsync(file.fileno())
        fresh.replace(self._path)
        self._file.close()
        self._file, self._bytes = file, file.tell()
        self._compact_at = max(COMPACT_BYTES_MIN, COMPACT_GROWTH * self._bytes)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _opened(path: Path) -> FileIO:
    """Open the file exclusively; wait a moment for a simulator that is just ending.

    Raises:
        JournalInUseError: another simulator (perhaps a suspended one) has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(IN_USE_ATTEMPTS_MAX):
        file = FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")
        if _is_ours(file, path):
            return file
        file.close()
        time.sleep(IN_USE_PAUSE_SECONDS)
    holder = _holder(path)
    end = (
        f"(process {holder}), which may be stopped: kill -9 {holder}"
        if holder
        else "that still runs: end it"
    )
    raise JournalInUseError(f"{path} is in use by another simulator {end}, and start again.")


def _holder(path: Path) -> int | None:
    """Return the id of the process that has locked the file, if the system reports it."""
    try:
        inode = path.stat().st_ino
        for line in Path("/proc/locks").read_text().splitlines():
            # as in `1: FLOCK  ADVISORY  WRITE 3519 fe:00:1835048 0 EOF`
            words = line.split()
            if words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(inode):
                return int(words[4])
    except (OSError, ValueError, IndexError):
        return None
    return None


def _is_ours(file: FileIO, path: Path) -> bool:
    """Lock the file; return False if a snapshot replaced it meanwhile."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(file.fileno()).st_ino == path.stat().st_ino
    except (BlockingIOError, FileNotFoundError):
        return False

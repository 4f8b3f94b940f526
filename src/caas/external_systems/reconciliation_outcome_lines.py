"""The reconciliation outcome on its way from the workbench to the Billing Database, in chunks.

DuckDB writes the new lines as CSV, ordered by line number, and everything else after them, into a
pipe that a second thread empties into a file. DuckDB busy-waits on a full pipe, which would occupy
a core while a run rests, and `copy` into a regular file can hang in DuckDB 2.0 if its query fails.

Rules a change must keep: the code that opens the stream closes it; a chunk is complete or an error;
the digest covers every byte, so that equal outcomes have equal digests.
"""

import contextlib
import fcntl
import hashlib
import io
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import duckdb


READ_BYTES: Final = 1 << 20
"""Bytes moved at once; the pipe holds as many if the system allows it, to save process switches."""
POLL_SECONDS: Final = 0.01
"""Interval at which a reader that is ahead of the writer looks for more data."""


class OutcomeLines:
    """The outcome as CSV; its methods block until the workbench has written the data."""

    def __init__(
        self, connection: "duckdb.DuckDBPyConnection", queries: Sequence[str], path: Path
    ) -> None:
        """Start writing the results of these queries to a new file, one after the other."""
        reading, writing = os.pipe()
        with contextlib.suppress(AttributeError, OSError):  # a smaller pipe works too
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, READ_BYTES)
        path.touch()
        self._source = path.open("rb", buffering=0)
        self._read = b""
        self._digest = hashlib.sha256()
        self._cursor = connection.cursor()
        self._threads = ThreadPoolExecutor(2, "outcome")
        self._written = self._threads.submit(_write, self._cursor, queries, writing)
        self._kept = self._threads.submit(_keep, reading, path)

    def take(self, lines: int) -> bytes:
        """Return the next lines."""
        while (found := self._read.count(b"\n")) < lines:
            is_complete = self._kept.done()
            if more := self._source.read(READ_BYTES):
                self._read += more
            elif is_complete:
                self._raise_errors()
                raise AssertionError(f"the outcome ended {lines - found} lines too early")
            else:
                wait([self._kept], POLL_SECONDS)
        text = b"".join(islice(io.BytesIO(self._read), lines))
        self._read = self._read[len(text) :]
        self._digest.update(text)
        return text

    def end(self) -> str:
        """Read the remainder; return the digest of all bytes."""
        self._raise_errors()
        self._digest.update(self._read)
        while more := self._source.read(READ_BYTES):
            self._digest.update(more)
        return self._digest.hexdigest()

    def close(self) -> None:
        """Stop writing and close the file; the owner of the folder removes it."""
        self._cursor.interrupt()
        self._threads.shutdown()
        self._cursor.close()
        self._source.close()

    def _raise_errors(self) -> None:
        """Raise a writer's error; a full disk takes precedence over the broken pipe it causes."""
        self._kept.result()
        self._written.result()


def _write(cursor: "duckdb.DuckDBPyConnection", queries: Sequence[str], pipe: int) -> None:
    try:
        for query in queries:
            cursor.execute(f"copy ({query}) to '/dev/fd/{pipe}' (format csv, header false)")
    finally:
        os.close(pipe)


def _keep(pipe: int, path: Path) -> None:
    with os.fdopen(pipe, "rb", buffering=0) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target, READ_BYTES)

"""The reconciliation outcome, streamed in chunks from the workbench to the Billing Database.

DuckDB writes the new lines as CSV into a pipe in a thread of its own, ordered by line number, and
everything else after them. No data waits on a disk, and a chunk is written while the previous one
is stored.

Rules a change must keep: the code that opens the stream closes it; a chunk is complete or an error;
the digest covers every byte, so that equal outcomes have equal digests.
"""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import duckdb


AHEAD_BYTES: Final = 1 << 20
"""Bytes that may be written ahead of the reader, if the system allows so large a pipe."""


class OutcomeLines:
    """The outcome as CSV; its methods block until the workbench has written the data."""

    def __init__(self, connection: "duckdb.DuckDBPyConnection", queries: Sequence[str]) -> None:
        """Start writing the results of these queries, one after the other."""
        reading, writing = os.pipe()
        with contextlib.suppress(AttributeError, OSError):  # a smaller pipe will do
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, AHEAD_BYTES)
        self._source = os.fdopen(reading, "rb", AHEAD_BYTES)
        self._digest = hashlib.sha256()
        self._thread = ThreadPoolExecutor(1, "outcome")
        self._written = self._thread.submit(_write, connection.cursor(), queries, writing)

    def take(self, lines: int) -> bytes:
        """Return the next lines."""
        piece = list(islice(self._source, lines))
        if len(piece) < lines:
            self._written.result()
            raise AssertionError(f"the outcome ended {lines - len(piece)} lines too early")
        text = b"".join(piece)
        self._digest.update(text)
        return text

    def end(self) -> str:
        """Read the remainder; return the digest of all bytes."""
        while piece := self._source.read(AHEAD_BYTES):
            self._digest.update(piece)
        self._written.result()
        return self._digest.hexdigest()

    def close(self) -> None:
        """Close the pipe; an unfinished writer loses its reader and ends."""
        self._source.close()
        self._thread.shutdown()


def _write(cursor: "duckdb.DuckDBPyConnection", queries: Sequence[str], pipe: int) -> None:
    try:
        for query in queries:
            cursor.execute(f"copy ({query}) to '/dev/fd/{pipe}' (format csv, header false)")
    finally:
        os.close(pipe)
        cursor.close()

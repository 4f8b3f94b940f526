"""The outcome on its way from the workbench to the Billing Database: a pipe, taken piece by piece.

DuckDB writes the new lines in a thread of its own, as CSV in the order of their numbers, and all
else behind them; so nothing of it waits on a disk, and a piece is written while the one before it
is stored.

Rules a change must keep: whoever opened it closes it; a piece is whole, or it is an error; the
digest is of every byte, so that the same outcome has the same.
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
"""As much is written ahead of who takes it, where the system lets a pipe hold so much."""


class OutcomeLines:
    """The outcome as CSV; its methods block until the workbench has written so far."""

    def __init__(self, connection: "duckdb.DuckDBPyConnection", queries: Sequence[str]) -> None:
        """Begin to write what these queries give, one after the other."""
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
        """Read what was not taken; return the digest of the whole."""
        while piece := self._source.read(AHEAD_BYTES):
            self._digest.update(piece)
        self._written.result()
        return self._digest.hexdigest()

    def close(self) -> None:
        """Let go of it; a writer that is not done finds nobody who reads, and ends."""
        self._source.close()
        self._thread.shutdown()


def _write(cursor: "duckdb.DuckDBPyConnection", queries: Sequence[str], pipe: int) -> None:
    try:
        for query in queries:
            cursor.execute(f"copy ({query}) to '/dev/fd/{pipe}' (format csv, header false)")
    finally:
        os.close(pipe)
        cursor.close()

"""How a workbench is closed while a computation whose caller was stopped still runs in its thread.

Rules a change must keep: DuckDB refuses to close beside a call, or waits for it; the computation is
interrupted until the database is closed, since one that begins late forgets an earlier interrupt.
"""

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import duckdb

INTERRUPTED_EVERY_SECONDS: Final = 0.01


def close(connection: "duckdb.DuckDBPyConnection") -> None:
    """Interrupt what a database computes, and close it."""
    import duckdb  # noqa: PLC0415  # slow to import, and only a comparison needs it

    with ThreadPoolExecutor(1, "closing") as beside:
        closing = beside.submit(_close_in_turn, connection)
        while wait([closing], INTERRUPTED_EVERY_SECONDS).not_done:
            with contextlib.suppress(duckdb.ConnectionException):  # it is closed by now
                connection.interrupt()
        closing.result()


def _close_in_turn(connection: "duckdb.DuckDBPyConnection") -> None:
    import duckdb  # noqa: PLC0415  # slow to import, and only a comparison needs it

    while True:
        try:
            connection.close()
        except duckdb.ResourceInUseException:
            time.sleep(INTERRUPTED_EVERY_SECONDS)
        else:
            return

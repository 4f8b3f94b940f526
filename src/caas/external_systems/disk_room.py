"""A full disk, told as a sentence, whoever noticed it first: the workbench or the system.

Rule a change must keep: whatever else goes wrong passes as it is.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from caas.errors import UnavailableError

NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
SIGNS_OF_NO_ROOM: Final = (
    "No space left", "Disk quota exceeded", "File too large", "max_temp_directory_size",
    "failed to offload data block",
)  # fmt: skip


class NoRoomError(UnavailableError):
    """There is no room left on the disk for the workbench."""

    code = "no_room"


@contextmanager
def no_room_told(folder: Path) -> Iterator[None]:
    """Say plainly that the disk is full, whoever noticed it.

    Raises:
        NoRoomError: it is.
    """
    import duckdb  # noqa: PLC0415  # slow to import, and only a comparison needs it

    try:
        yield
    except (duckdb.Error, OSError) as error:
        if not tells_no_room(error):
            raise
        raise NoRoomError(
            f"There is no room left for the workbench in {folder}. Free some, or name another "
            "folder with CAAS_DATA_DIR, and run it again; it goes on where it stopped."
        ) from error


def tells_no_room(error: Exception) -> bool:
    """Say whether this is what is told when the disk is full."""
    return getattr(error, "errno", None) in NO_ROOM or any(
        sign in str(error) for sign in SIGNS_OF_NO_ROOM
    )

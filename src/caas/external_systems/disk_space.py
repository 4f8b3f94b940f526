"""Reports a full disk as one error, whether DuckDB or the operating system detects it."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from caas.errors import UnavailableError

DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
SIGNS_OF_FULL_DISK: Final = (
    "No space left", "Disk quota exceeded", "File too large", "max_temp_directory_size",
    "failed to offload data block",
)  # fmt: skip


class DiskFullError(UnavailableError):
    """The disk is full, so the reconciliation workbench cannot continue. Free some space."""

    code = "disk_full"


@contextmanager
def reporting_full_disk(folder: Path) -> Iterator[None]:
    """Convert errors that mean a full disk.

    Raises:
        DiskFullError: the disk is full.
    """
    import duckdb  # noqa: PLC0415  # slow to import, and only a comparison needs it

    try:
        yield
    except (duckdb.Error, OSError) as error:
        if not is_out_of_space(error):
            raise
        raise DiskFullError(
            f"There is no room left for the workbench in {folder}. Free some, or name another "
            "folder with CAAS_DATA_DIR, and run it again; it goes on where it stopped."
        ) from error


def is_out_of_space(error: Exception) -> bool:
    """Return whether the error means that the disk is full."""
    return getattr(error, "errno", None) in DISK_FULL or any(
        sign in str(error) for sign in SIGNS_OF_FULL_DISK
    )

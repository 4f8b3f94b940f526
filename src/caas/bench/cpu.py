"""CPU seconds of a PostgreSQL server, its backends included, from /proc.

Rule a change must keep: only the server that is measured is counted.
"""

import os
import time
from pathlib import Path
from typing import Final

TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
_PARENT, _UTIME, _STIME, _CUTIME, _CSTIME = 1, 11, 12, 13, 14


def of_server(postmaster: int) -> float:
    """Return the CPU seconds so far of a server, the backends that ended counted with it."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, _, rest = stat.read_text().partition(" ")
        except OSError:
            continue
        fields = rest.rpartition(")")[2].split()
        if int(number) == postmaster:
            total += sum(int(fields[n]) for n in (_UTIME, _STIME, _CUTIME, _CSTIME))
        elif int(fields[_PARENT]) == postmaster:
            total += int(fields[_UTIME]) + int(fields[_STIME])
    return total / TICKS_PER_SECOND


def postmaster_of(data_dir: Path) -> int:
    """Return the process id of the server of a data folder."""
    return int((data_dir / "postgresql" / "postmaster.pid").read_text().split()[0])


def of_ourselves() -> float:
    """Return the CPU seconds so far of this process."""
    return time.process_time()


def cores() -> int:
    """Return how many cores we may use."""
    return len(os.sched_getaffinity(0))

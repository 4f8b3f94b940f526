"""CPU seconds of a PostgreSQL server, its backends included, and of ourselves.

Rule a change must keep: only the server that is measured is counted.
"""

import os
import time
from pathlib import Path
from typing import Final

TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
MICROSECONDS: Final = 1_000_000
_PARENT, _UTIME, _STIME, _CUTIME, _CSTIME = 1, 11, 12, 13, 14


class Spending:
    """What the server, this process and its other children spend from now on."""

    def __init__(self, postmaster: int, **others: int) -> None:
        """Begin to count; `others` are processes by name, each with its children."""
        self._postmaster = postmaster
        self._others = others
        self._before = self._now()

    def each(self, pieces: float) -> dict[str, float]:
        """Return the CPU microseconds so far, divided by the pieces of work done."""
        return {
            name: (after - self._before[name]) / pieces * MICROSECONDS
            for name, after in self._now().items()
        }

    def _now(self) -> dict[str, float]:
        return {
            "PostgreSQL": of_family(self._postmaster),
            "our": time.process_time(),
            **{name: of_family(process) for name, process in self._others.items()},
        }


def of_family(parent: int) -> float:
    """Return the CPU seconds so far of a process and its children, the ended ones with it."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, _, rest = stat.read_text().partition(" ")
        except OSError:
            continue
        fields = rest.rpartition(")")[2].split()
        if int(number) == parent:
            total += sum(int(fields[n]) for n in (_UTIME, _STIME, _CUTIME, _CSTIME))
        elif int(fields[_PARENT]) == parent:
            total += int(fields[_UTIME]) + int(fields[_STIME])
    return total / TICKS_PER_SECOND


def postmaster_of(data_dir: Path) -> int:
    """Return the process id of the server of a data folder."""
    return int((data_dir / "postgresql" / "postmaster.pid").read_text().split()[0])


def cores() -> int:
    """Return how many cores we may use."""
    return len(os.sched_getaffinity(0))

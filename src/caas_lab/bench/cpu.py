"""CPU seconds of a PostgreSQL server with its backends, and of this process.

Rule a change must keep: only the server that is measured is counted.
"""

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
MICROSECONDS: Final = 1_000_000
_PARENT, _UTIME, _STIME, _CUTIME, _CSTIME = 1, 11, 12, 13, 14


class CpuUsage:
    """The CPU used from now on by the server, this process and other named processes."""

    def __init__(self, postmaster: int, **others: Callable[[], float]) -> None:
        """Start counting; `others` return the CPU seconds of more processes, by name."""
        self._spenders: dict[str, Callable[[], float]] = {
            "PostgreSQL": partial(of_family, postmaster),
            "our": time.process_time,
            **others,
        }
        self._before = self._now()

    def each(self, pieces: float) -> dict[str, float]:
        """Return the CPU microseconds so far for each job."""
        return {
            name: (after - self._before[name]) / pieces * MICROSECONDS
            for name, after in self._now().items()
        }

    def _now(self) -> dict[str, float]:
        return {name: cpu() for name, cpu in self._spenders.items()}


def of_process(process: int) -> float:
    """Return the CPU seconds so far of one process."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[_UTIME]) + int(fields[_STIME])) / TICKS_PER_SECOND


def of_children(parent: int) -> float:
    """Return the CPU seconds so far of the processes that a process started."""
    return of_family(parent) - of_process(parent)


def of_family(parent: int) -> float:
    """Return the CPU seconds so far of a process and its children, including the ended ones."""
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

"""Counts and durations of this process, kept in plain numbers until somebody asks for metrics.

Rule a change must keep: counting costs next to nothing and never waits; labels are few and known.
"""

from bisect import bisect_left
from collections.abc import Sequence


class Durations:
    """How often something took how long, by labels: the numbers of a histogram."""

    def __init__(self, bounds_seconds: Sequence[float]) -> None:
        """Count into buckets with these upper bounds, and one above them."""
        self.bounds = tuple(bounds_seconds)
        self.counts: dict[tuple[str, ...], list[int]] = {}
        self.seconds: dict[tuple[str, ...], float] = {}

    def add(self, seconds: float, *labels: str) -> None:
        """Count one."""
        counts = self.counts.setdefault(labels, [0] * (len(self.bounds) + 1))
        counts[bisect_left(self.bounds, seconds)] += 1
        self.seconds[labels] = self.seconds.get(labels, 0.0) + seconds

    def buckets(self, labels: tuple[str, ...]) -> list[tuple[str, float]]:
        """Return the cumulative buckets as Prometheus has them."""
        total, reported = 0, []
        for bound, count in zip((*self.bounds, float("inf")), self.counts[labels], strict=True):
            total += count
            reported.append(("+Inf" if bound == float("inf") else str(bound), float(total)))
        return reported

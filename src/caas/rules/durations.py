"""In-process counters and duration histograms for metrics.

Rule a change must keep: counting is cheap and never blocks; the set of labels is small and fixed.
"""

from bisect import bisect_left
from collections.abc import Sequence


class Durations:
    """A duration histogram by labels."""

    def __init__(self, bounds_seconds: Sequence[float]) -> None:
        """Use these bucket upper bounds, plus an overflow bucket."""
        self.bounds = tuple(bounds_seconds)
        self.counts: dict[tuple[str, ...], list[int]] = {}
        self.seconds: dict[tuple[str, ...], float] = {}

    def add(self, seconds: float, *labels: str) -> None:
        """Record one duration."""
        counts = self.counts.setdefault(labels, [0] * (len(self.bounds) + 1))
        counts[bisect_left(self.bounds, seconds)] += 1
        self.seconds[labels] = self.seconds.get(labels, 0.0) + seconds

    def total(self, labels: tuple[str, ...]) -> int:
        """Return how many durations were recorded."""
        return sum(self.counts[labels])

    def quantile(self, share: float, labels: tuple[str, ...]) -> float | None:
        """Estimate the duration that this share stays below, in seconds.

        It is interpolated within its bucket, as Prometheus does; None above the last bound.
        """
        wanted, below, lower = share * self.total(labels), 0, 0.0
        for bound, count in zip(self.bounds, self.counts[labels], strict=False):
            if count and below + count >= wanted:
                return lower + (bound - lower) * (wanted - below) / count
            below, lower = below + count, bound
        return None

    def buckets(self, labels: tuple[str, ...]) -> list[tuple[str, float]]:
        """Return cumulative buckets in Prometheus form."""
        total, reported = 0, []
        for bound, count in zip((*self.bounds, float("inf")), self.counts[labels], strict=True):
            total += count
            reported.append(("+Inf" if bound == float("inf") else str(bound), float(total)))
        return reported

"""Request metrics as Prometheus text at GET /metrics.

Requests are counted in plain lists and become a histogram on scrape, because counting happens on
every request. Platform metrics are read from the database on scrape.

Rule a change must keep: label values are few and fixed: route templates, never paths.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

BUCKETS_SECONDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
LABELS: Final = ("method", "route", "status")


class Metrics(Collector):
    """Request counts and durations."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register with this registry."""
        self._registry = registry
        self.refused_acknowledgements: Mapping[str, int] = {}
        self._counts: dict[tuple[str, str, int], list[int]] = {}
        self._seconds: dict[tuple[str, str, int], float] = {}
        registry.register(self)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        key = (method, route, status)
        counts = self._counts.get(key)
        if counts is None:
            counts = self._counts[key] = [0] * (len(BUCKETS_SECONDS) + 1)
            self._seconds[key] = 0.0
        counts[bisect_left(BUCKETS_SECONDS, seconds)] += 1
        self._seconds[key] += seconds

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics for Prometheus."""
        family = HistogramMetricFamily(
            "caas_api_request_seconds", "Request duration in seconds.", labels=LABELS
        )
        for (method, route, status), counts in list(self._counts.items()):
            total = 0
            buckets: list[tuple[str, float]] = []
            for bound, count in zip((*BUCKETS_SECONDS, float("inf")), counts, strict=True):
                total += count
                buckets.append(("+Inf" if bound == float("inf") else str(bound), total))
            labels = (method, route, str(status))
            family.add_metric(labels, buckets, self._seconds[method, route, status])
        yield family
        refused = CounterMetricFamily(
            "caas_vehicle_acknowledgements_refused",
            "Rejected vehicle acknowledgements, platform-wide.",
            labels=("reason",),
        )
        for reason, count in self.refused_acknowledgements.items():
            refused.add_metric((reason,), count)
        yield refused

    def text(self) -> bytes:
        """Return the registry in Prometheus text format."""
        return generate_latest(self._registry)

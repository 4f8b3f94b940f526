"""What the API counts of itself, in a registry of its own (Prometheus text at GET /metrics).

Rule a change must keep: a label's values are few and known: routes as templates, never as paths.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import generate_latest

BUCKETS_SECONDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip


class Metrics:
    """Counts and durations of requests."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Keep them in this registry, beside whatever else is in it."""
        self._registry = registry
        self._seconds = Histogram(
            "caas_api_request_seconds", "How long requests took.", ("method", "route"),
            buckets=BUCKETS_SECONDS, registry=registry,
        )  # fmt: skip
        self._requests = Counter(
            "caas_api_requests", "Requests by their answer.", ("method", "route", "status"),
            registry=registry,
        )  # fmt: skip
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        key = (method, route, status)
        known = self._known.get(key)
        if known is None:
            known = (self._requests.labels(*key), self._seconds.labels(method, route))
            self._known[key] = known
        known[0].inc()
        known[1].observe(seconds)

    def text(self) -> bytes:
        """Return everything in the registry as Prometheus reads it."""
        return generate_latest(self._registry)

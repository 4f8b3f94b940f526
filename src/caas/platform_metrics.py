"""Metrics, readiness and degradation of a process.

`serve` exposes them on the API's port, `work` on its own (`caas.server`). Database figures
are read in the background, at most every `FIGURES_EVERY_SECONDS`; a request gets the latest ones
and their age.

Rules a change must keep: a metrics request never waits longer than `FIRST_FIGURES_SECONDS_MAX` and
never starts a second query; docs/operations.md documents every metric used by an alert.
"""

import asyncio
import time
from collections.abc import Iterator
from typing import Final

import structlog
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from caas.billing_database.operations_counts import Figures, metric_queries
from caas.billing_database.readiness import Readiness
from caas.errors import UnavailableError
from caas.external_systems.unknown_values import unknown_values
from caas.platform import Platform
from caas.rules.durations import Durations
from caas.rules.payment_types import PaymentType

FIGURES_EVERY_SECONDS: Final = 15.0
FIRST_FIGURES_SECONDS_MAX: Final = 1.0
GATEWAY_SILENT_AFTER_CALLS: Final = 3
GAUGES: Final = (
    ("unknown", "caas_unknown_outcomes", "Payments and refunds of unknown outcome.", ("type",), 1),
    ("unknown", "caas_unknown_outcome_oldest_seconds", "Age of the oldest one.", ("type",), 2),
    ("jobs", "caas_jobs", "Jobs.", ("kind", "state"), 2),
    ("jobs", "caas_job_oldest_due_seconds", "Time since the oldest was due.", ("kind", "state"), 3),
    ("cases", "caas_open_cases", "Open cases.", ("kind",), 1),
    ("discrepancies", "caas_open_discrepancies", "Not resolved.", ("kind", "currency"), 2),
    ("discrepancies", "caas_open_discrepancies_minor_units", "Their amounts.",
     ("kind", "currency"), 3),
    ("in_flight", "caas_payments_in_flight", "Payments with jobs or a case.",
     ("type", "state", "currency"), 3),
    ("in_flight", "caas_exposure_minor_units", "Delivered and not settled.",
     ("type", "state", "currency"), 4),
    ("losses", "caas_losses_minor_units", "Losses of the last 24 hours.", ("cause", "currency"), 2),
    ("webhooks", "caas_webhook_lag_seconds", "Age of the oldest unprocessed webhook.", (), 0),
    ("invariants", "caas_invariant_broken", "Rows that violate the invariant.", ("invariant",), 1),
    ("invariants_fully", "caas_invariant_full_check_age_seconds", "Since everything was checked.",
     ("invariant",), 1),
    ("invariants_often", "caas_invariant_check_age_seconds", "Since the last check.",
     ("invariant",), 1),
    ("removals", "caas_removed_rows", "Rows that retention has removed.", ("table",), 1),
    ("heads", "caas_history_head_age_seconds", "Age of the latest signed head.", (), 0),
)  # fmt: skip
UNKNOWN_TYPES: Final = (*(str(kind) for kind in PaymentType), "refund")
"""Types with unknown outcomes; each is reported as 0 if there are none."""

_log = structlog.get_logger()


class PlatformMetrics(Collector):
    """Metrics of one process."""

    def __init__(self, platform: Platform) -> None:
        """Observe this platform."""
        self._platform = platform
        self._database = platform.tables.database
        self._readiness = Readiness(self._database)
        self._figures: Figures = {}
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._failed = 0

    async def why_not_ready(self) -> str | None:
        """Return why this process cannot serve; None if it can."""
        return await self._readiness.why_not()

    def degraded(self) -> list[str]:
        """Return the unavailable parts while requests are still accepted."""
        link, calls = self._platform.observed.vehicles, self._platform.observed.gateway_calls
        parts = []
        if not link.connected:
            parts.append("The vehicles' MQTT broker does not respond; commands are queued.")
        return parts + [
            f"The payment gateway '{name}' does not respond; its payments remain pending."
            for name, calls_without_answer in calls.without_answer.items()
            if calls_without_answer >= GATEWAY_SILENT_AFTER_CALLS
        ]

    async def refresh(self) -> None:
        """Refresh outdated database figures in the background; wait only for the first ones."""
        if time.monotonic() - self._read_at < FIGURES_EVERY_SECONDS:
            return
        if self._reading is None or self._reading.done():
            self._reading = asyncio.get_running_loop().create_task(self._read())
        if not self._figures:
            await asyncio.wait({self._reading}, timeout=FIRST_FIGURES_SECONDS_MAX)

    async def close(self) -> None:
        """Cancel a refresh in progress."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})

    def collect(self) -> Iterator[Metric]:
        """Return all metrics, for Prometheus."""
        yield from self._of_the_database()
        yield from self._of_the_process()

    async def _read(self) -> None:
        try:
            self._figures = await metric_queries(self._database)
        except UnavailableError as error:
            self._failed += 1
            _log.warning("metrics.figures_not_read", exc_info=error)
        else:
            self._read_at = time.monotonic()

    def _of_the_database(self) -> Iterator[Metric]:
        for source, name, about, labels, column in GAUGES:
            gauge = GaugeMetricFamily(name, about, labels=labels)
            for row in self._rows(source):
                names = [str(label) for label in row[: len(labels)]]
                gauge.add_metric(names, float(str(row[column])))
            yield gauge
        age = min(time.monotonic() - self._read_at, 1e9)
        yield GaugeMetricFamily(
            "caas_figures_age_seconds", "Age of the database figures.", value=age
        )
        yield CounterMetricFamily(
            "caas_figures_failed", "Failed reads of the database figures.", value=self._failed
        )

    def _rows(self, source: str) -> list[tuple[object, ...]]:
        rows = self._figures.get(source, [])
        if source != "unknown" or not self._figures:
            return rows
        reported = {row[0] for row in rows}
        return rows + [(kind, 0, 0.0) for kind in UNKNOWN_TYPES if kind not in reported]

    def _of_the_process(self) -> Iterator[Metric]:
        link, calls = self._platform.observed.vehicles, self._platform.observed.gateway_calls
        yield _histogram("caas_gateway_call_seconds", "Calls to the payment gateway.",
                         ("call", "outcome"), calls.durations)  # fmt: skip
        unknown = CounterMetricFamily(
            "caas_gateway_unknown_values", "Values that a gateway's adapter does not know.",
            labels=("gateway", "field"),
        )  # fmt: skip
        for names, count in unknown_values().items():
            unknown.add_metric(names, count)
        yield unknown
        yield _histogram(
            "caas_first_answer_added_seconds",
            "First answers of payments, without the gateway's own time.",
            ("type",), self._platform.payment_processing.added_seconds,
        )  # fmt: skip
        yield _histogram("caas_vehicle_round_trip_seconds", "From command to acknowledgement.",
                         ("result",), link.round_trips)  # fmt: skip
        sent = CounterMetricFamily("caas_vehicle_commands", "Commands sent.", labels=("result",))
        for result, count in link.sent.items():
            sent.add_metric((result,), count)
        yield sent
        yield GaugeMetricFamily(
            "caas_vehicle_link_up", "1 if a broker is used.", value=link.connected
        )
        yield _histogram("caas_pool_wait_seconds", "Waits for a database connection.",
                         (), self._database.waits)  # fmt: skip
        yield GaugeMetricFamily(
            "caas_database_up", "0 if it does not respond.", value=not self._database.is_away
        )


def _histogram(name: str, about: str, labels: tuple[str, ...], counted: Durations) -> Metric:
    family = HistogramMetricFamily(name, about, labels=labels)
    for values in list(counted.counts):
        family.add_metric(values, counted.buckets(values), counted.seconds[values])
    return family

"""A stand-in for Stripe's Reports API, as strict as its documentation says Stripe is.

What it knows of itself: for which time it has data, the movements of its balance, how often a run
is still pending. What it is asked that Stripe would refuse, it refuses with Stripe's words.
"""

import csv
import io
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl

from aiohttp import web

KEY: Final = "sk_test_reports"
TYPE: Final = "balance_change_from_activity.itemized.3"
SUPPORTED: Final = frozenset(
    {
        "balance_transaction_id", "created_utc", "created", "available_on_utc", "available_on",
        "currency", "gross", "fee", "net", "reporting_category", "source_id", "description",
        "customer_facing_amount", "customer_facing_currency", "automatic_payout_id",
        "automatic_payout_effective_at_utc", "automatic_payout_effective_at", "charge_id",
        "payment_intent_id", "payment_method_type",
    }
)  # fmt: skip
PARAMETERS: Final = frozenset(
    {
        "report_type", "parameters[interval_start]", "parameters[interval_end]",
        "parameters[timezone]", "parameters[currency]", "parameters[reporting_category]",
        "parameters[decimal_separator]", "parameters[columns][]",
    }
)  # fmt: skip


@dataclass
class StripeReportsStandIn:
    """What it has, and what it was asked."""

    available_from: datetime = datetime(2020, 1, 1, tzinfo=UTC)
    available_to: datetime = datetime(2030, 1, 1, tzinfo=UTC)
    movements: list[dict[str, str]] = field(default_factory=list)
    pending_looks: int = 1
    failing_runs: int = 0
    cut_bytes: int = 0
    files_at: str = ""
    url: str = ""
    asked: list[str] = field(default_factory=list)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    keys: dict[str, tuple[str, str]] = field(default_factory=dict)

    async def report_type(self, request: web.Request) -> web.Response:
        """Say for which time there is data."""
        self.asked.append("type")
        if not _let_in(request):
            return _refused(401, "Invalid API Key provided.")
        if request.match_info["id"] != TYPE:
            return _refused(404, "No such report type", code="resource_missing")
        reported = {
            "id": TYPE, "object": "reporting.report_type", "livemode": True,
            "data_available_start": _seconds(self.available_from),
            "data_available_end": _seconds(self.available_to),
        }  # fmt: skip
        return web.json_response(reported)

    async def order(self, request: web.Request) -> web.Response:
        """Begin a run, or say again what was said to this key."""
        self.asked.append("order")
        if not _let_in(request):
            return _refused(401, "Invalid API Key provided.")
        if request.content_type != "application/x-www-form-urlencoded":
            return _refused(400, "Send parameters as a form.")
        body = await request.text()
        key = request.headers.get("idempotency-key", "")
        if key in self.keys and self.keys[key][0] != body:
            return _refused(400, "Keys for idempotent requests can only be used with the same "
                                 "parameters.", kind="idempotency_error")  # fmt: skip
        if key in self.keys:
            return web.json_response(self._shown(self.keys[key][1], "pending"))
        form = parse_qsl(body, keep_blank_values=True)
        refusal = self._refusal(form)
        if refusal is not None:
            return refusal
        run = f"frr_{len(self.runs) + 1}"
        self.runs[run] = {"looks": 0, "form": form, "fails": len(self.runs) < self.failing_runs}
        self.keys[key] = (body, run)
        return web.json_response(self._shown(run, "pending"))

    async def look(self, request: web.Request) -> web.Response:
        """Say how far a run is."""
        self.asked.append("look")
        run = self.runs.get(request.match_info["id"])
        if not _let_in(request):
            return _refused(401, "Invalid API Key provided.")
        if run is None:
            return _refused(404, "No such report run", code="resource_missing")
        run["looks"] += 1
        pending = run["looks"] <= self.pending_looks
        status = "pending" if pending else "failed" if run["fails"] else "succeeded"
        return web.json_response(self._shown(request.match_info["id"], status))

    async def contents(self, request: web.Request) -> web.Response:
        """Give a file to whoever may have it."""
        self.asked.append("file")
        if not _let_in(request):
            return _refused(401, "Invalid API Key provided.")
        content = self.files.get(request.match_info["id"])
        if content is None:
            return _refused(404, "No such file", code="resource_missing")
        return web.Response(body=content[: len(content) - self.cut_bytes], content_type="text/csv")

    def _refusal(self, form: list[tuple[str, str]]) -> web.Response | None:
        reported = dict(form)
        columns = [value for name, value in form if name == "parameters[columns][]"]
        unknown = [name for name in reported if name not in PARAMETERS]
        if unknown:
            return _refused(400, f"Received unknown parameter: {unknown[0]}",
                            code="parameter_unknown")  # fmt: skip
        if reported.get("report_type") != TYPE:
            return _refused(400, "Unknown report type.")
        missing = [
            it for it in ("interval_start", "interval_end") if f"parameters[{it}]" not in reported
        ]
        if missing:
            return _refused(400, f"Missing required param: {missing[0]}.", code="parameter_missing")
        wrong = [
            it for it in columns if it not in SUPPORTED and not it.endswith("_metadata[reference]")
        ]
        if wrong:
            return _refused(400, f"{wrong[0]} is not a supported column.")
        return self._interval_refusal(reported)

    def _interval_refusal(self, reported: dict[str, str]) -> web.Response | None:
        start, end = (int(reported[f"parameters[interval_{it}]"]) for it in ("start", "end"))
        only = f"Data for the report type {TYPE} is only available"
        if start < _seconds(self.available_from):
            since = f"{only} starting at {self.available_from}"
            return _refused(400, f"{since}; you requested `interval_start` = {start}.")
        if end > _seconds(self.available_to):
            until = f"{only} through {self.available_to}"
            return _refused(400, f"{until}; you requested `interval_end` = {end}.")
        if start >= end:
            return _refused(400, "`interval_start` must be before `interval_end`.")
        return None

    def _shown(self, run: str, status: str) -> dict[str, Any]:
        result = None
        if status == "succeeded":
            content = self.files.setdefault(f"file_{run}", self._written(self.runs[run]["form"]))
            result = {
                "id": f"file_{run}", "object": "file", "size": len(content),
                "url": f"{self.files_at or self.url}/v1/files/file_{run}/contents",
            }  # fmt: skip
        error = "It could not be prepared." if status == "failed" else None
        return {
            "id": run, "object": "reporting.report_run", "created": 1, "livemode": True,
            "report_type": TYPE, "status": status, "error": error, "result": result,
        }  # fmt: skip

    def _written(self, form: list[tuple[str, str]]) -> bytes:
        reported = dict(form)
        begin, end = (
            datetime.fromtimestamp(int(reported[f"parameters[interval_{it}]"]), UTC)
            for it in ("start", "end")
        )
        columns = [value for name, value in form if name == "parameters[columns][]"]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(_within(self.movements, f"{begin:%Y-%m-%d %H:%M:%S}",
                                 f"{end:%Y-%m-%d %H:%M:%S}"))  # fmt: skip
        return text.getvalue().encode()


def movement(number: int, at: str, **reported: str) -> dict[str, str]:
    """A charge of 12.99 EUR, but for what is told."""
    return {
        "balance_transaction_id": f"txn_{number}", "created_utc": at, "available_on_utc": at,
        "currency": "eur", "gross": "12.99", "fee": "0.43", "net": "12.56",
        "reporting_category": "charge", "source_id": f"ch_{number}",
        "customer_facing_amount": "12.99", "customer_facing_currency": "eur",
        "charge_id": f"ch_{number}", "payment_intent_id": f"pi_{number}",
        "payment_method_type": "card",
    } | reported  # fmt: skip


@asynccontextmanager
async def stripe_reports() -> AsyncIterator[StripeReportsStandIn]:
    """Serve one until the block is left."""
    stand_in = StripeReportsStandIn()
    application = web.Application()
    application.add_routes(
        [
            web.get("/v1/reporting/report_types/{id}", stand_in.report_type),
            web.post("/v1/reporting/report_runs", stand_in.order),
            web.get("/v1/reporting/report_runs/{id}", stand_in.look),
            web.get("/v1/files/{id}/contents", stand_in.contents),
        ]
    )
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stand_in.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield stand_in
    finally:
        await runner.cleanup()


def _within(movements: Iterable[dict[str, str]], begin: str, end: str) -> list[dict[str, str]]:
    return [it for it in movements if begin <= it["created_utc"] < end]


def _let_in(request: web.Request) -> bool:
    return request.headers.get("authorization") == f"Bearer {KEY}"


def _refused(
    status: int, message: str, *, code: str | None = None, kind: str = "invalid_request_error"
) -> web.Response:
    error = {"type": kind, "message": message} | ({"code": code} if code else {})
    return web.json_response({"error": error}, status=status)


def _seconds(at: datetime) -> int:
    return int(at.timestamp())

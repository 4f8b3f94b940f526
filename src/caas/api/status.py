"""Status endpoints: liveness, readiness, invariants and metrics.

`/health` is an alias of `/live`.

Rules a change must keep: liveness uses no dependency; readiness answers within two seconds and is
false if the database is read-only; only one invariant check runs at a time, because it reads the
whole database.
"""

import asyncio
from contextlib import suppress
from datetime import datetime
from typing import Final

import msgspec

from caas.api.authentication import Call
from caas.api.context import Api
from caas.api.operation import Operation
from caas.api.problems import Problem
from caas.billing_database import self_check
from caas.errors import UnavailableError
from caas.rules.scopes import Scope
from caas.web.problems import NotReadyError
from caas.web.response import Response, json_response

TAG: Final = "own state"
METRICS_SECONDS_MAX: Final = 1.0
METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class StateAnswer(msgspec.Struct, frozen=True):
    """The process is alive."""

    status: str


class ReadyAnswer(msgspec.Struct, frozen=True):
    """The process is ready; `degraded` lists parts that are unavailable nevertheless."""

    status: str
    degraded: list[str]


class InvariantAnswer(msgspec.Struct, frozen=True):
    """An invariant and the number of rows that violate it."""

    name: str
    sentence: str
    broken: int
    examples: list[str]


class SelfCheckAnswer(msgspec.Struct, frozen=True):
    """Whether all invariants hold, when they were checked, and each result."""

    holds: bool
    checked_at: datetime
    invariants: list[InvariantAnswer]


async def health(_api: Api, _call: Call) -> Response:
    """Return 200 while the process is alive."""
    return json_response(200, StateAnswer("alive"))


async def ready(api: Api, _call: Call) -> Response:
    """Return whether calls can be served: the database responds, is writable and has our schema."""
    because = await api.readiness.why_not()
    if because is not None:
        raise NotReadyError(because)
    return json_response(200, ReadyAnswer("ready", api.settings.degraded()))


async def invariants(api: Api, _call: Call) -> Response:
    """Check all invariants over the whole database, and count the rows that violate each."""
    async with api.checking:
        findings = await self_check.checked(api.platform.tables.database)
    to_response = [
        InvariantAnswer(
            found.invariant.name, found.invariant.sentence, found.broken, list(found.examples)
        )
        for found in findings
    ]
    holds = not any(invariant.broken for invariant in to_response)
    return json_response(200, SelfCheckAnswer(holds, api.settings.now(), to_response))


async def metrics(api: Api, _call: Call) -> Response:
    """Return metrics in Prometheus text format, even while the database is unavailable."""
    await api.settings.before_metrics()
    with suppress(UnavailableError, TimeoutError):
        async with asyncio.timeout(METRICS_SECONDS_MAX):
            refused = await api.platform.tables.commands.refused_by_reason()
        api.metrics.refused_acknowledgements = refused
    return Response(200, api.metrics.text(), ((b"content-type", METRICS_TYPE.encode()),))


STATE_OPERATIONS: Final = (
    Operation(
        id="health", tag=TAG, method="GET", path="/health", needs_key=False,
        answers={200: StateAnswer}, handle=health,
    ),
    Operation(
        id="live", tag=TAG, method="GET", path="/live", needs_key=False,
        answers={200: StateAnswer}, handle=health,
    ),
    Operation(
        id="ready", tag=TAG, method="GET", path="/ready", needs_key=False,
        answers={200: ReadyAnswer, 503: Problem}, handle=ready,
    ),
    Operation(
        id="selfCheck", tag=TAG, method="GET", path="/v1/self-check",
        scopes=frozenset({Scope.OPERATIONS}), answers={200: SelfCheckAnswer}, handle=invariants,
    ),
    Operation(
        id="metrics", tag=TAG, method="GET", path="/metrics",
        scopes=frozenset({Scope.OPERATIONS}), answers={200: str}, media_type="text/plain",
        handle=metrics,
    ),
)  # fmt: skip

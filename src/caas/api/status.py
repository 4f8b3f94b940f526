"""Status endpoints: liveness, readiness, invariants and metrics.

`/health` is an alias of `/live`.

Rules a change must keep: liveness uses no dependency; readiness answers within two seconds and is
false if the database is read-only; a request never checks an invariant, it returns what was found.
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
    """The kept result of an invariant; `state`: held, broken, not finished or not checked.

    `checked_at` is the time of the last check, `fully_checked_at` that of the last one over the
    whole database.
    """

    name: str
    sentence: str
    state: str
    broken: int
    examples: list[str]
    unfinished_because: str | None
    checked_at: datetime | None
    fully_checked_at: datetime | None


class SelfCheckAnswer(msgspec.Struct, frozen=True):
    """Whether all invariants held at their last checks, and each result."""

    holds: bool
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
    """Return the kept result of every invariant; nothing is checked during the request."""
    results = await self_check.last_checks(api.platform.tables.database)
    holds = all(it.state is self_check.CheckState.HELD for it in results)
    answers = msgspec.convert(results, list[InvariantAnswer], from_attributes=True)
    return json_response(200, SelfCheckAnswer(holds, answers))


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

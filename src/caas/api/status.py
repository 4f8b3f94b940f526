"""What the API tells about itself: alive, ready, its laws, its metrics.

`/health` is an older name of `/live`.

Rules a change must keep: liveness asks nobody; readiness answers within two seconds, whatever the
database does, and says no as well when it takes no writes; the laws are read by one request at a
time, because they read the whole database.
"""

import asyncio
from contextlib import suppress
from datetime import datetime
from typing import Final

import msgspec

from caas.api.call import Call
from caas.api.context import Api
from caas.api.operation import Operation
from caas.api.problems import Problem
from caas.billing_database import invariant_checks
from caas.errors import UnavailableError
from caas.rules.scopes import Scope
from caas.web.problems import NotReadyError
from caas.web.response import Response, json_response

TAG: Final = "own state"
METRICS_SECONDS_MAX: Final = 1.0
METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class StateAnswer(msgspec.Struct, frozen=True):
    """That the process lives."""

    status: str


class ReadyAnswer(msgspec.Struct, frozen=True):
    """That the process can serve; `degraded` says which parts do not answer all the same."""

    status: str
    degraded: list[str]


class InvariantAnswer(msgspec.Struct, frozen=True):
    """A law, and how many rows break it."""

    name: str
    sentence: str
    broken: int
    examples: list[str]


class SelfCheckAnswer(msgspec.Struct, frozen=True):
    """Whether every invariant of the database holds, when that was checked, and each of them."""

    holds: bool
    checked_at: datetime
    invariants: list[InvariantAnswer]


async def health(_api: Api, _call: Call) -> Response:
    """Say that the process lives; asks nobody."""
    return json_response(200, StateAnswer("alive"))


async def ready(api: Api, _call: Call) -> Response:
    """Say whether calls can be served: the database answers, takes writes and has our schema."""
    because = await api.readiness.why_not()
    if because is not None:
        raise NotReadyError(because)
    return json_response(200, ReadyAnswer("ready", api.settings.degraded()))


async def invariants(api: Api, _call: Call) -> Response:
    """Check the laws over the whole database: each with its count of broken rows."""
    async with api.checking:
        findings = await invariant_checks.checked(api.platform.tables.database)
    to_response = [
        InvariantAnswer(
            found.invariant.name, found.invariant.sentence, found.broken, list(found.examples)
        )
        for found in findings
    ]
    holds = not any(invariant.broken for invariant in to_response)
    return json_response(200, SelfCheckAnswer(holds, api.settings.now(), to_response))


async def metrics(api: Api, _call: Call) -> Response:
    """Return counts and durations as Prometheus reads them, also while the database is away."""
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

"""The worker's HTTP port: /live, /ready and /metrics.

It requires no key and exposes counts, never names; keep it inside a private network.

Rules a change must keep: it has the limits of the API's port; it responds while the database is
unavailable; its responses equal those of the API's port.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from caas.api.status import ReadyAnswer
from caas.platform_metrics import PlatformMetrics
from caas.server import Server, listening
from caas.web.http_protocol import server_config
from caas.web.problems import MEDIA_TYPE, NotReadyError, problem_of

TEXT: Final = b"text/plain; version=0.0.4; charset=utf-8"
JSON: Final = b"application/json"
STARTED_LOOKS_SECONDS: Final = 0.01

Send = Callable[[dict[str, Any]], Awaitable[None]]


@asynccontextmanager
async def open_port(host: str, port: int, signs: PlatformMetrics) -> AsyncIterator[int]:
    """Serve the endpoint during the block.

    Raises:
        StartupError: the port cannot be used.
    """
    registry = CollectorRegistry()
    registry.register(signs)

    async def answer(scope: dict[str, Any], _receive: object, send: Send) -> None:
        status, kind, body = await _answered(scope["path"], signs, registry)
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    with listening(host, port) as listener:
        server = Server(server_config(answer, lifespan="off"))
        serving = asyncio.get_running_loop().create_task(server.serve(sockets=[listener]))
        while not (server.started or serving.done()):  # noqa: ASYNC110  # it has no event for it
            await asyncio.sleep(STARTED_LOOKS_SECONDS)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await serving


async def _answered(
    path: str, signs: PlatformMetrics, registry: CollectorRegistry
) -> tuple[int, bytes, bytes]:
    if path == "/live":
        return 200, JSON, b'{"status":"alive"}'
    if path == "/ready":
        because = await signs.why_not_ready()
        if because is not None:
            problem = problem_of(NotReadyError(because), request_id=secrets.token_hex(8))
            return problem.status, MEDIA_TYPE, msgspec.json.encode(problem)
        return 200, JSON, msgspec.json.encode(ReadyAnswer("ready", signs.degraded()))
    if path == "/metrics":
        await signs.refresh()
        return 200, TEXT, generate_latest(registry)
    return 404, JSON, b'{"status":"there is /live, /ready and /metrics"}'

"""A proxy between an adapter and its gateway that loses writes, or their answers.

With it the time-outs of decision 3 are tried on any gateway, without its help.

Rule a change must keep: it changes nothing of what it passes on but the headers of the connection.
"""

import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Final
from urllib.parse import quote

import aiohttp

from caas_simulators.http_server import Answer, Request, listening

OF_CONNECTION: Final = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "transfer-encoding"}
)
PATH_CHARS: Final = "/:@!$&'()*+,;=~-._"
SECONDS_MAX: Final = 60.0


class Fault(StrEnum):
    """What happens to a write."""

    CUT_BEFORE = "the connection is cut before the gateway has the request"
    CUT_AFTER = "the connection is cut before the answer arrives"
    ERROR_AFTER = "the gateway does it and answers 500"


class FaultyProxy:
    """Passes requests on; while a fault is on, each write meets it."""

    def __init__(self, upstream: str, session: aiohttp.ClientSession) -> None:
        """Pass on to this address."""
        self._upstream = upstream
        self._session = session
        self._fault: Fault | None = None
        self.url = ""
        self.met = 0

    @contextlib.contextmanager
    def failing(self, fault: Fault) -> Iterator[None]:
        """Let every write meet this fault during the block; `met` counts them."""
        self._fault, self.met = fault, 0
        try:
            yield
        finally:
            self._fault = None

    async def handle(self, request: Request) -> Answer | None:
        """Pass a request on, unless a fault is on."""
        fault = self._fault if request.method not in ("GET", "HEAD") else None
        if fault is not None:
            self.met += 1
        if fault is Fault.CUT_BEFORE:
            request.connection.transport.abort()
            return None
        answer = await self._passed_on(request)
        if fault is Fault.CUT_AFTER:
            request.connection.transport.abort()
            return None
        return Answer(500) if fault is Fault.ERROR_AFTER else answer

    async def _passed_on(self, request: Request) -> Answer:
        query = f"?{request.query_text}" if request.query_text else ""
        target = f"{self._upstream}{quote(request.path, safe=PATH_CHARS)}{query}"
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in request.headers.items()
            if name.decode("latin-1").lower() not in OF_CONNECTION
        }
        async with self._session.request(
            request.method, target, data=request.body or None, headers=headers,
            allow_redirects=False,
        ) as answer:  # fmt: skip
            body = await answer.read()
            kept = [
                (name.lower().encode(), value.encode("latin-1"))
                for name, value in answer.headers.items()
                if name.lower() not in OF_CONNECTION | {"content-type"}
            ]
            content_type = answer.headers.get("content-type", "").encode("latin-1")
            return Answer(answer.status, body, content_type, tuple(kept))


@asynccontextmanager
async def running_proxy(upstream: str) -> AsyncIterator[FaultyProxy]:
    """Pass on to a gateway during the block."""
    timeout = aiohttp.ClientTimeout(total=SECONDS_MAX)
    async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session:
        proxy = FaultyProxy(upstream.rstrip("/"), session)
        async with listening(proxy.handle) as server:
            proxy.url = server.url
            yield proxy

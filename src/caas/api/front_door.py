"""The one door through which every request comes in and every answer goes out.

In this order: is there room, who is calling and how often, does the head carry a card number, how
large is the body. Then the hottest calls are answered directly and all others by the framework
behind. On the way out every answer gets its request id, its security headers and what is left of
its caller's limit, a line in the log and a place in the metrics.

Rules a change must keep: nothing behind this door reads the network; what is not expected is
answered 500 and logged here, and says nothing of the inside; a log line holds ids, never names of
persons, bodies, queries or paths as they came.
"""

import os
import time
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from typing import Any, Final, NamedTuple

import structlog

from caas.api.admission import Admission
from caas.api.answers import Answer, answer_to_error
from caas.api.call import SCOPE_KEY, Call, Scope, call_of
from caas.api.card_refusal import refuse_in_head
from caas.api.limits import CALLS_UNDER_WAY_MAX, Receive, TooManyCallsError, read_body
from caas.api.metrics import Metrics
from caas.api.problems import InternalError
from caas.errors import CaasError

Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class DirectCall(NamedTuple):
    """A call that is answered here, without the framework behind."""

    answer: Callable[[Call], Awaitable[Answer]]
    needs_key: bool


OPEN_PATHS: Final = frozenset({"/health", "/live", "/ready", "/openapi.json", "/docs",
                               "/docs/style.css", "/problems"})  # fmt: skip
OPEN_BEGINNINGS: Final = ("/webhooks/", "/problems/")
SECURITY_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
TRANSPORT_SECURITY: Final = (b"strict-transport-security", b"max-age=63072000; includeSubDomains")
_NAMED_HERE: Final = frozenset(name for name, _ in SECURITY_HEADERS)
_FAILURES_FROM: Final = 500
_NO_STATUS: Final = 0
REQUEST_ID_BYTES: Final = 8

_log = structlog.get_logger()


class FrontDoor:
    """The API's outermost ASGI application."""

    def __init__(
        self,
        *,
        behind: Application,
        direct: Mapping[tuple[str, str], DirectCall],
        admission: Admission,
        metrics: Metrics,
    ) -> None:
        """Answer the direct calls here, by (method, path), and send the rest behind."""
        self._behind = behind
        self._direct = direct
        self._admission = admission
        self._metrics = metrics
        self._under_way = 0
        process = os.urandom(REQUEST_ID_BYTES).hex()
        self._request_ids = (f"{process}-{number:08x}" for number in count(1))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one request from its arrival to its answer."""
        if scope["type"] != "http":
            await self._behind(scope, receive, send)
            return
        began = time.perf_counter()
        call = call_of(scope, self._request_ids)
        self._under_way += 1
        status = _NO_STATUS
        try:
            status = await self._take(call, receive, send)
        finally:
            self._under_way -= 1
            self._admission.settle(call, status)
            self._note(call, status, time.perf_counter() - began)

    async def _take(self, call: Call, receive: Receive, send: Send) -> int:
        direct = self._direct.get((call.method, call.path))
        try:
            await self._admit(call, receive, direct)
            if direct is None:
                return await self._send_behind(call, send)
            call.route = call.path
            answer = await direct.answer(call)
        except CaasError as error:
            answer = told(call, error)
        except Exception as error:  # noqa: BLE001  # the entrypoint: a bug ends here, as a 500
            answer = told(call, error)
        await self._send(call, answer, send)
        return answer.status

    async def _admit(self, call: Call, receive: Receive, direct: DirectCall | None) -> None:
        if self._under_way > CALLS_UNDER_WAY_MAX:
            raise TooManyCallsError
        needs_key = direct.needs_key if direct is not None else not is_open(call.path)
        await self._admission.admit(call, needs_key=needs_key)
        refuse_in_head(
            "" if direct is not None else call.path, call.scope["query_string"], call.headers
        )
        call.body = await read_body(call, receive)

    async def _send_behind(self, call: Call, send: Send) -> int:
        status = _NO_STATUS

        async def receive_again() -> dict[str, Any]:
            return {"type": "http.request", "body": call.body, "more_body": False}

        async def send_completed(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *self._outer_headers(call, message)]
            await send(message)

        call.scope.setdefault("state", {})[SCOPE_KEY] = call
        await self._behind(call.scope, receive_again, send_completed)
        call.route = call.scope.get("path_template") or call.route
        return status

    async def _send(self, call: Call, answer: Answer, send: Send) -> None:
        headers = [
            *answer.headers,
            *SECURITY_HEADERS,
            *self._admission.headers(call),
            (b"x-request-id", call.request_id.encode()),
            (b"content-length", b"%d" % len(answer.body)),
        ]
        if call.scope["scheme"] == "https":
            headers.append(TRANSPORT_SECURITY)
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    def _outer_headers(self, call: Call, message: dict[str, Any]) -> list[tuple[bytes, bytes]]:
        """Return the headers every answer has, but for those that the framework's answer names."""
        named = {name for name, _ in message["headers"]} & _NAMED_HERE
        headers = [header for header in SECURITY_HEADERS if header[0] not in named]
        headers += (*self._admission.headers(call), (b"x-request-id", call.request_id.encode()))
        if call.scope["scheme"] == "https":
            headers.append(TRANSPORT_SECURITY)
        return headers

    def _note(self, call: Call, status: int, seconds: float) -> None:
        self._metrics.observe(call.method, call.route, status, seconds)
        _log.info(
            "api.answered",
            method=call.method,
            route=call.route,
            status=status,
            milliseconds=round(seconds * 1000, 2),
            request_id=call.request_id,
            caller=call.caller.name if call.caller else None,
        )


def is_open(path: str) -> bool:
    """Say whether a path needs no key: it tells nothing, or asks for a signature instead."""
    return path in OPEN_PATHS or path.startswith(OPEN_BEGINNINGS)


def told(call: Call, error: Exception) -> Answer:
    """Return the answer to a request that ended in an error; what is our fault is logged."""
    known = error if isinstance(error, CaasError) else InternalError()
    if known.http_status >= _FAILURES_FROM:
        _log.error("api.failed", request_id=call.request_id, code=known.code, exc_info=error)
    return answer_to_error(known, request_id=call.request_id)

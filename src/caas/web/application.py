"""The outermost ASGI application of the API and of the pages.

It counts requests, assigns request ids, turns unhandled exceptions into responses and adds security
headers. A site (the API, the pages) admits and answers its own requests.

Rules a change must keep: request bodies are read only through `caas.web.limits`; an unexpected
exception is logged and answered without internal details; log lines contain ids, never names of
persons, bodies, queries or raw paths.
"""

import os
import time
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, Final, Generic, Protocol, TypeVar

import structlog

from caas.errors import CaasError
from caas.web.limits import IN_FLIGHT_MAX, Receive
from caas.web.problems import InternalError, TooManyCallsError
from caas.web.request import Request, Scope, given_request_id
from caas.web.response import FAILURES_FROM, RawHeader, Response

Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

NO_SNIFFING: Final[RawHeader] = (b"x-content-type-options", b"nosniff")
TRANSPORT_SECURITY: Final[RawHeader] = (
    b"strict-transport-security",
    b"max-age=63072000; includeSubDomains",
)
FOR_MACHINES: Final[tuple[RawHeader, ...]] = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    NO_SNIFFING,
)
FOR_BROWSERS: Final[tuple[RawHeader, ...]] = (
    (
        b"content-security-policy",
        (
            b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
            b"connect-src 'self'; manifest-src 'self'; worker-src 'self'; form-action 'self'; "
            b"base-uri 'none'; frame-ancestors 'none'"
        ),
    ),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=()"),
    (b"referrer-policy", b"same-origin"),
    NO_SNIFFING,
)
"""Pages load scripts and styles only from our own files and cannot be framed."""
NO_STATUS: Final = 0
"""The status of a request that got no response."""
REQUEST_ID_BYTES: Final = 8

_log = structlog.get_logger()

SitesRequest = TypeVar("SitesRequest", bound=Request)


class Site(Protocol[SitesRequest]):
    """What an application must provide to be served."""

    name: str
    security_headers: tuple[RawHeader, ...]
    is_secure: bool
    """Whether every request counts as https, for example behind a TLS proxy."""

    async def start(self) -> None:
        """Prepare before the first request."""
        ...

    def begin(self, scope: Scope, headers: dict[bytes, bytes], request_id: str) -> SitesRequest:
        """Create the request from its head."""
        ...

    async def respond(self, request: SitesRequest, receive: Receive) -> Response:
        """Admit the request, read its body and return the response."""
        ...

    def refuse(self, request: SitesRequest, error: CaasError) -> Response:
        """Return the response for a request that ended in an error."""
        ...

    def more_headers(self, request: SitesRequest) -> tuple[RawHeader, ...]:
        """Return headers to add to every response to this request."""
        ...

    def finish(self, request: SitesRequest, status: int, seconds: float) -> None:
        """Record that the request was answered."""
        ...


class WebApplication(Generic[SitesRequest]):
    """The outermost ASGI application of a site."""

    def __init__(self, site: Site[SitesRequest]) -> None:
        """Serve this site."""
        self._site = site
        self._in_flight = 0
        self._secured = frozenset(name for name, _ in site.security_headers)
        process = os.urandom(REQUEST_ID_BYTES).hex()
        self._request_ids = (f"{process}-{number:08x}" for number in count(1))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection: a request or the lifespan."""
        if scope["type"] != "http":
            await self._lifespan(receive, send)
            return
        began = time.perf_counter()
        headers = dict(scope["headers"])
        request_id = given_request_id(headers) or next(self._request_ids)
        request = self._site.begin(scope, headers, request_id)
        self._in_flight += 1
        status = NO_STATUS
        try:
            response = await self._respond(request, receive)
            await self._send(request, response, send)
            status = response.status
        finally:
            self._in_flight -= 1
            self._site.finish(request, status, time.perf_counter() - began)

    async def _respond(self, request: SitesRequest, receive: Receive) -> Response:
        if self._in_flight > IN_FLIGHT_MAX:
            return self._refuse(request, TooManyCallsError(), None)
        try:
            return await self._site.respond(request, receive)
        except CaasError as error:
            return self._refuse(request, error, error)
        except Exception as error:  # noqa: BLE001  # the entrypoint: a bug ends here, as a 500
            return self._refuse(request, InternalError(), error)

    def _refuse(self, request: SitesRequest, known: CaasError, error: Exception | None) -> Response:
        """Return the error response; log it if the fault is ours."""
        if known.http_status >= FAILURES_FROM:
            _log.error(
                f"{self._site.name}.failed",
                request_id=request.request_id,
                code=known.code,
                exc_info=error,
            )
        return self._site.refuse(request, known)

    async def _send(self, request: SitesRequest, response: Response, send: Send) -> None:
        standing = self._site.security_headers
        named = self._secured.intersection([name for name, _ in response.headers])
        if named:
            standing = tuple(header for header in standing if header[0] not in named)
        headers = [
            *response.headers,
            *standing,
            *self._site.more_headers(request),
            (b"x-request-id", request.request_id.encode()),
            (b"content-length", b"%d" % len(response.body)),
        ]
        if self._site.is_secure or request.scope.get("scheme") == "https":
            headers.append(TRANSPORT_SECURITY)
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] != "lifespan.shutdown":
            assert message["type"] == "lifespan.startup", message
            await self._site.start()
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})


def side_by_side(
    machines: Application, people: Application, *, is_for_machines: Callable[[str], bool]
) -> Application:
    """Return one application that serves two on one port; the first one handles the lifespan."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        first = scope["type"] != "http" or is_for_machines(scope["path"])
        await (machines if first else people)(scope, receive, send)

    return serve

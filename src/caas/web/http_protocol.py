"""HTTP/1.1 for uvicorn with limits on every part of a message (F-W8, F-T1).

A client that sends ten thousand headers, endless chunk extensions or trailers, or one byte a minute
must not tie up memory or a connection. Limits are checked as bytes arrive, so a request that
arrives in one piece pays nothing for them.

The parser passes trailers to `on_header` like headers, and uvicorn would add them to the headers of
a request that is already being authorized. Trailers are therefore rejected.

A proxy in front may have used the other one of two `Authorization` headers, or another body length,
which allows request smuggling. The parser rejects two lengths; this module rejects other duplicates
(RFC 9110).

Rules a change must keep: a header of which only the last value is used is listed in `SINGLE`; bytes
are fed to the parser `FEED_BYTES_MAX` at a time and counted in between; a request must arrive
completely within `ARRIVAL_SECONDS_MAX`; a rejected request gets a problem response and its
connection is closed.
"""

import asyncio
import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, Final

import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from caas.web.limits import (
    ADDRESS_BYTES_MAX,
    ARRIVAL_SECONDS_MAX,
    CONNECTIONS_MAX,
    FRAMING_BYTES_MAX,
    HEADER_BYTES_MAX,
    HEADERS_MAX,
    IDLE_SECONDS_MAX,
    MESSAGE_BODY_BYTES_MAX,
    PIPELINED_MAX,
)
from caas.web.problems import (
    AddressTooLongError,
    AmbiguousRequestError,
    BodyTooLargeError,
    CallRefusedError,
    HeadersTooLargeError,
    MalformedRequestError,
    RequestTooSlowError,
    TrailersRefusedError,
    error_response,
)
from caas.web.response import Response

CONNECTED: Final = "caas_connected"
"""The request state key for the peer's address until the caller is known."""
NO_REQUEST: Final = "unread"
BACKLOG: Final = 2048
SHUTDOWN_SECONDS_MAX: Final = 20
FEED_BYTES_MAX: Final = HEADER_BYTES_MAX
SINGLE: Final = frozenset({
    b"authorization", b"host", b"content-length", b"content-type", b"content-encoding",
    b"transfer-encoding", b"cookie", b"origin", b"expect", b"idempotency-key", b"x-request-id",
    b"webhook-id", b"webhook-timestamp", b"webhook-signature", b"stripe-signature",
    b"sec-fetch-site",
})  # fmt: skip
NEEDS_HOST: Final = "1.1"
CHUNKED: Final = b"chunked"
_HOST: Final = re.compile(rb"[A-Za-z0-9._~%:\[\]-]{0,255}")


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's httptools protocol with limits on message size and arrival time."""

    cycle: Any = None
    _received = 0
    _head_from = 0
    _body_from = 0
    _body_bytes = 0
    _in_head = False
    _arriving = False
    _timed = False
    _timer: asyncio.TimerHandle | None = None
    _refusal: CallRefusedError | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer for the first request; close the connection if there are too many."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS_MAX:
            transport.abort()
            return
        self._timer = self.loop.call_later(IDLE_SECONDS_MAX, self._too_slow)

    def data_received(self, data: bytes) -> None:
        """Feed bytes to the parser within the limits."""
        for begins in range(0, len(data), FEED_BYTES_MAX):
            if not self.transport.is_closing():
                self._feed(data[begins : begins + FEED_BYTES_MAX])

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Start counting the request head."""
        super().on_message_begin()
        self._head_from = self._received
        self._in_head = True
        self._arriving = True

    def on_url(self, url: bytes) -> None:
        """Add a part of the request target, within its limit."""
        if len(self.url) + len(url) > ADDRESS_BYTES_MAX:
            raise self._refused(AddressTooLongError())
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header; reject trailers."""
        if not self._in_head:
            raise self._refused(TrailersRefusedError())
        if len(self.headers) == HEADERS_MAX:
            raise self._refused(HeadersTooLargeError())
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request, unless its head is too large or ambiguous."""
        self._in_head = False
        self._body_from, self._body_bytes = self._received, 0
        size = sum(len(name) + len(value) for name, value in self.headers) + len(self.url)
        if size > HEADER_BYTES_MAX:
            raise self._refused(HeadersTooLargeError())
        if len(self.pipeline) >= PIPELINED_MAX:
            raise self._refused(
                MalformedRequestError("Too many pipelined requests on one connection.")
            )
        try:
            refuse_ambiguous_head(self.headers, version=self.parser.get_http_version())
        except CallRefusedError as error:
            raise self._refused(error) from error
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Add a part of the body."""
        if self._received > self._body_from:
            self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the arrival timer."""
        self._arriving = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer a malformed or rejected request with a problem."""
        del msg
        self._refuse(self._refusal or MalformedRequestError("The request is not valid HTTP."))

    def _feed(self, data: bytes) -> None:
        self._received += len(data)
        super().data_received(data)
        if self._arriving:
            excess = self._excess()
            if excess is not None:
                self._refuse(excess)
            elif not self._timed:
                self._stop_timer()
                self._timed = True
                self._timer = self.loop.call_later(ARRIVAL_SECONDS_MAX, self._too_slow)
        elif self._timer is not None:
            self._stop_timer()

    def _excess(self) -> CallRefusedError | None:
        """Return which limit the arriving message exceeds."""
        if self._in_head:
            too_large = self._received - self._head_from > HEADER_BYTES_MAX
            return HeadersTooLargeError() if too_large else None
        beside_body = self._received - self._body_from - self._body_bytes
        if beside_body > FRAMING_BYTES_MAX:
            return BodyTooLargeError(
                "The body has too many chunks, or its chunk extensions are too large."
            )
        return BodyTooLargeError() if self._body_bytes > MESSAGE_BODY_BYTES_MAX else None

    def _refused(self, error: CallRefusedError) -> CallRefusedError:
        """Keep the error, because the parser swallows exceptions."""
        self._refusal = error
        return error

    def _too_slow(self) -> None:
        self._timer = None
        self._refuse(RequestTooSlowError())

    def _refuse(self, error: CallRefusedError) -> None:
        """Close the connection; send the problem first unless a response has started or is due."""
        if self.transport.is_closing():
            return
        owes_an_answer = (
            self.cycle is not None
            and not self._in_head
            and (self.cycle.response_started or not self._arriving)
        )
        if self._arriving and not owes_an_answer:
            self.transport.write(_written_out(error_response(error, request_id=NO_REQUEST)))
        self.transport.close()

    def _stop_timer(self) -> None:
        self._timed = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def refuse_ambiguous_head(headers: Sequence[tuple[bytes, bytes]], *, version: str) -> None:
    """Reject a head that two HTTP implementations could interpret differently.

    Raises:
        AmbiguousRequestError: a single-value header is repeated, or the transfer coding is not
            supported.
        MalformedRequestError: the Host header is missing or invalid.
    """
    reported: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in reported and name in SINGLE:
            raise AmbiguousRequestError(
                f"The header {name.decode()} appears more than once. Send it once."
            )
        reported[name] = value
    coding = reported.get(b"transfer-encoding")
    if coding is not None and (coding.lower() != CHUNKED or version != NEEDS_HOST):
        raise AmbiguousRequestError(
            "The Transfer-Encoding is not supported. Send chunked over HTTP/1.1."
        )
    host = reported.get(b"host")
    if (host is None and version == NEEDS_HOST) or _HOST.fullmatch(host or b"") is None:
        raise MalformedRequestError("The Host header is missing or invalid.")


def _written_out(answer: Response) -> bytes:
    lines = [b"%b: %b\r\n" % header for header in answer.headers if header[0] != b"connection"]
    length = b"content-length: %d\r\nconnection: close\r\n\r\n" % len(answer.body)
    return b"".join((STATUS_LINE[answer.status], *lines, length, answer.body))


def behind_proxies(app: Any, trusted_proxies: Sequence[str]) -> Any:
    """Return the application wrapped to read client addresses from these proxies."""

    async def seen(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            connected = scope.pop(CONNECTED)
            if not _is_address(scope["client"]):
                scope["client"] = connected
        await app(scope, receive, send)

    believing = ProxyHeadersMiddleware(seen, list(trusted_proxies))

    async def connected(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope[CONNECTED] = scope["client"]
        await believing(scope, receive, send)

    return connected


def _is_address(client: tuple[str, int] | None) -> bool:
    try:
        ip_address(client[0] if client else "")
    except ValueError:
        return False
    return True


def server_config(
    app: object,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    trusted_proxies: Sequence[str] = (),
    **more: object,
) -> uvicorn.Config:
    """Return the uvicorn configuration: limits, no server header, no access log.

    X-Forwarded-For and X-Forwarded-Proto are trusted only from `trusted_proxies` (addresses and
    networks); if the forwarded address is invalid, the proxy's own is used.
    """
    if trusted_proxies:
        app = behind_proxies(app, trusted_proxies)
    return uvicorn.Config(
        app,  # type: ignore[arg-type]  # any ASGI application
        host=host,
        port=port,
        **{  # type: ignore[arg-type]
            "http": BoundedProtocol,
            "loop": "uvloop",
            "ws": "none",
            "lifespan": "on",
            "proxy_headers": False,
            "server_header": False,
            "access_log": False,
            "log_config": None,
            "backlog": BACKLOG,
            "timeout_keep_alive": IDLE_SECONDS_MAX,
            "timeout_graceful_shutdown": SHUTDOWN_SECONDS_MAX,
            **more,
        },
    )

"""HTTP/1.1 with limits that uvicorn does not have: large heads, slow requests (fault F-W8).

A client that sends ten thousand headers, or one byte a minute, must not hold memory or a
connection. The limits are kept where the bytes arrive, so a request that comes in one piece costs
nothing for them.

Rules a change must keep: a head is refused before it is larger than its limit twice over; whoever
began a request has `ARRIVAL_SECONDS_MAX` for all of it; what is refused here is told as a problem
like everywhere else, and the connection is closed.
"""

import asyncio
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from caas.api.answers import Answer, answer_to_error
from caas.api.limits import ARRIVAL_SECONDS_MAX, HEADER_BYTES_MAX, HEADERS_MAX, IDLE_SECONDS_MAX
from caas.api.problems import (
    CallRefusedError,
    HeadersTooLargeError,
    MalformedRequestError,
    RequestTooSlowError,
)

NO_REQUEST: Final = "unread"
BACKLOG: Final = 2048
SHUTDOWN_SECONDS_MAX: Final = 20


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol on httptools, with bounds on a request's head and on its arrival."""

    cycle: Any = None
    _head_bytes = 0
    _in_head = False
    _arriving = False
    _timed = False
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a first request, not for ever."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(IDLE_SECONDS_MAX, self._too_slow)

    def data_received(self, data: bytes) -> None:
        """Take bytes of the current request, within the limits."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self._arriving:
            if self._in_head and self._head_bytes > HEADER_BYTES_MAX:
                self._refuse(HeadersTooLargeError())
            elif not self._timed:
                self._stop_timer()
                self._timed = True
                self._timer = self.loop.call_later(ARRIVAL_SECONDS_MAX, self._too_slow)
        elif self._timer is not None:
            self._stop_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection and its timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Begin to count a request's head."""
        super().on_message_begin()
        self._in_head = True
        self._arriving = True

    def on_headers_complete(self) -> None:
        """Hand the request over, unless its head is too large."""
        self._in_head = False
        if len(self.headers) > HEADERS_MAX or (
            self._head_bytes > HEADER_BYTES_MAX
            and sum(len(name) + len(value) for name, value in self.headers) + len(self.url)
            > HEADER_BYTES_MAX
        ):
            raise HeadersTooLargeError
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End the count."""
        self._arriving = False
        self._head_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Tell of a request that is not HTTP, or whose head is too large, as a problem."""
        del msg
        too_many = self._arriving and self.headers and len(self.headers) > HEADERS_MAX
        if too_many or self._head_bytes > HEADER_BYTES_MAX:
            self._refuse(HeadersTooLargeError())
        else:
            self._refuse(MalformedRequestError("The request is not valid HTTP."))

    def _too_slow(self) -> None:
        self._timer = None
        self._refuse(RequestTooSlowError())

    def _refuse(self, error: CallRefusedError) -> None:
        """Close the connection, with a word why unless an answer is due or begun on it."""
        if self.transport.is_closing():
            return
        owes_an_answer = (
            self.cycle is not None
            and not self._in_head
            and (self.cycle.response_started or not self._arriving)
        )
        if self._arriving and not owes_an_answer:
            self.transport.write(_written_out(answer_to_error(error, request_id=NO_REQUEST)))
        self.transport.close()

    def _stop_timer(self) -> None:
        self._timed = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _written_out(answer: Answer) -> bytes:
    lines = [b"%b: %b\r\n" % header for header in answer.headers if header[0] != b"connection"]
    length = b"content-length: %d\r\nconnection: close\r\n\r\n" % len(answer.body)
    return b"".join((STATUS_LINE[answer.status], *lines, length, answer.body))


def server_config(
    app: object, *, host: str = "127.0.0.1", port: int = 0, **more: object
) -> uvicorn.Config:
    """Return how uvicorn serves the API: bounded, without a server header or a log of its own."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type]  # any ASGI application
        host=host,
        port=port,
        **{  # type: ignore[arg-type]
            "http": BoundedProtocol,
            "loop": "uvloop",
            "ws": "none",
            "lifespan": "on",
            "server_header": False,
            "access_log": False,
            "log_config": None,
            "backlog": BACKLOG,
            "timeout_keep_alive": IDLE_SECONDS_MAX,
            "timeout_graceful_shutdown": SHUTDOWN_SECONDS_MAX,
            **more,
        },
    )

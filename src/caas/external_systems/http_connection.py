"""One persistent HTTP/1.1 connection on asyncio and httptools.

The gateway calls of every payment flow use such connections.

Rules a change must keep:

- A connection is reused only after a complete, well-framed response to its own request. One that
  was interrupted or received unrequested data is dropped, so that no response is matched with
  another request.
- Seconds, header bytes and body bytes are limited.
"""

import asyncio
from http import HTTPStatus
from typing import Final, Protocol, cast

import httptools

from caas.external_systems.http_answers import UnknownReason

HEAD_BYTES_MAX: Final = 64 * 1024
INFORMATIONAL_BELOW: Final = 200

RawAnswer = tuple[int, dict[bytes, bytes], bytes]


class Writable(Protocol):
    """What the body of a response is written into."""

    def write(self, part: bytes, /) -> int:
        """Write a part."""


class UnusableAnswer(Exception):  # noqa: N818 - `HttpClient` makes an error of it
    """The connection delivered no complete response within the limits."""

    def __init__(self, reason: UnknownReason, detail: str = "") -> None:
        """Store what failed after the request was written."""
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class Connection(asyncio.Protocol):
    """A connection with at most one request in progress, and the response received so far."""

    def __init__(self, loop: asyncio.AbstractEventLoop, answer_bytes_max: int) -> None:
        """Wait for asyncio to connect it."""
        self.reusable = False
        self.idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._loop = loop
        self._answer_bytes_max = answer_bytes_max
        self._waiter: asyncio.Future[RawAnswer] | None = None
        self._into: Writable | None = None
        self._patience_seconds = 0.0
        self._forget_answer()

    @property
    def open(self) -> bool:
        """Whether a request may be written."""
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(
        self, request: bytes, deadline: float, into: Writable | None = None
    ) -> RawAnswer:
        """Write one request and wait for its complete response: status, headers, body.

        The body of a success goes into the file instead, when there is one; then the deadline is
        that of each piece, as far from the last one as it is from now.

        Raises:
            UnusableAnswer: no complete response arrived by the deadline, on the loop's clock.
        """
        assert self._transport is not None
        assert self._waiter is None
        self._forget_answer()
        self._into = into
        waiter: asyncio.Future[RawAnswer] = self._loop.create_future()
        self._waiter = waiter
        self._transport.write(request)
        self._patience_seconds = deadline - self._loop.time()
        self._timer = self._loop.call_at(deadline, self._fail, UnknownReason.TIMED_OUT)
        try:
            return await waiter
        except BaseException:
            self.drop()
            raise
        finally:
            self._timer.cancel()
            self._waiter = None
            self._into = None

    def drop(self) -> None:
        """Close at once, also during a request."""
        if self._transport is not None:
            self._transport.abort()
        self._transport = None
        self.reusable = False

    def _forget_answer(self) -> None:
        self.reusable = False
        self._headers: dict[bytes, bytes] = {}
        self._parts: list[bytes] = []
        self._head_bytes = 0
        self._body_bytes = 0
        self._status = 0
        self._parser = httptools.HttpResponseParser(self)

    # Callbacks of asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the open transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is of no such class

    def data_received(self, data: bytes) -> None:
        """Feed the parser; drop the connection if no request is in progress."""
        if self._waiter is None or self._waiter.done():
            self.drop()  # unrequested data
            return
        if not self._status:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(UnknownReason.MALFORMED, f"not HTTP: {type(error).__name__}")
            self.drop()
        if not self._status and self._head_bytes > HEAD_BYTES_MAX:
            self._fail(UnknownReason.OVERSIZED, "the head")

    def connection_lost(self, _error: Exception | None) -> None:
        """End the response, or fail it: an interrupted response is never complete."""
        self._transport = None
        self.reusable = False
        if self._ends_with_connection() and _error is None:
            self._finish()
        self._fail(UnknownReason.CUT)

    # Callbacks of httptools.

    def on_message_begin(self) -> None:
        """Drop a connection that sends two responses to one request."""
        if self._status:
            self.drop()  # a second answer to one request: whose is it?

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a header by its lower-case name."""
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Store the status; discard an informational response."""
        status = self._parser.get_status_code()
        if status < INFORMATIONAL_BELOW:
            self._headers = {}
        else:
            self._status = status

    def on_body(self, part: bytes) -> None:
        """Store a part of the body, up to the limit."""
        if self._into is not None and self._status == HTTPStatus.OK:
            self._write(self._into, part)
            return
        self._body_bytes += len(part)
        if self._body_bytes > self._answer_bytes_max:
            self._fail(UnknownReason.OVERSIZED)
        else:
            self._parts.append(part)

    def on_message_complete(self) -> None:
        """Deliver the complete response."""
        if not self._status:
            return  # an informational answer; the real one follows
        self.reusable = self.open and self._parser.should_keep_alive()
        self.idle_since = self._loop.time()
        self._finish()

    def _write(self, file: Writable, part: bytes) -> None:
        """Write a part into a file, and wait as long again for the next one."""
        self._timer.cancel()
        self._timer = self._loop.call_later(
            self._patience_seconds, self._fail, UnknownReason.TIMED_OUT
        )
        try:
            file.write(part)
        except OSError as error:
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_exception(error)

    def _ends_with_connection(self) -> bool:
        framed = b"content-length" in self._headers or b"transfer-encoding" in self._headers
        return bool(self._status) and not framed

    def _finish(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result((self._status, self._headers, b"".join(self._parts)))
            self._headers, self._parts = {}, []

    def _fail(self, reason: UnknownReason, detail: str = "") -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(UnusableAnswer(reason, detail))

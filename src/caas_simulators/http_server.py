"""The HTTP/1.1 server of every simulator; its handlers own the connection.

The simulators replace the external systems of Diagram 1 and must be able to misbehave at connection
level: send half a body, disconnect, stay silent. A handler therefore answers a request with an
`Answer`, or with an awaitable that controls the connection.

Rules a change must keep: requests of one connection are answered in order; a handler that returns
an `Answer` at once costs no task; the size of a request is limited; nothing here depends on
payments.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from typing import cast
from urllib.parse import parse_qsl, unquote

import httptools
import msgspec

BODY_BYTES_MAX = 6 * 1024 * 1024
HEADERS_MAX = 100
REFUSED_SECONDS_MAX = 2.0
PIPELINED_REQUESTS_MAX = 1000
TURNS_TO_ACCEPT = 3
"""Turns of the loop after which a connection that was being accepted is registered."""
JSON = b"application/json"
PROBLEM_JSON = b"application/problem+json"

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


class Answer(msgspec.Struct, frozen=True):
    """A response: a status, a body and its type, and further headers."""

    status: int
    body: bytes = b""
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Request(msgspec.Struct):
    """A received request, and its connection."""

    method: str
    path: str
    query_text: str
    headers: dict[bytes, bytes]
    body: bytes
    connection: "Connection"

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the query string; the last one wins."""
        return dict(parse_qsl(self.query_text, keep_blank_values=True))

    def header(self, name: bytes) -> str:
        """Return a header's text, empty when it is absent."""
        return self.headers.get(name, b"").decode("latin-1")


Handler = Callable[[Request], Answer | Awaitable[Answer | None]]


def json_answer(
    status: int, value: object, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> Answer:
    """Answer with a value as JSON."""
    return Answer(status, msgspec.json.encode(value), JSON, headers)


def problem(status: int, code: str, detail: str, **facts: object) -> Answer:
    """Answer with an RFC 9457 problem and its stable code."""
    value = {
        "type": f"urn:problem:{code.replace('_', '-')}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        **facts,
    }
    return Answer(status, msgspec.json.encode(value), PROBLEM_JSON)


def rendered(answer: Answer, *, keep_alive: bool = True) -> bytes:
    """Return the response as bytes to send."""
    parts = [
        _STATUS_LINES[answer.status],
        b"content-type: ",
        answer.content_type,
        b"\r\ncontent-length: ",
        b"%d" % len(answer.body),
        b"\r\n",
    ]
    parts.extend(b"%s: %s\r\n" % header for header in answer.headers)
    if not keep_alive:
        parts.append(b"connection: close\r\n")
    parts.append(b"\r\n")
    parts.append(answer.body)
    return b"".join(parts)


class _Parts(msgspec.Struct):
    """A partly read request."""

    url: bytes = b""
    headers: dict[bytes, bytes] = msgspec.field(default_factory=dict)
    body: bytearray = msgspec.field(default_factory=bytearray)


class Connection(asyncio.Protocol):
    """One client connection: reads requests, answers them in order."""

    def __init__(self, handler: Handler, open_connections: "set[Connection]") -> None:
        """Use this handler and this register of open connections."""
        self._handler = handler
        self._open_connections = open_connections
        self._parser = httptools.HttpRequestParser(self)
        self._parts = _Parts()
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._busy = False
        self._refused = False
        self._task: asyncio.Task[None] | None = None
        self.transport: asyncio.Transport
        self.closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Enter the register of open connections."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's differs.
        self._open_connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the register; notify a handler that waits for the client."""
        del exc
        self._open_connections.discard(self)
        self.closed.set()
        self._waiting.clear()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; close the connection if the data is not HTTP."""
        if self._refused:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            raise  # A bug in a handler is logged and closes the connection.
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse(problem(400, "not_http", "This is not an HTTP request."))

    def on_message_begin(self) -> None:
        """Start a new request."""
        self._parts = _Parts()

    def on_url(self, url: bytes) -> None:
        """Collect the request target, which may arrive in parts."""
        self._parts.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header, up to a limit."""
        if len(self._parts.headers) >= HEADERS_MAX:
            self._refuse(problem(431, "too_many_headers", "The request has too many headers."))
            return
        self._parts.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Send 100 Continue to a client that expects it."""
        if b"expect" in self._parts.headers:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Collect the body, up to a limit."""
        if len(self._parts.body) + len(body) > BODY_BYTES_MAX:
            self._refuse(problem(413, "body_too_large", "The body is too large."))
            return
        self._parts.body += body

    def on_message_complete(self) -> None:
        """Answer the request now, or after the earlier ones."""
        if self._refused or self.transport.is_closing():
            return
        request, keep_alive = self._request(), self._parser.should_keep_alive()
        if not self._busy:
            self._answer(request, keep_alive=keep_alive)
        elif len(self._waiting) < PIPELINED_REQUESTS_MAX:
            self._waiting.append((request, keep_alive))
        else:
            self.transport.abort()

    def _request(self) -> Request:
        parts = self._parts
        path, _, query = parts.url.decode("latin-1").partition("?")
        return Request(
            method=self._parser.get_method().decode("ascii"),
            path=unquote(path) if "%" in path else path,
            query_text=query,
            headers=parts.headers,
            body=bytes(parts.body),
            connection=self,
        )

    def _answer(self, request: Request, *, keep_alive: bool) -> None:
        answer = self._handler(request)
        if isinstance(answer, Answer):
            self._write(answer, keep_alive=keep_alive)
            return
        self._busy = True
        self._task = asyncio.get_running_loop().create_task(
            self._answer_later(answer, keep_alive=keep_alive)
        )

    async def _answer_later(self, awaited: Awaitable[Answer | None], *, keep_alive: bool) -> None:
        try:
            answer = await awaited
        except BaseException:
            self.transport.abort()
            raise
        self._busy = False
        if answer is not None:
            self._write(answer, keep_alive=keep_alive)
        while self._waiting and not self._busy and not self.transport.is_closing():
            request, keep_alive = self._waiting.popleft()
            self._answer(request, keep_alive=keep_alive)

    def _write(self, answer: Answer, *, keep_alive: bool) -> None:
        if self.transport.is_closing():
            return
        self.transport.write(rendered(answer, keep_alive=keep_alive))
        if not keep_alive:
            self.transport.close()

    def _refuse(self, answer: Answer) -> None:
        """Answer and close our side; further data is discarded, so that the response arrives."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self.transport.write(rendered(answer, keep_alive=False))
        self.transport.write_eof()
        asyncio.get_running_loop().call_later(REFUSED_SECONDS_MAX, self.transport.abort)


class Server(msgspec.Struct):
    """A listening server and its address."""

    url: str
    port: int


@contextlib.asynccontextmanager
async def listening(
    handler: Handler, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Server]:
    """Serve during the block; port 0 is any free port."""
    open_connections: set[Connection] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(handler, open_connections), host, port)
    taken = server.sockets[0].getsockname()[1]
    try:
        yield Server(f"http://{host}:{taken}", taken)
    finally:
        server.close()
        for _ in range(TURNS_TO_ACCEPT):
            await asyncio.sleep(0)
        for connection in tuple(open_connections):
            connection.transport.abort()
        await server.wait_closed()


def unknown_path() -> Answer:
    """Answer 404: nothing is served at this path."""
    return problem(404, "unknown_path", "Nothing is served at this path.")

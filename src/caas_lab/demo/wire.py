"""The lines between the platform and the outside world, with somebody listening.

A demonstration shows the arrows of the seed's diagrams as they really went over a socket: each line
passes every byte on as it came, and notes which request was answered how. A line can also be cut,
which is the one way in which a gateway is really not there.

Rules a change must keep: what passes is never changed; a line that does not understand what passes
still passes it on; a request nobody answered is noted as such.
"""

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

import httptools
import msgspec

from caas import app

CHUNK_BYTES: Final = 64 * 1024
HOST: Final = "127.0.0.1"


@dataclass(slots=True)
class Exchange:
    """One request that passed, and its answer; no status means that none came."""

    at: datetime
    method: str
    path: str
    request: dict[str, Any]
    key: str = ""
    status: int | None = None
    answer: dict[str, Any] = field(default_factory=dict)
    ended_at: datetime | None = None


class Line:
    """A socket in front of another one."""

    def __init__(self, target_url: str) -> None:
        """Lead to this address."""
        parts = urlsplit(target_url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._target = (parts.hostname, parts.port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._port = 0
        self.exchanges: list[Exchange] = []

    @property
    def url(self) -> str:
        """Where the near end listens."""
        return f"http://{HOST}:{self._port}"

    async def open(self) -> None:
        """Listen, at the same port as before if there was one."""
        self._server = await asyncio.start_server(self._connected, HOST, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Hang up on everybody, and let nobody connect."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in tuple(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _connected(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        listener = _Listener(self.exchanges)
        self._writers.add(back)
        try:
            far, onwards = await asyncio.open_connection(*self._target)
        except OSError:
            back.transport.abort()
            self._writers.discard(back)
            return
        self._writers.add(onwards)
        try:
            await asyncio.gather(
                _passing(near, onwards, listener.asked), _passing(far, back, listener.answered)
            )
        finally:
            for writer in (back, onwards):
                writer.close()
                self._writers.discard(writer)


async def _passing(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, hear: "_Hearing"
) -> None:
    """Pass on what comes until the source ends, then end the target."""
    with contextlib.suppress(OSError):
        while chunk := await source.read(CHUNK_BYTES):
            hear(chunk)
            target.write(chunk)
            await target.drain()
    with contextlib.suppress(OSError):
        target.close()


class _Hearing:
    """Understands one direction of a connection, as far as it is HTTP."""

    def __init__(self, parser: Any) -> None:
        self._parser = parser

    def __call__(self, chunk: bytes) -> None:
        with contextlib.suppress(httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._parser.feed_data(chunk)


class _Listener:
    """Puts each answer to its request; a connection has one request under way at a time."""

    def __init__(self, exchanges: list[Exchange]) -> None:
        self._exchanges = exchanges
        self._open: deque[Exchange] = deque()
        self._requests = _Requests(self._request)
        self._answers = _Answers(self._answer)
        self.asked = _Hearing(self._requests.parser)
        self.answered = _Hearing(self._answers.parser)

    def _request(self, method: str, path: str, key: str, body: bytes) -> None:
        exchange = Exchange(app.now(), method, path, _decoded(body), key)
        self._exchanges.append(exchange)
        self._open.append(exchange)

    def _answer(self, status: int, body: bytes) -> None:
        if self._open:
            exchange = self._open.popleft()
            exchange.status = status
            exchange.answer = _decoded(body)
            exchange.ended_at = app.now()


class _Requests:
    """httptools' callbacks for requests."""

    def __init__(self, heard: Any) -> None:
        self._heard = heard
        self._path = self._key = self._body = b""
        self.parser = httptools.HttpRequestParser(self)

    def on_message_begin(self) -> None:
        self._path = self._key = self._body = b""

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"idempotency-key":
            self._key = value

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        method = self.parser.get_method().decode()
        self._heard(method, self._path.decode(), self._key.decode(), self._body)


class _Answers:
    """httptools' callbacks for answers."""

    def __init__(self, heard: Any) -> None:
        self._heard = heard
        self._body = b""
        self.parser = httptools.HttpResponseParser(self)

    def on_message_begin(self) -> None:
        self._body = b""

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self._heard(self.parser.get_status_code(), self._body)


def _decoded(body: bytes) -> dict[str, Any]:
    with contextlib.suppress(msgspec.DecodeError):
        told = msgspec.json.decode(body) if body else {}
        return told if isinstance(told, dict) else {}
    return {}

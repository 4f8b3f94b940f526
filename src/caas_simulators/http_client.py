"""A minimal HTTP/1.1 client that the simulators use for POST, mainly of webhooks.

A simulator shares its processor with the system under test and must cost little: this client needs
a fifth of the time of a general one.

Rules a change must keep: connections are kept for the next request, but not longer than a server
keeps them; a request is sent once and never retried here; redirects are not followed; the size of a
response is limited.
"""

import asyncio
import ssl
from collections.abc import Mapping
from functools import lru_cache
from typing import cast
from urllib.parse import urlsplit

import httptools
import msgspec

ANSWER_BYTES_MAX = 1024 * 1024
KEPT_SECONDS_MAX = 3.0
FIRST_FINAL_STATUS = 200
KEPT_CONNECTIONS_MAX = 64


class NoAnswerError(Exception):
    """The post was not answered in full."""


class Address(msgspec.Struct, frozen=True):
    """A URL's address, and its request headers."""

    host: str
    port: int
    secure: bool
    head: bytes


class Reply(msgspec.Struct, frozen=True):
    """The response to a request."""

    status: int
    body: bytes


@lru_cache(maxsize=1000)
def address_of(url: str) -> Address:
    """Return the address of a URL.

    Raises:
        NoAnswerError: it is not an http or https URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise NoAnswerError(f"{url} is no http or https URL")
    secure = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    head = f"POST {path} HTTP/1.1\r\nhost: {parts.netloc}\r\n".encode("ascii", "replace")
    return Address(parts.hostname, parts.port or (443 if secure else 80), secure, head)


class HttpClient:
    """Sends POST requests over persistent connections."""

    def __init__(self) -> None:
        """Start without a connection."""
        self._kept: dict[Address, list[tuple[float, _Connection]]] = {}

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, seconds_max: float
    ) -> Reply:
        """Send a request once and return the response, whatever its status.

        Raises:
            NoAnswerError: no complete response arrived in time.
        """
        address = address_of(url)
        try:
            async with asyncio.timeout(seconds_max):
                connection = self._taken(address) or await _connected(address)
                reply = await connection.post(_rendered(address, body, headers))
        except TimeoutError:
            raise NoAnswerError("TimeoutError") from None
        except OSError as error:
            raise NoAnswerError(type(error).__name__) from error
        self._keep(address, connection)
        return reply

    def close(self) -> None:
        """Close all connections."""
        for kept in self._kept.values():
            for _, connection in kept:
                connection.transport.abort()
        self._kept.clear()

    def _taken(self, address: Address) -> "_Connection | None":
        kept = self._kept.get(address, [])
        now = asyncio.get_running_loop().time()
        while kept:
            since, connection = kept.pop()
            if now - since < KEPT_SECONDS_MAX and not connection.transport.is_closing():
                return connection
            connection.transport.abort()
        return None

    def _keep(self, address: Address, connection: "_Connection") -> None:
        kept = self._kept.setdefault(address, [])
        if connection.reusable and len(kept) < KEPT_CONNECTIONS_MAX:
            kept.append((asyncio.get_running_loop().time(), connection))
        else:
            connection.transport.abort()


class _Connection(asyncio.Protocol):
    """A connection with one request at a time."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body = bytearray()
        self._reply: asyncio.Future[Reply] | None = None
        self._framed = False
        self._ends_with_connection = False
        self.reusable = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None and self._ends_with_connection:
            self._answered()
        self._fail(type(exc).__name__ if exc else "ConnectionClosed")

    async def post(self, request: bytes) -> Reply:
        self._parser = httptools.HttpResponseParser(self)
        self._body = bytearray()
        self._framed = False
        self._ends_with_connection = False
        self.reusable = False
        self._reply = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        try:
            return await self._reply
        except BaseException:
            self.transport.abort()
            raise

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail("NotHttp")

    def on_header(self, name: bytes, _value: bytes) -> None:
        self._framed |= name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        self._ends_with_connection = not self._framed

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > ANSWER_BYTES_MAX:
            self._fail("AnswerTooLarge")

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() >= FIRST_FINAL_STATUS:
            self.reusable = self._parser.should_keep_alive()
            self._answered()

    def _answered(self) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_result(Reply(self._parser.get_status_code(), bytes(self._body)))

    def _fail(self, reason: str) -> None:
        self.reusable = False
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(NoAnswerError(reason))


async def _connected(address: Address) -> _Connection:
    tls = _tls() if address.secure else None
    _, connection = await asyncio.get_running_loop().create_connection(
        _Connection, address.host, address.port, ssl=tls
    )
    return connection


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _rendered(address: Address, body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return b"%bcontent-length: %d\r\n%b\r\n%b" % (address.head, len(body), lines.encode(), body)

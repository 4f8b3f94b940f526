"""HTTP client for one external system: few connections, hard limits, classified failures.

aiohttp is not used: it costs about four times the CPU per call, and it assigns an unsolicited
response on an idle connection to the next request.

Rules a change must keep:

- The client never retries and never follows redirects; that is up to the caller.
- `NotSentError` is raised only before the first byte was written. After that every failure is
  unknown, even on a reused connection: the server may have read the request before it disconnected.
- Connections, seconds and bytes are limited.
"""

import asyncio
import errno
import os
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import urlsplit

import msgspec

from caas.errors import StartupError
from caas.external_systems.http_answers import (
    GatewayFailure,
    HttpAnswer,
    NotSentError,
    OutcomeUnknownError,
    RefusedByPartnerError,
    TooManyRequestsError,
    UnknownReason,
    note_write,
)
from caas.external_systems.http_connection import Connection, UnusableAnswer, Writable

__all__ = [
    "GatewayFailure",
    "HttpAnswer",
    "HttpClient",
    "HttpLimits",
    "NotSentError",
    "OutcomeUnknownError",
    "RefusedByPartnerError",
    "Secret",
    "TooManyRequestsError",
    "UnknownReason",
]

ANSWER_BYTES_MAX: Final = 1 << 20
RETRY_AFTER_SECONDS_MAX: Final = 3600.0
LookUp = Callable[[str, int], Awaitable[list[str]]]


class Secret:
    """A secret that is hidden in reprs, logs and errors."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        """Store the value.

        Raises:
            StartupError: it is empty or not valid in a header.
        """
        if not value or not value.isascii() or not value.isprintable() or " " in value:
            raise StartupError("A secret must be visible ASCII characters without a space.")
        self._value = value

    def reveal(self) -> str:
        """Return the value, to send it."""
        return self._value

    def __repr__(self) -> str:
        """Return stars."""
        return "Secret('****')"

    __str__ = __repr__

    def __reduce__(self) -> str:
        """Reject pickling, which would write the value."""
        raise TypeError("A secret cannot be pickled.")


class HttpLimits(msgspec.Struct, frozen=True):
    """Limits of the connection to one external system."""

    total_seconds: float = 10.0
    connect_seconds: float = 3.0
    connections_max: int = 64
    answer_bytes_max: int = ANSWER_BYTES_MAX
    # Shorter than the five seconds after which common servers close an idle connection: a
    # request written into a closing connection would needlessly end as unknown.
    idle_seconds_max: float = 4.0

    def __post_init__(self) -> None:
        """Check that the connect timeout is shorter than the total."""
        assert 0 < self.connect_seconds < self.total_seconds
        assert self.connections_max > 0
        assert self.answer_bytes_max > 0


class BoundedFile:
    """A file that takes no more than so many bytes."""

    def __init__(self, file: BinaryIO, bytes_max: int) -> None:
        """Write into this file."""
        self._file = file
        self._bytes_left = bytes_max

    def write(self, part: bytes, /) -> int:
        """Write a part.

        Raises:
            OSError: the file would become too large, or cannot be written.
        """
        self._bytes_left -= len(part)
        if self._bytes_left < 0:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        return self._file.write(part)


class HttpClient:
    """A client of one external system over a few kept-alive connections."""

    def __init__(  # noqa: PLR0913  # how a connection is made, by name
        self,
        base_url: str,
        *,
        partner: str,
        api_key: Secret | None = None,
        limits: HttpLimits | None = None,
        tls: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
        look_up: LookUp | None = None,
    ) -> None:
        """Use these headers of the external system, in addition to or instead of ours.

        `look_up` resolves the addresses to connect to, and raises OSError if none is allowed.
        """
        parts = urlsplit(checked_base_url(base_url))
        secure = parts.scheme == "https"
        self.partner = partner
        self.base_url = base_url
        self._api_key, self._headers = api_key, dict(headers or {})
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if secure else 80)
        self._prefix = parts.path
        self._tls = (tls or ssl.create_default_context()) if secure else None
        self._limits = limits or HttpLimits()
        self._look_up = look_up
        self._idle: deque[Connection] = deque()
        self._places = asyncio.Semaphore(self._limits.connections_max)
        lines = {"Host": parts.netloc, **standing_headers(api_key), **self._headers}
        assert all(name.isascii() and value.isprintable() for name, value in lines.items())
        self._head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())

    async def send(
        self,
        method: str,
        target: str,
        *,
        body: bytes | None = None,
        key: str | None = None,
        prepares: bool = False,
    ) -> HttpAnswer:
        """Send a request and return the complete response, whatever its status.

        A request that `prepares` changes nothing about a payment: the operation that it belongs to
        may still count as not sent.

        Raises:
            NotSentError: no connection could be made.
            OutcomeUnknownError: it was sent, and no complete response arrived within the limits.
        """
        call, status = f"{method} {target}", None
        try:
            answer = await self._exchanged(call, body=body, key=key)
            status = answer.status
        except NotSentError:
            prepares = True
            raise
        finally:
            if not prepares:
                note_write(call, status)
        return answer

    async def download(
        self, target: str, path: Path, *, bytes_max: int | None = None
    ) -> HttpAnswer:
        """Download a target, of any size or up to a limit, into a file.

        Each chunk has a time limit. The body of an unsuccessful response is in the response, and
        the file is empty.

        Raises:
            NotSentError: no connection could be made.
            OutcomeUnknownError: the file is incomplete.
            OSError: it could not be written, or is larger than the limit.
        """
        with path.open("wb") as file:
            into = file if bytes_max is None else BoundedFile(file, bytes_max)
            return await self._exchanged(f"GET {target}", into=into)

    def beside(self, base_url: str, *, headers: Mapping[str, str]) -> "HttpClient":
        """Return a client for another URL of the same system, with the same key."""
        return HttpClient(
            base_url, partner=self.partner, api_key=self._api_key, limits=self._limits,
            tls=self._tls, headers=self._headers | dict(headers),
        )  # fmt: skip

    async def close(self) -> None:
        """Close idle connections; those in use close after their response."""
        while self._idle:
            self._idle.pop().drop()

    async def _exchanged(
        self,
        call: str,
        *,
        body: bytes | None = None,
        key: str | None = None,
        into: Writable | None = None,
    ) -> HttpAnswer:
        request = self._request(call, body, key)
        started = asyncio.get_running_loop().time()
        await self._take_place(call, started)
        try:
            connection = self._kept(started) or await self._connected(call, started)
            status, headers, content = await connection.exchange(
                request, started + self._limits.total_seconds, into
            )
            if connection.reusable:
                self._idle.append(connection)
        except UnusableAnswer as unusable:
            raise OutcomeUnknownError(
                partner=self.partner, call=call, reason=unusable.reason, detail=unusable.detail
            ) from None
        finally:
            self._places.release()
        return HttpAnswer(
            self.partner,
            call,
            status,
            media_type(headers.get(b"content-type", b"").decode("latin-1")),
            content,
            _retry_after(headers),
        )

    def _request(self, call: str, body: bytes | None, key: str | None) -> bytes:
        method, _, target = call.partition(" ")
        lines = f"{method} {self._prefix}{target} HTTP/1.1\r\n{self._head}"
        if key is not None:
            lines += f"Idempotency-Key: {key}\r\n"
        if body is not None:
            lines += f"Content-Length: {len(body)}\r\n"
        assert _visible(target), "a target is percent-encoded"
        assert key is None or _visible(key), "a key is visible ASCII"
        return lines.encode("ascii") + b"\r\n" + (body or b"")

    async def _take_place(self, call: str, started: float) -> None:
        try:
            if self._places.locked():
                async with asyncio.timeout_at(started + self._limits.connect_seconds):
                    await self._places.acquire()
            else:
                await self._places.acquire()
        except TimeoutError as error:
            cause = "all connections are in use"
            raise NotSentError(partner=self.partner, call=call, cause=cause) from error

    def _kept(self, now: float) -> Connection | None:
        """Return an idle connection that is still open and young enough, the newest first."""
        oldest = now - self._limits.idle_seconds_max
        while self._idle:
            connection = self._idle.pop()
            if connection.open and connection.idle_since >= oldest:
                return connection
            connection.drop()
        return None

    async def _opened(self, loop: asyncio.AbstractEventLoop) -> Connection:
        """Connect to the first address that responds, of the resolved ones if there are any."""
        hosts = await self._look_up(self._host, self._port) if self._look_up else [self._host]
        for left, host in zip(range(len(hosts) - 1, -1, -1), hosts, strict=True):
            try:
                _, connection = await loop.create_connection(
                    lambda: Connection(loop, self._limits.answer_bytes_max),
                    host,
                    self._port,
                    ssl=self._tls,
                    server_hostname=self._host if self._tls else None,
                )
            except OSError:
                if not left:
                    raise
            else:
                return connection
        raise OSError("no address was found")

    async def _connected(self, call: str, started: float) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(started + self._limits.connect_seconds):
                connection = await self._opened(loop)
        except OSError as error:  # refusals, DNS, TLS and time-outs are all of these types
            cause = type(error).__name__
            raise NotSentError(partner=self.partner, call=call, cause=cause) from error
        if not connection.open:
            cause = "it hung up, or spoke, before it was asked"
            raise NotSentError(partner=self.partner, call=call, cause=cause)
        return connection


def checked_base_url(base_url: str) -> str:
    """Return the address without a trailing slash.

    Raises:
        StartupError: it is not a plain http or https address.
    """
    parts = urlsplit(base_url)
    plain = parts.scheme in {"http", "https"} and parts.hostname and "@" not in parts.netloc
    if not plain or parts.query or parts.fragment:
        raise StartupError(
            f"The address of an external system at {parts.hostname!r} cannot be used; "
            "write http(s)://host[:port][/path], without user, query or fragment."
        )
    return base_url.rstrip("/")


def standing_headers(api_key: Secret | None) -> dict[str, str]:
    """Return the headers of every request to one external system."""
    headers = {
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Content-Type": "application/json",
        "User-Agent": "caas",
    }
    if api_key is not None:
        headers["Authorization"] = f"Bearer {api_key.reveal()}"
    return headers


def media_type(content_type: str) -> str:
    """Return the media type of a Content-Type header, without parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def retry_after_seconds(retry_after: str | None, date: str | None) -> float | None:
    """Return the wait in Retry-After; a date is relative to the response's own Date."""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return min(float(retry_after[:9]), RETRY_AFTER_SECONDS_MAX)
    try:
        until = parsedate_to_datetime(retry_after)
        wait_seconds = (until - parsedate_to_datetime(date or "")).total_seconds()
    except (ValueError, TypeError):
        return None
    return min(max(wait_seconds, 0.0), RETRY_AFTER_SECONDS_MAX)


def _visible(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _retry_after(headers: dict[bytes, bytes]) -> float | None:
    if b"retry-after" not in headers:
        return None
    return retry_after_seconds(
        headers[b"retry-after"].decode("latin-1"), headers.get(b"date", b"").decode("latin-1")
    )

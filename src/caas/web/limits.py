"""Limits on request sizes, and functions that read bodies within them (faults F-W8 and F-T1).

Every byte of a message counts against one limit: its head against `HEADER_BYTES_MAX`, its body
against the limit of its route, and chunk sizes, chunk extensions and trailers against
`FRAMING_BYTES_MAX`.

Rules a change must keep: every limit is a named constant here; oversized input is rejected before
it is held in memory; nothing is decompressed.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from caas.rules.rate_limits import Quota, RateLimit, TokenBuckets, owner_of
from caas.web.problems import (
    BodyTooLargeError,
    MalformedRequestError,
    RateLimitedError,
    RequestTooSlowError,
    UnsupportedMediaTypeError,
)
from caas.web.request import Request

BODY_BYTES_MAX: Final = 64 * 1024
DOCUMENT_BODY_BYTES_MAX: Final = 7 * 1024 * 1024
"""For a call with a document: five megabytes in Base64."""
UPLOAD_BYTES_MAX: Final = 5 * 1024 * 1024 + 64 * 1024
"""For a form with a file: the largest document plus the other fields."""
PASSED_BYTES_MAX: Final = 1024 * 1024
MESSAGE_BODY_BYTES_MAX: Final = DOCUMENT_BODY_BYTES_MAX + PASSED_BYTES_MAX
"""For any body; beyond it the connection is closed."""
FRAMING_BYTES_MAX: Final = 64 * 1024
"""For the bytes of a message outside its head and body."""
ADDRESS_BYTES_MAX: Final = 8 * 1024
HEADER_BYTES_MAX: Final = 16 * 1024
HEADERS_MAX: Final = 64
PIPELINED_MAX: Final = 32
"""Pipelined requests per connection."""
CONNECTIONS_MAX: Final = 4_000
ARRIVAL_SECONDS_MAX: Final = 10.0
IDLE_SECONDS_MAX: Final = 30
IN_FLIGHT_MAX: Final = 2_000
"""Concurrent requests per application."""

Receive = Callable[[], Awaitable[dict[str, Any]]]

_WITHOUT_BODY: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_JSON: Final = b"application/json"
_UTF_8: Final = frozenset({b"charset=utf-8", b'charset="utf-8"'})


async def read_json(request: Request, receive: Receive, *, bytes_max: int) -> bytes:
    """Return the JSON body of a request within the route's limit.

    Raises:
        BodyTooLargeError: the body exceeds the limit and was not read completely.
        UnsupportedMediaTypeError: the body is not uncompressed JSON.
    """
    if request.method in _WITHOUT_BODY:
        return b""
    body = await read_body(request, receive, bytes_max=bytes_max)
    if body:
        _refuse_by_type(request.headers)
    return body


async def read_body(
    request: Request, receive: Receive, *, bytes_max: int, passed_max: int = PASSED_BYTES_MAX
) -> bytes:
    """Return the body of a request; up to `drain` bytes beyond the limit are discarded.

    Raises:
        BodyTooLargeError: the body exceeds the limit and was not read completely.
    """
    _refuse_by_length(request.headers, bytes_max, passed_max)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):
        body = await _read_on(body, receive, bytes_max, passed_max)
    elif message["type"] == "http.disconnect":
        raise RequestTooSlowError
    if len(body) > bytes_max:
        raise _too_large(bytes_max)
    return body


def _too_large(bytes_max: int) -> BodyTooLargeError:
    return BodyTooLargeError(
        f"The body is larger than the {bytes_max // 1024} KiB limit. Send a smaller one."
    )


async def _read_on(begun: bytes, receive: Receive, bytes_max: int, passed_max: int) -> bytes:
    """Read the rest of a body and discard what exceeds the limit, up to a second limit.

    A client that is still sending when the connection closes would not receive the response.
    """
    body = bytearray(begun)
    passed = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestTooSlowError
        more = message.get("more_body", False)
        if len(body) <= bytes_max:
            body += message.get("body", b"")
        else:
            passed += len(message.get("body", b""))
        if passed > passed_max:
            raise _too_large(bytes_max)
    return bytes(body)


def _refuse_by_length(headers: dict[bytes, bytes], bytes_max: int, passed_max: int) -> None:
    declared = headers.get(b"content-length")
    if declared is None:
        return
    if not declared.isdigit():
        raise MalformedRequestError
    waits = b"expect" in headers
    if int(declared) > (bytes_max if waits else max(bytes_max, passed_max)):
        raise _too_large(bytes_max)


def _refuse_by_type(headers: dict[bytes, bytes]) -> None:
    if headers.get(b"content-type") == _JSON and b"content-encoding" not in headers:
        return
    media_type, _, parameters = headers.get(b"content-type", b"").lower().partition(b";")
    if media_type.strip() != _JSON or headers.get(b"content-encoding", b"identity") != b"identity":
        raise UnsupportedMediaTypeError
    if parameters.strip() and parameters.strip() not in _UTF_8:
        raise UnsupportedMediaTypeError


class AddressLimit:
    """A rate limit per network address for unauthenticated requests."""

    def __init__(self, limit: RateLimit) -> None:
        """Start with no buckets."""
        self._buckets = TokenBuckets(limit)

    def look(self, request: Request) -> Quota:
        """Return what the address has left."""
        return self._buckets.look(owner_of(request.address), now=time.monotonic())

    def take(self, request: Request) -> None:
        """Take a token.

        Raises:
            RateLimitedError: the address has no token left.
        """
        refuse_without_token(self._buckets.take(owner_of(request.address), now=time.monotonic()))

    def give_back(self, request: Request) -> None:
        """Return the token of a request that was authenticated."""
        self._buckets.give_back(owner_of(request.address), now=time.monotonic())


def refuse_without_token(quota: Quota) -> None:
    """Reject a request without a token.

    Raises:
        RateLimitedError: the address has no token left.
    """
    if not quota.granted:
        wait = (b"retry-after", b"%d" % max(quota.wait_seconds, 1))
        raise RateLimitedError(headers=(wait,))

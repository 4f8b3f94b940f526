"""How much of a request is read, and when reading stops (faults F-W8 and F-T1).

Every byte of a message counts against one of these limits: its head against `HEADER_BYTES_MAX`, its
body against that of its address, and whatever else is sent with a body (chunk sizes, chunk
extensions, trailers) against `FRAMING_BYTES_MAX`.

Rules a change must keep: every limit has a name here; what is too large is refused before it is
held in memory; nothing is ever decompressed.
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
"""Of a call that brings a document: five megabytes of it in Base64."""
UPLOAD_BYTES_MAX: Final = 5 * 1024 * 1024 + 64 * 1024
"""Of a form with a file: the largest document, and room for the other fields."""
PASSED_BYTES_MAX: Final = 1024 * 1024
MESSAGE_BODY_BYTES_MAX: Final = DOCUMENT_BODY_BYTES_MAX + PASSED_BYTES_MAX
"""Of a body at any address: beyond it the connection is closed, whoever reads or does not."""
FRAMING_BYTES_MAX: Final = 64 * 1024
"""Of a message beside its head and its body."""
ADDRESS_BYTES_MAX: Final = 8 * 1024
HEADER_BYTES_MAX: Final = 16 * 1024
HEADERS_MAX: Final = 64
PIPELINED_MAX: Final = 32
"""Requests of one connection that wait for the answer to the one before them."""
CONNECTIONS_MAX: Final = 4_000
ARRIVAL_SECONDS_MAX: Final = 10.0
IDLE_SECONDS_MAX: Final = 30
IN_FLIGHT_MAX: Final = 2_000
"""Requests that one application answers at the same time."""

Receive = Callable[[], Awaitable[dict[str, Any]]]

_WITHOUT_BODY: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_JSON: Final = b"application/json"
_UTF_8: Final = frozenset({b"charset=utf-8", b'charset="utf-8"'})


async def read_json(request: Request, receive: Receive, *, bytes_max: int) -> bytes:
    """Return the body of a request, which is JSON, as much as its address may bring.

    Raises:
        BodyTooLargeError: it is longer; it was not read to its end.
        UnsupportedMediaTypeError: it is something else than plain JSON.
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
    """Return the body of a request; of what is beyond its limit so much is let go.

    Raises:
        BodyTooLargeError: it is longer; it was not read to its end.
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
        f"The body is larger than the {bytes_max // 1024} KiB read here; send less."
    )


async def _read_on(begun: bytes, receive: Receive, bytes_max: int, passed_max: int) -> bytes:
    """Read the rest of a body; what is beyond the limit is let go, up to a limit of its own.

    A client that is still sending when the connection closes would not hear the answer.
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
    """How often one address on the network may ask for something without saying who it is."""

    def __init__(self, limit: RateLimit) -> None:
        """Keep a bucket of tokens for each address."""
        self._buckets = TokenBuckets(limit)

    def look(self, request: Request) -> Quota:
        """Return what an address has left."""
        return self._buckets.look(owner_of(request.address), now=time.monotonic())

    def take(self, request: Request) -> None:
        """Take a token.

        Raises:
            RateLimitedError: the address has none left.
        """
        refuse_without_token(self._buckets.take(owner_of(request.address), now=time.monotonic()))

    def refund_order(self, request: Request) -> None:
        """Give the token back of somebody who said who they are."""
        self._buckets.refund_order(owner_of(request.address), now=time.monotonic())


def refuse_without_token(quota: Quota) -> None:
    """Refuse whoever had no token left.

    Raises:
        RateLimitedError: there was none.
    """
    if not quota.granted:
        wait = (b"retry-after", b"%d" % max(quota.wait_seconds, 1))
        raise RateLimitedError(headers=(wait,))

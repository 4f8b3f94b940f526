"""How much of a request this API reads, and when it stops reading (faults F-W8 and F-T1).

Every byte of a message counts against one of these limits: its head against `HEADER_BYTES_MAX`, its
body against that of its address, and whatever else is sent with a body (chunk sizes, chunk
extensions, trailers) against `FRAMING_BYTES_MAX`.

Rules a change must keep: every limit has a name here; what is too large is refused before it is
held in memory; nothing is ever decompressed.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from caas.api.call import Call
from caas.api.problems import (
    BodyTooLargeError,
    MalformedRequestError,
    RequestTooSlowError,
    UnsupportedMediaTypeError,
)
from caas.errors import UnavailableError
from caas.external_systems.webhook_signatures import WEBHOOK_BODY_BYTES_MAX

BODY_BYTES_MAX: Final = 64 * 1024
DOCUMENT_BODY_BYTES_MAX: Final = 7 * 1024 * 1024
"""Of a call that brings a document: five megabytes of it in Base64."""
DOCUMENT_PATHS: Final = (
    ("/v1/reconciliation/discrepancies/", "/evidence"),
    ("/v1/reconciliation/reports", ""),
)
WEBHOOK_PATHS: Final = "/webhooks/"
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
CALLS_UNDER_WAY_MAX: Final = 2_000
PAGE_ROWS_MAX: Final = 100
PAGE_ROWS: Final = 50

Receive = Callable[[], Awaitable[dict[str, Any]]]

_WITHOUT_BODY: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_JSON: Final = b"application/json"
_UTF_8: Final = frozenset({b"charset=utf-8", b'charset="utf-8"'})


class TooManyCallsError(UnavailableError):
    """Too many requests are under way at this moment; try again shortly."""

    code = "too_many_calls"


async def read_body(call: Call, receive: Receive) -> bytes:
    """Return the body of a request, as much as its address may bring.

    Raises:
        BodyTooLargeError: it is longer; it was not read to its end.
        UnsupportedMediaTypeError: it is something else than plain JSON.
    """
    if call.method in _WITHOUT_BODY:
        return b""
    bytes_max = _bytes_max(call.path)
    _refuse_by_length(call.headers, bytes_max)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):
        body = await _read_on(body, receive, bytes_max)
    elif message["type"] == "http.disconnect":
        raise RequestTooSlowError
    if len(body) > bytes_max:
        raise _too_large(bytes_max)
    if body:
        _refuse_by_type(call.headers)
    return body


def _bytes_max(path: str) -> int:
    if path.startswith(WEBHOOK_PATHS):
        return WEBHOOK_BODY_BYTES_MAX
    brings_document = any(
        path.startswith(begins) and path.endswith(ends) for begins, ends in DOCUMENT_PATHS
    )
    return DOCUMENT_BODY_BYTES_MAX if brings_document else BODY_BYTES_MAX


def _too_large(bytes_max: int) -> BodyTooLargeError:
    if bytes_max == BODY_BYTES_MAX:
        return BodyTooLargeError()
    if bytes_max == WEBHOOK_BODY_BYTES_MAX:
        return BodyTooLargeError("The body is larger than the 256 KiB read of a webhook.")
    return BodyTooLargeError(
        f"The body is larger than the {bytes_max // 2**20} MiB read here; send a smaller document."
    )


async def _read_on(begun: bytes, receive: Receive, bytes_max: int) -> bytes:
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
        if passed > PASSED_BYTES_MAX:
            raise _too_large(bytes_max)
    return bytes(body)


def _refuse_by_length(headers: dict[bytes, bytes], bytes_max: int) -> None:
    declared = headers.get(b"content-length")
    if declared is None:
        return
    if not declared.isdigit():
        raise MalformedRequestError
    waits = b"expect" in headers
    if int(declared) > (bytes_max if waits else max(bytes_max, PASSED_BYTES_MAX)):
        raise _too_large(bytes_max)


def _refuse_by_type(headers: dict[bytes, bytes]) -> None:
    if headers.get(b"content-type") == _JSON and b"content-encoding" not in headers:
        return
    media_type, _, parameters = headers.get(b"content-type", b"").lower().partition(b";")
    if media_type.strip() != _JSON or headers.get(b"content-encoding", b"identity") != b"identity":
        raise UnsupportedMediaTypeError
    if parameters.strip() and parameters.strip() not in _UTF_8:
        raise UnsupportedMediaTypeError

"""`Idempotency-Key`: repeated POST requests are executed once.

A key is 16 to 255 visible ASCII characters; the caller creates one per request and reuses it for
retries, for example a UUID. Keys are scoped to the account that made the API key, or to the name of
a configured one (decision 291). Requests are compared by method, path and decoded content, not by
field order or whitespace.

| the key | the response |
|---|---|
| missing or malformed | 400 |
| used for another request | 422 |
| first request still running | 409 and Retry-After |
| first request completed | its response, with `Idempotency-Replayed: true` |

Rule a change must keep: every POST that changes something goes through `once`.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable
from operator import attrgetter
from typing import Final

import msgspec

from caas.api.authentication import Call
from caas.billing_database.idempotency import IdempotencyKeys, StoredAnswer
from caas.web import idempotency
from caas.web.idempotency import KeyedRequest
from caas.web.problems import PROBLEM, CallRefusedError
from caas.web.response import ERRORS_FROM, JSON, RawHeader, Response, encode

HEADER: Final = b"idempotency-key"
KEY_CHARS_MIN: Final = 16
KEY_CHARS_MAX: Final = 255
KEY_PATTERN: Final = f"^[!-~]{{{KEY_CHARS_MIN},{KEY_CHARS_MAX}}}$"
REPLAYED: Final[RawHeader] = (b"idempotency-replayed", b"true")
_KEY: Final = re.compile(rb"[!-~]{%d,%d}" % (KEY_CHARS_MIN, KEY_CHARS_MAX))


class IdempotencyKeyMissingError(CallRefusedError):
    """Send an Idempotency-Key: a new one for each request, the same one for each retry."""

    code = "idempotency_key_missing"
    http_status = 400


class IdempotencyKeyMalformedError(CallRefusedError):
    """The Idempotency-Key must be 16 to 255 visible ASCII characters. Use a UUID."""

    code = "idempotency_key_malformed"
    http_status = 400


class Linked(msgspec.Struct, frozen=True):
    """The part of a stored response that locates its object."""

    links: dict[str, str] = {}


_LINKED: Final = msgspec.json.Decoder(Linked)


def key_of(call: Call) -> str:
    """Return the caller's Idempotency-Key.

    Raises:
        IdempotencyKeyMissingError: the header is missing.
        IdempotencyKeyMalformedError: it is too short, too long, or not visible ASCII.
    """
    key = call.headers.get(HEADER)
    if not key:
        raise IdempotencyKeyMissingError
    if _KEY.fullmatch(key) is None:
        raise IdempotencyKeyMalformedError
    return key.decode("ascii")


def keyed(call: Call, content: msgspec.Struct, *, more: bytes = b"") -> KeyedRequest:
    """Return the decoded call under the caller's key.

    Raises:
        IdempotencyKeyMissingError: the header is missing.
        IdempotencyKeyMalformedError: it is too short, too long, or not visible ASCII.
    """
    head = f"{call.method} {call.path}\n".encode()
    digest = hashlib.sha256(head + more + encode(content)).digest()
    return KeyedRequest(call.by.owner, key_of(call), digest)


async def once(
    keys: IdempotencyKeys,
    call: Call,
    content: msgspec.Struct,
    work: Callable[[], Awaitable[Response]],
    *,
    kept: Callable[[Response], bytes] = attrgetter("body"),
) -> Response:
    """Run the operation of a POST once per key, or return the stored response.

    `kept` converts a response for storage, without values that are shown only once.

    Raises:
        KeyReusedError: the key was used for another request.
        InFlightError: the first request with this key is still running.
    """
    return await idempotency.once(keys, keyed(call, content), work, replayed=replayed, kept=kept)


def replayed(stored: StoredAnswer) -> Response:
    """Return the stored response of the first request with this key."""
    kind = PROBLEM if stored.status >= ERRORS_FROM else JSON
    location = _LINKED.decode(stored.body).links.get("self") if stored.body else None
    where = () if location is None else ((b"location", location.encode()),)
    return Response(stored.status, stored.body, (kind, *where, REPLAYED))

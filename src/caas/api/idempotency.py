"""`Idempotency-Key`: every POST is done once, however often it is sent.

A key is 16 to 255 visible ASCII characters, chosen by the caller for one request and kept for its
repetitions; a UUID will do. It belongs to the caller's name. What is compared is the request as it
was understood: method, path and content, not the order of fields or the blanks between them.

| the key | the answer |
|---|---|
| missing, or not of that shape | 400 |
| was used for another request | 422 |
| its first request is still running | 409 and Retry-After |
| its first request was answered | that answer, and `Idempotency-Replayed: true` |

Rule a change must keep: a POST that changes something is done through `once`.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable
from operator import attrgetter
from typing import Final

import msgspec

from caas.api.call import Call
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
    """Send an Idempotency-Key: a new one for each request, the same one when you repeat it."""

    code = "idempotency_key_missing"
    http_status = 400


class IdempotencyKeyMalformedError(CallRefusedError):
    """An Idempotency-Key is 16 to 255 visible ASCII characters; a UUID will do."""

    code = "idempotency_key_malformed"
    http_status = 400


class Linked(msgspec.Struct, frozen=True):
    """As much of a stored answer as says where its object lies."""

    links: dict[str, str] = {}


_LINKED: Final = msgspec.json.Decoder(Linked)


def key_of(call: Call) -> str:
    """Return the caller's Idempotency-Key.

    Raises:
        IdempotencyKeyMissingError: there is none.
        IdempotencyKeyMalformedError: it is too short, too long, or not visible ASCII.
    """
    key = call.headers.get(HEADER)
    if not key:
        raise IdempotencyKeyMissingError
    if _KEY.fullmatch(key) is None:
        raise IdempotencyKeyMalformedError
    return key.decode("ascii")


def keyed(call: Call, content: msgspec.Struct, *, more: bytes = b"") -> KeyedRequest:
    """Return the request of a call as it was understood, under the caller's key.

    Raises:
        IdempotencyKeyMissingError: there is none.
        IdempotencyKeyMalformedError: it is too short, too long, or not visible ASCII.
    """
    head = f"{call.method} {call.path}\n".encode()
    digest = hashlib.sha256(head + more + encode(content)).digest()
    return KeyedRequest(call.by.name, key_of(call), digest)


async def once(
    keys: IdempotencyKeys,
    call: Call,
    content: msgspec.Struct,
    work: Callable[[], Awaitable[Response]],
    *,
    kept: Callable[[Response], bytes] = attrgetter("body"),
) -> Response:
    """Do the work of a POST, unless its key says that it was done; then return that answer.

    `kept` returns what of an answer is kept for that, without what is shown only once.

    Raises:
        KeyReusedError: the key was used for another request.
        InFlightError: the first request with this key is still running.
    """
    return await idempotency.once(keys, keyed(call, content), work, replayed=replayed, kept=kept)


def replayed(stored: StoredAnswer) -> Response:
    """Return the answer that the first request with this key was given."""
    kind = PROBLEM if stored.status >= ERRORS_FROM else JSON
    location = _LINKED.decode(stored.body).links.get("self") if stored.body else None
    where = () if location is None else ((b"location", location.encode()),)
    return Response(stored.status, stored.body, (kind, *where, REPLAYED))

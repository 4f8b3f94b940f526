"""A response on its way out: status, body, headers, and nothing of any framework.

Rule a change must keep: what a response says about itself (its media type, where it lies, how long
to wait) follows from its status and its body, so that a stored one is sent like a fresh one.
"""

from dataclasses import dataclass, replace
from typing import Final

import msgspec

RawHeader = tuple[bytes, bytes]

OK: Final = 200
ERRORS_FROM: Final = 400
FAILURES_FROM: Final = 500
JSON: Final[RawHeader] = (b"content-type", b"application/json")

encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Response:
    """What is sent back."""

    status: int
    body: bytes = b""
    headers: tuple[RawHeader, ...] = ()

    def with_headers(self, *headers: RawHeader) -> "Response":
        """Return the same response with more headers."""
        return replace(self, headers=(*self.headers, *headers))


def json_response(status: int, content: object, *headers: RawHeader) -> Response:
    """Return a response with this content as JSON."""
    return Response(status, encode(content), (JSON, *headers))

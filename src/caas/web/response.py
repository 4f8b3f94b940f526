"""A response on its way out: status, body, headers, and nothing of any framework.

Rules a change must keep: what a response says about itself (its media type, where it lies, how long
to wait) follows from its status and its body, so that a stored one is sent like a fresh one; a page
of a signed-in person is kept by no cache; a redirect leads to a path of our own and never to an
address that came in with the request.
"""

import re
from dataclasses import dataclass, replace
from typing import Final

import msgspec

RawHeader = tuple[bytes, bytes]

OK: Final = 200
NOTHING_NEW: Final = 204
SEE_OTHER: Final = 303
ERRORS_FROM: Final = 400
FAILURES_FROM: Final = 500
JSON: Final[RawHeader] = (b"content-type", b"application/json")
HTML: Final[RawHeader] = (b"content-type", b"text/html; charset=utf-8")
NO_STORE: Final[RawHeader] = (b"cache-control", b"no-store")

_OWN_PATH: Final = re.compile(r"/(?:[A-Za-z0-9._~-][A-Za-z0-9._~/-]*)?(?:\?[A-Za-z0-9._~/=&-]*)?")

encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Response:
    """What is sent back."""

    status: int
    body: bytes = b""
    headers: tuple[RawHeader, ...] = ()
    shows_again: str = ""
    """The page that a refused form stood on, to be shown again with what was typed."""

    def with_headers(self, *headers: RawHeader) -> "Response":
        """Return the same response with more headers."""
        return replace(self, headers=(*self.headers, *headers))


def json_response(status: int, content: object, *headers: RawHeader) -> Response:
    """Return a response with this content as JSON."""
    return Response(status, encode(content), (JSON, *headers))


def html(text: str, *, status: int = OK) -> Response:
    """Return a page, or a part of one."""
    return Response(status, text.encode(), (HTML, NO_STORE))


def see_other(path: str) -> Response:
    """Send the browser to another of our pages, with GET."""
    assert is_own_path(path), path
    return Response(SEE_OTHER, b"", ((b"location", path.encode()), NO_STORE))


def refused(path: str, code: str) -> Response:
    """Show the page of a form again: what was refused, and what was typed."""
    again = f"{path}?refused={code}"
    return replace(see_other(again), shows_again=again)


def nothing_new() -> Response:
    """Tell a live part of a page that nothing has changed."""
    return Response(NOTHING_NEW, b"", (NO_STORE,))


def is_own_path(path: str) -> bool:
    """Say whether this is a path of ours that a browser may be sent to."""
    return _OWN_PATH.fullmatch(path) is not None and "//" not in path

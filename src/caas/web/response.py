"""Framework-independent HTTP responses.

Rules a change must keep: headers that describe a response (media type, location, retry delay)
derive from its status and body, so that a stored response is sent like a fresh one; pages of a
signed-in person are never cached; redirects go to our own paths only, never to an address from the
request.
"""

import re
from typing import Final

import msgspec
from msgspec.structs import replace

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


class Response(msgspec.Struct, frozen=True):
    """A response: status, body and headers."""

    status: int
    body: bytes = b""
    headers: tuple[RawHeader, ...] = ()
    shows_again: str = ""
    """The path of the page that shows a rejected form again with its input."""

    def with_headers(self, *headers: RawHeader) -> "Response":
        """Return a copy with additional headers."""
        return replace(self, headers=(*self.headers, *headers))


def json_response(status: int, content: object, *headers: RawHeader) -> Response:
    """Return a JSON response."""
    return Response(status, encode(content), (JSON, *headers))


def html(text: str, *, status: int = OK) -> Response:
    """Return an HTML page or fragment."""
    return Response(status, text.encode(), (HTML, NO_STORE))


def see_other(path: str) -> Response:
    """Redirect the browser to one of our pages with GET."""
    assert is_own_path(path), path
    return Response(SEE_OTHER, b"", ((b"location", path.encode()), NO_STORE))


def refused(path: str, code: str) -> Response:
    """Redirect to the form's page, which shows the error and the input."""
    again = f"{path}?refused={code}"
    return replace(see_other(again), shows_again=again)


def nothing_new() -> Response:
    """Return "no content" to a polling part of a page: nothing has changed."""
    return Response(NOTHING_NEW, b"", (NO_STORE,))


def is_own_path(path: str) -> bool:
    """Return whether the path is one of ours and safe to redirect to."""
    return _OWN_PATH.fullmatch(path) is not None and "//" not in path

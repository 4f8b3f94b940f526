"""Static files, addressed by content digest and cached by browsers for a year.

Rules a change must keep: every file comes from a package; a URL with a digest never serves other
content.
"""

import gzip
import hashlib
from functools import cached_property
from importlib import resources
from typing import Final

import msgspec

from caas.web.request import Request
from caas.web.response import OK, RawHeader, Response

PREFIX: Final = "/static/"
DIGEST_CHARS: Final = 12
FOR_EVER: Final[RawHeader] = (b"cache-control", b"public, max-age=31536000, immutable")
ASK_EACH_TIME: Final[RawHeader] = (b"cache-control", b"no-cache")
GZIP: Final[RawHeader] = (b"content-encoding", b"gzip")
VARY: Final[RawHeader] = (b"vary", b"accept-encoding")
MEDIA_TYPES: Final = {
    "css": b"text/css; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "svg": b"image/svg+xml",
    "png": b"image/png",
}
COMPRESSED: Final = frozenset({"css", "js", "svg"})
_NOT_FOUND: Final = 404


class StaticFile(msgspec.Struct, frozen=True):
    """A static file with its plain and compressed content."""

    media_type: bytes
    digest: str
    plain: bytes
    zipped: bytes | None


class StaticFiles:
    """The files in a package's `static` folder."""

    def __init__(self, package: str) -> None:
        """Remember the package; files are read on first use."""
        self._package = package

    @cached_property
    def files(self) -> dict[str, StaticFile]:
        """All files by name."""
        known: dict[str, StaticFile] = {}
        for entry in (resources.files(self._package) / "static").iterdir():
            kind = entry.name.rpartition(".")[2]
            if kind in MEDIA_TYPES:
                plain = entry.read_bytes()
                known[entry.name] = StaticFile(
                    MEDIA_TYPES[kind],
                    hashlib.sha256(plain).hexdigest()[:DIGEST_CHARS],
                    plain,
                    gzip.compress(plain, mtime=0) if kind in COMPRESSED else None,
                )
        return known

    def address_of(self, name: str) -> str:
        """Return the content-addressed URL of a file."""
        return f"{PREFIX}{self.files[name].digest}/{name}"

    def response(self, request: Request) -> Response | None:
        """Return the file at a static path, or None for any other path.

        An outdated digest gets the current content, without long caching.
        """
        if not request.path.startswith(PREFIX):
            return None
        digest, _, name = request.path.removeprefix(PREFIX).partition("/")
        file = self.files.get(name)
        if file is None:
            return Response(_NOT_FOUND)
        keep = FOR_EVER if digest == file.digest else ASK_EACH_TIME
        headers = ((b"content-type", file.media_type), keep, VARY)
        if file.zipped is not None and b"gzip" in request.headers.get(b"accept-encoding", b""):
            return Response(OK, file.zipped, (*headers, GZIP))
        return Response(OK, file.plain, headers)

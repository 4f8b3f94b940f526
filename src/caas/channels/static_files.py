"""Style, script and pictures: read once, named by their content, kept by browsers for a year.

Nothing is built: what stands in `static/` is what is sent. `htmx.min.js` is htmx 2.0.11 as
published on npm (0BSD), SHA-256 d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717.

Rules a change must keep: every file comes from this package; an address with a content's digest
never shows another content.
"""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

from caas.channels.replies import OK, RawHeader, Reply

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


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file as it is sent."""

    media_type: bytes
    digest: str
    plain: bytes
    zipped: bytes | None


@cache
def static_files() -> dict[str, StaticFile]:
    """Return every static file by its name."""
    folder = resources.files("caas.channels") / "static"
    known: dict[str, StaticFile] = {}
    for entry in folder.iterdir():
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


def address_of(name: str) -> str:
    """Return the address under which this content of a file may be kept for ever."""
    return f"{PREFIX}{static_files()[name].digest}/{name}"


def static_reply(path: str, *, accepts_gzip: bool) -> Reply:
    """Return the file at a static address; an old digest is answered with what there is now."""
    digest, _, name = path.removeprefix(PREFIX).partition("/")
    file = static_files().get(name)
    if file is None:
        return Reply(_NOT_FOUND)
    return sent(file, FOR_EVER if digest == file.digest else ASK_EACH_TIME, accepts_gzip)


def sent(file: StaticFile, keep: RawHeader, accepts_gzip: bool) -> Reply:  # noqa: FBT001
    """Return a file, compressed when the browser can read it so."""
    headers = ((b"content-type", file.media_type), keep, VARY)
    if accepts_gzip and file.zipped is not None:
        return Reply(OK, file.zipped, (*headers, GZIP))
    return Reply(OK, file.plain, headers)

"""A file sent with a form: read within limits, and only where a page takes one.

Rules a change must keep: nobody's file is read before it is known who sends it; a form with a file
has one file, and its other fields are checked as those of every form; what a file holds is judged
by the room that takes it.
"""

import re
from dataclasses import dataclass
from typing import Final

from caas.channels.forms import FIELD_CHARS_MAX, FIELDS_MAX, MalformedFormError

MULTIPART: Final = b"multipart/form-data"
UPLOAD_BYTES_MAX: Final = 5 * 1024 * 1024 + 64 * 1024
"""The largest document, and room for the other fields."""

TAKES_FILE: Final = re.compile(
    r"/operations/(?:discrepancies/[0-9a-f-]{36}/documents|report-files|report-formats/preview)"
)
NAME_CHARS_MAX: Final = 200
_BOUNDARY: Final = re.compile(rb'boundary="?([0-9A-Za-z\'()+_,./:=?-]{1,70})"?')
_NAME: Final = re.compile(r'[; ]name="([^"]*)"')
_FILE: Final = re.compile(r'filename="([^"]*)"')
_TYPE: Final = re.compile(r"^content-type: *([a-z0-9.+/-]{1,100})", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as it was sent."""

    name: str
    media_type: str
    content: bytes


def read_upload(content_type: bytes, body: bytes) -> tuple[dict[str, str], Upload | None]:
    """Return the fields of a form and its file, None when none was chosen.

    Raises:
        MalformedFormError: it cannot be read, or is more than any form of ours.
    """
    fields: dict[str, str] = {}
    files: list[Upload] = []
    names: set[str] = set()
    for part in _parts(content_type, body):
        head, blank, content = part.partition(b"\r\n\r\n")
        name, file, media_type = _told(head)
        if not blank or name is None or name in names:
            raise MalformedFormError
        names.add(name)
        if file is None:
            fields[name] = _text(content)
        elif content:
            files.append(Upload(file[-NAME_CHARS_MAX:], media_type, content))
    if len(files) > 1:
        raise MalformedFormError
    return fields, files[0] if files else None


def _parts(content_type: bytes, body: bytes) -> list[bytes]:
    """Return what stands between the boundaries; more of them than fields are not even looked for.

    Raises:
        MalformedFormError: there is no boundary, no end, or too much.
    """
    boundary = _BOUNDARY.search(content_type)
    if boundary is None:
        raise MalformedFormError
    mark = b"\r\n--" + boundary[1]
    before, *parts = (b"\r\n" + body).split(mark, FIELDS_MAX + 1)
    if before or not parts or not parts[-1].startswith(b"--") or mark in parts[-1]:
        raise MalformedFormError
    return parts[:-1]


def _told(head: bytes) -> tuple[str | None, str | None, str]:
    """Return what a part says of itself: its field, the name of its file, its type."""
    text = _text(head)
    name, file, media_type = _NAME.search(text), _FILE.search(text), _TYPE.search(text)
    return (
        name[1] if name else None,
        file[1] if file else None,
        media_type[1].lower() if media_type else "application/octet-stream",
    )


def _text(content: bytes) -> str:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedFormError from error
    if len(text) > FIELD_CHARS_MAX or "\x00" in text:
        raise MalformedFormError
    return text

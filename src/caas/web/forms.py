"""Parses and validates forms, uploads and query strings.

Rules a change must keep: no field accepts a card number or an IBAN (decision 24); rejected input is
neither stored, logged nor shown again; every text has a length limit; a file is read only after its
sender is authenticated.
"""

from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import msgspec
from python_multipart import FormParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, parse_options_header

from caas.errors import RefusedError
from caas.web import card_refusal
from caas.web.limits import BODY_BYTES_MAX, UPLOAD_BYTES_MAX, Receive, read_body
from caas.web.request import Request

URL_ENCODED: Final = b"application/x-www-form-urlencoded"
MULTIPART: Final = b"multipart/form-data"
FIELDS_MAX: Final = 60
FIELD_CHARS_MAX: Final = 4_000
FILE_NAME_CHARS_MAX: Final = 200
MEDIA_TYPE_CHARS_MAX: Final = 100


class MalformedFormError(RefusedError):
    """The form is malformed. Reload the page and submit it again."""

    code = "malformed_form"
    http_status = 400


class ForeignFormError(RefusedError):
    """The form has expired or was not issued by this site. Reload the page and try again."""

    code = "foreign_form"
    http_status = 403


class Upload(msgspec.Struct, frozen=True):
    """An uploaded file."""

    name: str
    media_type: str
    content: bytes


def media_type_of(request: Request) -> bytes:
    """Return the media type of the request body, without parameters."""
    return request.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()


async def read_form_body(request: Request, receive: Receive) -> bytes:
    """Return the body of a form without a file.

    Raises:
        MalformedFormError: the body is not a form.
        BodyTooLargeError: the body exceeds the limit.
    """
    if media_type_of(request) != URL_ENCODED:
        raise MalformedFormError
    return await read_body(request, receive, bytes_max=BODY_BYTES_MAX, passed_max=0)


def read_form(body: bytes) -> dict[str, str]:
    """Return the fields of a form.

    Raises:
        MalformedFormError: it is unreadable, repeats a field or exceeds a limit.
        CardNumberRefusedError: a field contains a card number or an IBAN.
    """
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body),
            max_num_fields=FIELDS_MAX, encoding="utf-8", errors="strict",
        )  # fmt: skip
    except ValueError as error:
        raise MalformedFormError from error
    return _checked(pairs)


async def read_upload(request: Request, receive: Receive) -> tuple[dict[str, str], Upload | None]:
    """Return the fields of a form and its file, or None if no file was chosen.

    Raises:
        MalformedFormError: it is unreadable or exceeds a limit.
        CardNumberRefusedError: a field contains a card number or an IBAN.
    """
    body = await read_body(request, receive, bytes_max=UPLOAD_BYTES_MAX, passed_max=0)
    fields: list[tuple[str, str]] = []
    files: list[tuple[str, Upload]] = []
    ended: list[None] = []

    def on_field(field: Field) -> None:
        fields.append((_text(field.field_name), _text(field.value)))
        if len(fields) + len(files) > FIELDS_MAX:
            raise MalformedFormError

    def on_file(file: File) -> None:
        assert isinstance(file.file_object, BytesIO), "no file is larger than the body"
        media_type = (file.content_type or "application/octet-stream").lower()
        name, content = _text(file.file_name), file.file_object.getvalue()
        upload = Upload(name[-FILE_NAME_CHARS_MAX:], media_type[:MEDIA_TYPE_CHARS_MAX], content)
        files.append((_text(file.field_name), upload))

    _, options = parse_options_header(request.headers[b"content-type"])
    try:
        FormParser(
            MULTIPART.decode(),
            on_field,
            on_file,
            lambda: ended.append(None),
            boundary=options.get(b"boundary"),
            config={"MAX_MEMORY_FILE_SIZE": UPLOAD_BYTES_MAX},
        ).write(body)
    except FormParserError as error:
        raise MalformedFormError from error
    names = [name for name, _ in (*fields, *files)]
    sent = [upload for _, upload in files if upload.content]
    if not ended or len(set(names)) != len(names) or len(sent) > 1:
        raise MalformedFormError
    return _checked(fields), sent[0] if sent else None


def read_query(query: bytes) -> dict[str, str]:
    """Return the query parameters; those beyond the limits are dropped.

    Raises:
        CardNumberRefusedError: a parameter contains a card number or an IBAN.
    """
    try:
        pairs = parse_qsl(query.decode("latin-1"), max_num_fields=FIELDS_MAX)
    except ValueError:
        return {}
    refuse_card_numbers(value for pair in pairs for value in pair)
    return {name: value for name, value in pairs if len(value) <= FIELD_CHARS_MAX}


def refuse_card_numbers(texts: Iterable[str]) -> None:
    """Reject texts that contain a card number or an IBAN.

    Raises:
        CardNumberRefusedError: a text contains one.
    """
    for text in texts:
        card_refusal.refuse_card_numbers(text)


def refuse_other_sites(request: Request) -> None:
    """Reject a form submitted from another site, in addition to checking its token.

    Raises:
        ForeignFormError: the form comes from another origin.
    """
    site = request.headers.get(b"sec-fetch-site", b"same-origin")
    origin = request.headers.get(b"origin")
    host = request.headers.get(b"host", b"").decode("latin-1")
    if site not in {b"same-origin", b"none"}:
        raise ForeignFormError
    if origin is not None and urlsplit(origin.decode("latin-1")).netloc != host:
        raise ForeignFormError


def filled(form: Mapping[str, str], name: str, *, chars_max: int) -> str | None:
    """Return the field's trimmed text, or None if it is empty or too long."""
    text = " ".join(form.get(name, "").split())
    return text if 0 < len(text) <= chars_max else None


def _checked(pairs: list[tuple[str, str]]) -> dict[str, str]:
    refuse_card_numbers(value for pair in pairs for value in pair)
    form = dict(pairs)
    twice = len(form) != len(pairs)
    if twice or any(len(value) > FIELD_CHARS_MAX or "\x00" in value for _, value in pairs):
        raise MalformedFormError
    return form


def _text(content: bytes | None) -> str:
    try:
        return (content or b"").decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedFormError from error

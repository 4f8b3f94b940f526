"""Rejects every request that contains a card number or a full IBAN.

Card data belongs on the gateway's hosted page (decision 24); here it would bring every log, dump
and backup into PCI-DSS scope. The path, the query, the headers and all text in the body are scanned
first; a match is neither stored nor echoed.

A cheap pre-screen runs first: `may_hold_card_number` rules out card numbers, and text without a
country's two letters and two digits at the start of a word holds no IBAN.

Rules a change must keep: the pre-screen may give false positives, never false negatives; text is
scanned as a decoder would read it; only headers with secrets or signatures are skipped.
"""

import base64
import re
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from types import NoneType
from typing import Annotated, Final, get_origin
from urllib.parse import unquote_plus
from uuid import UUID

import msgspec

from caas.rules.card_numbers import (
    STRUCTURES,
    contains_card_number,
    contains_iban,
    may_hold_card_number,
)
from caas.web.problems import CallRefusedError

TEXT_CHARS_MIN: Final = 12
"""The minimum length of a card number or an IBAN."""

_NOT_SCANNED: Final = frozenset({
    b"authorization", b"cookie", b"webhook-signature", b"webhook-timestamp", b"content-length",
    b"host", b"user-agent", b"accept", b"content-type", b"connection", b"accept-encoding", b"date",
    b"accept-language", b"prefer", b"expect",
})  # fmt: skip
_COUNTRIES: Final = frozenset(country.encode() for country in STRUCTURES)
_WORD_BEGINS: Final = re.compile(rb"[,-]aa-{0,3}0-{0,3}0")


WRITTEN_BYTES_MAX: Final = 32
"""The maximum length of a base64 field that could hold a number in plain text."""


def _kind(byte: int) -> int:
    """Classify a byte for IBAN detection: letter, digit, separator or other."""
    character = chr(byte)
    if byte.bit_length() <= 7 and character.isalnum():  # noqa: PLR2004  # ASCII has seven bits
        return ord("0" if character.isdigit() else "a")
    return ord("-" if character in " -./_" else ",")


_KINDS: Final = bytes(_kind(byte) for byte in range(256))


_NEVER_TEXT: Final = frozenset({UUID, int, bool, NoneType, datetime})


class CardNumberRefusedError(CallRefusedError):
    """The request contains a card number or an IBAN. Send the gateway's token instead."""

    code = "card_number_refused"


def refuse_card_numbers(text: str) -> None:
    """Reject text that contains a card number or an IBAN.

    Raises:
        CardNumberRefusedError: the text contains one.
    """
    if may_hold_one(text.encode("utf-8", "replace")) and holds_one(text):
        raise CardNumberRefusedError


def refuse_in_value(value: object) -> None:
    """Reject a decoded value if any text in it, at any depth, contains a card number.

    Raises:
        CardNumberRefusedError: the value contains one.
    """
    if isinstance(value, str | bytes):
        text = _written(value)
        if len(text) >= TEXT_CHARS_MIN:
            refuse_card_numbers(text)
    elif isinstance(value, msgspec.Struct):
        for part in msgspec.structs.astuple(value):
            refuse_in_value(part)
    elif isinstance(value, (list, tuple, dict)):
        refuse_card_numbers(msgspec.json.encode(value, enc_hook=str).decode())  # as it is stored
        for part in [*value, *value.values()] if isinstance(value, dict) else value:
            refuse_in_value(part)


def _written(value: str | bytes) -> str:
    """Return the value as the client wrote it; files are longer and scanned when parsed."""
    if isinstance(value, str):
        return value
    return base64.b64encode(value).decode() if len(value) <= WRITTEN_BYTES_MAX else ""


def may_be_text(kind: object) -> bool:
    """Return whether values of this type can contain free text."""
    options = getattr(kind, "__args__", None) or (kind,)
    if get_origin(kind) is Annotated:
        options = (options[0],)
    return not all(option in _NEVER_TEXT or _is_enumeration(option) for option in options)


def _is_enumeration(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


def refuse_in_head(path: str, query: bytes, headers: Mapping[bytes, bytes]) -> None:
    """Reject a path, a query or a header that contains a card number.

    Raises:
        CardNumberRefusedError: one of them contains one.
    """
    if len(path) >= TEXT_CHARS_MIN:
        refuse_card_numbers(path)
    if query:
        refuse_card_numbers(unquote_plus(query.decode("latin-1")))
    for name in headers.keys() - _NOT_SCANNED:
        value = headers[name]
        if len(value) >= TEXT_CHARS_MIN and may_hold_one(value):
            refuse_card_numbers(value.decode("utf-8", "replace"))


def may_hold_one(text: bytes) -> bool:
    """Pre-screen: False is certain, True means the text needs a full scan."""
    if may_hold_card_number(text):
        return True
    for begins in _WORD_BEGINS.finditer((b"," + text).translate(_KINDS)):
        if text[begins.start() : begins.start() + 2].upper() in _COUNTRIES:
            return True
    return False


def holds_one(text: str) -> bool:
    """Return whether the text contains a card number or an IBAN."""
    return contains_card_number(text) or contains_iban(text)

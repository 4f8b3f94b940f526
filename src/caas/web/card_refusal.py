"""Refuses every request that carries a card number or a full IBAN, wherever it stands.

Card data belongs on the gateway's hosted page (decision 24); here it would bring every log, dump
and backup into the scope of PCI-DSS. So the path, the query, the headers and every text of the
body are read before anything is done with them; what is found is neither stored nor echoed.

Most requests hold nothing that looks like either, and that is found out first, at little cost:
`may_hold_card_number` says where there is no card number; without a country's two letters and two
digits at the beginning of a word there is no IBAN.

Rules a change must keep: the quick look may only say "perhaps" too often, never too seldom; text
is read as a decoder will read it; only headers with secrets or signatures are left out.
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

from caas.rules.bank_accounts import STRUCTURES
from caas.rules.card_numbers import (
    contains_card_number,
    contains_iban,
    may_hold_card_number,
)
from caas.web.problems import CallRefusedError

TEXT_CHARS_MIN: Final = 12
"""No card number and no IBAN is shorter than this."""

_NOT_SCANNED: Final = frozenset({
    b"authorization", b"cookie", b"webhook-signature", b"webhook-timestamp", b"content-length",
    b"host", b"user-agent", b"accept", b"content-type", b"connection", b"accept-encoding", b"date",
    b"accept-language", b"prefer", b"expect",
})  # fmt: skip
_COUNTRIES: Final = frozenset(country.encode() for country in STRUCTURES)
_WORD_BEGINS: Final = re.compile(rb"[,-]aa-{0,3}0-{0,3}0")


WRITTEN_BYTES_MAX: Final = 32
"""So many bytes may be a number that was written where base64 is expected."""


def _kind(byte: int) -> int:
    """Return what a byte is to an IBAN: a letter, a digit, a separator, or something else."""
    character = chr(byte)
    if byte.bit_length() <= 7 and character.isalnum():  # noqa: PLR2004  # ASCII has seven bits
        return ord("0" if character.isdigit() else "a")
    return ord("-" if character in " -./_" else ",")


_KINDS: Final = bytes(_kind(byte) for byte in range(256))


_NEVER_TEXT: Final = frozenset({UUID, int, bool, NoneType, datetime})


class CardNumberRefusedError(CallRefusedError):
    """The request holds a card number or an IBAN; send the gateway's token for it instead."""

    code = "card_number_refused"


def refuse_card_numbers(text: str) -> None:
    """Refuse text with a card number or an IBAN in it.

    Raises:
        CardNumberRefusedError: there is one.
    """
    if may_hold_one(text.encode("utf-8", "replace")) and holds_one(text):
        raise CardNumberRefusedError


def refuse_in_value(value: object) -> None:
    """Refuse a decoded value when a text in it, however deep, is a card number.

    Raises:
        CardNumberRefusedError: there is one.
    """
    if isinstance(value, str | bytes):
        text = _written(value)
        if len(text) >= TEXT_CHARS_MIN:
            refuse_card_numbers(text)
    elif isinstance(value, msgspec.Struct):
        for part in msgspec.structs.astuple(value):
            refuse_in_value(part)
    elif isinstance(value, (list, tuple, dict)):
        refuse_card_numbers(msgspec.json.encode(value, enc_hook=str).decode())  # as it is kept
        for part in [*value, *value.values()] if isinstance(value, dict) else value:
            refuse_in_value(part)


def _written(value: str | bytes) -> str:
    """Return a value as it was written; a file is longer, its lines are looked at when read."""
    if isinstance(value, str):
        return value
    return base64.b64encode(value).decode() if len(value) <= WRITTEN_BYTES_MAX else ""


def may_be_text(kind: object) -> bool:
    """Say whether values of this type may hold a text of the caller's own."""
    options = getattr(kind, "__args__", None) or (kind,)
    if get_origin(kind) is Annotated:
        options = (options[0],)
    return not all(option in _NEVER_TEXT or _is_enumeration(option) for option in options)


def _is_enumeration(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


def refuse_in_head(path: str, query: bytes, headers: Mapping[bytes, bytes]) -> None:
    """Refuse a path, a query or a header with a card number in it.

    Raises:
        CardNumberRefusedError: there is one.
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
    """Look quickly: False is certain, True means that it must be read properly."""
    if may_hold_card_number(text):
        return True
    for begins in _WORD_BEGINS.finditer((b"," + text).translate(_KINDS)):
        if text[begins.start() : begins.start() + 2].upper() in _COUNTRIES:
            return True
    return False


def holds_one(text: str) -> bool:
    """Say whether a card number or an IBAN stands anywhere in the text."""
    return contains_card_number(text) or contains_iban(text)

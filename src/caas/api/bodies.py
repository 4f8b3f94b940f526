"""Reads a request's body into the struct of its call: decoding is validation.

Rules a change must keep:

1. Types are strict: an amount as text, as a fraction or as a truth value is refused, and so is a
   field nobody asked for.
2. A body comes out of here without a card number in any text of it, or not at all.
3. Depth needs no limit of its own: a struct's fields say how deep it is, and nothing is skipped.
4. An object with a key twice is refused (RFC 8259, section 4; RFC 7493): readers differ in which of
   the two they believe, and ours takes the last without a word. Keys are compared as they are read,
   escapes undone, at every depth; what is said of one holds no card number.
"""

import json
import re
from typing import Final, Generic, TypeVar

import msgspec

from caas.api.patterns import IN_WORDS
from caas.api.problems import DuplicateKeyError, InvalidBodyError
from caas.web.card_refusal import (
    CardNumberRefusedError,
    holds_one,
    may_be_text,
    refuse_card_numbers,
    refuse_in_value,
)
from caas.web.problems import FieldError, MalformedRequestError

DETAIL_CHARS_MAX: Final = 300
KEY_CHARS_SHOWN: Final = 64
NOT_JSON: Final = "The body is not valid JSON."
_PATTERN: Final = re.compile(r"Expected `str` matching regex (.*)", re.DOTALL)
_WORDS: Final = {repr(pattern): words for pattern, words in IN_WORDS.items()}
_PLACE: Final = re.compile(r"(.*) - at `(.{1,100})`", re.DOTALL)

Content = TypeVar("Content", bound=msgspec.Struct)


class BodyOf(Generic[Content]):
    """The decoder of one kind of body."""

    def __init__(self, content: type[Content]) -> None:
        """Read bodies of this struct."""
        assert content.__struct_config__.forbid_unknown_fields, f"{content} takes unknown fields"
        self.content = content
        self._decoder = msgspec.json.Decoder(content)
        self._texts = tuple(
            field.name for field in msgspec.structs.fields(content) if may_be_text(field.type)
        )

    def read(self, body: bytes) -> Content:
        """Return the body's content; an empty body counts as `{}`.

        Raises:
            MalformedRequestError: it is not JSON.
            InvalidBodyError: it is JSON, but not what this call takes.
            CardNumberRefusedError: there is a card number in it.
            DuplicateKeyError: a key stands twice in one of its objects.
        """
        try:
            content = self._decoder.decode(body or b"{}")
        except msgspec.ValidationError as error:
            _refuse_written_out(body)
            if not _is_json(body):
                raise MalformedRequestError(NOT_JSON) from error
            raise _invalid(error) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            _refuse_written_out(body)
            raise MalformedRequestError(NOT_JSON) from error
        for name in self._texts:
            value = getattr(content, name)
            if value is not None:
                refuse_in_value(value)
        if body:
            refuse_duplicate_keys(body)
        return content


def _invalid(error: msgspec.ValidationError) -> InvalidBodyError:
    found = _PLACE.fullmatch(str(error))
    detail = in_words(found[1] if found else str(error))[:DETAIL_CHARS_MAX]
    at = found[2] if found else "$"
    return InvalidBodyError(
        f"The body is JSON, but not what this call takes: {detail} (at {at}).",
        errors=(FieldError(at, detail),),
    )


def in_words(detail: str) -> str:
    """Say what a text must be, where the reader of bodies shows the pattern it did not match."""
    found = _PATTERN.fullmatch(detail)
    words = _WORDS.get(found[1]) if found else None
    return f"Expected {words}" if words else detail


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return not body
    return True


def _refuse_written_out(body: bytes) -> None:
    r"""Say what matters most about a body that cannot be read: the card number in it.

    `\/` is the one escape of JSON that the reader of card numbers leaves alone.
    """
    if holds_one(body.decode("utf-8", "replace").replace("\\/", "/")):
        raise CardNumberRefusedError


def refuse_duplicate_keys(body: bytes) -> None:
    """Refuse a body, which is JSON, with a key twice in one of its objects.

    Raises:
        DuplicateKeyError: there is one; the sentence names it.
        CardNumberRefusedError: that key is a card number.
        ValueError: it is not JSON after all.
    """
    _READER.decode(body.decode("utf-8"))


def _refuse_pairs(pairs: list[tuple[str, object]]) -> None:
    if len(pairs) > 1:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _stands_twice(key)
            seen.add(key)


def _stands_twice(key: str) -> DuplicateKeyError:
    refuse_card_numbers(key)
    shown = json.dumps(key[:KEY_CHARS_SHOWN])
    return DuplicateKeyError(
        f"The key {shown} stands twice in one object of the body; say each thing once.",
        errors=(FieldError(shown, "stands twice"),),
    )


_READER: Final = json.JSONDecoder(object_pairs_hook=_refuse_pairs, parse_float=str, parse_int=str)


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No content: the call says it all."""


NOTHING: Final = BodyOf(Nothing)

"""Decodes and validates bodies and queries into structs, and rejects personal data in free text.

Rules a change must keep:

1. Types are strict: an amount as text, fraction or boolean is rejected, and so are unknown fields.
2. A decoded body contains no card number in any text.
3. Nesting needs no limit: the struct determines the depth, and nothing is skipped.
4. An object with a duplicate key is rejected (RFC 8259, section 4; RFC 7493), because parsers
   differ in which value they use. Keys are compared after unescaping, at every depth; the error
   never echoes a card number.
5. Unknown and repeated query parameters are rejected, because an ignored filter returns more than
   the caller asked for.
6. All free text about a customer's payment, order or usage is checked here before it is stored
   (`caas.billing_database.free_text`); names and addresses belong in the customer's own fields.
"""

import json
import re
from typing import Annotated, Final, Generic, TypeVar
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec

from caas.api.problems import DuplicateKeyError, InvalidBodyError, InvalidParameterError
from caas.api.texts import IN_WORDS
from caas.billing_database import free_text
from caas.platform import Platform
from caas.rules.personal_data import may_spell_a_name
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
    """The decoder of one body type."""

    def __init__(self, content: type[Content]) -> None:
        """Decode bodies into this struct."""
        assert content.__struct_config__.forbid_unknown_fields, f"{content} takes unknown fields"
        self.content = content
        self._decoder = msgspec.json.Decoder(content)
        self._texts = tuple(
            field.name for field in msgspec.structs.fields(content) if may_be_text(field.type)
        )

    def read(self, body: bytes) -> Content:
        """Return the decoded body; an empty body counts as `{}`.

        Raises:
            MalformedRequestError: it is not JSON.
            InvalidBodyError: it is JSON with missing, unknown or invalid fields.
            CardNumberRefusedError: it contains a card number.
            DuplicateKeyError: an object has a duplicate key.
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
        f"The body does not match this call: {detail} (at {at}).",
        errors=(FieldError(at, detail),),
    )


def in_words(detail: str) -> str:
    """Describe the expected text where the decoder reports the pattern that did not match."""
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
    r"""Return the card number error if an undecodable body contains a card number.

    `\\/` is the only JSON escape that the card number scanner does not undo.
    """
    if holds_one(body.decode("utf-8", "replace").replace("\\/", "/")):
        raise CardNumberRefusedError


def refuse_duplicate_keys(body: bytes) -> None:
    """Reject a JSON body that has a duplicate key in an object.

    Raises:
        DuplicateKeyError: there is one; the sentence names it.
        CardNumberRefusedError: that key is a card number.
        ValueError: the body is not JSON.
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
        f"The key {shown} appears twice in one object of the body. Send each key once.",
        errors=(FieldError(shown, "stands twice"),),
    )


_READER: Final = json.JSONDecoder(object_pairs_hook=_refuse_pairs, parse_float=str, parse_int=str)


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An empty body."""


NOTHING: Final = BodyOf(Nothing)


PARAMETERS_MAX: Final = 16
PAGE_ROWS_MAX: Final = 100
PAGE_ROWS: Final = 50
QUERY_DETAIL_CHARS_MAX: Final = 200
NO_QUERY: Final = "null"
"""Values that a lax decoder would treat as an omitted parameter."""

Limit = Annotated[
    int, msgspec.Meta(ge=1, le=PAGE_ROWS_MAX, description="The maximum number of items in a page.")
]

Parameters = TypeVar("Parameters", bound=msgspec.Struct)


class QueryOf(Generic[Parameters]):
    """The decoder of one query type."""

    def __init__(self, parameters: type[Parameters]) -> None:
        """Decode queries into this struct."""
        assert parameters.__struct_config__.forbid_unknown_fields, f"{parameters} is not strict"
        self.parameters = parameters

    def read(self, query: bytes) -> Parameters:
        """Return the parameters.

        Raises:
            InvalidParameterError: one is unknown, repeated or invalid.
        """
        try:
            pairs = parse_qsl(
                query.decode("ascii"), keep_blank_values=True, strict_parsing=bool(query),
                max_num_fields=PARAMETERS_MAX, errors="strict",
            )  # fmt: skip
            values = dict(pairs)
            if len(values) != len(pairs):
                raise InvalidParameterError("A query parameter is repeated. Send each one once.")
            if NO_QUERY in values.values():
                raise InvalidParameterError("A query parameter is empty. Omit it instead.")
            return msgspec.convert(values, self.parameters, strict=False)
        except (ValueError, UnicodeDecodeError) as error:
            detail = str(error)[:QUERY_DETAIL_CHARS_MAX]
            raise InvalidParameterError(f"The query is invalid: {detail}.") from error


async def refuse_personal_data(platform: Platform, customer: UUID, *texts: str | None) -> None:
    """Reject texts that identify this customer.

    Raises:
        PersonalDataRefusedError: one of them does.
    """
    await free_text.refuse_personal_data(platform.tables.database, customer, *texts)


async def refuse_named_token(platform: Platform, customer: UUID, token: str | None) -> None:
    """Reject a payment method token that spells this customer's name.

    Tokens that do not look like words are not compared.

    Raises:
        PersonalDataRefusedError: the token contains the name.
    """
    if token is not None and may_spell_a_name(token):
        await refuse_personal_data(platform, customer, token)

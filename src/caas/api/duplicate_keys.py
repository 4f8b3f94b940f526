"""Refuses JSON in which an object has one key twice (RFC 8259, section 4; RFC 7493).

Readers differ in which of the two they believe, so that a proxy may check one amount and we charge
the other. Our own reader takes the last without a word.

Rule a change must keep: keys are compared as they are read, escapes undone, at every depth; what is
said of a key is harmless in a log and holds no card number.
"""

import json
from typing import Final

from caas.api.problems import DuplicateKeyError
from caas.web.card_refusal import refuse_card_numbers
from caas.web.problems import FieldError

KEY_CHARS_SHOWN: Final = 64


def refuse_duplicate_keys(body: bytes) -> None:
    """Refuse a body, which is JSON, with a key twice in one of its objects.

    Raises:
        DuplicateKeyError: there is one; the sentence names it.
        CardNumberRefusedError: that key is a card number.
        ValueError: it is not JSON after all.
    """
    _DECODER.decode(body.decode("utf-8"))


def _looked_at(pairs: list[tuple[str, object]]) -> None:
    if len(pairs) > 1:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _error(key)
            seen.add(key)


def _error(key: str) -> DuplicateKeyError:
    refuse_card_numbers(key)
    shown = json.dumps(key[:KEY_CHARS_SHOWN])
    return DuplicateKeyError(
        f"The key {shown} stands twice in one object of the body; say each thing once.",
        errors=(FieldError(shown, "stands twice"),),
    )


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_looked_at, parse_float=str, parse_int=str)

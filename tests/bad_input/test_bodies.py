"""What a body lacks is said in words.

Whoever mistyped an e-mail address was shown the pattern it did not match, with every invisible
character of Unicode in it; whoever cut a body off was told of an unknown field, because that was
read before the end was missed.
"""

import json
from collections.abc import Iterator

import msgspec
import pytest

from caas.api.application import OPERATIONS
from caas.api.bodies import BodyOf
from caas.api.customers import CustomerBody
from caas.api.problems import InvalidBodyError
from caas.api.texts import IN_WORDS
from caas.web.problems import MalformedRequestError


def patterns(schema: object) -> Iterator[str]:
    """Every pattern in a JSON schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        for value in schema.values():
            yield from patterns(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from patterns(value)


def test_every_pattern_of_a_body_is_said_in_words() -> None:
    bodies = [operation.body.content for operation in OPERATIONS if operation.body is not None]

    asked = set(patterns(list(msgspec.json.schema_components(bodies))))

    assert asked
    assert asked <= set(IN_WORDS)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"email": "nobody"}, "Expected an e-mail address, such as ana@example.com (at $.email)"),
        ({"name": "A\u0000"}, "Expected text without line breaks and invisible characters"),
        ({"language": "Spanish"}, "Expected a language, such as es or en-GB (at $.language)"),
    ],
    ids=["email", "name", "language"],
)
def test_a_text_of_another_kind_is_told_what_it_must_be(wrong: dict[str, str], words: str) -> None:
    body = {"name": "Ana", "email": "ana@example.com", **wrong}

    with pytest.raises(InvalidBodyError) as refused:
        BodyOf(CustomerBody).read(json.dumps(body).encode())

    assert words in refused.value.sentence


@pytest.mark.parametrize("body", [b'{"unknown":', b'{"name": "Ana", "unknown": ', b"[" * 60_000])
def test_a_body_that_was_cut_off_is_not_valid_json(body: bytes) -> None:
    with pytest.raises(MalformedRequestError):
        BodyOf(CustomerBody).read(body)

"""Names use the trade's standard terms: words that once stood for them are gone."""

import ast
import re
from collections.abc import Iterator

from tests.conventions.sources import Source, sources

RETIRED = (
    "room", "rooms", "house", "floor", "floors", "laid", "upward", "books",
    "park", "parked", "law", "laws", "authorising", "committing", "voiding", "applying", "persist",
    "unanswered", "truth", "truths", "suspect", "heard", "told", "untold", "tell", "tells", "says",
    "said", "effort", "garbage", "staffing", "desk", "entrance", "visit", "acting", "pace",
    "airwaves", "mailbox",
)  # fmt: skip
"""What a name must not be made of; decision 187 has the terms instead."""
WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def test_no_name_is_made_of_a_retired_word() -> None:
    found = {
        f"{source.path}: {name}"
        for source in sources("src/caas", "src/caas_lab", "src/caas_simulators")
        for name in names(source)
        if retired(name)
    }

    assert sorted(found) == []


def retired(name: str) -> bool:
    """Say whether one of the words that a name is made of is retired."""
    return any(word.lower() in RETIRED for word in WORDS.findall(name))


def names(source: Source) -> Iterator[str]:
    """Yield what a file defines: functions, classes, parameters, variables, and itself."""
    yield source.path.rsplit("/", 1)[-1].removesuffix(".py")
    for node in ast.walk(source.tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name) | ast.arg(arg=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case _:
                pass

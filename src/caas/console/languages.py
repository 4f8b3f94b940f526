"""Language negotiation and translations in Spanish and English.

The texts are in `locales/<language>/*.toml`, one file for each part of the channels; a key is
`table.name`. A text with a number has one form for each plural of the language.

Rules a change must keep: every key exists in both languages with the same placeholders; a missing
key is an error, never an empty text.
"""

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Final

from babel import Locale

from caas.rules.market import LOCALES

NAMES: Final[Mapping[str, str]] = {"es": "Español", "en": "English"}
ACCEPTED_CHARS_MAX: Final = 500

_ACCEPTED: Final = re.compile(
    r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9-]{1,35})?\s*(?:;\s*q=([01](?:\.\d{0,3})?))?\s*"
)

_NOT_IN_KEYS: Final = re.compile("[^a-z0-9]+")

Words = str | Mapping[str, str]


def chosen(*, cookie: str | None, accept_language: str, default: str) -> str:
    """Return the language to use: the chosen one, else the browser's preference."""
    if cookie is not None and cookie in LOCALES:
        return cookie
    wanted: list[tuple[float, int, str]] = []
    for place, part in enumerate(accept_language[:ACCEPTED_CHARS_MAX].split(",")):
        match = _ACCEPTED.fullmatch(part)
        if match and match[1].lower() in LOCALES and float(match[2] or 1) > 0:
            wanted.append((-float(match[2] or 1), place, match[1].lower()))
    if wanted:
        return min(wanted)[2]
    return default if default in LOCALES else "es"


class Translator:
    """Translates texts into one language."""

    def __init__(self, language: str) -> None:
        """Use this language, one of `LOCALES`."""
        self.language = language
        self._words = catalogue(language)
        self._plural = Locale.parse(LOCALES[language]).plural_form

    def __call__(self, key: str, *, n: int | None = None, **facts: object) -> str:
        """Return the text of `key` with its placeholders filled; `n` selects the plural form."""
        words = self._words[key]
        if not isinstance(words, str):
            assert n is not None, f"{key} depends on a number"
            words = words.get(self._plural(n)) or words["other"]
        return words.format(n=n, **facts) if facts or n is not None else words

    def named(self, table: str, value: str) -> str:
        """Return a value's name in this language, or a readable form of the value itself."""
        words = self._words.get(f"{table}.{_NOT_IN_KEYS.sub('_', value.lower())}")
        return words if isinstance(words, str) else value.replace("_", " ")

    def knows(self, key: str) -> bool:
        """Return whether a computed key has a text."""
        return key in self._words


@cache
def catalogue(language: str) -> Mapping[str, Words]:
    """Return every text of a language by its key."""
    folder = resources.files("caas.console") / "locales" / language
    words: dict[str, Words] = {}
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".toml"):
            found = _flat(tomllib.loads(file.read_text("utf-8")), "")
            twice = words.keys() & found.keys()
            assert not twice, f"{file.name} says again: {twice}"
            words |= found
    return words


def _flat(tables: Mapping[str, object], prefix: str) -> dict[str, Words]:
    """Return nested tables as one with dotted keys; plural forms stay together."""
    words: dict[str, Words] = {}
    for name, value in tables.items():
        if isinstance(value, str) or (isinstance(value, dict) and "other" in value):
            words[prefix + name] = value
        else:
            assert isinstance(value, dict), f"{prefix}{name} is no text"
            words |= _flat(value, f"{prefix}{name}.")
    return words

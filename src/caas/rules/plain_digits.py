r"""Normalises text so that digits can be detected, and maps each character to its original place.

Card numbers can hide in full-width or Arabic-Indic digits, between zero-width characters, or behind
JSON's `\u0034` and `\n`, a URL's `%20` and HTML's `&nbsp;` and `&#52;`. `read_plainly` undoes all
of that and keeps each character's original position, so that matches can be cut out of the
original. `without_tags` also removes HTML tags, as a browser would.

Rules a change must keep:

1. Each plain character stands for one or more original ones, in order; none is invented. A span in
   the plain text always maps to a span in the original.
2. Text that is already plain is returned unchanged at no cost.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html.entities import html5
from typing import Final

_NAMES: Final = {name[:-1]: it for name, it in html5.items() if name[-1] == ";" and len(it) == 1}
_ESCAPE: Final = (
    r"(?P<pair>\\u[dD][89abAB][0-9A-Fa-f]{2}\\u[dD][c-fC-F][0-9A-Fa-f]{2})"
    r"|\\u(?P<json>[0-9A-Fa-f]{4})|\\(?P<line>[bfnrt])"
    r"|%(?P<url>0[9ADad]|[23][0-9A-Fa-f]|40|5[BbDdFf]|7[BbCcDdEe])"
    r"|(?P<utf8>%(?:[Cc][2-9A-Fa-f]|[Dd][0-9A-Fa-f]|[Ee][0-9A-Fa-f]%[89ABab][0-9A-Fa-f]"
    r"|[Ff][0-4](?:%[89ABab][0-9A-Fa-f]){2})%[89ABab][0-9A-Fa-f])"
    r"|&(?P<named>[A-Za-z][A-Za-z0-9]{1,30});|&(?P<old>nbsp|shy|middot|times|amp|quot|lt|gt)"
    r"|&\#(?P<number>0{0,4}[0-9]{1,6});|&\#[xX](?P<hex>0{0,4}[0-9A-Fa-f]{1,5});"
)
_ESCAPED: Final = re.compile(_ESCAPE)
_PIECE: Final = re.compile(rf"{_ESCAPE}|.", re.DOTALL)
_TAG: Final = re.compile(r"</?[A-Za-z][^<>]{0,200}>")
_UUID: Final = re.compile(
    "(?<![0-9A-Za-z])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![0-9A-Za-z])",
    re.IGNORECASE | re.ASCII,
)
_UNSEEN: Final = frozenset({"Cf", "Mn", "Me"})
_BLANKS: Final = {"Zs": " ", "Zl": "\n", "Zp": "\n"}
_WORTH_LOGGING: Final = "Sc"
"""Currency signs between digits mark amounts; they never separate a card number."""
_OTHER_SIGN: Final = ";"
_LOOKALIKES: Final = {
    **dict.fromkeys("\N{MINUS SIGN}\N{HYPHEN BULLET}\N{MODIFIER LETTER MINUS SIGN}", "-"),
    **dict.fromkeys("\N{MIDDLE DOT}\N{BULLET}\N{ONE DOT LEADER}\N{IDEOGRAPHIC FULL STOP}", "."),
    **dict.fromkeys("\N{FULLWIDTH FULL STOP}\N{HYPHENATION POINT}\N{DOT OPERATOR}", "."),
    **dict.fromkeys("\N{FULLWIDTH SOLIDUS}\N{FRACTION SLASH}\N{DIVISION SLASH}", "/"),
    "\N{FULLWIDTH LOW LINE}": "_",
    **dict.fromkeys("\N{FULLWIDTH COMMA}\N{ARABIC COMMA}\N{IDEOGRAPHIC COMMA}", ","),
    **dict.fromkeys("\N{HANGUL FILLER}\N{HANGUL CHOSEONG FILLER}\N{BRAILLE PATTERN BLANK}", " "),
    **dict.fromkeys("\N{HANGUL JUNGSEONG FILLER}\N{HALFWIDTH HANGUL FILLER}", " "),
    "\x85": "\n",
    **dict.fromkeys("\N{MULTIPLICATION SIGN}\N{MULTIPLICATION X}", "x"),
}


@dataclass(frozen=True, slots=True)
class PlainText:
    """Text with ASCII digits and separators, and the original position of each character."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    def span_in_original(self, start: int, end: int) -> tuple[int, int]:
        """Return the original span of the plain characters `[start, end)`."""
        return self.starts[start], self.ends[end - 1]


def read_plainly(text: str) -> PlainText:
    """Convert digits and separators to ASCII, undo escapes and drop invisible characters."""
    if text.isascii() and not _ESCAPED.search(text):
        return PlainText(text, range(len(text)), range(1, len(text) + 1))
    plain: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for start, end, shown in _pieces(text):
        character = _plain_character(shown) if shown else ""
        if character:
            plain.append(character)
            starts.append(start)
            ends.append(end)
    return PlainText("".join(plain), starts, ends)


def without_tags(plain: PlainText) -> PlainText:
    """Return the plain text without HTML tags; positions are kept."""
    kept: list[int] = []
    at = 0
    for tag in _TAG.finditer(plain.text):
        kept += range(at, tag.start())
        at = tag.end()
    if at == 0:
        return plain
    kept += range(at, len(plain.text))
    return PlainText(
        "".join(plain.text[it] for it in kept),
        [plain.starts[it] for it in kept],
        [plain.ends[it] for it in kept],
    )


def without_ids(plain: str) -> str:
    """Return the plain text with every UUID blanked out; positions are kept."""
    return _UUID.sub(lambda found: "\0" * len(found[0]), plain)


def _pieces(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield each visible character with its original span; "&no_name;" stays unchanged."""
    for piece in _PIECE.finditer(text):
        if piece.lastgroup == "named" and piece["named"] not in _NAMES:
            for place in range(*piece.span()):
                yield place, place + 1, text[place]
        else:
            yield *piece.span(), _unescaped(piece)


def _unescaped(piece: re.Match[str]) -> str:
    """Return the character that this escape stands for."""
    match piece.lastgroup:
        case "pair":
            high, low = int(piece[0][2:6], 16), int(piece[0][8:12], 16)
            return chr(0x10000 + ((high & 0x3FF) << 10) + (low & 0x3FF))
        case "json" | "url" | "hex" | "number" as group:
            return chr(int(piece[group], 10 if group == "number" else 16))
        case "line":
            return "\n"
        case "utf8":
            return bytes.fromhex(piece[0].replace("%", "")).decode("utf-8", "ignore")
        case "named" | "old" as group:
            return _NAMES[piece[group]]
        case _:
            return piece[0]


@lru_cache(maxsize=4096)
def _plain_character(character: str) -> str:
    """Return the ASCII digit or separator, "" if invisible, or the character itself."""
    digit = unicodedata.digit(character, None)
    if digit is not None:
        return str(digit)
    category = unicodedata.category(character)
    if category in _UNSEEN:
        return ""
    if category in _BLANKS:
        return _BLANKS[category]
    if character.isascii() or character in _LOOKALIKES:
        return _LOOKALIKES.get(character, character)
    if category == "Pd":
        return "-"
    is_sign = category[0] in "PSC" and category != _WORTH_LOGGING
    return _OTHER_SIGN if is_sign else character

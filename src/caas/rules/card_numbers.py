"""Detects card numbers and full IBANs in text, so that none is stored (decisions 24, 44).

A card number has 12 to 19 digits, starts with a known issuer prefix, has a length that issuer uses,
and passes the Luhn check. It is found alone, next to a word, in a sentence, JSON, HTML or a URL; in
the digits of any script; and when split by spaces, dashes, dots, slashes, underscores, line feeds,
tabs, any non-ASCII sign except a currency sign, "x", tags or invisible characters. The API, the
logs, the database and the invariants all use this module.

An IBAN is recognised by its country's structure (SWIFT registry) and its check digits (ISO 7064,
mod 97-10), with or without print spacing. Mandates are stored as tokens, never as accounts.

These must not match, because stored data is full of them: UUIDs and other hexadecimal ids, VINs,
timestamps, signatures, coordinates, telephone numbers and ordinary amounts. Hence these rules:

- A number may touch letters ("card4111..."), but not letters mixed with digits (an id).
- A split number is either grouped as cards print it (4-4-4-4, 4-6-5, ...) or uses one separator
  throughout. Two adjacent amounts are neither.
- Separators of lists and tables (a comma, a line feed, a quote) may split a number that stands
  alone into equal groups; next to other values, only into four groups of four digits.
- UUIDs (part of one can look like an account number), decimal fractions and telephone numbers that
  begin with "+" are ignored.

Rules a change must keep:

1. A miss stores a card number; a false positive destroys a record. The tests measure both.
2. After `scrub`, `contains_card_number` and `contains_iban` find nothing.
3. `may_hold_card_number` returns True for everything that `contains_card_number` finds.
4. Only IBANs of countries with a row in `STRUCTURES` are detected. Tests check the rows against
   real examples from the registry.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Final

from caas.rules.plain_digits import PlainText, read_plainly, without_ids, without_tags

_REGISTRY: Final = """
    AD:8n12c AE:19n AL:8n16c AT:16n AZ:4a20c BA:16n BE:12n BG:4a6n8c BH:4a14c BI:23n BR:23n1a1c
    BY:4c4n16c CH:5n12c CR:18n CY:8n16c CZ:20n DE:18n DJ:23n DK:14n DO:4c20n EE:16n EG:25n ES:20n
    FI:14n FK:2a12n FO:14n FR:10n11c2n GB:4a14n GE:2a16n GI:4a15c GL:14n GR:7n16c GT:24c HN:4a20n
    HR:17n HU:24n IE:4a14n IL:19n IQ:4a15n IS:22n IT:1a10n12c JO:4a4n18c KW:4a22c KZ:3n13c
    LB:4n20c LC:4a24c LI:5n12c LT:16n LU:3n13c LV:4a13c LY:21n MC:10n11c2n MD:20c ME:18n
    MK:3n10c2n MN:16n MR:23n MT:4a5n18c MU:4a19n3a NI:4a20n NL:4a10n NO:11n OM:3n16c PK:4a16c
    PL:24n PS:4a21c PT:21n QA:4a21c RO:4a16c RS:18n RU:14n15c SA:2n18c SC:4a20n3a SD:14n SE:20n
    SI:15n SK:20n SM:1a10n12c SO:19n ST:21n SV:4a20n TL:19n TN:20n TR:6n16c UA:6n19c VA:18n
    VG:4a16n XK:16n YE:4a4n18c
"""
STRUCTURES: Final[Mapping[str, str]] = dict(row.split(":") for row in _REGISTRY.split())
"""By country, the account part after the check digits: n digit, a letter, c either."""

_KINDS: Final = {"n": "[0-9]", "a": "[A-Z]", "c": "[0-9A-Z]"}
_IBAN_SEPARATOR: Final = r"[ \-./_]{0,3}"
_HEAD: Final = re.compile(rf"(?<![0-9A-Za-z])([A-Za-z]{{2}}){_IBAN_SEPARATOR}[0-9]")


def contains_iban(text: str) -> bool:
    """Return whether the text contains a full, valid IBAN."""
    return next(iban_spans(text), None) is not None


def iban_spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield the `[start, end)` span of each full IBAN in the text."""
    plain = read_plainly(text)
    if not _HEAD.search(plain.text):
        return
    readable = without_ids(plain.text)
    for head in _HEAD.finditer(readable):
        country = head[1].upper()
        found = _iban(country).match(readable, head.start()) if country in STRUCTURES else None
        if found and _passes_mod_97(found[0]):
            yield plain.span_in_original(*found.span())


@lru_cache(maxsize=len(STRUCTURES))
def _iban(country: str) -> re.Pattern[str]:
    """Compile the country's structure, allowing separators between the characters."""
    parts = re.findall("([0-9]+)([nac])", "2n" + STRUCTURES[country])
    account = "".join(f"(?:{_IBAN_SEPARATOR}{_KINDS[kind]}){{{count}}}" for count, kind in parts)
    return re.compile(f"{country}{account}(?![0-9A-Z])", re.IGNORECASE | re.ASCII)


def _passes_mod_97(iban: str) -> bool:
    """Check the two digits after the country (ISO 7064, mod 97-10)."""
    characters = [character for character in iban if character.isalnum()]
    rotated = characters[4:] + characters[:4]
    return int("".join(str(int(character, 36)) for character in rotated)) % 97 == 1


__all__ = ["contains_card_number", "contains_iban", "may_hold_card_number", "scrub"]

CARD_NUMBER_REMOVED: Final = "[card number removed]"
IBAN_REMOVED: Final = "[IBAN removed]"

_DIGITS_MIN: Final = 12
_SEPARATOR_CHARS_MAX: Final = 8
_TELEPHONE_DIGITS_MAX: Final = 13

_ISSUERS: Final = (
    ("American Express", "34", "34", (15,)),
    ("American Express", "37", "37", (15,)),
    ("Diners Club", "300", "305", (14, 16, 17, 18, 19)),
    ("Diners Club", "3095", "3095", (14, 16, 17, 18, 19)),
    ("Diners Club", "36", "36", (14, 15, 16, 17, 18, 19)),
    ("Diners Club", "38", "39", (14, 16, 17, 18, 19)),
    ("Discover", "6011", "6011", (16, 17, 18, 19)),
    ("Discover", "644", "649", (16, 17, 18, 19)),
    ("Discover, RuPay, Elo, Verve, Troy", "65", "65", (16, 17, 18, 19)),
    ("Humo", "9860", "9860", (16,)),
    ("JCB", "3528", "3589", (16, 17, 18, 19)),
    ("Maestro", "5018", "5018", (12, 13, 14, 15, 16, 17, 18, 19)),
    ("Maestro", "5020", "5020", (12, 13, 14, 15, 16, 17, 18, 19)),
    ("Maestro", "5038", "5038", (12, 13, 14, 15, 16, 17, 18, 19)),
    ("Maestro", "5893", "5893", (12, 13, 14, 15, 16, 17, 18, 19)),
    ("Maestro", "6304", "6304", (12, 13, 14, 15, 16, 17, 18, 19)),
    ("Maestro, Bancontact", "6703", "6703", (12, 13, 14, 15, 16, 17, 18, 19)),
    ("Maestro", "6759", "6763", (12, 13, 14, 15, 16, 17, 18, 19)),
    ("Maestro and national schemes", "50", "50", (16, 19)),
    ("Maestro and national schemes", "56", "58", (16, 19)),
    ("Maestro and national schemes", "60", "69", (16, 19)),
    ("Mastercard", "2221", "2720", (16,)),
    ("Mastercard", "51", "55", (16,)),
    ("Mir, Borica", "2200", "2205", (16, 17, 18, 19)),
    ("RuPay", "81", "82", (16, 17, 18, 19)),
    ("Troy", "9792", "9792", (16,)),
    ("UATP", "1", "1", (15,)),
    ("UnionPay", "62", "62", (16, 17, 18, 19)),
    ("UzCard", "8600", "8600", (16,)),
    ("Visa", "4", "4", (13, 16, 19)),
)
"""Issuer, first and last prefix, and number lengths."""


def _lengths_by_prefix() -> Mapping[str, frozenset[int]]:
    """Index the issuers' ranges by the first four digits of a number."""
    lengths: dict[str, frozenset[int]] = {}
    for _, first, last, allowed in _ISSUERS:
        for prefix in range(int(first.ljust(4, "0")), int(last.ljust(4, "9")) + 1):
            key = f"{prefix:04}"
            lengths[key] = lengths.get(key, frozenset()) | frozenset(allowed)
    return lengths


_LENGTHS: Final = _lengths_by_prefix()

_PRINTED_IN_UNEQUAL_GROUPS: Final = frozenset({(4, 6, 5), (4, 6, 4), (4, 3, 3, 3)})
_PRINTED_IN_FOURS: Final = (4, 4, 4, 4)
_LAST_GROUP_MAX: Final = 5
_SPLIT_LENGTHS: Final = frozenset({14, 15, 16, 19})
"""Lengths that may be split anywhere; 12, 13, 17 and 18 digits are mostly telephone numbers."""

_BETWEEN: Final = " -./_+"
_BETWEEN_VALUES: Final = "".join(
    sign for sign in map(chr, range(1, 128)) if not sign.isalnum() and sign not in _BETWEEN
)
_SEPARATOR: Final = f"[{re.escape(_BETWEEN + _BETWEEN_VALUES)}]{{0,{_SEPARATOR_CHARS_MAX}}}+"
_RUN: Final = re.compile(rf"(?<![0-9])[0-9](?:{_SEPARATOR}[0-9]){{{_DIGITS_MIN - 1},}}+")
_TIMES: Final = re.compile(r"(?:(?<=[0-9])|(?<=[0-9] ))[xX](?= ?[0-9])")
_LISTED: Final = re.compile(f"[{re.escape(_BETWEEN_VALUES)}]")
_GROUP: Final = re.compile("[0-9]+")
_FRACTION: Final = re.compile(r"(?<![0-9])(?<![0-9][-/._])[0-9]{1,9}\.[0-9]{5,18}(?![-/._]?[0-9])")
_NEEDS_READING: Final = re.compile(rb"[\\%&<\x80-\xff]")
_QUICK_DELETED: Final = f"{_BETWEEN}{_BETWEEN_VALUES}xX".encode()
_QUICK_DIGITS: Final = bytes(
    ord("0") if chr(byte) in "0123456789" else ord(",") for byte in range(256)
)
_DOUBLED: Final = str.maketrans("0123456789", "0246813579")


def contains_card_number(text: str) -> bool:
    """Return whether the text contains a card number in any notation."""
    return next(_card_spans(text), None) is not None


def may_hold_card_number(text: bytes) -> bool:
    """Pre-screen UTF-8 text cheaply: False is certain, True means the text needs a full scan.

    Plain text without twelve consecutive digits (ignoring separators and "x") holds no card number.
    Text with escapes, tags or other scripts always needs a full scan.
    """
    return bool(
        _NEEDS_READING.search(text)
        or b"0" * _DIGITS_MIN in text.translate(_QUICK_DIGITS, _QUICK_DELETED)
    )


def scrub(text: str) -> str:
    """Return the text with each card number and full IBAN replaced by a placeholder."""
    if len(text) < _DIGITS_MIN:
        return text
    found = [(start, end, CARD_NUMBER_REMOVED) for start, end in _card_spans(text)]
    found += [(start, end, IBAN_REMOVED) for start, end in iban_spans(text)]
    kept: list[str] = []
    position = 0
    for start, end, removed in sorted(found):
        if start >= position:
            kept += text[position:start], removed
        position = max(position, end)
    left = "".join(kept) + text[position:]
    return scrub(left) if found else left


def passes_luhn(digits: str) -> bool:
    """Check the last digit against the others (ISO/IEC 7812-1, Luhn)."""
    backwards = digits[::-1]
    return sum(map(int, backwards[::2] + backwards[1::2].translate(_DOUBLED))) % 10 == 0


def _card_spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield the span of each card number in the text; spans may overlap."""
    if not text.isascii() and "&" not in text and sum(map(str.isdigit, text)) < _DIGITS_MIN:
        return
    plain = read_plainly(text)
    yield from _spans_in(plain, plain.text)
    if _TIMES.search(plain.text):
        yield from _spans_in(plain, _with_dashes(plain.text))
    if "<" in plain.text:
        shown = without_tags(plain)
        yield from _spans_in(shown, _with_dashes(shown.text))


def _with_dashes(text: str) -> str:
    """Return the text with each "x" between digits replaced by a dash: "4111 x 1111"."""
    return _TIMES.sub("-", text)


def _spans_in(plain: PlainText, text: str) -> Iterator[tuple[int, int]]:
    """Yield the original span of each card number found in a form of the plain text."""
    if not _RUN.search(text):
        return
    readable = _FRACTION.sub(lambda found: "\0" * len(found[0]), without_ids(text))
    for run in _RUN.finditer(readable):
        groups = [group.span() for group in _GROUP.finditer(readable, *run.span())]
        for start, end in _card_numbers_among(readable, groups):
            if not _touches_an_id(readable, start, end):
                yield plain.span_in_original(start, end)


def _card_numbers_among(text: str, groups: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield each run of digit groups that is a card number."""
    digits = "".join(text[start:end] for start, end in groups)
    ends = list(accumulate(end - start for start, end in groups))
    group_ending_at = {end: last for last, end in enumerate(ends)}
    for first, offset in enumerate([0, *ends[:-1]]):
        for length in _LENGTHS.get(digits[offset : offset + 4], ()):
            last = group_ending_at.get(offset + length)
            if last is None or not passes_luhn(digits[offset : offset + length]):
                continue
            alone = last + 1 - first == len(groups)
            if _is_card_shaped(text, groups[first : last + 1], alone=alone):
                yield groups[first][0], groups[last][1]


def _is_card_shaped(text: str, groups: Sequence[tuple[int, int]], *, alone: bool) -> bool:
    """Return whether the groups look like one number: unbroken, as printed, or evenly split.

    `alone` means the list contains no other digits.
    """
    lengths = tuple(end - start for start, end in groups)
    if len(lengths) == 1:
        return not _is_telephone_number(text, groups[0][0], lengths[0])
    separators = {text[left[1] : right[0]] for left, right in pairwise(groups)}
    if any(map(_LISTED.search, separators)):
        printed = lengths == _PRINTED_IN_FOURS and len(separators) == 1
        return printed or (alone and _is_evenly_split(lengths))
    if lengths in _PRINTED_IN_UNEQUAL_GROUPS:
        return True
    if set(lengths[:-1]) == {4} and lengths[-1] <= _LAST_GROUP_MAX:
        return True
    return len(separators) == 1 and sum(lengths) in _SPLIT_LENGTHS


def _is_evenly_split(lengths: tuple[int, ...]) -> bool:
    """Return whether all groups but the last have one length, or follow a print format."""
    even = set(lengths[:-1]) == {lengths[0]} and lengths[-1] <= lengths[0]
    return lengths in _PRINTED_IN_UNEQUAL_GROUPS or (even and sum(lengths) in _SPLIT_LENGTHS)


def _is_telephone_number(text: str, start: int, length: int) -> bool:
    """Return whether the digits look like a telephone number: "+" and at most 13 digits."""
    return length <= _TELEPHONE_DIGITS_MAX and text[:start].endswith("+")


def _touches_an_id(text: str, start: int, end: int) -> bool:
    """Return whether the adjacent letters belong to an id, that is, more digits follow them."""
    before = start - 1
    while before >= 0 and text[before].isalpha():
        before -= 1
    after = end
    while after < len(text) and text[after].isalpha():
        after += 1
    return (before < start - 1 and text[max(before, 0)].isdigit()) or (
        after > end and text[after : after + 1].isdigit()
    )

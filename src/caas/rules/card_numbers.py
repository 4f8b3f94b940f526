"""Finds card numbers (and full IBANs) in any text, so that none is ever stored (decisions 24, 44).

What counts as a card number: 12 to 19 digits that begin with a known issuer's range, have a length
that issuer uses, and pass the Luhn check. They may stand alone, behind or before a word, in a
sentence, in JSON, in HTML or in a URL; in any script's digits; split by spaces, dashes, dots,
slashes, underscores, line feeds, tabs, any other sign but a currency's beyond ASCII, "x", tags or
characters nobody sees. The API, the log, the books and the invariant all ask here.

What must not count, because it fills our books: UUIDs and other hexadecimal ids, VINs, timestamps,
signatures, coordinates, telephone numbers, ordinary amounts. Hence the rules of shape:

- A number may touch letters ("card4111..."), but not letters mixed with digits (an id).
- Split up, it is either printed as cards print it (4-4-4-4, 4-6-5, ...), or split by one and the
  same separator throughout. Two amounts beside each other are neither.
- What separates values in lists and tables (a comma, a line feed, a quote) splits a number that
  stands alone into equal groups; one beside other values only into four times four digits.
- UUIDs, decimal fractions and what follows a "+" like a telephone number are set aside.

Rules a change must keep:

1. A miss stores a card number and a false alarm destroys a record. The tests measure both.
2. `scrub` leaves nothing that `contains_card_number` or `contains_iban` would find.
3. `may_hold_card_number` overlooks nothing that `contains_card_number` finds.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Final

from caas.rules.bank_accounts import contains_iban, iban_spans
from caas.rules.plain_digits import PlainText, read_plainly, without_ids, without_tags

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
"""Who issues numbers, from which first to which last prefix, and how long they are."""


def _lengths_by_prefix() -> Mapping[str, frozenset[int]]:
    """Spread the issuers' ranges over the first four digits of a number."""
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
"""Lengths that may be split in any way; 12, 13, 17 and 18 digits are mostly telephone numbers."""

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
    """Say whether a card number stands anywhere in the text, however it is written."""
    return next(_card_spans(text), None) is not None


def may_hold_card_number(text: bytes) -> bool:
    """Look quickly at UTF-8: False is certain, True means that it must be read properly.

    What is written plainly holds no card number without twelve digits in a row, separators and
    "x" taken out; escapes, tags and other scripts must be read first.
    """
    return bool(
        _NEEDS_READING.search(text)
        or b"0" * _DIGITS_MIN in text.translate(_QUICK_DIGITS, _QUICK_DELETED)
    )


def scrub(text: str) -> str:
    """Return the text with every card number and every full IBAN cut out and named."""
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
    """Yield the place of each card number in the text; places may overlap."""
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
    """Return text with each "x" between digits made a dash: "4111 x 1111"."""
    return _TIMES.sub("-", text)


def _spans_in(plain: PlainText, text: str) -> Iterator[tuple[int, int]]:
    """Yield the place in the original of each card number in a reading of the plain text."""
    if not _RUN.search(text):
        return
    readable = _FRACTION.sub(lambda found: "\0" * len(found[0]), without_ids(text))
    for run in _RUN.finditer(readable):
        groups = [group.span() for group in _GROUP.finditer(readable, *run.span())]
        for start, end in _card_numbers_among(readable, groups):
            if not _touches_an_id(readable, start, end):
                yield plain.span_in_original(start, end)


def _card_numbers_among(text: str, groups: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield each succession of digit groups that is a card number."""
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
    """Say whether the digits are grouped as one number: unbroken, as printed, or evenly split.

    `alone` says that no other digits stand in the same list.
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
    """Say whether every group is as long as the first, the last perhaps shorter; or as printed."""
    even = set(lengths[:-1]) == {lengths[0]} and lengths[-1] <= lengths[0]
    return lengths in _PRINTED_IN_UNEQUAL_GROUPS or (even and sum(lengths) in _SPLIT_LENGTHS)


def _is_telephone_number(text: str, start: int, length: int) -> bool:
    """Say whether the digits are written as a telephone number is: "+" and at most 13 of them."""
    return length <= _TELEPHONE_DIGITS_MAX and text[:start].endswith("+")


def _touches_an_id(text: str, start: int, end: int) -> bool:
    """Say whether the letters beside the digits belong to an id: behind them stand more digits."""
    before = start - 1
    while before >= 0 and text[before].isalpha():
        before -= 1
    after = end
    while after < len(text) and text[after].isalpha():
        after += 1
    return (before < start - 1 and text[max(before, 0)].isdigit()) or (
        after > end and text[after : after + 1].isdigit()
    )

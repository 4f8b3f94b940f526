"""Detects full IBANs in text; mandates are stored as tokens, never as accounts (decision 44).

An IBAN is recognised by its country's structure (SWIFT registry) and its check digits (ISO 7064,
mod 97-10), with or without print spacing. UUIDs are ignored, because part of one can look like an
account number.

Rule a change must keep: only countries with a row in `STRUCTURES` are detected. Tests check the
rows against real examples from the registry.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final

from caas.rules.plain_digits import read_plainly, without_ids

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
_SEPARATOR: Final = r"[ \-./_]{0,3}"
_HEAD: Final = re.compile(rf"(?<![0-9A-Za-z])([A-Za-z]{{2}}){_SEPARATOR}[0-9]")


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
    account = "".join(f"(?:{_SEPARATOR}{_KINDS[kind]}){{{count}}}" for count, kind in parts)
    return re.compile(f"{country}{account}(?![0-9A-Z])", re.IGNORECASE | re.ASCII)


def _passes_mod_97(iban: str) -> bool:
    """Check the two digits after the country (ISO 7064, mod 97-10)."""
    characters = [character for character in iban if character.isalnum()]
    rotated = characters[4:] + characters[:4]
    return int("".join(str(int(character, 36)) for character in rotated)) % 97 == 1

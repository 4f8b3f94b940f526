"""Passwords: Argon2id hashes, constant-time comparison, strength rules.

The 30,000 common passwords and their variations are those of zxcvbn (MIT).

Rules a change must keep: a plain password exists only in the submitted form and in this file;
hashing runs outside the event loop, a few at a time, so that many sign-ins delay no payment; an
unknown login takes as long as a wrong password.
"""

import asyncio
import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import cache
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from caas.errors import RefusedError

CHARS_MIN: Final = 10
CHARS_MAX: Final = 200
WORD_CHARS_MIN: Final = 4
PART_CHARS_MIN: Final = 3
OWN_CHARS_MIN: Final = 6
JUDGED_CHARS_MAX: Final = 72
SCORE_MIN: Final = 3
"""zxcvbn's score from 0 to 4: at least a hundred million guesses."""
SCORE_MIN_WITH_OUR_WORDS: Final = 4
"""Ten thousand million guesses, for a password with a word or a year that we passed to zxcvbn."""

OUR_WORDS: Final = (
    "contraseña", "contrasena", "clave", "bienvenido", "bienvenida", "acceso", "secreto", "coche",
    "vehiculo", "concesionario", "operaciones", "ventas", "españa", "espana",
    "caas", "carasaservice", "car-as-a-service", "car as a service",
    "spring", "summer", "autumn", "winter", "primavera", "verano", "otoño", "otono", "invierno",
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december", "enero", "febrero", "marzo", "abril", "mayo", "junio",
    "julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre",
    "madrid", "barcelona", "valencia", "sevilla", "zaragoza", "málaga", "malaga", "murcia", "palma",
    "bilbao", "alicante", "córdoba", "cordoba", "valladolid", "vigo", "gijón", "gijon", "granada",
    "coruña", "coruna", "vitoria", "elche", "oviedo", "santander", "pamplona", "toledo",
    "salamanca",
)  # fmt: skip
"""What people here base passwords on: the product, the calendar, the market's large cities."""

YEARS: Final = tuple(str(year) for year in range(1950, 2050))
"""What people append to it."""

HASHED_AT_ONCE_MAX: Final = 2
_BETWEEN_WORDS: Final = re.compile(r"[\W_]+")
# OWASP's Password Storage Cheat Sheet for Argon2id: 19 MiB, two passes, one lane.
_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


class Weakness(StrEnum):
    """The weakness of a password."""

    SHORT = "short"
    LONG = "long"
    PERSONAL = "personal"
    COMMON = "common"


SENTENCES: Final = {
    Weakness.SHORT: f"The password needs at least {CHARS_MIN} characters.",
    Weakness.LONG: f"The password has more than {CHARS_MAX} characters.",
    Weakness.PERSONAL: "The password contains the login or the name; choose one that does not.",
    Weakness.COMMON: "The password is a common one or a variation of it; use several words.",
}


class WeakPasswordError(RefusedError):
    """The password is too short, too long, too easy to guess, or contains the login."""

    code = "weak_password"

    def __init__(self, weakness: Weakness) -> None:
        """Record the weakness."""
        super().__init__(SENTENCES[weakness])
        self.weakness = weakness


class Passwords:
    """Hashes and compares passwords."""

    def __init__(self) -> None:
        """Prepare the hash that unknown logins are compared with."""
        self._free = asyncio.Semaphore(HASHED_AT_ONCE_MAX)
        self._unknown_hash = _hash_of_nobody()

    async def hashed(self, password: str, *, known_words: tuple[str, ...] = ()) -> str:
        """Return the hash of a new password.

        Raises:
            WeakPasswordError: the password is too weak.
        """
        async with self._free:
            await asyncio.to_thread(refuse_weak, password, known_words)
            return await asyncio.to_thread(_HASHER.hash, password)

    async def matches(self, password: str, password_hash: str | None) -> bool:
        """Return whether the password matches; without a hash, False after the same time."""
        async with self._free:
            right = await asyncio.to_thread(_verify, password_hash or self._unknown_hash, password)
        return right and password_hash is not None


def refuse_weak(password: str, known_words: Iterable[str]) -> None:
    """Reject a password that is short, easily guessed, or contains a name.

    Raises:
        WeakPasswordError: it is one of these.
    """
    if len(password) < CHARS_MIN:
        raise WeakPasswordError(Weakness.SHORT)
    if len(password) > CHARS_MAX:
        raise WeakPasswordError(Weakness.LONG)
    known = [text.casefold().strip() for text in known_words]
    plain = password.casefold()
    parts = _parts(known)
    if any(word in plain for word in _words(known)) or _is_little_beside(plain, parts):
        raise WeakPasswordError(Weakness.PERSONAL)
    if _is_guessed_soon(password, parts):
        raise WeakPasswordError(Weakness.COMMON)


def _words(known: Sequence[str]) -> set[str]:
    """Return logins, and the parts of them and of names, that no password may contain.

    An address's domain is not personal: a password may contain it, but the domain adds no strength.
    """
    parts = {part for text in known for part in _BETWEEN_WORDS.split(text.partition("@")[0])}
    return {part for part in (*parts, *known) if len(part) >= WORD_CHARS_MIN}


def _parts(known: Sequence[str]) -> list[str]:
    """Return what an attacker who knows the logins and names would try first."""
    domains = [text.partition("@")[2] for text in known]
    parts = {part for text in known for part in _BETWEEN_WORDS.split(text)}
    return sorted({it for it in (*known, *domains, *parts) if it}, key=len, reverse=True)


def _is_little_beside(password: str, parts: Sequence[str]) -> bool:
    """Return whether a password is little more than parts of logins and names, longest first."""
    rest = password
    for part in parts:
        if len(part) >= PART_CHARS_MIN:
            rest = rest.replace(part, " ")
    rest = _BETWEEN_WORDS.sub("", rest)
    return rest != _BETWEEN_WORDS.sub("", password) and len(rest) < OWN_CHARS_MIN


def _is_guessed_soon(password: str, personal: list[str]) -> bool:
    """Return whether zxcvbn, which knows common passwords and their variations, guesses it."""
    from zxcvbn import zxcvbn  # noqa: PLC0415 - its lists take a tenth of a second to load

    judged = zxcvbn(password[:JUDGED_CHARS_MAX], user_inputs=[*personal, *OUR_WORDS, *YEARS])
    ours = any(part.get("dictionary_name") == "user_inputs" for part in judged["sequence"])
    return int(judged["score"]) < (SCORE_MIN_WITH_OUR_WORDS if ours else SCORE_MIN)


@cache
def _hash_of_nobody() -> str:
    return _HASHER.hash("a password that nobody has")


def _verify(password_hash: str, password: str) -> bool:
    try:
        return _HASHER.verify(password_hash, password[:CHARS_MAX])
    except (VerificationError, InvalidHashError):
        return False

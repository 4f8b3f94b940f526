"""Passwords: hashed with Argon2id, compared in constant time, refused when easily guessed.

Rules a change must keep: a password is nowhere but in the form it came in and in this file; hashing
runs beside the event loop, a few at a time, so that many sign-ins stop nobody's payment; an unknown
login takes as long as a wrong password.
"""

import asyncio
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from caas.errors import RefusedError

CHARS_MIN: Final = 10
CHARS_MAX: Final = 200
DIFFERENT_CHARS_MIN: Final = 5
HASHED_AT_ONCE_MAX: Final = 2
# What OWASP's Password Storage Cheat Sheet gives for Argon2id: 19 MiB, two passes, one lane.
_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


class WeakPasswordError(RefusedError):
    """The password is too short, too long, or too easy to guess."""

    code = "weak_password"


class Passwords:
    """Makes and checks the hashes of passwords."""

    def __init__(self) -> None:
        """Prepare the hash that unknown logins are compared with."""
        self._free = asyncio.Semaphore(HASHED_AT_ONCE_MAX)
        self._nobodys = _HASHER.hash("a password that nobody has")

    async def hashed(self, password: str, *, known_words: tuple[str, ...] = ()) -> str:
        """Return the hash of a new password.

        Raises:
            WeakPasswordError: it should not be anybody's password.
        """
        refuse_weak(password, known_words)
        async with self._free:
            return await asyncio.to_thread(_HASHER.hash, password)

    async def matches(self, password: str, password_hash: str | None) -> bool:
        """Say whether this is the password; without a hash it never is, and takes as long."""
        async with self._free:
            right = await asyncio.to_thread(_verify, password_hash or self._nobodys, password)
        return right and password_hash is not None


def refuse_weak(password: str, known_words: tuple[str, ...]) -> None:
    """Refuse a password that is too short, or made of one or two characters, or is known.

    Raises:
        WeakPasswordError: it is one of these.
    """
    if not CHARS_MIN <= len(password) <= CHARS_MAX:
        raise WeakPasswordError
    if len(set(password.lower())) < DIFFERENT_CHARS_MIN:
        raise WeakPasswordError
    if password.lower() in {word.lower() for word in known_words}:
        raise WeakPasswordError


def _verify(password_hash: str, password: str) -> bool:
    try:
        return _HASHER.verify(password_hash, password[:CHARS_MAX])
    except (VerificationError, InvalidHashError):
        return False

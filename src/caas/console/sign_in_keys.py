"""Keys that protect second-factor secrets and known-device cookies.

From each key others are derived: those that encrypt the secrets of second factors and of event
subscriptions (`encryption_at_rest`), and one that signs the cookies of known devices (HMAC-SHA256).
The first key encrypts and signs; every key can decrypt and verify.

Rules a change must keep: a key leaves this module in no form; a secret encrypted for one account
cannot be decrypted for another.
"""

import base64
import binascii
import hmac
from collections.abc import Sequence
from typing import Final, Self
from uuid import UUID

from caas.errors import CaasError, StartupError
from caas.external_systems.encryption_at_rest import (
    EVENT_SUBSCRIPTIONS,
    KEY_BYTES,
    SECOND_FACTORS,
    EncryptedElsewhereError,
    EncryptionAtRest,
    derived,
)

KEYS_MAX: Final = 8
HOW_TO_MAKE_ONE: Final = (
    "A key is 32 random bytes in base64; 'openssl rand -base64 32' makes one. Separate several by "
    f"commas, the newest first, at most {KEYS_MAX}."
)


class SignInKeyError(StartupError):
    """A key that protects the sign-in cannot be used."""

    code = "sign_in_key"


class SealedElsewhereError(CaasError):
    """A second factor was encrypted with a key that CAAS_SIGN_IN_KEYS no longer lists.

    List the key again, or have another person reset the second factor.
    """

    code = "sealed_elsewhere"


class SignInKeys:
    """Encrypts secrets of accounts, and signs cookies."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Use these keys of 32 bytes, newest first.

        Raises:
            SignInKeyError: there is none, too many, one of another length, or a duplicate.
        """
        usable = all(len(key) == KEY_BYTES for key in keys) and len(set(keys)) == len(keys)
        if not usable or not 0 < len(keys) <= KEYS_MAX:
            raise SignInKeyError(HOW_TO_MAKE_ONE)
        self._second_factors = EncryptionAtRest(keys, SECOND_FACTORS)
        self.event_secrets = EncryptionAtRest(keys, EVENT_SUBSCRIPTIONS)
        self._signing = [derived(key, b"caas known device") for key in keys]

    @classmethod
    def read(cls, text: str) -> Self:
        """Parse base64 keys separated by commas.

        Raises:
            SignInKeyError: one is invalid; the sentence contains no key.
        """
        try:
            keys = [base64.b64decode(part.strip(), validate=True) for part in text.split(",")]
        except (binascii.Error, ValueError) as error:
            raise SignInKeyError(HOW_TO_MAKE_ONE) from error
        return cls(keys)

    def seal(self, secret: bytes, *, account: UUID) -> bytes:
        """Encrypt a secret of an account."""
        return self._second_factors.encrypt(secret, owner=account)

    def unseal(self, sealed: bytes, *, account: UUID) -> bytes:
        """Decrypt a secret of an account.

        Raises:
            SealedElsewhereError: none of the keys encrypted it for this account.
        """
        try:
            return self._second_factors.decrypt(sealed, owner=account)
        except EncryptedElsewhereError as error:
            raise SealedElsewhereError from error

    def sign(self, text: str) -> str:
        """Return the signature of a text, safe in a cookie."""
        return _signature(self._signing[0], text)

    def is_signed(self, text: str, signature: str) -> bool:
        """Return whether one of the keys signed the text."""
        given = signature.encode("utf-8", "replace")
        return any(
            hmac.compare_digest(_signature(key, text).encode(), given) for key in self._signing
        )


def _signature(key: bytes, text: str) -> str:
    digest = hmac.digest(key, text.encode(), "sha256")
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")

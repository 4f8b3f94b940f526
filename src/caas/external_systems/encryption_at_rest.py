"""Encrypts secrets in the database with keys from the settings (AES-256-GCM).

For each purpose a key is derived from each configured key (HKDF-SHA256). The first key encrypts;
all keys decrypt.

Rules a change must keep: keys never leave this module; ciphertext is bound to its owner and
purpose.
"""

import os
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from caas.errors import CaasError

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
EVENT_SUBSCRIPTIONS: Final = b"caas event subscription"
SECOND_FACTORS: Final = b"caas second factor"


class EncryptedElsewhereError(CaasError):
    """The secret was encrypted with a key that is no longer in CAAS_SIGN_IN_KEYS. Add it again."""

    code = "encrypted_elsewhere"


class EncryptionAtRest:
    """Encrypts secrets of one purpose for their owners."""

    def __init__(self, keys: Sequence[bytes], purpose: bytes) -> None:
        """Derive from these keys, newest first."""
        self._keys = [AESGCM(derived(key, purpose)) for key in keys]

    def encrypt(self, secret: bytes, *, owner: UUID) -> bytes:
        """Encrypt a secret with the newest key."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._keys[0].encrypt(nonce, secret, owner.bytes)

    def decrypt(self, encrypted: bytes, *, owner: UUID) -> bytes:
        """Decrypt a secret.

        Raises:
            EncryptedElsewhereError: no key decrypts it for this owner.
        """
        return self._tried(encrypted, owner)[1]

    def is_current(self, encrypted: bytes, *, owner: UUID) -> bool:
        """Return whether the newest key encrypted it.

        Raises:
            EncryptedElsewhereError: no key decrypts it for this owner.
        """
        return self._tried(encrypted, owner)[0] == 0

    def _tried(self, encrypted: bytes, owner: UUID) -> tuple[int, bytes]:
        nonce, content = encrypted[:NONCE_BYTES], encrypted[NONCE_BYTES:]
        for place, key in enumerate(self._keys):
            try:
                return place, key.decrypt(nonce, content, owner.bytes)
            except InvalidTag:
                continue
        raise EncryptedElsewhereError


def derived(key: bytes, purpose: bytes) -> bytes:
    """Return the derived key for a purpose."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose).derive(key)

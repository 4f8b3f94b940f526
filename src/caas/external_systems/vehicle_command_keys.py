"""The keys with which the platform signs its commands to vehicles (Diagram 8, decision 105).

The first key signs. All keys are published, so that vehicles have the next one before it signs, and
still accept the previous one while its commands are in transit.

Rules a change must keep: a private key never leaves this module; the id of a key is derived from
its public half alone.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import Final, Self

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from caas.errors import StartupError

KEYS_MAX: Final = 8
PRIVATE_KEY_BYTES: Final = 32
KEY_ID_CHARACTERS: Final = 16
HOW_TO_MAKE_ONE: Final = (
    "A key is 32 random bytes in base64; 'openssl rand -base64 32' makes one. Separate several by "
    f"commas, the one that signs first, at most {KEYS_MAX}."
)


class VehicleCommandKeyError(StartupError):
    """A key that is to sign commands to vehicles cannot be used."""

    code = "vehicle_command_key"


class PublicCommandKey(msgspec.Struct, frozen=True):
    """The public half of a command key, for vehicles; `public_key` is base64."""

    key_id: str
    public_key: str


class CommandSignature(msgspec.Struct, frozen=True):
    """A signature in base64, and the id of its key."""

    signature: str
    key_id: str


class VehicleCommandKeys:
    """Signs commands with the first of its keys, and publishes the public halves of all."""

    def __init__(self, private_keys: Sequence[bytes]) -> None:
        """Use these Ed25519 private keys of 32 bytes; the first one signs.

        Raises:
            VehicleCommandKeyError: there are none, too many, or duplicates, or a length is wrong.
        """
        usable = all(len(key) == PRIVATE_KEY_BYTES for key in private_keys)
        distinct = len(set(private_keys)) == len(private_keys)
        if not (usable and distinct and 0 < len(private_keys) <= KEYS_MAX):
            raise VehicleCommandKeyError(HOW_TO_MAKE_ONE)
        keys = [Ed25519PrivateKey.from_private_bytes(key) for key in private_keys]
        self._signing = keys[0]
        self.public = tuple(_public_half(key) for key in keys)

    @property
    def known_to_vehicles(self) -> dict[str, bytes]:
        """The public keys by their ids, as a vehicle stores them."""
        return {key.key_id: base64.b64decode(key.public_key) for key in self.public}

    @classmethod
    def read(cls, text: str) -> Self:
        """Read base64 keys separated by commas.

        Raises:
            VehicleCommandKeyError: a key is invalid; the message repeats none.
        """
        try:
            keys = [base64.b64decode(part.strip(), validate=True) for part in text.split(",")]
        except (binascii.Error, ValueError) as error:
            raise VehicleCommandKeyError(HOW_TO_MAKE_ONE) from error
        return cls(keys)

    def sign(self, text: str) -> CommandSignature:
        """Sign a text, in UTF-8, with the first key."""
        signature = base64.b64encode(self._signing.sign(text.encode())).decode()
        return CommandSignature(signature, self.public[0].key_id)


def _public_half(key: Ed25519PrivateKey) -> PublicCommandKey:
    public = key.public_key().public_bytes_raw()
    key_id = hashlib.sha256(public).hexdigest()[:KEY_ID_CHARACTERS]
    return PublicCommandKey(key_id, base64.b64encode(public).decode())

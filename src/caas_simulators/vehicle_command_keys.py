"""The platform's public keys, as the simulated vehicles of Diagram 4 are given them.

Rules: a command is believed only by the key that it names, and only for the car it was sent to;
what is no key is refused as a whole, and the keys of before stay.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from caas_simulators.vehicle_car import Command, command_text


class PublishedKey(msgspec.Struct):
    """A key as the platform publishes it; `public_key` is base64."""

    key_id: str
    public_key: str


class PublishedKeys(msgspec.Struct):
    """What `GET /v1/vehicle-command-keys` of the platform answers."""

    data: list[PublishedKey]


def known_keys(published: Sequence[PublishedKey]) -> dict[str, bytes]:
    """Return the keys by their ids.

    Raises:
        ValueError: one is not the base64 of an Ed25519 public key.
    """
    return {key.key_id: _key(key.public_key) for key in published}


def key_argument(text: str) -> tuple[str, bytes]:
    """Read `key id:base64`, as the command line gives a key.

    Raises:
        ValueError: it is none.
    """
    key_id, _, public_key = text.partition(":")
    return key_id, _key(public_key)


class CommandKeys:
    """The keys a fleet knows now."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """Know these, by their ids."""
        self._keys: dict[str, Ed25519PublicKey] = {}
        self.learn(keys)

    def learn(self, keys: Mapping[str, bytes]) -> None:
        """Know these from now on, and no others."""
        self._keys = {
            key_id: Ed25519PublicKey.from_public_bytes(key) for key_id, key in keys.items()
        }

    def signed(self, vin: str, command: Command) -> bool:
        """Return whether the key that the command names signed it for this car."""
        key = self._keys.get(command.key_id)
        if key is None:
            return False
        try:
            signature = base64.b64decode(command.signature, validate=True)
            key.verify(signature, command_text(vin, command))
        except (binascii.Error, ValueError, InvalidSignature):
            return False
        return True


def _key(text: str) -> bytes:
    key = base64.b64decode(text, validate=True)
    Ed25519PublicKey.from_public_bytes(key)
    return key

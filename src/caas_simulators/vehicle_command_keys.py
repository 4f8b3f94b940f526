"""The platform's public command keys, as given to the simulated vehicles of Diagram 4.

Rules a change must keep: a command is accepted only with the key that it names, and only for the
car it was sent to; an invalid set of keys is rejected as a whole, and the previous keys stay.
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
    """The response of the platform's `GET /v1/vehicle-command-keys`."""

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
        ValueError: it has another form.
    """
    key_id, _, public_key = text.partition(":")
    return key_id, _key(public_key)


class CommandKeys:
    """The current keys of a fleet."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """Start with these keys by id."""
        self._keys: dict[str, Ed25519PublicKey] = {}
        self.learn(keys)

    def learn(self, keys: Mapping[str, bytes]) -> None:
        """Replace all keys with these."""
        self._keys = {
            key_id: Ed25519PublicKey.from_public_bytes(key) for key_id, key in keys.items()
        }

    def signed(self, vin: str, command: Command) -> bool:
        """Return whether the named key signed the command for this car."""
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

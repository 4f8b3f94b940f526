"""Verifies vehicles' signatures on command acknowledgements (Diagram 8, decision 15).

Acknowledgements are verified before they are recorded and again when the record is audited.
`ActivationResult` lists the results of an activation (arrow 4a).

Rules a change must keep: low-order keys, with which anyone can sign, are rejected; the signed text
is public, and no field contains the separator; messages recorded before decision 105 were signed
without the action and still verify.
"""

import functools
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SIGNATURE_BYTES: Final = 64
PUBLIC_KEY_BYTES: Final = 32
PUBLIC_KEYS_REMEMBERED_MAX: Final = 10_000

_SIGN_BIT: Final = 1 << 255
_FIELD: Final = _SIGN_BIT - 19
_ORDER_EIGHT: Final = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
_LOW_ORDER: Final = frozenset({
    0, 1, _ORDER_EIGHT, _FIELD - _ORDER_EIGHT, _FIELD - 1, _FIELD, _FIELD + 1,
})  # fmt: skip
"""Encodings of the points of order 1, 2, 4 and 8, without the sign (RFC 8032, 5.1.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedMessage:
    """The fields a vehicle signs; `at` is the timestamp as the vehicle wrote it.

    `action` is None in messages signed before the action was part of the text.
    """

    vin: str
    command_id: str
    epoch: int
    payment_id: str
    service: str
    action: str | None
    status: str
    at: str

    @property
    def text(self) -> str:
        """The text that is signed, in UTF-8."""
        action = "" if self.action is None else f"{self.action}|"
        return (
            f"{self.vin}|{self.command_id}|{self.epoch}|{self.payment_id}"
            f"|{self.service}|{action}{self.status}|{self.at}"
        )


def signed_with(public_key: bytes, *, signature: bytes, text: str) -> bool:
    """Return whether the owner of this Ed25519 key signed the text."""
    key = _public_key(public_key)
    if key is None:
        return False
    try:
        key.verify(signature, text.encode())
    except InvalidSignature:
        return False
    return True


def has_low_order(public_key: bytes) -> bool:
    """Return whether the key is a low-order point, with which anyone can sign."""
    return int.from_bytes(public_key, "little") % _SIGN_BIT in _LOW_ORDER


@functools.lru_cache(maxsize=PUBLIC_KEYS_REMEMBERED_MAX)
def _public_key(public_key: bytes) -> Ed25519PublicKey | None:
    if len(public_key) != PUBLIC_KEY_BYTES or has_low_order(public_key):
        return None
    return Ed25519PublicKey.from_public_bytes(public_key)


class ActivationResult(StrEnum):
    """The effect of an activation acknowledgement on its purchase."""

    COMMITTED = "committed"
    """This acknowledgement committed the purchase."""
    ALREADY = "already"
    """The purchase was already committed."""
    LATE = "late"
    """The purchase had already failed or ended."""

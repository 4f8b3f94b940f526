"""The signature inside each item of Adyen's standard webhooks.

Seed: the settlement webhook of Diagram 4; decision 31.

A webhook holds one item or several; each is signed for itself, over eight of its fields. Nothing in
the signature tells the time: a repetition is known by the event's id.

Rule a change must keep: one item whose signature does not verify refuses the whole webhook.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Final

import msgspec

from caas.errors import StartupError
from caas.external_systems.http import Secret
from caas.external_systems.webhook_signatures import (
    SECRETS_MAX,
    WEBHOOK_BODY_BYTES_MAX,
    VerifiedWebhook,
    WebhookBodyTooLargeError,
    WebhookHeadersError,
    WebhookSignatureError,
)

KEY_BYTES: Final = 32
ITEMS_MAX: Final = 100
_SIGNED: Final = (
    "pspReference", "originalReference", "merchantAccountCode", "merchantReference",
)  # fmt: skip


class RawWrapper(msgspec.Struct, frozen=True):
    """An item of which only what is signed is read, exactly as it was sent."""

    item: dict[str, object] = msgspec.field(name="NotificationRequestItem")


class RawNotification(msgspec.Struct, frozen=True, rename="camel"):
    """A webhook's body before it is verified."""

    notification_items: Annotated[
        list[RawWrapper], msgspec.Meta(min_length=1, max_length=ITEMS_MAX)
    ]


_DECODER: Final = msgspec.json.Decoder(RawNotification)


class AdyenWebhookVerifier:
    """Verifies Adyen's webhooks with the active HMAC keys, in hexadecimal, the newest first."""

    signed_headers = ()

    def __init__(self, secrets: Sequence[Secret]) -> None:
        """Hold one key, or several while they are being changed.

        Raises:
            StartupError: there is none, there are too many, or one is no HMAC key.
        """
        if not 0 < len(secrets) <= SECRETS_MAX:
            raise StartupError(f"Give 1 to {SECRETS_MAX} HMAC keys, the newest first.")
        self._keys = tuple(_key(secret) for secret in secrets)

    def verify(self, body: bytes, headers: Mapping[str, str], *, now: datetime) -> VerifiedWebhook:
        """Verify every item; Adyen signs no time, so the time is that of the arrival.

        Raises:
            WebhookRefusedError: an item is not shown to be Adyen's.
        """
        del headers
        if len(body) > WEBHOOK_BODY_BYTES_MAX:
            raise WebhookBodyTooLargeError
        try:
            items = [wrapper.item for wrapper in _DECODER.decode(body).notification_items]
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise WebhookHeadersError("Send notificationItems, each with its signature.") from error
        if not all(self._is_signed(item) for item in items):
            raise WebhookSignatureError
        return VerifiedWebhook(hashlib.sha256(body).hexdigest(), now)

    def _is_signed(self, item: dict[str, object]) -> bool:
        data = item.get("additionalData")
        given = data.get("hmacSignature") if isinstance(data, dict) else None
        if not isinstance(given, str) or not given.isascii():
            return False
        text = _signed_text(item)
        expected = [base64.b64encode(hmac.digest(key, text, "sha256")) for key in self._keys]
        return any(hmac.compare_digest(ours, given.encode("ascii")) for ours in expected)


def _signed_text(item: dict[str, object]) -> bytes:
    amount = item.get("amount")
    money = amount if isinstance(amount, dict) else {}
    parts = [
        *(item.get(name, "") for name in _SIGNED),
        money.get("value", ""), money.get("currency", ""),
        item.get("eventCode", ""), item.get("success", ""),
    ]  # fmt: skip
    return ":".join(str(part) for part in parts).encode()


def _key(secret: Secret) -> bytes:
    try:
        key = binascii.a2b_hex(secret.reveal())
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise StartupError(
            f"An HMAC key of Adyen is {KEY_BYTES} bytes in hexadecimal; copy it whole from the "
            "Customer Area."
        )
    return key

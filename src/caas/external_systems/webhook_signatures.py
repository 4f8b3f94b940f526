"""Webhook signatures (Standard Webhooks): who really sent these bytes, and when.

Seed: the settlement webhook of Diagram 4; decision 31. The gateway, the factory and the transport
system all sign alike.

Rules a change must keep:
- The signature is over the bytes as they came, never over a body decoded and written again.
- What is signed is compared as text, in constant time: no other spelling of a timestamp or of a
  base64 string passes (the standardwebhooks package lets both pass, and reads its own clock; it is
  the referee of the tests).
- A timestamp is refused on both sides of the window. Within it, the store refuses repetition.
- No error repeats a signature or a secret.

Which machines an address that a caller named may lead to: those of the public internet.

Whoever names an address that we call would otherwise reach, through us, what stands beside us: the
machine itself, the private network, the metadata service of a cloud.

Rules a change must keep: a name is looked up for every connection, and the connection is made to an
address that was looked at; one address of a name that is not public refuses the name.
"""

import asyncio
import base64
import binascii
import hmac
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, Protocol

from caas.errors import CaasError, StartupError
from caas.external_systems.http import Secret

WEBHOOK_BODY_BYTES_MAX: Final = 256 * 1024
TOLERANCE_SECONDS: Final = 300
SECRETS_MAX: Final = 4
SIGNATURES_MAX: Final = 8
# 24 to 64 bytes is what the standard asks of a secret.
SECRET_BYTES_MIN: Final = 24
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what every secret begins with

# No full stop in an id: it separates the signed parts, and must not let one pass for another.
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_TIMESTAMP: Final = re.compile(r"[1-9][0-9]{0,11}")


class WebhookRefusedError(CaasError):
    """The webhook is not shown to come from the external system; nothing was stored of it."""

    code = "webhook_refused"
    http_status = 401


class WebhookHeadersError(WebhookRefusedError):
    """Send webhook-id, webhook-timestamp (whole seconds) and webhook-signature, once each."""

    code = "webhook_headers"
    http_status = 400


class WebhookBodyTooLargeError(WebhookRefusedError):
    """The webhook's body is larger than is read here; send one event in one webhook."""

    code = "webhook_body_too_large"
    http_status = 413


class WebhookTimestampError(WebhookRefusedError):
    """The webhook was signed too long ago or in the future; check both clocks and sign it anew."""

    code = "webhook_timestamp"


class WebhookSignatureError(WebhookRefusedError):
    """No secret we hold gives this signature; check the secret, and sign the bytes as sent."""

    code = "webhook_signature"


@dataclass(frozen=True, slots=True)
class VerifiedWebhook:
    """The signed facts beside the body: the message's id, and when it was signed."""

    id: str
    signed_at: datetime


class Verifier(Protocol):
    """Whatever shows who sent a webhook; `signed_headers` are those it looks at."""

    @property
    def signed_headers(self) -> Sequence[str]:
        """The headers, in lower case."""
        ...

    def verify(self, body: bytes, headers: Mapping[str, str], *, now: datetime) -> VerifiedWebhook:
        """Return what is signed beside the body.

        Raises:
            WebhookRefusedError: it is not shown to be theirs, or not of now.
        """
        ...


class WebhookVerifier:
    """Verifies the webhooks of one external system with its active secrets, the newest first."""

    signed_headers = ("webhook-id", "webhook-timestamp", "webhook-signature")

    def __init__(self, secrets: Sequence[Secret]) -> None:
        """Hold one secret, or several while they are being rotated.

        Raises:
            StartupError: there is none, there are too many, or one is not a webhook secret.
        """
        if not 0 < len(secrets) <= SECRETS_MAX:
            raise StartupError(
                f"Give 1 to {SECRETS_MAX} webhook secrets, the newest first; "
                "drop the oldest once the other side signs with a newer one."
            )
        self._keys = tuple(_key(secret) for secret in secrets)

    def verify(self, body: bytes, headers: Mapping[str, str], *, now: datetime) -> VerifiedWebhook:
        """Return what is signed beside the body; header names are in lower case.

        Raises:
            WebhookRefusedError: it is not shown to be theirs, or not of now.
        """
        if len(body) > WEBHOOK_BODY_BYTES_MAX:
            raise WebhookBodyTooLargeError
        event_id = headers.get("webhook-id", "")
        timestamp = headers.get("webhook-timestamp", "")
        signatures = headers.get("webhook-signature", "").split(" ")
        if not (_ID.fullmatch(event_id) and _TIMESTAMP.fullmatch(timestamp)):
            raise WebhookHeadersError
        if len(signatures) > SIGNATURES_MAX:
            raise WebhookHeadersError
        if abs(now.timestamp() - int(timestamp)) > TOLERANCE_SECONDS:
            raise WebhookTimestampError(webhook_id=event_id, timestamp=timestamp)
        if not self._signed(signatures, _signed_bytes(event_id, timestamp, body)):
            raise WebhookSignatureError(webhook_id=event_id)
        return VerifiedWebhook(event_id, datetime.fromtimestamp(int(timestamp), UTC))

    def _signed(self, signatures: list[str], signed: bytes) -> bool:
        given = [signature.encode() for signature in signatures]
        return any(
            hmac.compare_digest(expected, signature)
            for expected in (_signature(key, signed) for key in self._keys)
            for signature in given
        )


def sign(secret: Secret, *, event_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """Return the three headers with which a partner, or a test, sends these bytes."""
    assert _ID.fullmatch(event_id), "an event id is letters, digits, _ and -"
    timestamp = str(int(at.timestamp()))
    signature = _signature(_key(secret), _signed_bytes(event_id, timestamp, body))
    return {
        "webhook-id": event_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": signature.decode("ascii"),
    }


def _signed_bytes(event_id: str, timestamp: str, body: bytes) -> bytes:
    return b"%b.%b.%b" % (event_id.encode("ascii"), timestamp.encode("ascii"), body)


def _signature(key: bytes, signed: bytes) -> bytes:
    return b"v1," + base64.b64encode(hmac.digest(key, signed, "sha256"))


def _key(secret: Secret) -> bytes:
    try:
        key = base64.b64decode(secret.reveal().removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if len(key) < SECRET_BYTES_MIN:
        raise StartupError(
            f"A webhook secret is {SECRET_PREFIX} and base64 of at least {SECRET_BYTES_MIN} "
            "bytes; copy it whole from the external system's settings."
        )
    return key


LOCAL_SUFFIXES: Final = (".internal", ".local", ".localhost", ".home.arpa", ".onion")
"""Names that belong to no public machine, whether they can be looked up or not."""


class AddressNotPublicError(OSError):
    """This address does not lead to a machine of the public internet."""


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address, and one that it carries inside, is of the public internet."""
    if isinstance(address, IPv6Address):
        carried = (address.ipv4_mapped, address.sixtofour, *(address.teredo or ()))
        if not all(it is None or is_public(it) for it in carried):
            return False
        if address.ipv4_mapped is not None:
            return True
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_unspecified
    )


def is_local_name(host: str) -> bool:
    """Return whether a name is of this network by its form: one word, or a suffix kept for that."""
    name = host.lower().rstrip(".")
    literal = ":" in name or name.replace(".", "").isdigit()
    return not literal and ("." not in name or name.endswith(LOCAL_SUFFIXES))


async def checked_addresses(host: str, port: int, *, loopback_allowed: bool) -> list[str]:
    """Look a name up, and return its addresses: public ones, or loopback where it is allowed.

    Raises:
        AddressNotPublicError: one of them is neither.
        OSError: the name is not known.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for text in addresses:
        address = ip_address(text.partition("%")[0])
        if not (is_public(address) or (loopback_allowed and address.is_loopback)):
            raise AddressNotPublicError(f"{host} does not lead to the public internet")
    return addresses

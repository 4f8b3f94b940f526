"""Webhook security: signatures (Standard Webhooks), and public addresses for outgoing calls.

The gateway (the settlement webhook of Diagram 4), the factory and the transport system use the same
signature scheme (decision 31). Callers can name an address that we call. Restricting it to the
public internet keeps them from reaching, through us, this machine, its private network or a cloud's
metadata service.

Rules a change must keep:

- The signature covers the bytes as received, never a body that was decoded and rewritten.
- Signed values are compared as text, in constant time: no other spelling of a timestamp or base64
  string is accepted. (The standardwebhooks package accepts both and reads its own clock; the tests
  compare against it.)
- A timestamp outside the window is rejected on both sides. Within it, the store rejects
  repetitions.
- No error repeats a signature or a secret.
- A host name is resolved for every connection, and the connection is made to a checked address; one
  address that is not public rejects the name.
"""

import asyncio
import base64
import binascii
import hmac
import re
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, Protocol

import msgspec

from caas.errors import CaasError, StartupError
from caas.external_systems.http import Secret

WEBHOOK_BODY_BYTES_MAX: Final = 256 * 1024
TOLERANCE_SECONDS: Final = 300
SECRETS_MAX: Final = 4
SIGNATURES_MAX: Final = 8
# The standard requires secrets of 24 to 64 bytes.
SECRET_BYTES_MIN: Final = 24
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what every secret begins with

# No full stop in an id: it separates the signed parts, and would make them ambiguous.
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


class VerifiedWebhook(msgspec.Struct, frozen=True):
    """The signed values other than the body: the message's id and the time of signing."""

    id: str
    signed_at: datetime


class Verifier(Protocol):
    """Verifies a webhook's sender; `signed_headers` are the headers it reads."""

    @property
    def signed_headers(self) -> Sequence[str]:
        """The headers, in lower case."""
        ...

    def verify(self, body: bytes, headers: Mapping[str, str], *, now: datetime) -> VerifiedWebhook:
        """Verify a webhook; return the signed values other than the body.

        Raises:
            WebhookRefusedError: its sender or its time is not proven.
        """
        ...


class WebhookVerifier:
    """Verifies the webhooks of one external system with its active secrets, the newest first."""

    signed_headers = ("webhook-id", "webhook-timestamp", "webhook-signature")

    def __init__(self, secrets: Sequence[Secret]) -> None:
        """Use one secret, or several during a rotation.

        Raises:
            StartupError: there are none or too many, or one is not a webhook secret.
        """
        if not 0 < len(secrets) <= SECRETS_MAX:
            raise StartupError(
                f"Give 1 to {SECRETS_MAX} webhook secrets, the newest first; "
                "drop the oldest once the other side signs with a newer one."
            )
        self._keys = tuple(_key(secret) for secret in secrets)

    def verify(self, body: bytes, headers: Mapping[str, str], *, now: datetime) -> VerifiedWebhook:
        """Verify a webhook; return its signed values. Header names are in lower case.

        Raises:
            WebhookRefusedError: its sender or its time is not proven.
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
    """Return the three signature headers for these bytes."""
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
"""Suffixes of names that never belong to a public machine."""


class AddressNotPublicError(OSError):
    """This address does not lead to a machine of the public internet."""


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address, and one embedded in it, is on the public internet."""
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
    """Return whether a name is local by its form: one label, or a reserved suffix."""
    name = host.lower().rstrip(".")
    literal = ":" in name or name.replace(".", "").isdigit()
    return not literal and ("." not in name or name.endswith(LOCAL_SUFFIXES))


async def checked_addresses(host: str, port: int, *, loopback_allowed: bool) -> list[str]:
    """Resolve a name; return its addresses: public ones, or loopback if allowed.

    Raises:
        AddressNotPublicError: one of them is neither.
        OSError: the name is unknown.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for text in addresses:
        address = ip_address(text.partition("%")[0])
        if not (is_public(address) or (loopback_allowed and address.is_loopback)):
            raise AddressNotPublicError(f"{host} does not lead to the public internet")
    return addresses

"""Messages between the platform and vehicles, and their wire format (Diagrams 4 and 8).

"Send Activation Command" and "Configuration Applied" of Diagram 4, arrows 2 and 3 of Diagram 8. The
platform signs its commands (decision 105); the vehicle signs its acknowledgement, which is the
delivery evidence of decision 15.

Rules a change must keep:

- Topics and payloads are public; fields may be added, never renamed or redefined.
- The topic identifies the vehicle that acknowledges, because a broker controls access to topics but
  not to payloads. The command in the payload must match the topic.
- Signatures are verified over the text as received; nothing is parsed and rewritten before. No
  signed field may contain the separator, because two meanings would then share one signature.
- `status_reason` is not signed: it is displayed, never acted on.
- Pure: no connection, no clock.
"""

import base64
import binascii
import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final, Literal

import msgspec

from caas.errors import RefusedError
from caas.external_systems.vehicle_command_keys import VehicleCommandKeys
from caas.rules.vehicle_signatures import SIGNATURE_BYTES, SignedMessage, signed_with

TOPIC_ROOT: Final = "caas/v1/vehicles"
ALL_RESPONSES: Final = f"{TOPIC_ROOT}/+/commands/+/response"
PAYLOAD_BYTES_MAX: Final = 8 * 1024
REASON_CHARACTERS_MAX: Final = 500
EPOCH_MAX: Final = 2**63 - 1

_NAME: Final = re.compile(r"[A-Za-z0-9._:~-]{1,128}")
_RESPONSE_TOPIC: Final = re.compile(
    rf"{TOPIC_ROOT}/(?P<vin>{_NAME.pattern})/commands/(?P<command_id>{_NAME.pattern})/response"
)

Action = Literal["activate", "deactivate"]


class UnaddressableCommandError(RefusedError):
    """A vehicle command holds a name that cannot stand in a topic or under a signature."""

    code = "unaddressable_command"


class Unusable(StrEnum):
    """Counters of messages on response topics that are not acknowledgements."""

    TOPIC = "its topic is no vehicle's response topic"
    SIZE = "it is too large"
    FORM = "it is not of the agreed form"
    TWO_COMMANDS = "topic and message name different commands"
    GIVEN_UP = "it could not be handled"


class MalformedAcknowledgementError(RefusedError):
    """What came on a vehicle's response topic is not an acknowledgement."""

    code = "malformed_acknowledgement"

    def __init__(self, sentence: str, reason: Unusable = Unusable.FORM) -> None:
        """Store the message, and the reason for counting."""
        super().__init__(sentence)
        self.reason = reason


class AcknowledgementStatus(StrEnum):
    """A vehicle's progress with a command."""

    IN_PROGRESS = "IN_PROGRESS"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    REJECTED = "REJECTED"


class VehicleCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A command to one vehicle, applied once, with its deadline."""

    command_id: str
    vin: str
    epoch: int
    action: Action
    payment_id: str
    service: str
    valid_until: datetime | None
    deadline: datetime

    def __post_init__(self) -> None:
        """Reject values that are invalid in a topic, or ambiguous when signed."""
        for field in ("command_id", "vin", "payment_id", "service"):
            if not _NAME.fullmatch(getattr(self, field)):
                sentence = f"The {field} of a vehicle command may hold letters, digits and ._:~-"
                raise UnaddressableCommandError(sentence, field=field)


class Acknowledgement(msgspec.Struct, frozen=True, kw_only=True):
    """A vehicle's answer to a command; `at_text` is the instant as it was signed."""

    vin: str
    command_id: str
    epoch: int
    payment_id: str
    service: str
    action: Action
    status: AcknowledgementStatus
    status_reason: str
    at: datetime
    at_text: str
    signature: bytes

    @property
    def signed_text(self) -> str:
        """The text that the vehicle signed."""
        return SignedMessage(
            vin=self.vin, command_id=self.command_id, epoch=self.epoch, payment_id=self.payment_id,
            service=self.service, action=self.action, status=self.status, at=self.at_text,
        ).text  # fmt: skip


class _Request(msgspec.Struct, frozen=True):
    """The wire format of a request."""

    command_id: str
    epoch: int
    action: Action
    payment_id: str
    service: str
    valid_until: str | None
    deadline: str
    signature: str
    key_id: str


_Name = Annotated[str, msgspec.Meta(pattern=rf"\A{_NAME.pattern}\Z")]
_Instant = Annotated[datetime, msgspec.Meta(tz=True)]
_Epoch = Annotated[int, msgspec.Meta(ge=0, le=EPOCH_MAX)]


class _Response(msgspec.Struct, frozen=True):
    """The wire format of a response."""

    command_id: str
    epoch: _Epoch
    payment_id: _Name
    service: _Name
    action: Action
    status: AcknowledgementStatus
    at: str
    signature: str
    status_reason: str | None = None


_RESPONSES: Final = msgspec.json.Decoder(_Response)
_REQUESTS: Final = msgspec.json.Encoder()


def request_topic(vin: str, command_id: str) -> str:
    """Return the topic on which the vehicle receives this command."""
    return f"{TOPIC_ROOT}/{vin}/commands/{command_id}/request"


def response_topic(vin: str, command_id: str) -> str:
    """Return the topic on which the vehicle answers this command."""
    return f"{TOPIC_ROOT}/{vin}/commands/{command_id}/response"


def encode_command(command: VehicleCommand, keys: VehicleCommandKeys) -> bytes:
    """Return the signed payload of the request; instants are signed as the text that is sent."""
    deadline = _text(command.deadline)
    valid_until = None if command.valid_until is None else _text(command.valid_until)
    signed = keys.sign(
        f"{command.vin}|{command.command_id}|{command.epoch}|{command.payment_id}"
        f"|{command.service}|{command.action}|{valid_until or ''}|{deadline}"
    )
    return _REQUESTS.encode(
        _Request(
            command_id=command.command_id,
            epoch=command.epoch,
            action=command.action,
            payment_id=command.payment_id,
            service=command.service,
            valid_until=valid_until,
            deadline=deadline,
            signature=signed.signature,
            key_id=signed.key_id,
        )
    )


def decode_acknowledgement(topic: str, payload: bytes) -> Acknowledgement:
    """Decode an acknowledgement; its signature is not verified yet.

    Raises:
        MalformedAcknowledgementError: it is too large or malformed, or its topic and its payload
            name different commands.
    """
    address = _RESPONSE_TOPIC.fullmatch(topic)
    if address is None:
        sentence = "The topic is not that of a vehicle's response."
        raise MalformedAcknowledgementError(sentence, Unusable.TOPIC)
    if len(payload) > PAYLOAD_BYTES_MAX:
        sentence = f"The payload has more than {PAYLOAD_BYTES_MAX} bytes."
        raise MalformedAcknowledgementError(sentence, Unusable.SIZE)
    try:
        response = _RESPONSES.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        sentence = f"The payload is not of the agreed form: {error}."
        raise MalformedAcknowledgementError(sentence) from error
    if response.command_id != address["command_id"]:
        sentence = "Topic and payload name different commands."
        raise MalformedAcknowledgementError(sentence, Unusable.TWO_COMMANDS)
    return Acknowledgement(
        vin=address["vin"],
        command_id=response.command_id,
        epoch=response.epoch,
        payment_id=response.payment_id,
        service=response.service,
        action=response.action,
        status=response.status,
        status_reason=(response.status_reason or "")[:REASON_CHARACTERS_MAX],
        at=_instant(response.at),
        at_text=response.at,
        signature=_signature(response.signature),
    )


def vehicle_of(topic: str) -> str:
    """Return the VIN in a response topic; empty for another topic."""
    address = _RESPONSE_TOPIC.fullmatch(topic)
    return address["vin"] if address else ""


def verify_signature(acknowledgement: Acknowledgement, public_key: bytes) -> bool:
    """Return whether the vehicle with this public key signed the acknowledgement."""
    return signed_with(
        public_key, signature=acknowledgement.signature, text=acknowledgement.signed_text
    )


def _text(instant: datetime) -> str:
    text: str = msgspec.to_builtins(instant)
    return text


def _instant(text: str) -> datetime:
    try:
        instant = msgspec.convert(text, _Instant)
        return instant.astimezone(UTC)
    except (msgspec.ValidationError, OverflowError) as error:
        raise MalformedAcknowledgementError("The instant is not RFC 3339 with a zone.") from error


def _signature(text: str) -> bytes:
    try:
        signature = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedAcknowledgementError("The signature is not base64.") from error
    if len(signature) != SIGNATURE_BYTES:
        raise MalformedAcknowledgementError("The signature is not of Ed25519's length.")
    return signature

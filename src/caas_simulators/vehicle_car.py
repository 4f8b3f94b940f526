"""One simulated vehicle of Diagram 4: its state, behaviour, answers and signatures.

Rules a change must keep: plain data and pure functions; the wire fields are those of every vehicle,
and `Behaviour` is the only list of ways in which a car can misbehave.
"""

import hashlib
from collections import OrderedDict, deque
from enum import StrEnum
from typing import Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

LATE_SECONDS = 5.0
OPPOSITE: dict[Literal["activate", "deactivate"], Literal["activate", "deactivate"]] = {
    "activate": "deactivate",
    "deactivate": "activate",
}


class Behaviour(StrEnum):
    """How a car handles and answers a command."""

    OBEYS = "obeys"
    ASLEEP = "asleep"  # Receives nothing until woken; then unexpired commands.
    REFUSES = "refuses"  # REJECTED, not applied.
    FAILS = "fails"  # FAILED, not applied.
    LATE = "late"  # Applied at once, answered after a delay.
    TWICE = "twice"  # Sends the same answer twice.
    SILENT = "silent"  # Applied, never answered: the acknowledgement was lost.
    FORGES = "forges"  # The signature is invalid.
    FOREIGN_KEY = "foreign_key"  # Signed with a key that is not this car's.
    OLD_EPOCH = "old_epoch"  # Validly signed, for the previous epoch.
    WRONG_PAYMENT = "wrong_payment"  # Validly signed, for another payment.
    EARLY = "early"  # Only SUCCEEDED, at once, whatever the car's usual duration.
    WRONG_ACTION = "wrong_action"  # Validly signed, for the opposite action.
    CREDULOUS = "credulous"  # Checks neither a command's signature nor its epoch.
    REVERSED = "reversed"  # SUCCEEDED first, then IN_PROGRESS.


PERSONALITIES = {
    "SLP": Behaviour.ASLEEP,
    "REF": Behaviour.REFUSES,
    "FAL": Behaviour.FAILS,
    "LAT": Behaviour.LATE,
    "TWC": Behaviour.TWICE,
    "SNT": Behaviour.SILENT,
    "FRG": Behaviour.FORGES,
    "FKY": Behaviour.FOREIGN_KEY,
    "EPC": Behaviour.OLD_EPOCH,
    "PAY": Behaviour.WRONG_PAYMENT,
    "ACT": Behaviour.WRONG_ACTION,
    "CRD": Behaviour.CREDULOUS,
    "ERL": Behaviour.EARLY,
    "RVS": Behaviour.REVERSED,
}


class Manner(msgspec.Struct, frozen=True):
    """A behaviour and its scope: `only` one action, `times` commands.

    `lacks` are services that the car has no equipment for.
    """

    behaviour: Behaviour = Behaviour.OBEYS
    reason: str = ""
    delay_seconds: float = LATE_SECONDS
    only: Literal["activate", "deactivate"] | None = None
    times: int | None = None
    lacks: tuple[str, ...] = ()


class Command(msgspec.Struct, frozen=True):
    """The payload of a request."""

    command_id: str
    epoch: int
    action: Literal["activate", "deactivate"]
    payment_id: str
    service: str
    valid_until: str | None
    deadline: str
    signature: str = ""
    key_id: str = ""


class Answer(msgspec.Struct, frozen=True):
    """The payload of a response, unsigned or signed."""

    command_id: str
    epoch: int
    payment_id: str
    service: str
    action: Literal["activate", "deactivate"]
    status: str
    status_reason: str | None
    at: str
    signature: str = ""


class Service(msgspec.Struct):
    """The real state of one service in one car."""

    epoch: int = -1
    active: bool = False
    payment_id: str = ""
    command_id: str = ""
    valid_until: str | None = None
    applications: int = 0
    deactivations: int = 0


class Car(msgspec.Struct):
    """A car: its manner, its applied commands, and those queued while asleep."""

    vin: str
    manner: Manner
    commands: int = 0
    expired: int = 0
    services: dict[str, Service] = msgspec.field(default_factory=dict)
    applied: "OrderedDict[str, str]" = msgspec.field(default_factory=OrderedDict)
    asleep: "deque[tuple[float, bytes]]" = msgspec.field(default_factory=deque)
    key: Ed25519PrivateKey | None = None
    foreign_key: Ed25519PrivateKey | None = None


def derived_key(text: str) -> Ed25519PrivateKey:
    """Return the key derived from a text."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(text.encode()).digest())


def signed_text(car: Car, answer: Answer) -> bytes:
    """Return the text that a car signs."""
    return (
        f"{car.vin}|{answer.command_id}|{answer.epoch}|{answer.payment_id}"
        f"|{answer.service}|{answer.action}|{answer.status}|{answer.at}"
    ).encode()


def command_text(vin: str, command: Command) -> bytes:
    """Return the text that the platform signs for a command to this VIN."""
    return (
        f"{vin}|{command.command_id}|{command.epoch}|{command.payment_id}|{command.service}"
        f"|{command.action}|{command.valid_until or ''}|{command.deadline}"
    ).encode()


def answer_to(command: Command, status: str, reason: str | None, at: str) -> Answer:
    """Return the unsigned answer to a command."""
    return Answer(
        command_id=command.command_id,
        epoch=command.epoch,
        payment_id=command.payment_id,
        service=command.service,
        action=command.action,
        status=status,
        status_reason=reason,
        at=at,
    )


def manner_for(car: Car, command: Command) -> Manner:
    """Return the behaviour for this command; a manner for a number of commands is counted down."""
    manner = car.manner
    if manner.only is not None and manner.only != command.action:
        return Manner()
    if manner.times is not None:
        if manner.times <= 0:
            car.manner = Manner()
            return car.manner
        car.manner = msgspec.structs.replace(manner, times=manner.times - 1)
    return manner

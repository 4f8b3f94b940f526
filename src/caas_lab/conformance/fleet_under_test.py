"""The vehicles that the cases are run against, behind any MQTT 5 broker.

Rules a change must keep: each run uses epochs above those of earlier runs, and a service of its
own, because vehicles remember; what comes from a vehicle is judged by its bytes.
"""

import asyncio
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import mqtt5
import msgspec

from caas.app import now
from caas.external_systems import mqtt_connection, vehicle_messages
from caas.external_systems.mqtt_connection import MqttConnection
from caas.external_systems.mqtt_packets import BrokerAddress, MqttSession, Publication
from caas.external_systems.vehicle_command_keys import VehicleCommandKeys
from caas.external_systems.vehicle_messages import (
    Acknowledgement,
    AcknowledgementStatus,
    MalformedAcknowledgementError,
    VehicleCommand,
)
from caas_lab.conformance.cases import NotConformingError, check
from caas_lab.conformance.sandbox import SandboxRequest, send

FINAL: Final = frozenset(AcknowledgementStatus) - {AcknowledgementStatus.IN_PROGRESS}
DEADLINE_SECONDS: Final = 60
UNHANDLED_MAX: Final = 100
PublicKey = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


class VehicleEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A vehicle of the fleet, and its public key in base64."""

    vin: str
    public_key: PublicKey


class FleetFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a `fleet.toml`.

    `service` is one that every vehicle is fitted for and that no customer has, `unknown_service`
    one that none is fitted for. `silence_seconds` is how long a vehicle may need for an answer.
    `sandbox.sleep` and `sandbox.wake` take a vehicle, `{vin}`, off the air and bring it back.
    """

    vehicles: list[VehicleEntry]
    service: str
    unknown_service: str
    silence_seconds: float = 5.0
    sandbox: dict[str, SandboxRequest] = {}

    def __post_init__(self) -> None:
        """Reject a file without what every case needs."""
        if not self.vehicles:
            raise ValueError("it has no vehicle")
        unknown = set(self.sandbox) - {"sleep", "wake"}
        if unknown:
            raise ValueError(f"there is no [sandbox.{min(unknown)}]; there are sleep and wake")


@dataclass(slots=True, kw_only=True)
class FleetUnderTest:
    """A connection to the broker, and what the vehicles have answered."""

    file: FleetFile
    keys: VehicleCommandKeys
    seconds_max: float
    connection: MqttConnection = field(init=False)
    answers: dict[str, list[Acknowledgement]] = field(
        default_factory=lambda: defaultdict[str, list[Acknowledgement]](list)
    )
    malformed: list[str] = field(default_factory=list)
    _came: asyncio.Event = field(default_factory=asyncio.Event)
    _epochs: Iterator[int] = field(init=False)

    def __post_init__(self) -> None:
        """Begin with epochs that no earlier run has used."""
        first = int(now().timestamp() * 1_000)
        self._epochs = iter(range(first, first + 1_000_000))

    @property
    def vehicle(self) -> VehicleEntry:
        """The vehicle of most cases."""
        return self.file.vehicles[0]

    def command(self, **facts: Any) -> VehicleCommand:
        """Return a command to the first vehicle with a new id and the next epoch."""
        asked: dict[str, Any] = {
            "command_id": secrets.token_hex(16),
            "vin": self.vehicle.vin,
            "epoch": next(self._epochs),
            "action": "activate",
            "payment_id": f"pay-{secrets.token_hex(8)}",
            "service": self.file.service,
            "valid_until": now().replace(microsecond=0) + timedelta(days=30),
            "deadline": in_seconds(DEADLINE_SECONDS),
        }
        return VehicleCommand(**(asked | facts))

    def payload(self, command: VehicleCommand) -> bytes:
        """Return the signed payload of a command."""
        return vehicle_messages.encode_command(command, self.keys)

    async def send(self, command: VehicleCommand, payload: bytes | None = None) -> None:
        """Send a command, or another payload on its topic.

        Raises:
            NotConformingError: no client subscribes to the vehicle's requests.
        """
        seconds = max(1, round((command.deadline - now()).total_seconds()))
        taken = await self.connection.publish(
            Publication(
                topic=vehicle_messages.request_topic(command.vin, command.command_id),
                payload=self.payload(command) if payload is None else payload,
                expiry_seconds=seconds,
                response_topic=vehicle_messages.response_topic(command.vin, command.command_id),
                correlation_data=command.command_id.encode(),
            )
        )
        check(taken, f"No client subscribes to the requests of vehicle {command.vin}.")

    async def final(self, command: VehicleCommand, count: int = 1) -> Acknowledgement:
        """Return the last of this many final answers to a command, all of them verified.

        Raises:
            NotConformingError: they do not come in time, or are not as they must be.
        """
        try:
            async with asyncio.timeout(self.seconds_max):
                while len(self._final(command)) < count:
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError:
            came = len(self._final(command))
            why = f" What came cannot be read: {self.malformed[0]}" if self.malformed else ""
            raise NotConformingError(
                f"Of {count} final answers, {came} came within {self.seconds_max:.0f} s.{why}"
            ) from None
        for answer in self.answers[command.command_id]:
            self._check_answer(command, answer)
        return self._final(command)[-1]

    async def obeyed(self, command: VehicleCommand) -> None:
        """Send a command, which must be applied."""
        await self.send(command)
        await self.answered(command, AcknowledgementStatus.SUCCEEDED)

    async def answered(self, command: VehicleCommand, *wanted: AcknowledgementStatus) -> None:
        """Require one of these final answers."""
        answer = await self.final(command)
        expected = " or ".join(wanted)
        reason = f" ({answer.status_reason})" if answer.status_reason else ""
        check(answer.status in wanted, f"The answer is {answer.status}{reason}, not {expected}.")

    async def silent(self, command: VehicleCommand, what: str) -> None:
        """Require that nothing is answered to a command."""
        await asyncio.sleep(self.file.silence_seconds)
        answers = ", ".join(one.status for one in self.answers[command.command_id])
        check(not answers, f"{what} is answered with {answers}; it must be ignored.")

    async def act(self, name: str, vin: str) -> None:
        """Take a vehicle off the air, or bring it back."""
        await send(name, self.file.sandbox.get(name), {"vin": vin})

    def receive(self, connection: MqttConnection, message: mqtt5.PublishPacket) -> None:
        """Take an answer of a vehicle."""
        if message.packet_id is not None:
            connection.acknowledge(message.packet_id)
        try:
            answer = vehicle_messages.decode_acknowledgement(message.topic, message.payload)
        except MalformedAcknowledgementError as error:
            ours = {one.vin for one in self.file.vehicles}
            if vehicle_messages.vehicle_of(message.topic) in ours:
                self.malformed.append(error.sentence)
        else:
            self.answers[answer.command_id].append(answer)
        self._came.set()

    def _final(self, command: VehicleCommand) -> list[Acknowledgement]:
        return [one for one in self.answers[command.command_id] if one.status in FINAL]

    def _check_answer(self, command: VehicleCommand, answer: Acknowledgement) -> None:
        check(answer.vin == command.vin, f"Vehicle {answer.vin} answers for {command.vin}.")
        for name in ("epoch", "payment_id", "service", "action"):
            given, asked = getattr(answer, name), getattr(command, name)
            check(given == asked, f"The answer names {name} {given!r}, the command {asked!r}.")
        known = {one.vin: one.public_key for one in self.file.vehicles}
        signed = vehicle_messages.verify_signature(answer, known[command.vin])
        check(signed, f"The answer {answer.status} is not signed with the vehicle's key.")


def in_seconds(seconds: float) -> datetime:
    """Return an instant in whole seconds from now."""
    return now().replace(microsecond=0) + timedelta(seconds=seconds)


@asynccontextmanager
async def fleet_under_test(
    url: str, file: FleetFile, keys: VehicleCommandKeys, *, seconds_max: float
) -> AsyncIterator[FleetUnderTest]:
    """Connect to the broker during the block, with the platform's permissions.

    Raises:
        BrokerUnavailableError: it cannot be used.
    """
    fleet = FleetUnderTest(file=file, keys=keys, seconds_max=seconds_max)
    session = MqttSession(
        client_id=f"caas-conform-{secrets.token_hex(4)}", expiry_seconds=0,
        unhandled_max=UNHANDLED_MAX, clean_start=True,
    )  # fmt: skip
    address = BrokerAddress.from_url(url)
    fleet.connection = await mqtt_connection.connect(address, session, fleet.receive)
    try:
        await fleet.connection.subscribe(vehicle_messages.ALL_RESPONSES)
        yield fleet
    finally:
        await fleet.connection.close()

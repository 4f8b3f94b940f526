"""A fleet that somebody else wrote from the interface alone: aiomqtt, and a key for each car.

Rules: it imports nothing of the platform or of its simulators; a car acts on nothing that no
published key signed, applies a command once, answers again when it is asked again, and does not go
back to an older epoch.
"""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import aiomqtt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from tests.strangers.manners import Manners

REQUESTS = "caas/v1/vehicles/+/commands/+/request"


@dataclass(slots=True)
class StrangeCar:
    """One car, its key, and what is switched on in it."""

    vin: str
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    refuses: bool = False
    on: set[str] = field(default_factory=set)
    epochs: dict[str, int] = field(default_factory=dict)
    done: dict[str, str] = field(default_factory=dict)

    @property
    def public_key(self) -> str:
        """The half of its key that the platform is told."""
        return base64.b64encode(self.key.public_key().public_bytes_raw()).decode()

    def obey(self, command: dict[str, Any]) -> str:
        """Do what a command says, once."""
        known = self.done.get(command["command_id"])
        if known is not None:
            return known
        service, epoch = command["service"], command["epoch"]
        if self.refuses or epoch <= self.epochs.get(service, -1):
            return self.done.setdefault(command["command_id"], "REJECTED")
        self.epochs[service] = epoch
        (self.on.add if command["action"] == "activate" else self.on.discard)(service)
        return self.done.setdefault(command["command_id"], "SUCCEEDED")


@dataclass(slots=True)
class StrangeFleet:
    """Every car, behind one connection to the broker."""

    manners: Manners
    cars: dict[str, StrangeCar] = field(default_factory=dict)
    keys: dict[str, Ed25519PublicKey] = field(default_factory=dict)

    def learn(self, published: list[dict[str, str]]) -> None:
        """Believe the keys that the platform publishes."""
        self.keys = {
            key["key_id"]: Ed25519PublicKey.from_public_bytes(base64.b64decode(key["public_key"]))
            for key in published
        }

    def believes(self, vin: str, command: dict[str, Any]) -> bool:
        """Say whether the platform signed the command for this car."""
        names = ("command_id", "epoch", "payment_id", "service", "action", "valid_until")
        parts = [str(command[name] if command[name] is not None else "") for name in names]
        text = "|".join([vin, *parts, command["deadline"]])
        try:
            key = self.keys[command["key_id"]]
            key.verify(base64.b64decode(command["signature"]), text.encode())
        except (KeyError, InvalidSignature):
            return False
        return True

    def new_car(self, vin: str) -> StrangeCar:
        """Put a car on the road."""
        self.cars[vin] = StrangeCar(vin)
        return self.cars[vin]

    async def drive(self, client: aiomqtt.Client) -> None:
        """Answer commands until the road ends."""
        async for message in client.messages:
            car = self.cars.get(str(message.topic).split("/")[3])
            if car is not None:
                command = json.loads(bytes(message.payload))
                if not self.believes(car.vin, command):
                    continue
                topic = message.properties.ResponseTopic  # type: ignore[union-attr]
                for status in self._statuses(car, command):
                    await client.publish(topic, self._summary(car, command, status), qos=1)

    def _statuses(self, car: StrangeCar, command: dict[str, Any]) -> list[str]:
        reported = [car.obey(command)]
        return ["IN_PROGRESS", *reported] if self.manners.in_progress_first else reported

    def _summary(self, car: StrangeCar, command: dict[str, Any], status: str) -> bytes:
        at = self.manners.instant(datetime.now(UTC))
        fields = ("command_id", "epoch", "payment_id", "service", "action")
        reported = {name: command[name] for name in fields} | {"status": status, "at": at}
        signed = "|".join([car.vin, *(str(command[name]) for name in fields), status, at])
        reported["signature"] = base64.b64encode(car.key.sign(signed.encode())).decode()
        if status == "REJECTED" or self.manners.says_null:
            reported["status_reason"] = "not fitted" if status == "REJECTED" else None
        pairs = sorted(reported.items(), reverse=self.manners.says_more)
        return json.dumps(self.manners.written(**dict(pairs))).encode()


@contextlib.asynccontextmanager
async def on_the_road(fleet: StrangeFleet, broker_url: str) -> AsyncIterator[StrangeFleet]:
    """Connect the fleet to the broker."""
    parts = urlsplit(broker_url)
    async with aiomqtt.Client(
        parts.hostname or "", parts.port or 1883, username=parts.username,
        password=parts.password, protocol=aiomqtt.ProtocolVersion.V5,
    ) as client:  # fmt: skip
        await client.subscribe(REQUESTS, qos=1)
        driving = asyncio.get_running_loop().create_task(fleet.drive(client))
        yield fleet
        driving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await driving

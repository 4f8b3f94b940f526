"""A fleet, a link to it and what came over it: the stage of the vehicle link's tests."""

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from caas.external_systems.iot_gateway import (
    Acknowledgement,
    AcknowledgementStatus,
    VehicleCommand,
    VehicleLink,
    verify_signature,
)
from caas.external_systems.vehicle_messages import Unusable
from caas_simulators.vehicle_fleet import Fleet

VIN = "WVWZZZ1JZXW000001"
PATIENCE_SECONDS = 120.0


def now() -> datetime:
    """The time of the world."""
    return datetime.now(UTC)


def command(number: int = 1, **changes: object) -> VehicleCommand:
    """Make a command to the first car, to be done within a minute."""
    facts: dict[str, object] = {
        "command_id": f"command-{number}",
        "vin": VIN,
        "epoch": number,
        "action": "activate",
        "payment_id": f"payment-{number}",
        "service": "heated-seats",
        "valid_until": None,
        "deadline": now() + timedelta(minutes=1),
    }
    return VehicleCommand(**{**facts, **changes})  # type: ignore[arg-type]


@dataclass(slots=True)
class Recorder:
    """Whoever handles acknowledgements: keeps them, in the order they came."""

    came: list[Acknowledgement] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    failures_to_come: int = 0
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        """Keep it, unless a failure is still to come."""
        if self.failures_to_come > 0:
            self.failures_to_come -= 1
            raise ConnectionError("the Billing Database is away")
        self.came.append(acknowledgement)
        self._news.set()

    def refuse(self, topic: str, _reason: Unusable, sentence: str) -> None:
        """Keep why something was no acknowledgement."""
        self.refused.append((topic, sentence))
        self._news.set()

    async def until(self, condition: Callable[["Recorder"], bool]) -> None:
        """Wait until what came satisfies the condition."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition(self):
                self._news.clear()
                await self._news.wait()

    async def has(self, count: int) -> None:
        """Wait until this many acknowledgements came."""
        await self.until(lambda recorder: len(recorder.came) >= count)

    @property
    def statuses(self) -> list[AcknowledgementStatus]:
        """The statuses, in the order they came."""
        return [acknowledgement.status for acknowledgement in self.came]


@dataclass(slots=True)
class World:
    """One link, the fleet at its other end, and what came back."""

    link: VehicleLink
    fleet: Fleet
    recorder: Recorder

    def public_key(self, vin: str = VIN) -> bytes:
        """Return the key a car signs with."""
        return base64.b64decode(self.fleet.public_key(self.fleet.cars[vin]))

    def signed_by_the_car(self, acknowledgement: Acknowledgement) -> bool:
        """Tell whether the acknowledgement's own car signed it."""
        return verify_signature(acknowledgement, self.public_key(acknowledgement.vin))

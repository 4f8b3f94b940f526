"""Whoever commands simulated cars in tests: signs as the platform does, keeps what they say."""

import base64
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from caas_simulators.vehicle_fleet import Fleet
from caas_simulators.vehicles import Vehicles, VehicleSettings, serving
from tests.cars import COMMAND_KEYS, KNOWN_TO_VEHICLES

VIN = "WVWZZZ1JZXW000001"


def request(number: int, *, vin: str = VIN, **changes: str) -> bytes:
    """Write the payload of a command whose epoch is its number."""
    fields = {
        "command_id": f"command-{number}",
        "epoch": number,
        "action": "activate",
        "payment_id": f"payment-{number}",
        "service": "heated-seats",
        "valid_until": "2026-12-24T00:00:00Z",
        "deadline": "2026-11-24T00:00:00Z",
    }
    fields |= changes
    parts = ("command_id", "epoch", "payment_id", "service", "action", "valid_until", "deadline")
    signed = COMMAND_KEYS.sign("|".join([vin, *(str(fields[name]) for name in parts)]))
    return json.dumps({**fields, "signature": signed.signature, "key_id": signed.key_id}).encode()


class Platform:
    """Whoever commands the cars: sends requests, keeps what they answer."""

    def __init__(self, fleet: Fleet) -> None:
        """Attach to the fleet."""
        self.fleet = fleet
        self.answers: list[dict[str, str | int | None]] = []
        self.vins: list[str] = []
        fleet.attach(self._keep)

    def ask(
        self,
        number: int = 1,
        *,
        vin: str = VIN,
        action: str = "activate",
        service: str = "heated-seats",
        expiry_seconds: float | None = 60,
        command_id: str | None = None,
    ) -> None:
        """Send a command whose epoch is its number."""
        identity = command_id or f"command-{number}"
        payload = request(number, vin=vin, command_id=identity, action=action, service=service)
        topic = f"caas/v1/vehicles/{vin}/commands/{identity}/request"
        self.fleet.receive(topic, payload, expiry_seconds)

    @property
    def stated(self) -> list[str | int | None]:
        """The statuses, in order."""
        return [answer["status"] for answer in self.answers]

    def _keep(self, topic: str, payload: bytes) -> None:
        answer = json.loads(payload)
        vin = topic.split("/")[3]
        assert topic == f"caas/v1/vehicles/{vin}/commands/{answer['command_id']}/response"
        self.vins.append(vin)
        self.answers.append(answer)


def signed(fleet: Fleet, vin: str, answer: dict[str, str | int | None]) -> bool:
    """Tell whether the car signed this answer."""
    key = base64.b64decode(fleet.public_key(fleet.cars[vin]))
    fields = ("command_id", "epoch", "payment_id", "service", "action", "status", "at")
    text = "|".join([vin, *(str(answer[name]) for name in fields)])
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(
            base64.b64decode(str(answer["signature"])), text.encode()
        )
    except InvalidSignature:
        return False
    return True


@pytest.fixture
async def vehicles() -> AsyncIterator[Vehicles]:
    async with serving(
        VehicleSettings(seed=7, cars=((VIN, None),), command_keys=KNOWN_TO_VEHICLES)
    ) as one:
        yield one


@pytest.fixture
async def http(vehicles: Vehicles) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(vehicles.control_url) as session:
        yield session

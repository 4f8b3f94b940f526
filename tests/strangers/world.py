"""The platform's address and the strangers around it, as a story sees them."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aiohttp

from tests.buyers import AT_HOME
from tests.start_up.conftest import Ended
from tests.strangers.fleet import StrangeCar, StrangeFleet
from tests.strangers.gateway import StrangeGateway
from tests.strangers.partners import StrangePartners

WAIT_SECONDS_MAX = 60.0
CREATED, ACCEPTED = 201, 202


def key_of(scope: str) -> str:
    """Return the key of the caller with one scope."""
    return f"caas_key_among_strangers_{scope}_0000000000"


def _nobody() -> Any:
    """Nobody stands here in a world whose gateway is another."""
    return None


@dataclass(slots=True, kw_only=True)
class World:
    """The platform's address, and the strangers around it."""

    api: str
    http: aiohttp.ClientSession
    fleet: StrangeFleet
    gateway: StrangeGateway = field(default_factory=_nobody)
    command: Callable[..., Awaitable[Ended]] = field(default_factory=_nobody)
    partners: StrangePartners = field(default_factory=_nobody)

    async def call(
        self, scope: str, method: str, path: str, body: object = None
    ) -> tuple[int, Any]:
        """Call the API as one scope, under a key of its own."""
        headers = {"Authorization": f"Bearer {key_of(scope)}", "Idempotency-Key": uuid4().hex}
        url = self.api + path
        async with self.http.request(method, url, json=body, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)

    async def publishes_its_keys(self) -> None:
        """Let the fleet learn the keys that sign commands, as any fleet does."""
        status, reported = await self.call("operations", "GET", "/v1/vehicle-command-keys")
        assert (status, len(reported["data"])) == (200, 2), reported
        self.fleet.learn(reported["data"])

    async def until(self, scope: str, path: str, **wanted: object) -> Any:
        """Wait until what stands at an address says this, and return it."""
        ends, reported = time.monotonic() + WAIT_SECONDS_MAX, None
        while time.monotonic() < ends:
            _, reported = await self.call(scope, "GET", path)
            if all(reported.get(name) == value for name, value in wanted.items()):
                return reported
            await asyncio.sleep(0.1)
        raise AssertionError(f"never {wanted}: {reported}")

    async def customer(self) -> str:
        """Return a new customer's id."""
        body = {
            "name": "Ana", "email": f"{uuid4().hex}@example.com", "language": "es",
            "billing_details": AT_HOME,
        }  # fmt: skip
        _, reported = await self.call("order-management", "POST", "/v1/customers", body)
        return str(reported["id"])

    async def car(self, model: str = "Uno") -> StrangeCar:
        """Return a car that the platform knows by its public key only."""
        car = self.fleet.new_car(f"WVWZZZ{uuid4().hex[:11].upper()}")
        body = {"model": model, "price": {"amount": 2_000_000, "currency": "EUR"}}
        body |= {"public_key": car.public_key}
        status, reported = await self.call("operations", "PUT", f"/v1/vehicles/{car.vin}", body)
        assert status == 200, reported
        return car

"""Customers who buy and dealers who reserve while the platform is being killed under them.

Rules: they do what the API asks of callers and nothing more: an unanswered call is made again with
the same Idempotency-Key, at whichever process answers; an answer below 500 is believed.
"""

import asyncio
import itertools
import random
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aiohttp

from caas_simulators.vehicle_car import Behaviour, Manner
from tests.buyers import AT_HOME
from tests.robustness.real_processes import OUR_KEY, RealProcess, RealWorld

PATIENCE_SECONDS = 500.0
CALL_SECONDS_MAX = 10.0
PAUSE_SECONDS = 0.05
PRICE = 1299
STILL_RUNNING = "idempotency_key_in_flight"
METHODS = ("pm_ok", "pm_ok", "pm_ok", "pm_declined")
MANNERS = (None, None, Manner(Behaviour.TWICE), Manner(Behaviour.REFUSES, only="activate"))
TIMES = (1, 1, 2, 3)
BOUGHT = frozenset({201, 202})
WITHDRAWN = 0.25

Reported = tuple[int, dict[str, Any]]
"""The status and the content of an answer."""


@dataclass(slots=True)
class Shoppers:
    """All of them, and what each was told in the end."""

    world: RealWorld
    doors: list[RealProcess]
    chance: random.Random
    rest_seconds: float = 0.0
    reported: list[Reported] = field(default_factory=list)
    open: bool = True
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def furnish(self) -> None:
        """Put heated seats into the catalogue."""
        await self.call("PUT", "/v1/services/heated-seats", {
            "name": "Heated seats", "kind": "one_time", "currency": "EUR",
            "prices": [{"duration_days": 30, "amount": PRICE}],
        })  # fmt: skip

    async def shop(self) -> None:
        """Buy and reserve, one after the other, until the shop closes."""
        while self.open:
            await (self.buy() if self.chance.random() < 0.75 else self.reserve())
            await asyncio.sleep(self.rest_seconds)

    async def buy(self) -> None:
        """Buy heated seats for one car, once or several times, and perhaps withdraw.

        The car may refuse them, or say everything twice; what a withdrawal leaves, it obeys.
        """
        vin, customer = await self.car(), await self.customer()
        orders = []
        for _ in range(self.chance.choice(TIMES)):
            self.world.fleet.add(vin, self.chance.choice(MANNERS) or Manner())
            order = {
                "customer": customer, "vin": vin, "service": "heated-seats", "duration_days": 30,
                "payment_method": self.chance.choice(METHODS),
            }  # fmt: skip
            reported = await self.call("POST", "/v1/service-orders", order)
            self.reported.append(reported)
            orders += [reported[1]["id"]] if reported[0] in BOUGHT else []
        if orders and self.chance.random() < WITHDRAWN:
            self.world.fleet.add(vin, Manner())  # a car that refuses would rightly keep its term
            path = f"/v1/service-orders/{self.chance.choice(orders)}/withdrawal"
            self.reported.append(await self.call("POST", path, {}))

    async def reserve(self) -> None:
        """Let two dealers want the same new vehicle."""
        vin = f"WVWZZZ1JZXR{next(self.numbers):06d}"
        await self._vehicle(vin)
        orders = [
            {"customer": await self.customer(), "vin": vin, "dealership": dealer,
             "deposit": {"amount": 100_000, "currency": "EUR"}, "payment_method": "pm_ok"}
            for dealer in ("Autos Sol", "Autos Luna")
        ]  # fmt: skip
        self.reported += await asyncio.gather(
            *(self.call("POST", "/v1/orders", order) for order in orders)
        )

    async def call(
        self, method: str, path: str, body: object, **more: str
    ) -> tuple[int, dict[str, Any]]:
        """Make one call, again and again, until somebody says how it ended."""
        headers = {"authorization": f"Bearer {OUR_KEY}", "idempotency-key": str(uuid4()), **more}
        limit = aiohttp.ClientTimeout(total=CALL_SECONDS_MAX)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                door = self.chance.choice(self.doors)
                try:
                    async with self.world.http.request(
                        method, door.url + path, json=body, headers=headers, timeout=limit
                    ) as answer:
                        reported = await answer.json(content_type=None)
                        if answer.status < 500 and reported.get("code") != STILL_RUNNING:
                            return answer.status, reported
                except (aiohttp.ClientError, TimeoutError, ValueError):
                    pass
                await asyncio.sleep(PAUSE_SECONDS)

    async def customer(self) -> str:
        """Become a customer."""
        _, reported = await self.call(
            "POST", "/v1/customers",
            {"name": "Ana", "email": "ana@example.com", "billing_details": AT_HOME},
        )  # fmt: skip
        return str(reported["id"])

    async def car(self, manner: Manner | None = None) -> str:
        """Put a new car on the road and into the books."""
        vin = f"WVWZZZ1JZXK{next(self.numbers):06d}"
        key = self.world.fleet.public_key(self.world.fleet.add(vin, manner))
        await self._vehicle(vin, public_key=key, finished=True)
        return vin

    async def _vehicle(self, vin: str, **more: object) -> None:
        price = {"amount": 3_000_000, "currency": "EUR"}
        status, reported = await self.call(
            "PUT", f"/v1/vehicles/{vin}", {"model": "Uno", "price": price, **more}
        )
        assert status < 300, reported

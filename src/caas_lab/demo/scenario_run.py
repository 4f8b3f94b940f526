"""A running scenario: its testbed, its result so far, and the payments and orders it watches.

Rules a change must keep: every wait has a limit, and a wait that times out is no error, because the
expectation after it shows what was seen; what a scenario watches is narrated in full.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from caas.rules.money import Money
from caas_lab.demo.http_client import require_success
from caas_lab.demo.scenario import Arrow, Expectation, ScenarioResult
from caas_lab.demo.testbed import Testbed

PATIENCE_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 0.02
ANY: Final = "operations"

Payment = dict[str, Any]


class ScenarioRun(msgspec.Struct):
    """One run of a scenario; `names` holds who is notified about a subject, by audience."""

    testbed: Testbed
    result: ScenarioResult
    payments: list[str] = msgspec.field(default_factory=list)
    orders: list[str] = msgspec.field(default_factory=list)
    names: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)
    waiting: asyncio.Event = msgspec.field(default_factory=asyncio.Event)

    def step(self, who: str, whom: str, what: str, *changes: str) -> None:
        """Add an arrow for what a participant does now."""
        self.result.arrows.append(Arrow(self.now(), who, whom, what, changes))

    def expect(self, what: str, expected: object, seen: object) -> None:
        """Add an expectation and what was seen."""
        self.result.expectations.append(Expectation(what, _written(expected), _written(seen)))

    def now(self) -> datetime:
        """Return the time by the platform's clock."""
        return self.testbed.now()

    def watch(self, payment_id: str) -> str:
        """Narrate everything that happens to this payment."""
        if payment_id not in self.payments:
            self.payments.append(payment_id)
        return payment_id

    def unnarrated(self) -> "ScenarioRun":
        """Return a run on the same testbed whose result is discarded."""
        result = ScenarioResult(self.result.scenario, self.now(), self.result.scale)
        return ScenarioRun(self.testbed, result)

    def narrate_from_here(self) -> None:
        """Leave the preparation so far out of the timeline."""
        self.result.began_at = self.now()
        self.result.arrows.clear()

    def continue_in_background(self) -> None:
        """Let the next scenario start: this one only waits from here on."""
        self.waiting.set()

    async def wait_until(
        self, condition: Callable[[], Awaitable[bool]], *, seconds: float = PATIENCE_SECONDS
    ) -> bool:
        """Wait until the condition holds; return whether it did in time."""
        try:
            async with asyncio.timeout(seconds):
                while not await condition():  # noqa: ASYNC110  # another process changes it
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            return False
        return True

    async def payment(self, payment_id: str) -> Payment:
        """Return a payment from the platform's API."""
        reply = await self.testbed.platform.get(f"/v1/payments/{payment_id}", scope=ANY)
        return require_success(reply, "queryPaymentStatus")

    async def order(self, order_id: str) -> dict[str, Any]:
        """Return an order from the platform's API."""
        reply = await self.testbed.platform.get(f"/v1/orders/{order_id}", scope=ANY)
        return require_success(reply, "getOrder")

    async def vehicle(self, vin: str) -> dict[str, Any]:
        """Return a vehicle from the platform's API."""
        reply = await self.testbed.platform.get(f"/v1/vehicles/{vin}", scope=ANY)
        return require_success(reply, "getVehicle")

    async def wait_for_payment(
        self, payment_id: str, *states: str, seconds: float = PATIENCE_SECONDS
    ) -> Payment:
        """Wait until a payment is in one of these states; return it."""

        async def there() -> bool:
            return (await self.payment(payment_id))["state"] in states

        await self.wait_until(there, seconds=seconds)
        return await self.payment(payment_id)

    async def wait_for_order(
        self, order_id: str, *states: str, seconds: float = PATIENCE_SECONDS
    ) -> dict[str, Any]:
        """Wait until an order is in one of these states; return it."""

        async def there() -> bool:
            return (await self.order(order_id))["state"] in states

        await self.wait_until(there, seconds=seconds)
        return await self.order(order_id)

    async def advance_clock(self, seconds: int) -> None:
        """Move the platform's clock forward."""
        by = timedelta(seconds=seconds)
        await self.testbed.advance_clock(seconds)
        self.result.clock_moves.append((self.now() - by / 2, by))


def money(amount: int, currency: str = "EUR") -> str:
    """Format an amount in minor units as "1,234.00 EUR"."""
    digits, _, unit = str(Money(amount, currency)).partition(" ")
    whole, point, rest = digits.partition(".")
    return f"{int(whole):,}{point}{rest} {unit}"


def _written(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)

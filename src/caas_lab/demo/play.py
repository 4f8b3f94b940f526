"""What a scene has in its hands: the stage, its story, and everything it keeps an eye on.

Rules a change must keep: waiting has an end, and a wait that ends in vain is no error, the
expectation after it says what was seen; what a scene watches is told whole, from the platform's own
records and from the lines it speaks over.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from caas.rules.money import Money
from caas_lab.demo.calls import done
from caas_lab.demo.stage import Stage
from caas_lab.demo.story import Arrow, Expectation, Story

PATIENCE_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 0.02
ANY: Final = "operations"

Payment = dict[str, Any]


@dataclass(slots=True)
class Play:
    """One scene while it is played."""

    stage: Stage
    story: Story
    payments: list[str] = field(default_factory=list)
    orders: list[str] = field(default_factory=list)
    cars: list[str] = field(default_factory=list)
    people: dict[str, dict[str, str]] = field(default_factory=dict)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)

    def step(self, who: str, whom: str, what: str, *changes: str) -> None:
        """Tell what somebody does now."""
        self.story.arrows.append(Arrow(self.now(), who, whom, what, changes))

    def expect(self, what: str, expected: object, seen: object) -> None:
        """Note what the seed says must be, and what is."""
        self.story.expectations.append(Expectation(what, _written(expected), _written(seen)))

    def now(self) -> datetime:
        """Return the moment it is on the platform's calendar."""
        return self.stage.now()

    def watch(self, payment_id: str) -> str:
        """Tell everything that happens to this payment."""
        if payment_id not in self.payments:
            self.payments.append(payment_id)
        return payment_id

    def behind_the_scenes(self) -> "Play":
        """Return a play on the same stage that nobody is told of."""
        return Play(self.stage, Story(self.story.scene, self.now(), self.story.scale))

    def begins_here(self) -> None:
        """Leave out of the story what was only needed to come this far."""
        self.story.began_at = self.now()
        self.story.arrows.clear()

    def meanwhile(self) -> None:
        """Let the next scene begin: this one only waits from here on."""
        self.waiting.set()

    async def until(
        self, condition: Callable[[], Awaitable[bool]], *, seconds: float = PATIENCE_SECONDS
    ) -> bool:
        """Wait until the condition holds; say whether it did in time."""
        try:
            async with asyncio.timeout(seconds):
                while not await condition():  # noqa: ASYNC110  # it is in another process
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            return False
        return True

    async def payment(self, payment_id: str) -> Payment:
        """Return a payment as the platform tells it (queryPaymentStatus)."""
        reply = await self.stage.platform.get(f"/v1/payments/{payment_id}", scope=ANY)
        return done(reply, "queryPaymentStatus")

    async def order(self, order_id: str) -> dict[str, Any]:
        """Return an order as the platform tells it."""
        return done(await self.stage.platform.get(f"/v1/orders/{order_id}", scope=ANY), "getOrder")

    async def vehicle(self, vin: str) -> dict[str, Any]:
        """Return a vehicle as the platform tells it."""
        return done(await self.stage.platform.get(f"/v1/vehicles/{vin}", scope=ANY), "getVehicle")

    async def payment_is(
        self, payment_id: str, *states: str, seconds: float = PATIENCE_SECONDS
    ) -> Payment:
        """Wait until a payment is in one of these states; return it as it is then."""

        async def there() -> bool:
            return (await self.payment(payment_id))["state"] in states

        await self.until(there, seconds=seconds)
        return await self.payment(payment_id)

    async def order_is(
        self, order_id: str, *states: str, seconds: float = PATIENCE_SECONDS
    ) -> dict[str, Any]:
        """Wait until an order is in one of these states; return it as it is then."""

        async def there() -> bool:
            return (await self.order(order_id))["state"] in states

        await self.until(there, seconds=seconds)
        return await self.order(order_id)

    async def calendar_moves(self, seconds: int) -> None:
        """Let the platform's calendar leap forward."""
        by = timedelta(seconds=seconds)
        await self.stage.advance_clock(seconds)
        self.story.leaps.append((self.now() - by / 2, by))


def money(amount: int, currency: str = "EUR") -> str:
    """Write minor units for people: "1,234.00 EUR"."""
    digits, _, unit = str(Money(amount, currency)).partition(" ")
    whole, point, rest = digits.partition(".")
    return f"{int(whole):,}{point}{rest} {unit}"


def _written(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)

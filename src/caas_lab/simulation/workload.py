"""The stories of a simulation, run over the public API.

Rules a change must keep: a rejected request is no finding, a server error is one; a story waits for
a limited time, and the verdict waits for the rest.
"""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

import msgspec

from caas.billing_database.identifiers import new_id
from caas_lab.demo.http_client import Reply
from caas_lab.demo.testbed import Testbed
from caas_lab.simulation.plan import Afterwards, Kind, Story

ORDERS: Final = "order-management"
CATALOG: Final = "service-catalog"
FLEET: Final = "fleet"
OTA: Final = "ota-engine"
BUYER: Final = {
    "street": "Calle Mayor 1", "postcode": "28013", "city": "Madrid", "country": "ES",
    "tax_id": "12345678Z",
}  # fmt: skip
SERVICE: Final = "heated-seats"
SUBSCRIPTION: Final = "range-plus"
DEPOSIT: Final = 50_000
PRICE: Final = 2_000_000
WAIT_SECONDS_MAX: Final = 5.0
LOOK_SECONDS: Final = 0.05
DONE: Final = frozenset({HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED})
MAY_BE_RETRIED: Final = HTTPStatus.SERVICE_UNAVAILABLE
SERVER_ERROR: Final = HTTPStatus.INTERNAL_SERVER_ERROR
OBEYS: Final = "obeys"
ENDED: Final = frozenset({"Capturing", "Settled", "Voided", "Failed", "SettlementFailed"})
TAKEN: Final = frozenset({"Capturing", "Settled"})


class Workload(msgspec.Struct):
    """Stories on one testbed, and what they found."""

    testbed: Testbed
    cars: list[str] = msgspec.field(default_factory=list)
    resold: list[tuple[str, str]] = msgspec.field(default_factory=list)
    findings: list[str] = msgspec.field(default_factory=list)

    async def run(self, story: Story) -> None:
        """Run one story."""
        run_plan: dict[Kind, Callable[[Story], Awaitable[None]]] = {
            Kind.SERVICE: self._service,
            Kind.VEHICLE: self._vehicle,
            Kind.RACE: self._race,
            Kind.SUBSCRIPTION: self._subscription,
            Kind.REPEAT: self._repeat,
            Kind.RESALE: self._resale,
        }
        await run_plan[story.kind](story)

    async def add_services(self) -> None:
        """Add the services to the catalogue."""
        one_time = {"kind": "one_time", "prices": [{"duration_days": 30, "amount": 1299}]}
        monthly = {
            "kind": "subscription", "monthly_fee": 2990,
            "metered": [{"unit": "kWh", "unit_price": 12}],
        }  # fmt: skip
        for code, more in ((SERVICE, one_time), (SUBSCRIPTION, monthly)):
            body = {"name": code, "currency": "EUR", **more}
            await self._send("PUT", f"/v1/services/{code}", body, CATALOG)

    async def bill(self, month: str) -> None:
        """Bill a month, with two requests at once."""
        await asyncio.gather(
            *(self._post("/v1/billing/runs", {"month": month}, "billing") for _ in range(2))
        )

    async def _service(self, story: Story) -> None:
        vin, customer = await self._car(story.car), await self._customer()
        body = {
            "customer": customer, "vin": vin, "service": SERVICE, "duration_days": 30,
            "payment_method": story.method,
        }  # fmt: skip
        bought = await self._post("/v1/service-orders", body, FLEET, twice=story.twice)
        if bought is None:
            return
        payment, order = str(bought["payment"]), str(bought["id"])
        match story.afterwards:
            case Afterwards.VOID:
                reason = {"reason": "the customer gave up"}
                await self._post(f"/v1/payments/{payment}/void", reason, OTA)
            case Afterwards.WITHDRAWAL:
                await self._wait_for(f"/v1/payments/{payment}", TAKEN)
                path = f"/v1/service-orders/{order}/withdrawal"
                await self._post(path, {}, CATALOG, twice=story.twice)
            case Afterwards.REFUND:
                await self._wait_for(f"/v1/payments/{payment}", TAKEN)
                part = {"amount": story.part, "reason": "goodwill"}
                path = f"/v1/payments/{payment}/refunds"
                await self._post(path, part, CATALOG, twice=story.twice)
            case _:
                pass

    async def _repeat(self, story: Story) -> None:
        """Buy one service for one vehicle three times; the vehicle misbehaves the second time."""
        vin, customer = await self._car(OBEYS), await self._customer()
        orders = []
        for method, car in (
            (story.method, OBEYS),
            (story.second_method, story.car),
            ("pm_ok", OBEYS),
        ):
            await self.testbed.vehicles.set_behaviour(vin, car, times=1)
            order = await self._buy(vin, customer, method, twice=story.twice)
            orders += [] if order is None else [order]
        if story.afterwards is Afterwards.WITHDRAWAL and orders:
            order = orders[story.part % len(orders)]
            await self._post(f"/v1/service-orders/{order}/withdrawal", {}, CATALOG)

    async def _buy(
        self, vin: str, customer: str, method: str, *, twice: bool = False
    ) -> str | None:
        """Buy the service and wait a while for its outcome; return the order."""
        body = {
            "customer": customer, "vin": vin, "service": SERVICE, "duration_days": 30,
            "payment_method": method,
        }  # fmt: skip
        bought = await self._post("/v1/service-orders", body, CATALOG, twice=twice)
        if bought is None:
            return None
        await self._wait_for(f"/v1/payments/{bought['payment']}", ENDED)
        return str(bought["id"])

    async def _resale(self, story: Story) -> None:
        """Buy a vehicle and services, withdraw from it, then sell it to the next customer."""
        vin = self._new_vin()
        key = await self.testbed.vehicles.new_car(vin)
        await self._put(vin, {"public_key": key})
        self.cars.append(vin)
        first = await self._customer()
        order = await self._buy_vehicle(vin, first)
        if order is None:
            return
        for method in (story.method, story.second_method):
            await self._buy(vin, first, method)
        subscribed = {
            "customer": first, "vin": vin, "service": SUBSCRIPTION, "payment_method": "pm_ok",
        }  # fmt: skip
        await self._post("/v1/subscriptions", subscribed, CATALOG)
        await self._post(f"/v1/orders/{order}/withdrawal", {}, ORDERS)
        await self._post(f"/v1/vehicles/{vin}/return", {}, ORDERS)
        self.resold.append((vin, first))
        second = await self._customer()
        if await self._buy_vehicle(vin, second) is not None:
            await self._buy(vin, second, "pm_ok")

    async def _buy_vehicle(self, vin: str, customer: str) -> str | None:
        """Reserve, pay and take delivery of a vehicle; return the order."""
        body = {
            "customer": customer, "vin": vin, "dealership": "Autos Sol",
            "deposit": {"amount": DEPOSIT, "currency": "EUR"}, "payment_method": "pm_ok",
        }  # fmt: skip
        ordered = await self._post("/v1/orders", body, ORDERS)
        if ordered is None:
            return None
        order, path = str(ordered["id"]), f"/v1/orders/{ordered['id']}"
        await self._wait_for(path, {"factory order placed", "ready"})
        if (await self._get(path)).get("state") == "factory order placed":
            await self.testbed.partners.finish_production(order)
        if not await self._wait_for(path, {"ready"}):
            return None
        await self._post(f"{path}/final-payment", {"payment_method": "pm_ok"}, ORDERS)
        if not await self._wait_for(path, {"delivery scheduled"}):
            return None
        await self.testbed.partners.complete_delivery(order)
        return order if await self._wait_for(path, {"delivered"}) else None

    async def _vehicle(self, story: Story) -> None:
        vin, customer = await self._in_stock(), await self._customer()
        order = await self._reserve(vin, customer, story)
        if order is None:
            return
        path = f"/v1/orders/{order}"
        if not await self._wait_for(path, {"factory order placed"}):
            return
        await self.testbed.partners.finish_production(order)
        if not await self._wait_for(path, {"ready"}):
            return
        card = {"payment_method": story.second_method}
        await self._post(f"{path}/final-payment", card, ORDERS, twice=story.twice)
        if story.afterwards is Afterwards.WITHDRAWAL:
            await self._post(f"{path}/withdrawal", {}, ORDERS)
        elif await self._wait_for(path, {"delivery scheduled"}):
            await self.testbed.partners.complete_delivery(order)

    async def _race(self, story: Story) -> None:
        vin = await self._in_stock()
        customers = [await self._customer(), await self._customer()]
        await asyncio.gather(*(self._reserve(vin, one, story) for one in customers))

    async def _subscription(self, story: Story) -> None:
        vin, customer = await self._car(story.car), await self._customer()
        body = {
            "customer": customer, "vin": vin, "service": SUBSCRIPTION,
            "payment_method": story.method,
        }  # fmt: skip
        begun = await self._post("/v1/subscriptions", body, FLEET, twice=story.twice)
        if begun is None or not await self._wait_for(
            f"/v1/subscriptions/{begun['id']}", {"active"}
        ):
            return
        used = {
            "subscription": begun["id"], "quantity": story.part, "unit": "kWh",
            "at": self.testbed.now().isoformat(), "source_id": f"car-{new_id()}",
        }  # fmt: skip
        await self._post("/v1/usage", used, CATALOG, twice=story.twice)
        if story.afterwards is Afterwards.END:
            await self._send("DELETE", f"/v1/subscriptions/{begun['id']}", None, CATALOG)

    async def _reserve(self, vin: str, customer: str, story: Story) -> str | None:
        body = {
            "customer": customer, "vin": vin, "dealership": "Autos Sol",
            "deposit": {"amount": DEPOSIT, "currency": "EUR"}, "payment_method": story.method,
        }  # fmt: skip
        ordered = await self._post("/v1/orders", body, ORDERS, twice=story.twice)
        return None if ordered is None else str(ordered["id"])

    async def _car(self, behaviour: str) -> str:
        """Add a vehicle that behaves like this at its first command."""
        vin = self._new_vin()
        key = await self.testbed.vehicles.new_car(vin)
        await self._put(vin, {"public_key": key, "finished": True})
        await self.testbed.vehicles.set_behaviour(vin, behaviour, times=1)
        self.cars.append(vin)
        return vin

    async def _in_stock(self) -> str:
        vin = self._new_vin()
        await self._put(vin, {})
        return vin

    async def _put(self, vin: str, more: dict[str, object]) -> None:
        body = {"model": "Uno", "price": {"amount": PRICE, "currency": "EUR"}, **more}
        await self._send("PUT", f"/v1/vehicles/{vin}", body, ORDERS)

    async def _customer(self) -> str:
        body = {
            "name": "Ana", "email": f"ana.{new_id().hex[-10:]}@example.com", "language": "en",
            "billing_details": BUYER,
        }  # fmt: skip
        reply = await self._send("POST", "/v1/customers", body, ORDERS)
        return str(reply.body["id"])

    def _new_vin(self) -> str:
        return f"WVWZZZ{new_id().hex[-11:].upper()}"

    async def _post(
        self, path: str, body: dict[str, Any], scope: str, *, twice: bool = False
    ) -> dict[str, Any] | None:
        """Send a POST, perhaps twice at once with the same key; return the first success."""
        key = str(new_id())
        times = 2 if twice else 1
        replies = await asyncio.gather(
            *(self._send("POST", path, body, scope, key=key) for _ in range(times))
        )
        done = [reply.body for reply in replies if reply.status in DONE]
        return done[0] if done else None

    async def _send(
        self, method: str, path: str, body: object, scope: str, *, key: str | None = None
    ) -> Reply:
        """Send a request; a server error is a finding."""
        headers = {"idempotency-key": key or str(new_id())}
        reply = await self.testbed.platform.send(method, path, body, scope=scope, headers=headers)
        if reply.status >= SERVER_ERROR and reply.status != MAY_BE_RETRIED:
            self.findings.append(f"{method} {path} was answered {reply.status} {reply.code}")
        return reply

    async def _get(self, path: str) -> dict[str, Any]:
        return (await self._send("GET", path, None, "operations")).body

    async def _wait_for(self, path: str, states: "frozenset[str] | set[str]") -> bool:
        """Wait a while for one of these states; return whether it came."""
        try:
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                while (await self._get(path)).get("state") not in states:  # noqa: ASYNC110  # elsewhere
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            return False
        return True

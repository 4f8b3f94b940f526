"""A factory, a registration office and a haulier that somebody else wrote from the interface alone.

Rules: as for the gateway; none of them has a lookup, because the interface asks for none.
"""

import base64
import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
from aiohttp import web

from tests.strangers.manners import Manners

Thing = dict[str, Any]
UNBUILDABLE = "Steam engine"
SLOW = "Slow"


@dataclass(slots=True, kw_only=True)
class StrangePartners:
    """All three at one address, each with its own books."""

    manners: Manners
    webhook_secret: str
    platform_url: str
    url: str = ""
    orders: dict[str, Thing] = field(default_factory=dict)
    registrations: dict[str, Thing] = field(default_factory=dict)
    deliveries: dict[str, Thing] = field(default_factory=dict)
    reported: list[str] = field(default_factory=list)

    async def place_order(self, request: web.Request) -> web.Response:
        """`POST /orders`."""
        asked, key = await request.json(), request.headers["Idempotency-Key"]
        if asked["model"] == UNBUILDABLE:
            return web.json_response({"message": "We do not build that."}, status=422)
        known = [number for number, order in self.orders.items() if order["key"] == key]
        number = known[0] if known else self.manners.new_id("fo")
        self.orders[number] = {**asked, "key": key}
        if asked["model"] == SLOW and not known:
            assert request.transport is not None
            request.transport.close()
        return self._done(self.manners.written(factory_order_id=number))

    async def register(self, request: web.Request) -> web.Response:
        """`POST /registrations`."""
        plate = f"{len(self.registrations):04} bcñ"
        self.registrations[plate] = await request.json()
        at = self.manners.instant(datetime.now(UTC))
        return self._done(self.manners.written(plate=plate, registered_at=at))

    async def deliver(self, request: web.Request) -> web.Response:
        """`POST /deliveries`."""
        number = self.manners.new_id("dl")
        self.deliveries[number] = await request.json()
        day = self.manners.instant(datetime.now(UTC) + timedelta(days=3))
        return self._done(self.manners.written(delivery_id=number, scheduled_for=day))

    async def vehicle_is_ready(self, factory_order_id: str, vin: str) -> None:
        """The factory's webhook."""
        data = {"factory_order_id": factory_order_id, "vin": vin}
        await self._notify("factory", "vehicle.ready", data)

    async def delivery_is_done(self, order: str) -> None:
        """The haulier's webhook."""
        (number,) = [n for n, asked in self.deliveries.items() if asked["order_id"] == order]
        data = {"delivery_id": number, "vin": self.deliveries[number]["vin"]}
        await self._notify("transport", "delivery.completed", data)

    def _done(self, thing: Thing) -> web.Response:
        return web.json_response(thing, status=self.manners.done_status)

    async def _notify(self, partner: str, kind: str, data: Thing) -> None:
        event_id = self.manners.new_id("ev")
        event = self.manners.written(
            id=event_id, type=kind, occurred_at=self.manners.instant(datetime.now(UTC)),
            data=self.manners.written(**data),
        )  # fmt: skip
        body, at = json.dumps(event).encode(), str(int(time.time()))
        message_id = f"msg_{len(self.reported)}_{partner}"
        key = base64.b64decode(self.webhook_secret.removeprefix("whsec_"))
        mac = hmac.new(key, f"{message_id}.{at}.".encode() + body, hashlib.sha256).digest()
        headers = {
            "content-type": "application/json",
            "webhook-id": message_id, "webhook-timestamp": at,
            "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
        }  # fmt: skip
        url = f"{self.platform_url}/webhooks/{partner}"
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=body, headers=headers) as answer,
        ):
            self.reported.append(kind)
            assert answer.status == 204, await answer.text()


@contextlib.asynccontextmanager
async def open_for_business(partners: StrangePartners) -> AsyncIterator[StrangePartners]:
    """Let all three listen."""
    application = web.Application()
    application.add_routes(
        [
            web.post("/orders", partners.place_order),
            web.post("/registrations", partners.register),
            web.post("/deliveries", partners.deliver),
        ]
    )
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    partners.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield partners
    await runner.cleanup()

"""A caller of the simulated payment gateway, and a receiver of its webhooks, over real sockets.

Rules: nothing here knows how the simulator works inside; every request is a real one.
"""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from standardwebhooks import Webhook

from caas_simulators.gateway_world import GatewaySettings
from caas_simulators.payment_gateway import running

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
API_KEY = "sk_simulated"
Json = dict[str, Any]
_keys = (f"key-{number}" for number in itertools.count())


@dataclass(slots=True)
class Reply:
    """An answer as it came over the wire."""

    status: int
    body: Json
    headers: dict[str, str]
    text: str


@dataclass(slots=True)
class Gateway:
    """The calls of the gateway's API, one method each."""

    url: str
    session: aiohttp.ClientSession

    async def request(self, method: str, path: str, body: object = None, **headers: str) -> Reply:
        """Send any request."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(
            method, self.url + path, json=body, headers=named, allow_redirects=False
        ) as answer:
            text = await answer.text()
            is_json = "json" in answer.headers.get("content-type", "")
            lowered = {name.lower(): value for name, value in answer.headers.items()}
            return Reply(answer.status, json.loads(text) if is_json else {}, lowered, text)

    async def get(self, path: str, **headers: str) -> Reply:
        """Send a GET."""
        return await self.request("GET", path, **headers)

    async def post(self, path: str, body: object = None, key: str | None = None) -> Reply:
        """Send a POST with a key, a new one when none is given."""
        return await self.request(
            "POST", path, {} if body is None else body, idempotency_key=key or next(_keys)
        )

    async def initiate(self, payment_method: str | None = "pm_ok", **reported: Any) -> Reply:
        """Initiate a transaction of ten euros, unless told otherwise."""
        key = reported.pop("key", None)
        body = {
            "reference": "pay-1",
            "amount": 1000,
            "currency": "EUR",
            "capture": "manual",
            "payment_method": payment_method,
            "return_url": "https://shop.example/back",
        }
        return await self.post("/transactions", body | reported, key if key is None else str(key))

    async def captured(self, payment_method: str = "pm_ok", **reported: Any) -> str:
        """Initiate and capture; return the transaction's id."""
        reply = await self.initiate(payment_method, capture="automatic", **reported)
        assert reply.body["status"] == "capturing", reply
        return str(reply.body["id"])

    async def settled(self, payment_method: str = "pm_ok", **reported: Any) -> str:
        """Initiate, capture, and let the bank answer; return the transaction's id."""
        transaction_id = await self.captured(payment_method, **reported)
        await self.control("POST", "/settle", {})
        return transaction_id

    async def find(self, transaction_id: str) -> Json:
        """Return a transaction as it is now."""
        reply = await self.get(f"/transactions/{transaction_id}")
        assert reply.status == 200, reply
        return reply.body

    async def control(self, method: str, path: str, body: object = None) -> Json:
        """Pull a string of the control plane, which must not refuse."""
        reply = await self.request(method, f"/_control{path}", body)
        assert reply.status < 300, reply
        return reply.body

    async def script(self, match: Json, **action: object) -> None:
        """Script a fault."""
        await self.control("POST", "/faults", {"match": match, "action": action})

    async def webhooks_arrived(self) -> None:
        """Wait until no webhook is on its way."""
        await self.control("POST", "/webhooks/idle")

    async def called(self, operation: str) -> Json:
        """Wait until a call has reached the gateway, and return the gateway's books then."""
        async with asyncio.timeout(120):
            while True:
                ledger = await self.ledger()
                if any(call["operation"] == operation for call in ledger["calls"]):
                    return ledger

    async def ledger(self) -> Json:
        """Return the gateway's own books."""
        return await self.control("GET", "/ledger")


@dataclass(slots=True)
class Received:
    """A webhook as it arrived: verified or not."""

    body: Json
    headers: dict[str, str]
    text: str
    genuine: bool


@dataclass(slots=True)
class Receiver:
    """A merchant's webhook endpoint: verifies, keeps, and answers what the test says."""

    url: str = ""
    received: list[Received] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def receive(self, request: web.Request) -> web.Response:
        """Take one webhook."""
        text = await request.text()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append(Received(json.loads(text), headers, text, _genuine(text, headers)))
        self.came.set()
        return web.Response(status=self.answers.pop(0) if self.answers else 200)

    async def welcome(self, request: web.Request) -> web.Response:
        """Take back a customer."""
        return web.Response(text=f"Welcome back at {request.path}.")

    async def until(self, event_type: str) -> Json:
        """Wait for the first webhook of a type and return its body."""
        async with asyncio.timeout(120):
            while event_type not in self.types:
                self.came.clear()
                await self.came.wait()
        return next(one.body for one in self.received if one.body["type"] == event_type)

    @property
    def types(self) -> list[str]:
        """The types received, in the order they came."""
        return [one.body["type"] for one in self.received]


def _genuine(text: str, headers: dict[str, str]) -> bool:
    try:
        Webhook(SECRET).verify(text, headers)
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it is not genuine
        return False
    return True


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Run a webhook endpoint until the block is left."""
    receiver = Receiver()
    application = web.Application()
    application.router.add_post("/{tail:.*}", receiver.receive)
    application.router.add_get("/back", receiver.welcome)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield receiver
    await runner.cleanup()


@asynccontextmanager
async def gateway_running(settings: GatewaySettings) -> AsyncIterator[Gateway]:
    """Run a gateway with these settings, and a client that has its key."""
    headers = {"authorization": f"Bearer {API_KEY}"}
    async with (
        running(settings) as (server, _world),
        aiohttp.ClientSession(headers=headers) as session,
    ):
        yield Gateway(server.url, session)

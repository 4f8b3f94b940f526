"""A caller of the simulated Stripe: forms over real sockets, and a browser's way through its pages.

Rules: nothing here knows how the simulator works inside; every request is a real one.
"""

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from caas_simulators.stripe.server import StripeServer, running
from caas_simulators.stripe.world import StripeSettings

KEY = "sk_test_simulated"
VERSION = "2025-04-30.basil"
FORM = {"content-type": "application/x-www-form-urlencoded"}
Json = dict[str, Any]
_keys = (f"key-{number}" for number in itertools.count())


@dataclass(slots=True)
class Reply:
    """An answer as it came over the wire."""

    status: int
    body: Json
    headers: dict[str, str]
    text: str

    @property
    def code(self) -> str | None:
        """The code of an error."""
        code: str | None = self.body["error"].get("code")
        return code


@dataclass(slots=True)
class Stripe:
    """The API of a simulated account."""

    url: str
    session: aiohttp.ClientSession
    server: StripeServer
    headers: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str) -> Reply:
        """Send a GET."""
        return await self._send("GET", path)

    async def post(self, path: str, key: str | None = None, **asked: object) -> Reply:
        """Send a form under a key, a new one when none is given; `a__b` stands for `a[b]`."""
        fields = [pair for name, value in asked.items() for pair in _pairs(name, value)]
        return await self._send("POST", path, fields, {"idempotency-key": key or next(_keys)})

    async def _send(
        self, method: str, path: str, fields: list[tuple[str, str]] | None = None,
        headers: Json | None = None,
    ) -> Reply:  # fmt: skip
        given = {"authorization": f"Bearer {KEY}", "stripe-version": VERSION}
        given |= (headers or {}) | self.headers
        async with self.session.request(
            method, self.url + path, data=fields, headers=given
        ) as answer:
            text = await answer.text()
            body = json.loads(text) if "json" in answer.content_type else {}
            lowered = {name.lower(): value for name, value in answer.headers.items()}
            return Reply(answer.status, body, lowered, text)

    async def control(self, what: str, **order: object) -> Json:
        """Pull a string of this world."""
        async with self.session.post(f"{self.url}/_control/{what}", json=order) as answer:
            assert answer.status < 300, await answer.text()
            reported: Json = await answer.json()
            return reported

    async def page(self, url: str, **fields: str) -> tuple[int, str, str]:
        """Open a page, or send its form; return status, where it leads, and its text."""
        method = "POST" if fields else "GET"
        async with self.session.request(
            method, url, data=fields or None, allow_redirects=False
        ) as answer:
            return answer.status, answer.headers.get("location", ""), await answer.text()

    async def customer(self) -> str:
        """Return a new customer."""
        return str((await self.post("/v1/customers", name="Ana")).body["id"])

    async def intent(self, method: str | None = "pm_card_visa", **asked: object) -> Reply:
        """Hold ten euros on a card, unless something else is asked for."""
        given: Json = {"amount": 1000, "currency": "eur", "capture_method": "manual"}
        given["payment_method_types"] = ["card"]
        if method is not None:
            given |= {"payment_method": method, "confirm": True}
        return await self.post("/v1/payment_intents", **(given | asked))

    async def checkout(self, **asked: object) -> Json:
        """Open a page for ten euros."""
        price = {"currency": "eur", "unit_amount": 1000, "product_data": {"name": "Deposit"}}
        given: Json = {
            "mode": "payment", "success_url": "https://shop.example/back",
            "cancel_url": "https://shop.example/left",
            "line_items": [{"quantity": 1, "price_data": price}],
            "payment_intent_data": {"capture_method": "manual", "metadata": {"reference": "p-1"}},
        }  # fmt: skip
        reply = await self.post("/v1/checkout/sessions", **(given | asked))
        assert reply.status == 200, reply.text
        return reply.body

    async def saved(self, customer: str, method: str = "pm_card_visa") -> str:
        """Save a card for charges without the cardholder; return its PaymentMethod."""
        reply = await self.post("/v1/setup_intents", customer=customer, payment_method=method,
                                confirm=True, payment_method_types=["card"],
                                return_url="https://shop.example/back")  # fmt: skip
        if reply.body["status"] == "requires_action":
            url = reply.body["next_action"]["redirect_to_url"]["url"]
            await self.page(url, action="confirm")
        found = await self.get(f"/v1/setup_intents/{reply.body['id']}")
        assert found.body["status"] == "succeeded", found.text
        return str(found.body["payment_method"])


def _pairs(name: str, value: object) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [pair for key, one in value.items() for pair in _pairs(f"{name}[{key}]", one)]
    if isinstance(value, list):
        return [pair for at, one in enumerate(value) for pair in _pairs(f"{name}[{at}]", one)]
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return [(name, text)]


@asynccontextmanager
async def stripe_running(settings: StripeSettings | None = None) -> AsyncIterator[Stripe]:
    """Run a simulated account in this process."""
    settings = settings or StripeSettings(seed=1, requests_a_second=10_000.0)
    async with (
        running(settings) as (server, stripe),
        aiohttp.ClientSession() as session,
    ):
        yield Stripe(server.url, session, stripe)

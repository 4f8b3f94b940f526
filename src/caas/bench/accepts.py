"""P2: payments accepted over HTTP, durable before they are answered, 64 connections.

The call is the seed's initiateServicePayment with `Prefer: respond-async`: it is answered once the
intent, its first events, the caller's key and the work behind it are committed. Client and server
share this process and its core, so the figure is below what the server alone could do.

Rule a change must keep: what is measured is the call as anybody could make it.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
import msgspec
import uvicorn

from caas.api import ApiSettings, Rooms, build_api, parse_api_keys, server_config
from caas.app import now
from caas.bench import stage
from caas.bench.cpu import Spending
from caas.bench.gateway_at_hand import GatewayAtHand
from caas.bench.ground import Goal, Ground, Round, Turn
from caas.bench.stage import AMOUNT, IN_FLIGHT, Stage, together
from caas.billing_database.identifiers import new_id

ACCEPTED = 202


class Accepts:
    """Asks for payments over a socket, as often as there is time."""

    def __init__(self, stage: Stage) -> None:
        """Keep the stage; the API is served while a measurement runs."""
        self._stage = stage
        self._key = secrets.token_urlsafe(32)

    async def rate(self, seconds: float) -> float:
        """Return accepts a second."""
        config = server_config(self._api())
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
            async with aiohttp.ClientSession(connector=connector) as self._session:
                self._url = f"http://127.0.0.1:{port}/v1/payments/service"
                loop = asyncio.get_running_loop()
                began = loop.time()
                done = await together(IN_FLIGHT, began + seconds, self._one)
                return done / (loop.time() - began)
        finally:
            server.should_exit = True
            await serving

    def _api(self) -> object:
        platform = self._stage.platform
        rooms = Rooms(
            books=platform.books,
            payment_processing=platform.payment_processing,
            reconciliation=platform.reconciliation,
            order_management=platform.order_management,
            service_catalog=platform.service_catalog,
            subscriptions=platform.subscriptions,
            usage=platform.usage,
            billing=platform.billing,
        )
        keys = parse_api_keys(f"bench:service-catalog:{self._key}")
        return build_api(rooms, ApiSettings(now=now, api_keys=keys))

    async def _one(self) -> None:
        body = msgspec.json.encode(
            {
                "subject": self._stage.orders.pop(),
                "customer": self._stage.customer,
                "amount": AMOUNT,
                "currency": "EUR",
                "payment_method": "pm_ok",
            }
        )
        headers = {
            "Authorization": f"Bearer {self._key}",
            "Idempotency-Key": str(new_id()),
            "Prefer": "respond-async",
            "Content-Type": "application/json",
        }
        async with self._session.post(self._url, data=body, headers=headers) as answer:
            assert answer.status == ACCEPTED, await answer.text()
            await answer.read()


@asynccontextmanager
async def ready(ground: Ground) -> AsyncIterator[Round]:
    """Stand the platform up on a database of its own."""
    dsn = await ground.database("accepts")
    async with stage.standing(dsn, GatewayAtHand(), quick=ground.quick) as standing:
        ours = Accepts(standing)

        async def measured(seconds: int) -> Turn:
            await standing.add_orders()
            theirs = await ground.yardstick.rate(seconds)
            spending = Spending(ground.postmaster)
            rate = await ours.rate(seconds)
            return Turn(theirs, rate, spending.each(rate * seconds))

        yield measured


GOAL: Final = Goal(
    what="durable accepts over HTTP, 64 connections",
    theirs="TPC-B /s",
    ours="accepts /s",
    aim=2.5,
    ready=ready,
)

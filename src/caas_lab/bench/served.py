"""The platform's API over a socket of this process, and the requests that are sent to it.

Rule a change must keep: what is sent is what anybody could send, and each request is another one.
"""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC
from typing import Final
from uuid import UUID

import msgspec
import uvicorn

from caas.api.application import build_api
from caas.api.configured_keys import parse_api_keys
from caas.api.rooms import Rooms
from caas.api.settings import ApiSettings
from caas.app import now
from caas.billing_database.identifiers import new_id
from caas.external_systems.http import Secret
from caas.external_systems.webhook_signatures import sign
from caas.rules.rate_limits import UNLIMITED
from caas.web.http_protocol import server_config
from caas_lab.bench import callers, stage
from caas_lab.bench.cpu import Spending
from caas_lab.bench.gateway_at_hand import GatewayAtHand
from caas_lab.bench.ground import Ground, Turn
from caas_lab.bench.stage import AMOUNT, Stage

INITIATE: Final = "/v1/payments/service"
WEBHOOK: Final = "/webhooks/gateway"
CREATED: Final = 201
ACCEPTED: Final = 202
STORED: Final = 204
START_LOOKS_SECONDS: Final = 0.01


@dataclass(frozen=True, slots=True)
class Served:
    """A platform's API at an address, with a caller's key and the gateway's webhook secret."""

    url: str
    stage: Stage
    key: str
    webhook_secret: Secret

    async def purchases(self, count: int | None = None) -> list[bytes]:
        """Make requests ready for payments that are answered when they are durable."""
        return [
            initiating(
                self.url + INITIATE, order, self.stage.customer, self.key, prefer="respond-async"
            )
            for order in await self.stage.fresh_orders(count)
        ]

    async def events(self) -> list[bytes]:
        """Make webhooks ready, each with an event of its own."""
        url = self.url + WEBHOOK
        return [webhook(url, self.webhook_secret) for _ in range(self.stage.pieces)]


@asynccontextmanager
async def serving(dsn: str, *, quick: bool) -> AsyncIterator[Served]:
    """Serve the API of a platform on this database as it is served in operation."""
    async with (
        stage.standing(dsn, GatewayAtHand(), quick=quick) as standing,
        _listening(standing) as served,
    ):
        yield served


@asynccontextmanager
async def _listening(standing: Stage) -> AsyncIterator[Served]:
    key = secrets.token_urlsafe(32)
    secret = Secret(f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}")
    server = uvicorn.Server(server_config(_api(standing, key, secret)))
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
        await asyncio.sleep(START_LOOKS_SECONDS)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Served(f"http://127.0.0.1:{port}", standing, key, secret)
    finally:
        server.should_exit = True
        await running


async def rate(
    ground: Ground, ready: Callable[[], Awaitable[list[bytes]]], *, status: int, seconds: int
) -> Turn:
    """Set how many requests a second are answered with this status against the yardstick."""
    theirs = await ground.yardstick.rate(seconds)
    requests = await ready()
    spending = Spending(ground.postmaster)
    calls = await callers.call(requests, status=status, seconds=seconds)
    return Turn(theirs, calls.rate, spending.each(calls.done) | calls.spent)


def initiating(
    url: str, order: UUID, customer: UUID, key: str, *, prefer: str | None = None
) -> bytes:
    """Return the seed's initiateServicePayment, answered as it is preferred."""
    body = {
        "subject": order,
        "customer": customer,
        "amount": AMOUNT,
        "currency": "EUR",
        "payment_method": "pm_ok",
    }
    headers = {"authorization": f"Bearer {key}", "idempotency-key": str(new_id())}
    if prefer is not None:
        headers["prefer"] = prefer
    return callers.request(url, msgspec.json.encode(body), headers)


def webhook(url: str, secret: Secret) -> bytes:
    """Return a signed event of the gateway about a payment it settled."""
    event_id, at = f"evt_{new_id().hex}", now()
    told = {
        "id": f"tx_{new_id().hex}",
        "reference": new_id(),
        "status": "settled",
        "amount": AMOUNT,
        "currency": "EUR",
        "captured_amount": AMOUNT,
        "settled_amount": AMOUNT,
        "refunded_amount": 0,
        "created_at": at.astimezone(UTC),
    }
    event = {"id": event_id, "type": "transaction.settled", "occurred_at": at, "data": told}
    body = msgspec.json.encode(event)
    return callers.request(url, body, sign(secret, event_id=event_id, at=at, body=body))


def _api(stage: Stage, key: str, secret: Secret) -> object:
    platform = stage.platform
    rooms = Rooms(
        books=platform.books,
        payment_processing=platform.payment_processing,
        reconciliation=platform.reconciliation,
        order_management=platform.order_management,
        service_catalog=platform.service_catalog,
        subscriptions=platform.subscriptions,
        usage=platform.usage,
        ota_activation_engine=platform.ota_activation_engine,
        erasure=platform.erasure,
        event_delivery=platform.event_delivery,
        billing=platform.billing,
        invoices=platform.invoices,
    )
    keys = parse_api_keys(f"bench:service-catalog:{key}")
    return build_api(
        rooms,
        ApiSettings(
            now=now,
            api_keys=keys,
            gateway_webhook_secrets=(secret,),
            key_limit=UNLIMITED,
            address_limit=UNLIMITED,
        ),
    )

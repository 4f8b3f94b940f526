"""Serves the platform's API on a socket of this process, and prepares requests to it.

Rule a change must keep: any client could send these requests, and no two are the same.
"""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC
from typing import Final
from uuid import UUID

import msgspec
import uvicorn

from caas.api.application import build_api
from caas.api.authentication import parse_api_keys
from caas.api.settings import ApiSettings, GatewayWebhooks
from caas.app import now
from caas.billing_database.identifiers import new_id
from caas.external_systems.http import Secret
from caas.external_systems.webhook_signatures import WebhookVerifier, sign
from caas.rules.rate_limits import UNLIMITED
from caas.web.http_protocol import server_config
from caas_lab.bench import fixtures, load_generator
from caas_lab.bench.cpu import CpuUsage
from caas_lab.bench.fixtures import AMOUNT, PlatformFixture
from caas_lab.bench.goals import BenchServer, Measurement
from caas_lab.bench.stub_gateway import StubGateway

INITIATE: Final = "/v1/payments/service"
WEBHOOK: Final = "/webhooks/gateway"
CREATED: Final = 201
ACCEPTED: Final = 202
STORED: Final = 204
START_LOOKS_SECONDS: Final = 0.01


class ServedApi(msgspec.Struct, frozen=True):
    """A platform's API at an address, with a caller's key and the gateway's webhook secret."""

    url: str
    fixture: PlatformFixture
    key: str
    webhook_secret: Secret

    async def purchases(self, count: int | None = None) -> list[bytes]:
        """Return requests for payments that are answered once they are durable."""
        return [
            initiating(
                self.url + INITIATE, order, self.fixture.customer, self.key, prefer="respond-async"
            )
            for order in await self.fixture.fresh_orders(count)
        ]

    async def events(self) -> list[bytes]:
        """Return webhooks, each with an event of its own."""
        url = self.url + WEBHOOK
        return [webhook(url, self.webhook_secret) for _ in range(self.fixture.pieces)]


@asynccontextmanager
async def served_api(dsn: str, *, quick: bool) -> AsyncIterator[ServedApi]:
    """Serve the API of a platform on this database as in operation."""
    async with (
        fixtures.started(dsn, StubGateway(), quick=quick) as fixture,
        _listening(fixture) as served,
    ):
        yield served


@asynccontextmanager
async def _listening(fixture: PlatformFixture) -> AsyncIterator[ServedApi]:
    key = secrets.token_urlsafe(32)
    secret = Secret(f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}")
    server = uvicorn.Server(server_config(_api(fixture, key, secret)))
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
        await asyncio.sleep(START_LOOKS_SECONDS)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield ServedApi(f"http://127.0.0.1:{port}", fixture, key, secret)
    finally:
        server.should_exit = True
        await running


async def rate(
    server: BenchServer, ready: Callable[[], Awaitable[list[bytes]]], *, status: int, seconds: int
) -> Measurement:
    """Compare answers a second with this status to the yardstick."""
    theirs = await server.yardstick.rate(seconds)
    requests = await ready()
    usage = CpuUsage(server.postmaster)
    calls = await load_generator.send(requests, status=status, seconds=seconds)
    return Measurement(theirs, calls.rate, usage.each(calls.done) | calls.cpu)


def initiating(
    url: str, order: UUID, customer: UUID, key: str, *, prefer: str | None = None
) -> bytes:
    """Return a request of initiateServicePayment."""
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
    return load_generator.request(url, msgspec.json.encode(body), headers)


def webhook(url: str, secret: Secret) -> bytes:
    """Return a signed event of the gateway about a payment it settled."""
    event_id, at = f"evt_{new_id().hex}", now()
    printed = {
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
    event = {"id": event_id, "type": "transaction.settled", "occurred_at": at, "data": printed}
    body = msgspec.json.encode(event)
    return load_generator.request(url, body, sign(secret, event_id=event_id, at=at, body=body))


def _api(fixture: PlatformFixture, key: str, secret: Secret) -> object:
    keys = parse_api_keys(f"bench:service-catalog:{key}")
    return build_api(
        fixture.platform,
        ApiSettings(
            now=now,
            api_keys=keys,
            gateways={StubGateway().name: GatewayWebhooks(WebhookVerifier((secret,)))},
            key_limit=UNLIMITED,
            address_limit=UNLIMITED,
        ),
    )

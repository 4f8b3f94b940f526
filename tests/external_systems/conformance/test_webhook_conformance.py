"""What a gateway tells by webhook: signed as we verify it, and read as we read its answers.

Only the simulator can be made to send webhooks here, so these cases always run against it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from caas.external_systems.http import HttpClient, Secret
from caas.external_systems.payment_gateway import GatewayEvent, GatewayTransaction
from caas.external_systems.seed_contract_gateway import SeedContractGateway
from caas.external_systems.seed_contract_wire import read_event
from caas.external_systems.webhook_signatures import VerifiedWebhook, WebhookVerifier
from caas_simulators.gateway_world import GatewaySettings
from caas_simulators.payment_gateway import running
from caas_simulators.webhook_sender import Target
from tests.external_systems.conformance.test_gateway_conformance import a_key, a_request, authorized
from tests.external_systems.scripted_server import (
    Behaviour,
    ScriptedServer,
    http_answer,
    read_request,
    scripted_server,
)

NEW = "whsec_bmV3LW5ldy1uZXctbmV3LW5ldy1uZXctbmV3LW5ldyE="
OLD = "whsec_b2xkLW9sZC1vbGQtb2xkLW9sZC1vbGQtb2xkLW9sZCE="
EVENTS_SECONDS_MAX = 120.0


def _receiving(arrived: asyncio.Queue[bytes]) -> Callable[[ScriptedServer], Behaviour]:
    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            arrived.put_nowait(await read_request(reader))
            writer.write(http_answer(b"", status="204 No Content"))

    return lambda _served: one


@asynccontextmanager
async def telling_gateway() -> AsyncIterator[tuple[SeedContractGateway, asyncio.Queue[bytes]]]:
    """A gateway that tells what happens, and the webhooks that have arrived."""
    arrived: asyncio.Queue[bytes] = asyncio.Queue()
    async with scripted_server(_receiving(arrived)) as server:
        target = Target(url=server.url, secrets=[NEW, OLD])
        settings = GatewaySettings(webhooks=target)
        async with running(settings) as (simulator, _world):
            gateway = SeedContractGateway(
                HttpClient(simulator.url, partner="gateway", api_key=Secret("sk_simulated"))
            )
            yield gateway, arrived
            await gateway.close()


async def reported(
    arrived: asyncio.Queue[bytes], *, count: int
) -> list[tuple[VerifiedWebhook, GatewayEvent]]:
    """The first webhooks, verified and read."""
    async with asyncio.timeout(EVENTS_SECONDS_MAX):
        return [_verified(await arrived.get()) for _ in range(count)]


def _verified(request: bytes) -> tuple[VerifiedWebhook, GatewayEvent]:
    head, _, body = request.partition(b"\r\n\r\n")
    lines = (line.partition(": ") for line in head.decode("latin-1").split("\r\n")[1:])
    headers = {name.lower(): value for name, _, value in lines}
    verifier = WebhookVerifier([Secret(OLD)])
    return verifier.verify(body, headers, now=datetime.now(UTC)), read_event(body)


async def test_each_step_is_told_signed_with_every_secret_and_under_one_id() -> None:
    async with telling_gateway() as (gateway, arrived):
        transaction = await authorized(gateway)
        await gateway.capture(transaction.id, transaction.amount, key=a_key())
        webhooks = await reported(arrived, count=2)

    types = {event.type for _, event in webhooks}
    assert {"transaction.authorized", "transaction.capturing"} <= types
    for verified, event in webhooks:
        assert verified.id == event.id
        assert isinstance(event.subject, GatewayTransaction)
        assert event.subject.reference == transaction.reference


async def test_a_decline_is_told_with_its_code() -> None:
    async with telling_gateway() as (gateway, arrived):
        await gateway.initiate(a_request("pm_declined"), key=a_key())
        webhooks = await reported(arrived, count=1)

    (_, event) = webhooks[0]
    assert event.type == "transaction.failed"
    assert isinstance(event.subject, GatewayTransaction)
    assert event.subject.decline_code == "card_declined"

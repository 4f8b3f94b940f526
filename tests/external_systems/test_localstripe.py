"""The Stripe adapter against localstripe, a stranger's imitation of Stripe, in its own process.

It is a referee of requests: paths, forms, states, signatures. It is no referee of everything: it
ignores idempotency keys, and its declines carry no PaymentIntent, which we rightly do not believe.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from caas.external_systems.http import (
    GatewayFailure,
    HttpClient,
    NotSentError,
    OutcomeUnknownError,
    RefusedByPartnerError,
    Secret,
)
from caas.external_systems.payment_gateway import GatewayTransaction, TransactionStatus
from caas.external_systems.stripe_gateway import HEADERS, StripeGateway
from caas.external_systems.stripe_webhooks import StripeWebhookVerifier, read_event
from tests.external_systems.scripted_server import answering, http_answer, scripted_server
from tests.external_systems.stripe_answers import REQUEST
from tests.ports import free_port

pytest.importorskip("localstripe")

START_SECONDS_MAX = 120.0
ASKED = replace(REQUEST, description="", return_url=None)


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A localstripe of our own."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "localstripe", "--port", str(port), "--from-scratch"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await _answers(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def _answers(url: str) -> None:
    client = HttpClient(url, partner="localstripe", api_key=Secret("sk_test_1234"))
    async with asyncio.timeout(START_SECONDS_MAX):
        while True:
            try:
                await client.send("GET", "/v1/payment_intents")
            except NotSentError:
                await asyncio.sleep(0.1)
            else:
                return await client.close()


@pytest.fixture
async def gateway(url: str) -> AsyncIterator[StripeGateway]:
    """The adapter, let in."""
    http = HttpClient(url, partner="stripe", api_key=Secret("sk_test_1234"), headers=HEADERS)
    adapter = StripeGateway(http)
    yield adapter
    await adapter.close()


async def authorized(gateway: StripeGateway) -> GatewayTransaction:
    """A transaction whose funds are held."""
    transaction = await gateway.initiate(ASKED, key="pay-1:initiate")
    assert transaction.status is TransactionStatus.AUTHORIZED
    return transaction


async def test_funds_are_held_captured_and_given_back(gateway: StripeGateway) -> None:
    held = await authorized(gateway)
    captured = await gateway.capture(held.id, ASKED.amount, key="pay-1:capture")
    refund = await gateway.refund(held.id, 500, "desistimiento", key="pay-1:refund")
    found = await gateway.find(held.id)

    assert held.captured_amount == 0
    assert captured.captured_amount == ASKED.amount
    assert await gateway.find_refunds(held.id) == (refund,)
    assert found is not None
    assert (found.status, found.refunded_amount) == (TransactionStatus.SETTLED, 500)


async def test_funds_are_held_and_voided(gateway: StripeGateway) -> None:
    held = await authorized(gateway)

    voided = await gateway.void(held.id, "activation failed", key="pay-1:void")

    assert voided.status is TransactionStatus.VOIDED


async def test_what_is_over_is_refused(gateway: StripeGateway) -> None:
    held = await authorized(gateway)
    await gateway.capture(held.id, ASKED.amount, key="pay-1:capture")

    with pytest.raises(RefusedByPartnerError):
        await gateway.capture(held.id, ASKED.amount, key="pay-1:again")
    with pytest.raises(RefusedByPartnerError):
        await gateway.void(held.id, "too late", key="pay-1:void")


async def test_its_decline_carries_no_payment_and_is_not_believed(gateway: StripeGateway) -> None:
    declined = replace(ASKED, payment_method="pm_card_chargeCustomerFail")

    with pytest.raises(OutcomeUnknownError):
        await gateway.initiate(declined, key="pay-1:initiate")


async def test_a_stranger_is_not_let_in(url: str) -> None:
    http = HttpClient(url, partner="stripe", headers=HEADERS)
    stranger = StripeGateway(http)

    with pytest.raises(GatewayFailure):
        await stranger.initiate(ASKED, key="pay-1:initiate")
    await stranger.close()


async def test_its_webhook_is_verified_and_read(gateway: StripeGateway, url: str) -> None:
    config = HttpClient(url, partner="localstripe")
    async with scripted_server(answering(http_answer(b""), hang=True)) as server:
        hook = {"url": server.url, "secret": "whsec_local", "events": ["payment_intent.succeeded"]}
        await config.send("POST", "/_config/webhooks/ours", body=json.dumps(hook).encode())
        held = await authorized(gateway)
        await gateway.capture(held.id, ASKED.amount, key="pay-1:capture")
        async with asyncio.timeout(START_SECONDS_MAX):
            while not server.requests:
                await asyncio.sleep(0.05)
    await config.close()

    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = (line.partition(": ") for line in head.decode().split("\r\n")[1:])
    headers = {name.lower(): value for name, _, value in lines}
    verifier = StripeWebhookVerifier([Secret("whsec_local")])
    verifier.verify(body, headers, now=datetime.now(UTC))
    event = read_event(body)
    assert event is not None
    assert isinstance(event.subject, GatewayTransaction)
    assert event.subject.id == held.id

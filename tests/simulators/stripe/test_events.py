"""Events of the simulated Stripe: signed as Stripe signs, repeated, about foreign payments too."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import stripe as official
from aiohttp import web

from caas_simulators.stripe.world import StripeSettings
from tests.simulators.stripe.stripe_client import Stripe, stripe_running

Received = list[tuple[str, str]]


@asynccontextmanager
async def listening(statuses: list[int], received: Received) -> AsyncIterator[str]:
    """Take webhooks at an address of our own, answering these statuses first."""

    async def take(request: web.Request) -> web.Response:
        received.append((await request.text(), request.headers["stripe-signature"]))
        return web.Response(status=statuses.pop(0) if statuses else 200)

    application = web.Application()
    application.add_routes([web.post("/", take)])
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


async def until(received: Received, count: int) -> None:
    """Wait for so many webhooks."""
    while len(received) < count:
        await asyncio.sleep(0.02)


async def test_an_event_is_signed_and_repeated_until_it_is_taken(stripe: Stripe) -> None:
    received: Received = []
    async with listening([500], received) as url:
        made = await stripe.post(
            "/v1/webhook_endpoints", url=url, api_version="2025-04-30.basil",
            enabled_events=["payment_intent.amount_capturable_updated"],
        )  # fmt: skip
        held = (await stripe.intent()).body
        await until(received, 2)

    read = [
        official.Webhook.construct_event(body, signed, made.body["secret"])  # type: ignore[no-untyped-call]
        for body, signed in received
    ]
    assert {one.type for one in read} == {"payment_intent.amount_capturable_updated"}
    assert read[0].id == read[1].id
    assert read[0].data.object["id"] == held["id"]


async def test_an_inquiry_moves_no_money_and_a_chargeback_does(stripe: Stripe) -> None:
    held = (await stripe.intent("pm_card_visa", capture_method="automatic")).body["id"]

    inquiry = await stripe.control("dispute", payment_intent=held, status="warning_needs_response")
    charged = await stripe.control("dispute", payment_intent=held, status="needs_response")
    won = await stripe.control("dispute", payment_intent=held, status="won")

    sums = [sum(row["amount"] for row in it["balance_transactions"]) for it in
            (inquiry, charged, won)]  # fmt: skip
    assert sums == [0, -1000, 0]


async def test_another_program_shares_the_account(stripe: Stripe) -> None:
    await stripe.control("foreign")

    events = (await stripe.get("/v1/events?type=payment_intent.succeeded")).body["data"]

    assert [one["data"]["object"]["metadata"] for one in events] == [{"app": "other"}]


async def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    settings = StripeSettings(folder=tmp_path)
    async with stripe_running(settings) as stripe:
        held = (await stripe.intent(key="k-1")).body
        page = await stripe.checkout()
    async with stripe_running(settings) as stripe:
        replayed = await stripe.intent(key="k-1")
        await stripe.control("advance", seconds=7 * 86_400 + 1)
        late = await stripe.get(f"/v1/payment_intents/{held['id']}")
        over = await stripe.get(f"/v1/checkout/sessions/{page['id']}")

    assert replayed.body == held
    assert (late.body["status"], over.body["status"]) == ("canceled", "expired")

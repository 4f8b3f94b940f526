"""The relay in front of the simulated gateway: what passes, and what a cut does."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from caas_lab.demo.relay import Relay

BODY = {"reference": "a-payment", "amount": 1299}


@pytest.fixture
async def far_end() -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        data = await request.json() if request.can_read_body else {}
        return web.json_response({"echo": data, "status": "authorized"}, status=201)

    application = web.Application()
    application.router.add_route("*", "/transactions", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def relay(far_end: str) -> AsyncIterator[Relay]:
    opened = Relay(far_end)
    await opened.open()
    yield opened
    await opened.cut()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


async def test_what_passes_arrives_as_it_was_sent(
    relay: Relay, session: aiohttp.ClientSession
) -> None:
    async with session.post(f"{relay.url}/transactions", json=BODY) as answer:
        assert (answer.status, (await answer.json())["echo"]) == (201, BODY)


async def test_nobody_answers_after_a_cut_until_the_relay_is_opened_again(
    relay: Relay, session: aiohttp.ClientSession
) -> None:
    address = relay.url
    async with session.get(f"{address}/transactions") as answer:
        await answer.read()

    await relay.cut()
    with pytest.raises(aiohttp.ClientError):
        await session.get(f"{address}/transactions")
    await relay.open()

    async with session.get(f"{address}/transactions") as answer:
        assert answer.status == 201


async def test_what_is_no_http_passes_too(relay: Relay) -> None:
    host, _, port = relay.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"\x00\x01 this is no request\r\n\r\n")

    assert b"400" in await reader.read(100)
    writer.close()
    await writer.wait_closed()

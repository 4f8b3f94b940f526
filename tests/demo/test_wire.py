"""The lines between the platform and the outside world: what passes, what is heard, what is cut."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from caas_lab.demo.wire import Line

BODY = {"reference": "a-payment", "amount": 1299}


@pytest.fixture
async def far_end() -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        told = await request.json() if request.can_read_body else {}
        return web.json_response({"echo": told, "status": "authorized"}, status=201)

    async def hang_up(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    application = web.Application()
    application.router.add_route("*", "/transactions", answer)
    application.router.add_route("*", "/hang-up", hang_up)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def line(far_end: str) -> AsyncIterator[Line]:
    opened = Line(far_end)
    await opened.open()
    yield opened
    await opened.cut()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


async def test_what_passes_arrives_as_it_was_sent(
    line: Line, session: aiohttp.ClientSession
) -> None:
    async with session.post(f"{line.url}/transactions", json=BODY) as answer:
        assert (answer.status, (await answer.json())["echo"]) == (201, BODY)


async def test_each_exchange_is_noted_with_its_key_and_its_answer(
    line: Line, session: aiohttp.ClientSession
) -> None:
    for number in range(2):
        headers = {"Idempotency-Key": f"key-{number}"}
        async with session.post(f"{line.url}/transactions", json=BODY, headers=headers) as answer:
            await answer.read()

    noted = [(it.method, it.path, it.request, it.key, it.status) for it in line.exchanges]
    assert noted == [("POST", "/transactions", BODY, f"key-{number}", 201) for number in range(2)]
    assert all(it.answer["status"] == "authorized" for it in line.exchanges)


async def test_a_request_nobody_answers_is_noted_without_a_status(
    line: Line, session: aiohttp.ClientSession
) -> None:
    with pytest.raises(aiohttp.ClientError):
        await session.post(f"{line.url}/hang-up", json=BODY)

    assert [(it.path, it.status) for it in line.exchanges] == [("/hang-up", None)]


async def test_nobody_answers_on_a_line_that_is_cut_until_it_is_open_again(
    line: Line, session: aiohttp.ClientSession
) -> None:
    address = line.url
    async with session.get(f"{address}/transactions") as answer:
        await answer.read()

    await line.cut()
    with pytest.raises(aiohttp.ClientError):
        await session.get(f"{address}/transactions")
    await line.open()

    async with session.get(f"{address}/transactions") as answer:
        assert answer.status == 201


async def test_what_is_no_http_passes_too(line: Line) -> None:
    host, _, port = line.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"\x00\x01 this is no request\r\n\r\n")

    assert b"400" in await reader.read(100)
    writer.close()
    await writer.wait_closed()

"""No answer ever meets another request, however connections are shared, cut or abandoned."""

import asyncio

import pytest

from caas.external_systems.http import (
    HttpLimits,
    OutcomeUnknownError,
    UnknownReason,
)
from tests.external_systems.http_client import client_of
from tests.external_systems.scripted_server import (
    Behaviour,
    ScriptedServer,
    answering,
    http_answer,
    read_request,
    scripted_server,
)


async def test_hanging_up_on_a_kept_connection_after_reading_is_unknown() -> None:
    """The second request was read, perhaps done, and never answered: not "not sent"."""

    def behave(served: ScriptedServer) -> Behaviour:
        async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            served.requests.append(await read_request(reader))
            writer.write(http_answer(b"{}"))
            served.requests.append(await read_request(reader))

        return one

    async with (
        scripted_server(behave) as server,
        client_of(server.url) as client,
    ):
        await client.send("POST", "/first", body=b"{}", key="1")
        with pytest.raises(OutcomeUnknownError) as caught:
            await client.send("POST", "/second", body=b"{}", key="2")
        assert len(server.requests) == 2

    assert caught.value.reason is UnknownReason.CUT


async def test_a_connection_the_other_side_closed_while_idle_is_not_written_to() -> None:
    async with (
        scripted_server(answering(http_answer(b"{}"))) as server,
        client_of(server.url) as client,
    ):
        await client.send("POST", "/first", body=b"{}", key="1")
        await asyncio.sleep(0.05)
        await client.send("POST", "/second", body=b"{}", key="2")

    assert server.connections == 2


async def test_a_second_answer_to_one_request_never_meets_the_next_request() -> None:
    doubled = http_answer(b'"mine"') + http_answer(b'"smuggled"')
    async with (
        scripted_server(answering(doubled, hang=True)) as server,
        client_of(server.url) as client,
    ):
        first = await client.send("GET", "/first")
        second = await client.send("GET", "/second")

    assert (first.body, second.body) == (b'"mine"', b'"mine"')
    assert server.connections == 2


async def test_an_answer_nobody_asked_for_never_meets_the_next_request() -> None:
    async with (
        scripted_server(_speaking_unasked) as server,
        client_of(server.url) as client,
    ):
        await client.send("GET", "/first")
        await asyncio.sleep(0.1)
        second = await client.send("GET", "/second")

    assert second.body == b'"answered"'


async def test_a_caller_who_gives_up_leaves_no_answer_behind() -> None:
    async with (
        scripted_server(_answering_late) as server,
        client_of(server.url) as client,
    ):
        waiting = asyncio.ensure_future(client.send("GET", "/first"))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        second = await client.send("GET", "/second")

    assert second.body == b'"/second"'


async def test_more_callers_than_connections_all_get_their_own_answer() -> None:
    limits = HttpLimits(total_seconds=5.0, connect_seconds=2.0, connections_max=4)
    async with (
        scripted_server(_echoing) as server,
        client_of(server.url, limits=limits) as client,
    ):
        got = await asyncio.gather(*(client.send("GET", f"/{n}") for n in range(200)))

    assert [answer.body for answer in got] == [f'"/{n}"'.encode() for n in range(200)]
    assert server.connections <= 4


def _echoing(_served: ScriptedServer) -> Behaviour:
    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await read_request(reader)
            target = request.split(b" ")[1]
            writer.write(http_answer(b'"' + target + b'"'))

    return one


def _answering_late(_served: ScriptedServer) -> Behaviour:
    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = (await read_request(reader)).split(b" ")[1]
        await asyncio.sleep(0.1)
        writer.write(http_answer(b'"' + target + b'"'))
        await reader.read()

    return one


def _speaking_unasked(_served: ScriptedServer) -> Behaviour:
    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(http_answer(b'"answered"'))
        await asyncio.sleep(0.05)
        writer.write(http_answer(b'"unasked"'))
        await reader.read()

    return one

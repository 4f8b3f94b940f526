"""The simulators' HTTP server, spoken to byte by byte."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress

import pytest

from caas_simulators.http_server import Answer, Request, json_answer, listening


def echo(request: Request) -> Answer | Awaitable[Answer | None]:
    """Answer with what was asked; slowly, or never, when the path says so."""
    if request.path == "/slow":
        return slow(request)
    if request.path == "/gone":
        return gone(request)
    if request.path == "/broken":
        raise RuntimeError("a bug")
    return json_answer(200, {"path": request.path, "body": request.body.decode()})


async def slow(request: Request) -> Answer:
    """Answer after others could have."""
    await asyncio.sleep(0.05)
    return json_answer(200, {"path": request.path})


async def gone(request: Request) -> Answer | None:
    """Hang up."""
    request.connection.transport.abort()
    return None


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection to a server of its own."""
    async with listening(echo) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        yield reader, writer
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def spoken(text: bytes) -> bytes:
    """Send bytes, close our side, and return all that comes back."""
    async with connected() as (reader, writer):
        writer.write(text)
        await writer.drain()
        return await asyncio.wait_for(reader.read(), 10)


def request(path: str, *, last: bool = False) -> bytes:
    """Return a GET as bytes."""
    close = "connection: close\r\n" if last else ""
    return f"GET {path} HTTP/1.1\r\nhost: x\r\n{close}\r\n".encode()


async def test_requests_in_one_packet_are_answered_in_order() -> None:
    answers = await spoken(request("/slow") + request("/b") + request("/c", last=True))

    places = [answers.index(path) for path in (b"/slow", b"/b", b"/c")]
    assert places == sorted(places)
    assert answers.count(b"HTTP/1.1 200 OK") == 3


async def test_a_body_may_come_in_chunks() -> None:
    answers = await spoken(
        b"POST /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )

    assert b'"body":"abcde"' in answers


async def test_a_client_that_asks_first_is_invited() -> None:
    async with connected() as (reader, writer):
        writer.write(
            b"POST /x HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
        )
        invitation = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"ok")
        answer = await reader.readuntil(b"\r\n\r\n")

    assert b"100 Continue" in invitation
    assert b"200 OK" in answer


async def test_a_path_is_decoded() -> None:
    assert b'"path":"/a b"' in await spoken(request("/a%20b", last=True))


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"h%d: v\r\n" % n for n in range(200)), b"431"),
        (b"POST / HTTP/1.1\r\ncontent-length: 9000000\r\n\r\n" + b"x" * 7_000_000, b"413"),
    ],
)
async def test_what_is_no_request_or_too_large_is_refused(sent: bytes, status: bytes) -> None:
    answers = await spoken(sent)

    assert answers.startswith(b"HTTP/1.1 " + status)
    assert answers.count(b"HTTP/1.1") == 1


async def test_a_handler_may_hang_up_without_an_answer() -> None:
    async with connected() as (reader, writer):
        writer.write(request("/gone"))
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), 10)


async def test_a_broken_handler_closes_the_connection_loudly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answers = await spoken(request("/broken"))

    assert answers == b""
    assert "a bug" in caplog.text


async def test_the_server_stops_though_clients_are_still_connected() -> None:
    async with listening(echo) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)

    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    writer.close()

"""The simulators' HTTP client, against servers that say what a test tells them to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from caas_simulators.http_client import ANSWER_BYTES_MAX, HttpClient, NoAnswerError, Reply

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass
class Scripted:
    """A server that answers with given bytes, one after the other, and counts connections."""

    answers: list[bytes]
    closes: bool = False
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer on one connection."""
        self.connections += 1
        while self.answers:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            self.requests.append(head + await reader.readexactly(4))
            writer.write(self.answers.pop(0))
            if self.closes:
                writer.close()
                return
        await reader.read()
        writer.close()


@asynccontextmanager
async def serving(*answers: bytes, closes: bool = False) -> AsyncIterator[Scripted]:
    """Run a scripted server."""
    scripted = Scripted(list(answers), closes)
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    scripted.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook?a=1"
    try:
        yield scripted
    finally:
        server.close()
        await server.wait_closed()


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    """A client that is closed in the end."""
    one = HttpClient()
    yield one
    one.close()


async def posted(client: HttpClient, url: str, seconds_max: float = 10) -> Reply:
    """Post four bytes."""
    return await client.post(url, b"body", {"x-one": "1"}, seconds_max=seconds_max)


async def test_a_post_says_what_it_was_told(client: HttpClient) -> None:
    async with serving(OK) as server:
        reply = await posted(client, server.url)
        client.close()

    assert reply == Reply(200, b"ok")
    (request,) = server.requests
    assert request.startswith(b"POST /hook?a=1 HTTP/1.1\r\nhost: 127.0.0.1:")
    assert b"\r\ncontent-length: 4\r\nx-one: 1\r\n\r\nbody" in request


async def test_the_connection_is_kept_for_the_next_post(client: HttpClient) -> None:
    async with serving(OK, b"HTTP/1.1 204 No Content\r\n\r\n", OK) as server:
        replies = [await posted(client, server.url) for _ in range(3)]
        client.close()

    assert [reply.status for reply in replies] == [200, 204, 200]
    assert server.connections == 1


async def test_a_connection_the_server_closes_is_not_used_again(client: HttpClient) -> None:
    closing = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"
    async with serving(closing, OK, closes=True) as server:
        await posted(client, server.url)
        reply = await posted(client, server.url)

    assert reply.status == 200
    assert server.connections == 2


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 500 Oh\r\nconnection: close\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.1 500 Oh\r\ntransfer-encoding: chunked\r\n\r\n2\r\noh\r\n0\r\n\r\n", b"oh"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n", b""),
    ],
)
async def test_every_way_to_end_an_answer_is_understood(
    client: HttpClient, answer: bytes, body: bytes
) -> None:
    async with serving(answer, closes=True) as server:
        reply = await posted(client, server.url)

    assert reply == Reply(500, body)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "ConnectionClosed"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nhalf", "ConnectionClosed"),
        (b"nonsense\r\n\r\n", "NotHttp"),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + b"x" * (ANSWER_BYTES_MAX + 1), "Large"),
    ],
)
async def test_half_an_answer_is_no_answer(client: HttpClient, answer: bytes, reason: str) -> None:
    async with serving(answer, closes=True) as server:
        with pytest.raises(NoAnswerError, match=reason):
            await posted(client, server.url)


async def test_silence_is_no_answer(client: HttpClient) -> None:
    async with serving(b"HTTP/1.1 200 OK\r\n") as server:
        with pytest.raises(NoAnswerError, match="TimeoutError"):
            await posted(client, server.url, seconds_max=0.05)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/", "ftp://127.0.0.1/", "nonsense", "http://", "https://127.0.0.1:1"]
)
async def test_an_address_that_leads_nowhere_is_no_answer(client: HttpClient, url: str) -> None:
    with pytest.raises(NoAnswerError):
        await posted(client, url)


async def test_a_server_that_speaks_no_tls_is_not_spoken_to(client: HttpClient) -> None:
    async with serving(OK) as server:
        with pytest.raises(NoAnswerError):
            await posted(client, server.url.replace("http:", "https:"), seconds_max=0.5)

    assert server.requests == []

"""Every way in which HTTP can fail, and what it may be taken for.

The line that matters is between "not sent" (known) and "unknown": a payment may be given up on the
first, never on the second (decision 3).
"""

import asyncio
import pickle
import socket
import ssl

import pytest

from caas.errors import StartupError
from caas.external_systems.http import (
    HttpAnswer,
    HttpClient,
    HttpLimits,
    NotSentError,
    OutcomeUnknownError,
    Secret,
    UnknownReason,
)
from caas.external_systems.http_answers import checked
from caas.rules.retry_strategy import GatewayErrorKind
from tests.external_systems.certificates import server_tls
from tests.external_systems.http_client import QUICK, client_of
from tests.external_systems.scripted_server import (
    Behaviour,
    ScriptedServer,
    answering,
    http_answer,
    read_request,
    scripted_server,
)


async def unknown_of(
    answer: bytes, *, hang: bool = False, limits: HttpLimits = QUICK
) -> OutcomeUnknownError:
    """The unknown outcome that these bytes lead to."""
    async with (
        scripted_server(answering(answer, hang=hang)) as server,
        client_of(server.url, limits=limits) as client,
    ):
        with pytest.raises(OutcomeUnknownError) as caught:
            await client.send("POST", "/transactions", body=b"{}", key="k")
        assert len(server.requests) == 1, "it never sends twice"
    return caught.value


async def test_a_request_carries_key_bearer_and_body_and_brings_the_whole_answer() -> None:
    answer = http_answer(b'{"a":1}', status="201 Created", headers="Retry-After: 7\r\n")
    async with (
        scripted_server(answering(answer)) as server,
        client_of(server.url + "/v1/", api_key=Secret("sk_test")) as client,
    ):
        got = await client.send("POST", "/transactions", body=b'{"b":2}', key="pay-1:initiate")

    assert got == HttpAnswer(
        "gateway", "POST /transactions", 201, "application/json", b'{"a":1}', 7.0
    )
    request = server.requests[0].lower()
    assert request.startswith(b"post /v1/transactions http/1.1\r\n")
    assert b"\r\nidempotency-key: pay-1:initiate\r\n" in request
    assert b"\r\nauthorization: bearer sk_test\r\n" in request
    assert request.endswith(b'\r\n\r\n{"b":2}')


async def test_a_connection_serves_many_requests() -> None:
    answers = [http_answer(b"%d" % number) for number in range(5)]
    async with (
        scripted_server(answering(*answers)) as server,
        client_of(server.url) as client,
    ):
        got = [(await client.send("GET", "/x")).body for _ in range(5)]

    assert got == [b"0", b"1", b"2", b"3", b"4"]
    assert server.connections == 1


async def test_a_chunked_answer_is_put_together() -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: Application/JSON; charset=utf-8\r\n\r\n3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n"
    )
    async with (
        scripted_server(answering(answer)) as server,
        client_of(server.url) as client,
    ):
        got = await client.send("GET", "/x")

    assert (got.content_type, got.body) == ("application/json", b"[1,2]")


async def test_an_informational_answer_is_not_the_answer() -> None:
    answer = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + http_answer(b"{}")
    async with (
        scripted_server(answering(answer)) as server,
        client_of(server.url) as client,
    ):
        got = await client.send("GET", "/x")

    assert (got.status, got.body) == (200, b"{}")


async def test_a_refused_connection_is_known_not_to_be_sent() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

    async with client_of(f"http://127.0.0.1:{port}") as client:
        with pytest.raises(NotSentError) as caught:
            await client.send("POST", "/transactions", body=b"{}", key="k")

    assert caught.value.kind is GatewayErrorKind.NOT_SENT
    assert "safe to send again" in caught.value.sentence


async def test_a_name_that_does_not_resolve_is_known_not_to_be_sent() -> None:
    async with client_of("http://gateway.invalid") as client:
        with pytest.raises(NotSentError):
            await client.send("POST", "/transactions", body=b"{}", key="k")


async def test_a_connection_that_is_never_accepted_is_known_not_to_be_sent() -> None:
    """A backlog that is full: the kernel answers no further SYN, so connecting times out."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        try:
            async with client_of(f"http://127.0.0.1:{full.getsockname()[1]}") as client:
                with pytest.raises(NotSentError):
                    await client.send("POST", "/transactions", body=b"{}", key="k")
        finally:
            for filler in fillers:
                filler.close()


async def test_a_certificate_nobody_vouches_for_is_known_not_to_be_sent() -> None:
    async with (
        scripted_server(answering(http_answer(b"{}")), tls=server_tls().server) as server,
        client_of(f"https://localhost:{server.port}") as client,
    ):
        with pytest.raises(NotSentError):
            await client.send("POST", "/transactions", body=b"{}", key="k")
        assert server.requests == []


async def test_a_server_that_speaks_no_tls_is_known_not_to_be_sent() -> None:
    async with (
        scripted_server(answering(http_answer(b"{}"))) as server,
        client_of(f"https://localhost:{server.port}") as client,
    ):
        with pytest.raises(NotSentError):
            await client.send("POST", "/transactions", body=b"{}", key="k")


async def test_a_trusted_certificate_is_spoken_to() -> None:
    tls = server_tls()
    async with scripted_server(answering(http_answer(b"{}")), tls=tls.server) as server:
        client = HttpClient(f"https://localhost:{server.port}", partner="gateway", tls=tls.client)
        got = await client.send("POST", "/transactions", body=b"{}", key="k")
        await client.close()

    assert got.status == 200


async def test_a_server_that_speaks_before_it_is_asked_is_never_asked() -> None:
    def behave(served: ScriptedServer) -> Behaviour:
        async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"SSH-2.0-OpenSSH_9.6\r\n" + http_answer(b'"authorized"'))
            served.requests.append(await read_request(reader))

        return one

    async with scripted_server(behave) as server, client_of(server.url) as client:
        with pytest.raises((NotSentError, OutcomeUnknownError)):
            await client.send("POST", "/transactions", body=b"{}", key="k")


async def test_a_server_that_hangs_up_at_once_gives_no_answer() -> None:
    def behave(_served: ScriptedServer) -> Behaviour:
        async def one(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.abort()

        return one

    async with scripted_server(behave) as server, client_of(server.url) as client:
        for _ in range(50):
            with pytest.raises((NotSentError, OutcomeUnknownError)):
                await client.send("POST", "/transactions", body=b"{}", key="k")


async def test_the_whole_call_keeps_to_its_time() -> None:
    """Waiting for a place, connecting and answering share one limit."""
    limits = HttpLimits(total_seconds=0.3, connect_seconds=0.25, connections_max=1)
    loop = asyncio.get_running_loop()
    async with (
        scripted_server(answering(b"", hang=True)) as server,
        client_of(server.url, limits=limits) as client,
    ):
        started = loop.time()
        ends = await asyncio.gather(
            *(client.send("GET", "/x") for _ in range(3)), return_exceptions=True
        )
        taken = loop.time() - started

    assert all(isinstance(end, NotSentError | OutcomeUnknownError) for end in ends)
    assert taken < 0.6


async def test_no_place_in_the_pool_is_known_not_to_be_sent() -> None:
    limits = HttpLimits(total_seconds=1.0, connect_seconds=0.2, connections_max=1)
    async with (
        scripted_server(answering(b"", hang=True)) as server,
        client_of(server.url, limits=limits) as client,
    ):
        first = asyncio.ensure_future(client.send("POST", "/first", body=b"{}", key="k"))
        await asyncio.sleep(0)
        with pytest.raises(NotSentError):
            await client.send("POST", "/second", body=b"{}", key="k")
        with pytest.raises(OutcomeUnknownError):
            await first
        assert len(server.requests) == 1


async def test_silence_after_sending_is_unknown() -> None:
    unknown = await unknown_of(b"", hang=True)

    assert unknown.reason is UnknownReason.TIMED_OUT
    assert unknown.kind is GatewayErrorKind.NETWORK_TIMEOUT


async def test_an_answer_that_never_ends_is_unknown() -> None:
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"

    assert (await unknown_of(half, hang=True)).reason is UnknownReason.TIMED_OUT


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 20",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    ],
)
async def test_a_cut_at_any_point_after_sending_is_unknown(answer: bytes) -> None:
    unknown = await unknown_of(answer)

    assert unknown.kind is GatewayErrorKind.NETWORK_TIMEOUT
    assert unknown.reason is UnknownReason.CUT


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}}",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_unknown_and_not_tried_again(answer: bytes) -> None:
    unknown = await unknown_of(answer)

    assert unknown.reason in {UnknownReason.MALFORMED, UnknownReason.CUT}


@pytest.mark.parametrize("framing", ["length", "chunked", "until close"])
async def test_an_answer_beyond_the_size_limit_is_unknown(framing: str) -> None:
    body = b"x" * 5_000
    head = {
        "length": b"Content-Length: 5000\r\n\r\n" + body,
        "chunked": b"Transfer-Encoding: chunked\r\n\r\n1388\r\n" + body + b"\r\n0\r\n\r\n",
        "until close": b"\r\n" + body,
    }[framing]
    limits = HttpLimits(total_seconds=2.0, connect_seconds=0.2, answer_bytes_max=4_000)

    unknown = await unknown_of(b"HTTP/1.1 200 OK\r\n" + head, limits=limits)

    assert unknown.reason is UnknownReason.OVERSIZED
    assert unknown.kind is GatewayErrorKind.UNRECOGNISED


async def test_a_head_that_never_ends_is_unknown() -> None:
    unknown = await unknown_of(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000, hang=True)

    assert unknown.reason in {UnknownReason.OVERSIZED, UnknownReason.MALFORMED}


async def test_an_answer_of_exactly_the_size_limit_is_read() -> None:
    limits = HttpLimits(total_seconds=2.0, connect_seconds=0.2, answer_bytes_max=4_000)
    async with (
        scripted_server(answering(http_answer(b"x" * 4_000))) as server,
        client_of(server.url, limits=limits) as client,
    ):
        assert len((await client.send("GET", "/x")).body) == 4_000


async def test_a_redirect_is_not_followed() -> None:
    answer = http_answer(b"", status="307 Temporary Redirect", headers="Location: /elsewhere\r\n")
    async with (
        scripted_server(answering(answer, http_answer(b"{}"))) as server,
        client_of(server.url) as client,
    ):
        got = await client.send("POST", "/transactions", body=b"{}", key="k")
        assert len(server.requests) == 1

    with pytest.raises(OutcomeUnknownError) as caught:
        checked(got)
    assert caught.value.reason is UnknownReason.REDIRECTED


def test_a_secret_shows_itself_only_when_asked() -> None:
    secret = Secret("sk_live_1234")

    assert secret.reveal() == "sk_live_1234"
    assert "1234" not in f"{secret} {secret!r} {[secret]}"
    with pytest.raises(TypeError):
        pickle.dumps(secret)


@pytest.mark.parametrize("value", ["", "with space", "line\nfeed", "ñ"])
def test_a_secret_that_cannot_stand_in_a_header_is_refused_at_start(value: str) -> None:
    with pytest.raises(StartupError):
        Secret(value)


@pytest.mark.parametrize(
    "url", ["", "gateway", "ftp://gateway", "http://", "http://user:pw@gateway", "http://g/?a=1"]
)
def test_an_address_that_cannot_be_used_is_refused_at_start(url: str) -> None:
    with pytest.raises(StartupError) as caught:
        HttpClient(url, partner="gateway")

    assert "pw" not in str(caught.value)


def test_neither_client_shows_its_key() -> None:
    client = HttpClient("http://gateway", partner="gateway", api_key=Secret("sk_live_1234"))

    assert "1234" not in repr(client)


def test_the_default_tls_verifies() -> None:
    client = HttpClient("https://gateway", partner="gateway")

    assert client._tls is not None
    assert client._tls.verify_mode is ssl.CERT_REQUIRED
    assert client._tls.check_hostname

"""Every way in which HTTP can fail, and what it may be taken for.

The line that matters is between "not sent" (known) and "unknown": a payment may be given up on the
first, never on the second (decision 3).
"""

import asyncio
import inspect
import pickle
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest
import uvloop

from caas.errors import StartupError
from caas.external_systems.http import (
    HttpClient,
    HttpLimits,
    NotSentError,
    OutcomeUnknownError,
    RefusedByPartnerError,
    Secret,
    TooManyRequestsError,
    UnknownReason,
    retry_after_seconds,
)
from caas.external_systems.http_answers import HttpAnswer, checked
from caas.rules.retry_strategy import GatewayErrorKind
from tests.external_systems.certificates import server_tls
from tests.external_systems.scripted_server import (
    Behaviour,
    ScriptedServer,
    answering,
    http_answer,
    read_request,
    scripted_server,
)

QUICK = HttpLimits(total_seconds=0.5, connect_seconds=0.25, connections_max=4)


@asynccontextmanager
async def client_of(
    url: str, *, limits: HttpLimits = QUICK, api_key: Secret | None = None
) -> AsyncIterator[HttpClient]:
    """A client that is closed again."""
    client = HttpClient(url, partner="gateway", limits=limits, api_key=api_key)
    try:
        yield client
    finally:
        await client.close()


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


SCENARIOS = [
    scenario
    for name, scenario in list(globals().items())
    if name.startswith("test_") and not inspect.signature(scenario).parameters
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_it_is_the_same_on_the_event_loop_of_operation(
    scenario: Callable[[], Coroutine[None, None, None]],
) -> None:
    with ThreadPoolExecutor(1) as thread:
        thread.submit(uvloop.run, scenario()).result()


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599])
def test_every_5xx_is_unknown_and_tried_again(status: int) -> None:
    with pytest.raises(OutcomeUnknownError) as caught:
        checked(HttpAnswer("gateway", "POST /x", status, "application/json", b"{}"))

    assert caught.value.kind is GatewayErrorKind.GATEWAY_5XX_ERROR
    assert caught.value.status == status


def test_a_429_says_when_to_come_back() -> None:
    with pytest.raises(TooManyRequestsError) as caught:
        checked(HttpAnswer("gateway", "POST /x", 429, "text/plain", b"", 30.0))

    assert caught.value.retry_after_seconds == 30.0
    assert caught.value.kind is GatewayErrorKind.RATE_LIMITED


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 422])
def test_a_4xx_with_a_problem_is_a_refusal_with_its_code(status: int) -> None:
    body = b'{"type":"x","code":"no_such_thing","detail":"There is none."}'

    with pytest.raises(RefusedByPartnerError) as caught:
        checked(HttpAnswer("factory", "POST /x", status, "application/problem+json", body))

    assert (caught.value.status, caught.value.refusal) == (status, "no_such_thing")
    assert caught.value.problem == "There is none."


@pytest.mark.parametrize(
    ("status", "content_type", "body"),
    [
        (404, "text/html", b"<h1>Not Found</h1>"),
        (400, "application/json", b'{"code":"refused"}'),
        (409, "application/problem+json", b"{}"),
        (422, "application/problem+json", b"not json"),
        (422, "application/problem+json", b'{"code":7}'),
        (409, "application/problem+json", b'{"code":"idempotency_in_progress"}'),
        (408, "application/problem+json", b'{"code":"request_timeout"}'),
        (425, "application/problem+json", b'{"code":"too_early"}'),
        (304, "application/json", b""),
        (204, "application/json", b""),
        (206, "application/json", b"{}"),
        (200, "text/html", b"<h1>It works</h1>"),
        (200, "", b"{}"),
        (200, "application/problem+json", b"{}"),
    ],
)
def test_what_no_contract_promises_is_unknown(status: int, content_type: str, body: bytes) -> None:
    with pytest.raises(OutcomeUnknownError):
        checked(HttpAnswer("gateway", "POST /x", status, content_type, body))


def test_a_card_number_in_a_refusal_does_not_survive() -> None:
    body = b'{"code":"invalid","detail":"card 4242 4242 4242 4242 is wrong"}'

    with pytest.raises(RefusedByPartnerError) as caught:
        checked(HttpAnswer("gateway", "POST /x", 400, "application/problem+json", body))

    assert "4242 4242" not in str(caught.value)
    assert "4242 4242" not in caught.value.problem


@pytest.mark.parametrize(
    ("retry_after", "date", "seconds"),
    [
        (None, None, None),
        ("12", None, 12.0),
        ("999999999999999999999", None, 3600.0),
        ("-1", None, None),
        ("soon", None, None),
        ("Fri, 20 Nov 2026 10:00:30 GMT", "Fri, 20 Nov 2026 10:00:00 GMT", 30.0),
        ("Fri, 20 Nov 2026 10:00:00 GMT", "Fri, 20 Nov 2026 10:00:30 GMT", 0.0),
        ("Fri, 20 Nov 2026 10:00:30 GMT", None, None),
    ],
)
def test_retry_after_is_a_number_a_date_or_nothing(
    retry_after: str | None, date: str | None, seconds: float | None
) -> None:
    assert retry_after_seconds(retry_after, date) == seconds


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

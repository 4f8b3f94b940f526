"""F-W8: large bodies, deep JSON, packed bodies, ten thousand headers, slow senders."""

import gzip
import resource

import pytest

from caas.web import http_protocol, limits
from tests.api.conftest import ADMIN_KEY, SOMEBODYS_PAYMENT, Doors
from tests.api.raw_http import line

KEY = f"authorization: Bearer {ADMIN_KEY}\r\n".encode()
POST = b"POST /v1/payments/service HTTP/1.1\r\nhost: x\r\n" + KEY
JSON = b"content-type: application/json\r\nidempotency-key: 0123456789abcdefgh\r\n"


async def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(
    quiet_doors: Doors,
) -> None:
    async with line(quiet_doors.port) as client:
        await client.say(POST + JSON + b"expect: 100-continue\r\ncontent-length: 10485760\r\n\r\n")
        answer = await client.rest()

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"body_too_large" in answer
    assert b"100 Continue" not in answer


async def test_a_body_without_end_is_refused_when_the_limit_is_reached(quiet_doors: Doors) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"

    async with line(quiet_doors.port) as client:
        await client.say(POST + JSON + b"transfer-encoding: chunked\r\n\r\n")
        for _ in range(160):
            await client.say(chunk)
        answer = await client.rest()

    grown_kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413 ")
    assert grown_kilobytes < 8 * 1024


async def test_a_body_of_the_largest_size_is_read_and_one_byte_more_is_not(
    quiet_doors: Doors,
) -> None:
    largest = b" " * limits.BODY_BYTES_MAX
    headers = {"content-type": "application/json", "idempotency-key": "x" * 16}

    read = await quiet_doors.call("POST", "/v1/payments/service", data=largest, headers=headers)
    refused = await quiet_doors.call(
        "POST", "/v1/payments/service", data=largest + b" ", headers=headers
    )

    assert (read.status, read.json["code"]) == (400, "malformed_request")
    assert (refused.status, refused.json["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 60_000,
        b'{"subject":' * 5_000,
        b'{"unknown":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"subject":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    ],
    ids=["list", "object", "unknown field", "known field"],
)
async def test_deep_json_is_refused_like_any_other_wrong_body(
    quiet_doors: Doors, body: bytes
) -> None:
    answer = await quiet_doors.call(
        "POST", "/v1/payments/service", data=body,
        headers={"content-type": "application/json", "idempotency-key": "x" * 16},
    )  # fmt: skip

    assert answer.status in {400, 422}, answer.body


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/xml"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/jsonp"},
        {"content-type": "application/json", "content-encoding": "gzip"},
        {"content-type": "application/json", "content-encoding": "br"},
    ],
    ids=str,
)
async def test_only_plain_json_is_read(quiet_doors: Doors, headers: dict[str, str]) -> None:
    bomb = gzip.compress(b'{"subject":"' + b"0" * 1_000_000 + b'"}')

    answer = await quiet_doors.call(
        "POST", "/v1/payments/service", data=bomb,
        headers={**headers, "idempotency-key": "x" * 16},
    )  # fmt: skip

    assert (answer.status, answer.json["code"]) == (415, "unsupported_media_type")


async def test_ten_thousand_headers_are_refused(quiet_doors: Doors) -> None:
    many = b"".join(b"x-%d: 1\r\n" % number for number in range(10_000))

    async with line(quiet_doors.port) as client:
        await client.say(b"GET /health HTTP/1.1\r\nhost: x\r\n" + many + b"\r\n")
        answer = await client.rest()

    assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")


async def test_headers_without_end_are_refused(quiet_doors: Doors) -> None:
    async with line(quiet_doors.port) as client:
        await client.say(b"GET /health HTTP/1.1\r\nhost: x\r\n")
        answer = await client.dribble(b"x: " + b"v" * 1000 + b"\r\n")

    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"headers_too_large" in answer


@pytest.mark.parametrize("count", [limits.HEADERS_MAX - 1, limits.HEADERS_MAX + 1])
async def test_the_number_of_headers_has_a_limit(quiet_doors: Doors, count: int) -> None:
    some = b"".join(b"x-%d: 1\r\n" % number for number in range(count - 2))

    async with line(quiet_doors.port) as client:
        await client.say(
            b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n" + some + b"\r\n"
        )
        answer = await client.rest()

    expected = b"200" if count <= limits.HEADERS_MAX else b"431"
    assert answer.startswith(b"HTTP/1.1 " + expected)


@pytest.mark.parametrize(
    "begun",
    [
        b"GET /health HT",
        b"GET /health HTTP/1.1\r\nhost: x\r\nx-slow: ",
        POST + JSON + b"content-length: 200\r\n\r\n{",
        POST + JSON + b"transfer-encoding: chunked\r\n\r\n5\r\n{",
    ],
    ids=["request line", "header", "body", "chunk"],
)
async def test_a_sender_that_dawdles_is_hung_up_on(
    quiet_doors: Doors, begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "ARRIVAL_SECONDS_MAX", 0.15)

    async with line(quiet_doors.port) as client:
        await client.say(begun)
        answer = await client.rest()

    assert b"408 Request Timeout" in answer
    assert b"request_too_slow" in answer


async def test_a_drop_at_a_time_does_not_buy_more_time(
    quiet_doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "ARRIVAL_SECONDS_MAX", 0.2)

    async with line(quiet_doors.port) as client:
        await client.say(b"GET /health HTTP/1.1\r\nhost: x\r\n")
        answer = await client.dribble(b"x: 1\r\n")

    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_a_connection_that_says_nothing_is_closed(
    quiet_doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "IDLE_SECONDS_MAX", 0.1)

    async with line(quiet_doors.port) as client:
        assert await client.rest() == b""


async def test_a_connection_is_used_again_after_an_answer(quiet_doors: Doors) -> None:
    async with line(quiet_doors.port) as client:
        for _ in range(3):
            await client.say(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
            head = await client.head()
            assert head.startswith(b"HTTP/1.1 200 ")
            await client.reader.readexactly(len(b'{"status":"alive"}'))


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        (
            b"GET /health HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        ),
        b"POST /health HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"GET /health HTTP/1.1\r\nhost : x\r\n\r\n",
    ],
    ids=["TLS", "version", "two lengths", "negative length", "blank before colon"],
)
async def test_what_is_not_http_is_told_so_as_a_problem(
    quiet_doors: Doors, nonsense: bytes
) -> None:
    async with line(quiet_doors.port) as client:
        await client.say(nonsense)
        answer = await client.rest()

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in answer


async def test_too_many_requests_at_once_are_put_off(
    quiet_doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("caas.web.application.IN_FLIGHT_MAX", 0)

    answer = await quiet_doors.post("/v1/payments/service", SOMEBODYS_PAYMENT)

    assert (answer.status, answer.json["code"]) == (503, "too_many_calls")
    assert answer.headers["retry-after"]

"""F-T1: trailers, endless framing and heads that two readers would read differently are refused."""

import resource
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from caas.web import limits
from tests.api.conftest import ADMIN_KEY, Doors
from tests.api.raw_http import line

KEY = f"authorization: Bearer {ADMIN_KEY}\r\n".encode()
GET = b"GET /v1/self-check HTTP/1.1\r\nhost: x\r\n"
POST = b"POST /v1/payments/service HTTP/1.1\r\nhost: x\r\n" + KEY
WEBHOOK = b"POST /webhooks/gateway HTTP/1.1\r\nhost: x\r\n"
FORM = b"POST /sign-in HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\n"
JSON = b"content-type: application/json\r\nidempotency-key: 0123456789abcdefgh\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
GROWN_KILOBYTES_MAX = 16 * 1024


async def answered(doors: Doors, text: bytes) -> bytes:
    """What is said to these bytes until the other side hangs up."""
    async with line(doors.port) as client:
        await client.say(text)
        return await client.rest()


async def test_a_key_that_comes_as_a_trailer_is_not_believed(quiet_doors: Doors) -> None:
    answer = await answered(quiet_doors, GET + CHUNKED + b"0\r\n" + KEY + b"\r\n")

    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert b"trailers_refused" in answer
    assert b"holds" not in answer


@pytest.mark.parametrize("head", [POST + JSON, WEBHOOK + JSON, FORM], ids=["API", "hook", "form"])
@pytest.mark.parametrize(
    "endless",
    [b"x-1: " + b"v" * 100 + b"\r\n", b"n" * 1000, b"x: " + b"v" * 1000],
    ids=["trailers", "name of a trailer", "trailer and more"],
)
async def test_endless_trailers_cost_no_memory_and_end_the_connection(
    quiet_doors: Doors, head: bytes, endless: bytes
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    async with line(quiet_doors.port) as client:
        await client.say(head + CHUNKED + b"2\r\n{}\r\n0\r\n")
        for _ in range(200):
            await client.say(endless * 100)
        answer = await client.rest()

    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert answer == b"" or answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 ")), answer
    assert grown < GROWN_KILOBYTES_MAX


@pytest.mark.parametrize(
    "endless", [b";extension=" + b"e" * 1000, b"1;e\r\nx\r\n", b"0" * 1000],
    ids=["extension", "chunks of a byte", "size"],
)  # fmt: skip
async def test_the_framing_of_a_body_has_a_limit(quiet_doors: Doors, endless: bytes) -> None:
    many = endless * (2 * limits.FRAMING_BYTES_MAX // len(endless) + 1)
    begun = b"1" if endless[:1] == b";" else b""

    answer = await answered(quiet_doors, POST + JSON + CHUNKED + begun + many)

    assert answer.startswith(b"HTTP/1.1 413 "), answer
    assert b"too many chunks" in answer


async def test_a_body_in_ordinary_chunks_is_read(quiet_doors: Doors) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(60):
            yield b" " * 1000

    answer = await quiet_doors.call(
        "POST", "/v1/payments/service", data=pieces(),
        headers={"content-type": "application/json", "idempotency-key": str(uuid4())},
    )  # fmt: skip

    assert (answer.status, answer.json["code"]) == (400, "malformed_request")


async def test_an_address_without_end_is_refused(quiet_doors: Doors) -> None:
    begun = b"GET /health?" + b"a" * limits.ADDRESS_BYTES_MAX

    answer = await answered(quiet_doors, begun)

    assert answer.startswith(b"HTTP/1.1 414 "), answer


@pytest.mark.parametrize(
    "twice",
    [
        KEY + KEY,
        KEY + b"Authorization: Bearer " + b"y" * 43 + b"\r\n",
        KEY + b"Host: other\r\n",
        KEY + b"idempotency-key: " + b"a" * 20 + b"\r\nIdempotency-Key: " + b"b" * 20 + b"\r\n",
        KEY + b"content-type: application/json\r\ncontent-type: text/plain\r\n",
        KEY + b"cookie: a=1\r\ncookie: a=2\r\n",
    ],
    ids=["same key", "two keys", "two hosts", "idempotency", "type", "cookies"],
)
async def test_a_header_that_counts_once_is_refused_when_it_stands_twice(
    quiet_doors: Doors, twice: bytes
) -> None:
    answer = await answered(quiet_doors, GET + twice + b"\r\n")

    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert b"ambiguous_request" in answer


@pytest.mark.parametrize(
    "conflict",
    [
        b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"content-length: 2\r\ncontent-length: 2\r\n\r\n{}",
        b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n0\r\n\r\n",
        b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
        b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"content-length: 2, 2\r\n\r\n{}",
        b"content-length: +2\r\n\r\n{}",
        b"x: a\r\n b\r\n\r\n",
    ],
    ids=lambda text: text.split(b"\r\n\r\n")[0].decode(),
)
@pytest.mark.parametrize("head", [POST + JSON, WEBHOOK, FORM], ids=["API", "webhook", "form"])
async def test_a_body_with_two_lengths_is_refused(
    quiet_doors: Doors, head: bytes, conflict: bytes
) -> None:
    answer = await answered(quiet_doors, head + conflict)

    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert answer.count(b"HTTP/1.1 ") == 1, "what follows was read as a second request"


@pytest.mark.parametrize("host", [b"", b"host: a b\r\n", b"host: a/b\r\n", b"host: a,b\r\n"])
async def test_a_request_needs_a_host(quiet_doors: Doors, host: bytes) -> None:
    answer = await answered(quiet_doors, b"GET /health HTTP/1.1\r\n" + host + b"\r\n")

    assert answer.startswith(b"HTTP/1.1 400 "), answer


async def test_requests_behind_each_other_without_end_are_refused(quiet_doors: Doors) -> None:
    answer = await answered(quiet_doors, (GET + KEY + b"\r\n") * 1_000)

    assert answer.count(b"HTTP/1.1 200 ") <= limits.PIPELINED_MAX + 2


async def test_a_key_twice_in_a_body_is_refused_by_its_name(quiet_doors: Doors) -> None:
    for twice in (b'{"amount":1,"amount":2}', b'{"amount":1,"am\\u006funt":2}'):
        text = twice[:-1] + (
            b',"subject":"01a20737-8baa-7443-b3c7-3e6890dce6ea",'
            b'"customer":"01a20737-8baa-7443-b3c7-3e6890dce6eb","currency":"EUR"}'
        )
        answer = await quiet_doors.call(
            "POST", "/v1/payments/reservation", data=text,
            headers={"content-type": "application/json", "idempotency-key": str(uuid4())},
        )  # fmt: skip

        assert (answer.status, answer.json["code"]) == (400, "duplicate_key"), answer.body
        assert '"amount"' in answer.json["detail"]

"""F-W8 and F-T1 at the pages: what the API refuses of a message is refused of a form and a file."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from msgspec.structs import replace
from yarl import URL

from caas.console.application import build_console
from caas.console.settings import ConsoleSettings
from caas.rules.rate_limits import RateLimit
from caas.web.forms import FIELDS_MAX
from tests.api.conftest import listening
from tests.api.raw_http import line
from tests.console.journeys import OPERATIONS, SALES
from tests.console.test_safety import Client, client_of
from tests.console.town import ZONE, Town
from tests.ways_in import SIGN_IN_KEYS

CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
FORM = (
    b"POST /sign-in HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    b"content-type: application/x-www-form-urlencoded\r\n"
)


@pytest.fixture
async def operator(town: Town) -> AsyncIterator[Client]:
    """Somebody of operations, signed in."""
    client = client_of(town)
    await client.sign_in(OPERATIONS)
    yield client
    await client.session.close()


def port_of(town: Town) -> int:
    """The port the town is served on."""
    port = URL(town.url).port
    assert port is not None
    return port


@pytest.mark.parametrize(
    ("rest", "status"),
    [
        (CHUNKED + b"0\r\ncookie: caas-session=" + b"x" * 43 + b"\r\n\r\n", b"400"),
        (CHUNKED + b"0\r\n" + b"x: y\r\n" * 100_000, b"400"),
        (CHUNKED + b"1;" + b"e" * 200_000, b"413"),
        (CHUNKED + b"10000\r\n" + b"x" * 0x10000 + b"\r\n1\r\nx\r\n0\r\n\r\n", b"413"),
        (b"content-length: 65537\r\n\r\n", b"413"),
        (b"content-length: 1\r\ncontent-length: 2\r\n\r\nxx", b"400"),
        (b"content-length: 0\r\nhost: y\r\n\r\n", b"400"),
        (b"content-length: 0\r\ncookie: a=1\r\ncookie: a=2\r\n\r\n", b"400"),
    ],
    ids=["trailer", "trailers", "extension", "chunks", "length", "lengths", "hosts", "cookies"],
)
async def test_a_hostile_form_is_refused(town: Town, rest: bytes, status: bytes) -> None:
    async with line(port_of(town)) as client:
        await client.say(FORM + rest)
        answer = await client.rest()

    assert answer == b"" or answer.startswith(b"HTTP/1.1 " + status), answer[:200]


async def test_a_field_that_stands_twice_is_refused(town: Town) -> None:
    """Which of the two logins counts, nobody can know who looked at the form before us."""
    client = client_of(town)
    token = (await client.get("/sign-in")).field("form_token")
    body = f"form_token={token}&login=a&login={SALES}&password=x".encode()

    reply = await client.sent(
        "/sign-in", body, {"content-type": "application/x-www-form-urlencoded"}
    )

    await client.session.close()
    assert reply.status == 400


def part(name: str, content: bytes, *, file: str | None = None) -> bytes:
    """One part of a form with files."""
    stated = f'; filename="{file}"' if file else ""
    head = f'--x\r\nContent-Disposition: form-data; name="{name}"{stated}\r\n\r\n'
    return head.encode() + content + b"\r\n"


@pytest.mark.parametrize(
    "more",
    [
        part("note", b"a") + part("note", b"b") + b"--x--\r\n",
        part("a", b"1", file="a.pdf") + part("b", b"2", file="b.pdf") + b"--x--\r\n",
        part("form_token", b"forged") + b"--x--\r\n",
        part("note", b"cut off"),
        b"--x\r\n" * 800_000 + b"--x--\r\n",
        b"".join(part(f"f{number}", b"") for number in range(FIELDS_MAX)) + b"--x--\r\n",
    ],
    ids=["field twice", "two files", "token twice", "no end", "boundaries", "too many fields"],
)
async def test_a_hostile_upload_is_refused(operator: Client, more: bytes) -> None:
    token = (await operator.get("/account")).field("form_token")

    reply = await operator.sent(
        f"/operations/discrepancies/{uuid4()}/documents",
        part("form_token", token.encode()) + more,
        {"content-type": "multipart/form-data; boundary=x"},
    )

    assert reply.status == 400


async def test_pages_without_signing_in_are_limited_by_address_and_others_are_not(
    town: Town, operator: Client
) -> None:
    settings = ConsoleSettings(
        public_url=town.url, zone=ZONE, sign_in_keys=SIGN_IN_KEYS, address_limit=RateLimit(0.001, 3)
    )
    async with listening(build_console(town.platform, settings), lifespan="off") as port:
        stranger = client_of(replace(town, url=f"http://127.0.0.1:{port}"))
        pages = [(await stranger.get("/sign-in")).status for _ in range(5)]
        await stranger.session.close()

    assert pages == [200, 200, 200, 429, 429]
    assert (await operator.get("/operations")).status == 200

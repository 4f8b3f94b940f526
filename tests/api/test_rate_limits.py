"""How often a key and an address may call, and whose word counts about an address."""

import contextlib
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest

from caas.api.application import build_api
from caas.rules.rate_limits import RateLimit
from tests.api.conftest import ADMIN_KEY, Doors, key, listening, settings_of_tests
from tests.installation import Installation

FEW = RateLimit(0.001, 3)
MANY = RateLimit(1_000, 10_000)
SIGNED = {"webhook-id": "msg_1", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}


@contextlib.asynccontextmanager
async def limited(
    installation: Installation, *, proxies: tuple[str, ...] = (), **limits: RateLimit
) -> AsyncIterator[Doors]:
    """The API of an installation under these limits."""
    settings = settings_of_tests(**limits)
    app = build_api(installation.platform, settings)
    async with (
        listening(app, trusted_proxies=proxies) as port,
        aiohttp.ClientSession() as session,
    ):
        yield Doors(installation, f"http://127.0.0.1:{port}", port, settings, session)


async def test_a_key_that_calls_too_often_is_told_to_wait_and_others_are_not(
    installation: Installation,
) -> None:
    async with limited(installation, key_limit=FEW) as doors:
        answers = [await doors.get("/v1/self-check", caller="operators") for _ in range(4)]
        other = await doors.get("/v1/self-check")

    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert answers[3].json["code"] == "rate_limited"
    assert 1 <= int(answers[3].headers["retry-after"]) <= 1000
    assert other.status == 200


async def test_every_answer_to_a_key_says_what_is_left(installation: Installation) -> None:
    async with limited(installation, key_limit=FEW) as doors:
        answers = [await doors.get("/v1/self-check") for _ in range(2)]

    assert answers[0].headers["ratelimit-policy"] == '"key";q=3;w=3000'
    left = [re.fullmatch(r'"key";r=(\d);t=(\d+)', it.headers["ratelimit"]) for it in answers]
    assert [int(found[1]) for found in left if found] == [2, 1]


async def test_guessing_keys_is_slowed_and_a_valid_key_from_there_is_not(
    installation: Installation,
) -> None:
    async with limited(installation, address_limit=FEW) as doors:
        assert (await doors.get("/v1/self-check")).status == 200
        guesses = [
            (await doors.get("/v1/self-check", caller=f"guess{number}")).status
            for number in range(5)
        ]
        valid = await doors.get("/v1/self-check")
        probes = [(await doors.get("/ready", caller=None)).status for _ in range(5)]

    assert guesses == [401, 401, 401, 429, 429]
    assert valid.status == 200
    assert probes == [200] * 5


@pytest.mark.parametrize(
    ("proxies", "expected"),
    [((), [401, 401, 401, 429, 429]), (("127.0.0.1",), [401] * 5), (("10.0.0.0/8",), [401, 429])],
    ids=["nobody", "this proxy", "another proxy"],
)
async def test_a_forwarded_address_is_believed_from_a_trusted_proxy_alone(
    installation: Installation, proxies: tuple[str, ...], expected: list[int]
) -> None:
    async with limited(installation, proxies=proxies, address_limit=FEW) as doors:
        statuses = [
            (
                await doors.get(
                    "/v1/self-check", caller=None, headers={"x-forwarded-for": f"192.0.2.{number}"}
                )
            ).status
            for number in range(5)
        ]

    assert statuses[:3] == [401, 401, 401]
    assert statuses[-1] == expected[-1]


@pytest.mark.parametrize("junk", ["unknown", "_hidden{}", "192.0.2.{}:port", "[2001:db8::{}", ","])
async def test_a_forwarded_address_that_cannot_be_read_counts_as_the_proxy(
    installation: Installation, junk: str
) -> None:
    async with limited(installation, proxies=("127.0.0.1",), address_limit=FEW) as doors:
        statuses = [
            (
                await doors.get(
                    "/v1/self-check", caller=None,
                    headers={"x-forwarded-for": junk.format(number)},
                )
            ).status
            for number in range(5)
        ]  # fmt: skip

    assert statuses == [401, 401, 401, 429, 429]


async def test_webhooks_that_are_signed_cost_nothing_and_forged_ones_do(
    installation: Installation,
) -> None:
    async with limited(installation, address_limit=FEW) as doors:
        forged = [
            (await doors.call("POST", "/webhooks/gateway", caller=None, headers=SIGNED)).status
            for _ in range(5)
        ]

    assert forged == [401, 401, 401, 429, 429]


async def test_a_key_is_limited_by_its_name(installation: Installation) -> None:
    """Two keys of one name share what the name may do, so that a replacement doubles nothing."""
    async with limited(installation, key_limit=FEW) as doors:
        statuses = [
            (
                await doors.get(
                    "/v1/self-check", caller=None,
                    headers={"authorization": f"Bearer {secret}"},
                )
            ).status
            for secret in (ADMIN_KEY, key("operators"), ADMIN_KEY, ADMIN_KEY, ADMIN_KEY)
        ]  # fmt: skip

    assert statuses == [200, 200, 200, 200, 429]

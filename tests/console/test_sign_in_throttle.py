"""Wrong tries to sign in wait longer each time, whoever asks, but for the owner's own device."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from caas.billing_database.audit_events import AuditEvents, AuditType
from caas.rules.rate_limits import OF_A_LOGIN, OF_AN_ADDRESS, WAIT_SECONDS_MAX
from tests.console.journeys import OPERATIONS, SALES
from tests.console.test_safety import Client, Reply, client_of
from tests.console.town import PASSWORD, Town

NORTE = "ventas@motor-norte.example"
Opened = Callable[[], Client]


@pytest.fixture
async def somebody(town: Town) -> AsyncIterator[Opened]:
    """Browsers without a browser, each with cookies of its own."""
    async with AsyncExitStack() as stack:

        def opened() -> Client:
            client = client_of(town)
            stack.push_async_callback(client.session.close)
            return client

        yield opened


async def slowed_to_the_limit(town: Town, login: str) -> None:
    """Try wrong passwords, waiting when told to, until the wait is as long as it gets."""
    client = client_of(town)
    waits: list[int] = []
    while max(waits, default=0) < WAIT_SECONDS_MAX - 60:
        reply = await client.sign_in(login, "a guess")
        if reply.status == 429:
            waits.append(int(reply.headers["retry-after"]))
            if waits[-1] < WAIT_SECONDS_MAX - 60:
                await town.pass_time(waits[-1])
    await client.session.close()


async def tried(client: Client, times: int, login: str) -> list[Reply]:
    """Try a wrong password so many times."""
    return [await client.sign_in(login, "a guess") for _ in range(times)]


async def test_each_wrong_try_past_the_free_ones_waits_twice_as_long(
    town: Town, somebody: Opened
) -> None:
    client = somebody()
    free = await tried(client, OF_A_LOGIN.free_tries, SALES)
    waits: list[int] = []
    for _ in range(7):
        refused = await client.sign_in(SALES)
        assert refused.status == 429
        waits.append(int(refused.headers["retry-after"]))
        await town.pass_time(waits[-1])
        await client.sign_in(SALES, "a guess")

    assert [reply.status for reply in free] == [422] * OF_A_LOGIN.free_tries
    for wait, meant in zip(waits, (30, 60, 120, 240, 480, 900, 900), strict=True):
        assert meant / 2 < wait <= meant
    slowed = await AuditEvents(town.database).after(type_=AuditType.SIGN_IN_SLOWED, rows_max=50)
    assert {(one.actor, one.subject is not None, one.network) for one in slowed} == {
        ("nobody", True, "127.0.0.0/24")
    }
    assert len(slowed) == 8


async def test_a_try_that_has_to_wait_does_not_lengthen_the_wait(
    town: Town, somebody: Opened
) -> None:
    client = somebody()
    await tried(client, OF_A_LOGIN.free_tries, SALES)

    waits = [int(one.headers["retry-after"]) for one in await tried(client, 5, SALES)]
    await town.pass_time(30)
    opened = await client.sign_in(SALES)

    assert max(waits) <= 30
    assert opened.status == 303


async def test_the_owner_signs_in_on_a_known_device_whatever_others_try(
    town: Town, somebody: Opened
) -> None:
    owner, stranger, new_device = somebody(), somebody(), somebody()
    await owner.sign_in(SALES)
    token = (await owner.get("/account")).field("form_token")
    await owner.post("/sign-out", {"form_token": token})

    await slowed_to_the_limit(town, SALES)
    elsewhere = await new_device.sign_in(SALES)
    on_the_device = await owner.sign_in(SALES)
    another = await stranger.sign_in(SALES)

    assert (elsewhere.status, on_the_device.status, another.status) == (429, 303, 429)


async def test_a_device_is_known_for_its_login_alone_and_by_our_signature_alone(
    town: Town, somebody: Opened
) -> None:
    owner, same_device, forger = somebody(), somebody(), somebody()
    await owner.sign_in(NORTE)
    cookies = {one.key: one.value for one in owner.session.cookie_jar}
    await slowed_to_the_limit(town, SALES)
    forged = cookies["caas-device"][:-1] + ("A" if cookies["caas-device"][-1] != "A" else "B")
    same_device.session.cookie_jar.update_cookies({"caas-device": cookies["caas-device"]})
    forger.session.cookie_jar.update_cookies({"caas-device": forged})

    for_another = await same_device.sign_in(SALES)
    by_a_forged_cookie = await forger.sign_in(SALES)

    assert (for_another.status, by_a_forged_cookie.status) == (429, 429)
    assert SALES not in cookies["caas-device"]
    assert NORTE not in cookies["caas-device"]


async def test_a_known_device_that_guesses_is_slowed_down_too(somebody: Opened) -> None:
    client = somebody()
    await client.sign_in(SALES)
    token = (await client.get("/account")).field("form_token")
    await client.post("/sign-out", {"form_token": token})

    statuses = [one.status for one in await tried(client, 12, SALES)]

    assert statuses[:10] == [422] * 10
    assert statuses[-1] == 429


async def test_an_address_that_tries_many_logins_waits_and_a_right_one_does_not_forgive_it(
    somebody: Opened,
) -> None:
    client = somebody()
    for number in range(OF_AN_ADDRESS.free_tries - 1):
        await client.sign_in(f"somebody.{number}@example.com", "a guess")

    right = await somebody().sign_in(SALES)
    last_free = await client.sign_in("nobody@example.com", "a guess")
    refused = await client.sign_in("nobody.else@example.com", "a guess")

    assert (right.status, last_free.status, refused.status) == (303, 422, 429)


async def test_many_tries_at_one_moment_are_not_all_free(somebody: Opened) -> None:
    clients = [somebody() for _ in range(OF_A_LOGIN.free_tries + 4)]
    pages = [await client.get("/sign-in") for client in clients]

    async def tries(client: Client, page: Reply) -> int:
        fields = {"login": SALES, "password": "a guess", "form_token": page.field("form_token")}
        return (await client.post("/sign-in", fields)).status

    statuses = await asyncio.gather(*(tries(*one) for one in zip(clients, pages, strict=True)))

    assert statuses.count(422) == OF_A_LOGIN.free_tries
    assert statuses.count(429) == 4


async def test_a_password_that_is_tried_on_the_account_page_is_slowed_down(
    somebody: Opened,
) -> None:
    client = somebody()
    await client.sign_in(OPERATIONS)
    token = (await client.get("/account")).field("form_token")
    fields = {"form_token": token, "password": "a guess", "new_password": "another long phrase"}

    replies = [await client.post("/account/password", fields) for _ in range(6)]
    right = await client.post("/account/password", {**fields, "password": PASSWORD})

    assert [one.status for one in replies] == [422] * 5 + [429]
    assert right.status == 429
    assert int(right.headers["retry-after"]) <= 30

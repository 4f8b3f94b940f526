"""The second factor of operations: set up, asked for, good once, and reset by another person."""

import base64
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import UUID

import asyncpg
import pyotp
import pytest
from playwright.async_api import Browser, expect

from caas.billing_database.audit_events import AuditEvents, AuditType
from caas.console.application import build_console
from caas.console.second_factor import STEP_SECONDS
from caas.console.settings import ConsoleSettings
from caas.console.sign_in_keys import SealedElsewhereError, SignInKeys
from tests.console.journeys import (
    ENGLISH,
    OPERATIONS,
    PHONE,
    SALES,
    SECOND,
    SPANISH,
    visitor,
    windows,
)
from tests.console.test_safety import Client, Reply, client_of
from tests.console.town import PASSWORD, ZONE, Town
from tests.ways_in import SIGN_IN_KEY, SIGN_IN_KEYS

NOBODY = UUID(int=1)
Two = tuple[Client, Client]


@pytest.fixture
async def two(town: Town) -> AsyncIterator[Two]:
    """The browsers of two people of operations, who have not signed in."""
    async with AsyncExitStack() as stack:
        clients = client_of(town), client_of(town)
        for client in clients:
            stack.push_async_callback(client.session.close)
        yield clients


def code_of(secret: str, *, steps_ahead: int = 0) -> str:
    """Return what a telephone shows, whose clock may go fast."""
    return pyotp.TOTP(secret).at(int(time.time()) + steps_ahead * STEP_SECONDS)


async def enrolled(client: Client, login: str = OPERATIONS) -> tuple[str, list[str]]:
    """Sign in, set a second factor up, and return its secret and the recovery codes."""
    await client.sign_in(login)
    token = (await client.get("/account")).field("form_token")
    page = await client.post("/second-factor/enrol", {"form_token": token})
    secret = re.findall(r'id="secret">([A-Z2-7 ]+)<', page.text)[0].replace(" ", "")
    confirmed = await confirm(client, page, code_of(secret))
    assert confirmed.status == 200
    return secret, re.findall(r'<li class="secret">([a-z2-7-]+)<', confirmed.text)


async def confirm(client: Client, page: Reply, code: str) -> Reply:
    """Send the first code of a page that sets a second factor up."""
    fields = {"form_token": page.field("form_token"), "code": code}
    return await client.post("/second-factor/confirm", fields)


async def signs_in(client: Client, code: str, login: str = OPERATIONS) -> Reply:
    """Sign in anew with the password, then with a code."""
    client.session.cookie_jar.clear()
    asked = await client.sign_in(login)
    assert asked.headers["location"].startswith("/second-factor")
    return await gives(client, code)


async def gives(client: Client, code: str) -> Reply:
    """Give a code where one is asked for."""
    page = await client.get("/second-factor")
    fields = {"form_token": page.field("form_token"), "code": code}
    return await client.post("/second-factor", fields)


async def reported(town: Town, type_: AuditType) -> int:
    """Return how many events of a type there are; each says who, by the account."""
    events = await AuditEvents(town.database).after(type_=type_, rows_max=50)
    assert all(one.subject is not None for one in events)
    return len(events)


async def test_whoever_has_a_second_factor_comes_no_further_without_it(
    town: Town, two: Two
) -> None:
    one, thief = two
    secret, _ = await enrolled(one)

    await thief.sign_in(OPERATIONS)
    doors = [await thief.get(path) for path in ("/operations", "/account", "/operations/keys")]
    guess = "000000" if code_of(secret) != "000000" else "111111"
    wrong = await gives(thief, guess)
    opened = await gives(thief, code_of(secret, steps_ahead=1))
    inside = await thief.get("/operations")

    assert [door.status for door in doors] == [303] * 3
    assert {door.headers["location"].partition("?")[0] for door in doors} == {"/second-factor"}
    assert (wrong.status, opened.status, inside.status) == (422, 303, 200)
    assert await reported(town, AuditType.SECOND_FACTOR_ENROLLED) == 1
    assert await reported(town, AuditType.SECOND_FACTOR_REFUSED) == 1
    assert await reported(town, AuditType.SECOND_FACTOR_USED) == 1


async def test_a_code_counts_once_and_clocks_may_differ_a_little(town: Town, two: Two) -> None:
    one, another = two
    secret, _ = await enrolled(one)
    fast = code_of(secret, steps_ahead=1)

    far_ahead = await signs_in(another, code_of(secret, steps_ahead=6))
    opened = await gives(another, fast)
    again = await signs_in(one, fast)
    before_it = await gives(one, code_of(secret))

    assert (far_ahead.status, opened.status) == (422, 303)
    assert (again.status, before_it.status) == (422, 422)
    assert await reported(town, AuditType.SECOND_FACTOR_USED) == 1


async def test_a_recovery_code_counts_once(town: Town, two: Two) -> None:
    one, another = two
    _, codes = await enrolled(one)

    opened = await signs_in(another, codes[0].upper())
    account = await another.get("/account")
    again = await signs_in(one, codes[0])
    other = await gives(one, codes[1].replace("-", " "))

    assert len(set(codes)) == 10
    assert (opened.status, again.status, other.status) == (303, 422, 303)
    assert "9 códigos" in account.text or "9 recovery codes" in account.text
    assert await reported(town, AuditType.RECOVERY_CODE_USED) == 2


async def test_codes_that_are_guessed_are_slowed_down(two: Two) -> None:
    one, thief = two
    await enrolled(one)
    await thief.sign_in(OPERATIONS)

    statuses = [(await gives(thief, f"{number:06}")).status for number in range(100, 107)]

    assert statuses.count(422) <= 5
    assert statuses[-1] == 429


async def test_the_secret_stands_nowhere_as_it_is(town: Town, two: Two) -> None:
    one, _ = two
    secret, codes = await enrolled(one)
    pages = [await one.get(path) for path in ("/account", "/operations/staff")]
    kept = await town.database.fetch("select f::text as row, sealed_secret, account from "
                                     "second_factors f")  # fmt: skip
    hashed = await town.database.fetch("select c::text as row from recovery_codes c")
    raw = base64.b32decode(secret)
    everything = " ".join(row["row"] for row in (*kept, *hashed))

    assert secret not in everything
    assert raw.hex() not in everything
    assert not any(code.replace("-", "") in everything for code in codes)
    assert not any(secret in page.text for page in pages)
    (row,) = kept
    assert SIGN_IN_KEYS.unseal(row["sealed_secret"], account=row["account"]) == raw
    with pytest.raises(SealedElsewhereError):
        SIGN_IN_KEYS.unseal(row["sealed_secret"], account=NOBODY)
    with pytest.raises(SealedElsewhereError):
        SignInKeys([b"k" * 32]).unseal(row["sealed_secret"], account=row["account"])
    newer = SignInKeys.read(f"{base64.b64encode(b'k' * 32).decode()},{SIGN_IN_KEY}")
    assert newer.unseal(row["sealed_secret"], account=row["account"]) == raw


async def test_another_person_resets_a_second_factor_and_nobody_their_own(
    town: Town, two: Two
) -> None:
    one, colleague = two
    await enrolled(one)
    await enrolled(colleague, SECOND)
    ids = {row["login"]: row["id"] for row in await town.database.fetch("select * from accounts")}
    mine = f"/operations/staff/{ids[OPERATIONS]}/reset-second-factor"
    refused = await one.get(mine)
    page = await one.get("/operations/keys")
    fields = {"form_token": page.field("form_token"), "key": page.field("key")}
    own = await one.post(mine, fields)
    still = await one.get("/operations")
    asked = await colleague.get(mine)
    fields = {"form_token": asked.field("form_token"), "key": asked.field("key")}
    done = await colleague.post(mine, fields)
    ended = await one.get("/operations")
    anew = await one.sign_in(OPERATIONS)

    assert (refused.reported, own.reported) == ("refused=own_second_factor", "refused=same_person")
    assert (still.status, done.headers["location"]) == (200, "/operations/staff?done=1")
    assert ended.headers["location"].startswith("/sign-in")
    assert anew.headers["location"] == "/operations"
    assert await reported(town, AuditType.SECOND_FACTOR_RESET) == 1


async def test_the_database_itself_lets_nobody_reset_their_own_or_use_a_code_twice(
    town: Town, two: Two
) -> None:
    one, _ = two
    await enrolled(one)
    for statement in (
        "update second_factors set ended_at = db_now(), ended_by = account",
        "update second_factors set last_step = last_step - 1",
        "update second_factors set sealed_secret = sealed_secret || '\\x00'",
        "update second_factors set confirmed_at = null, last_step = null",
        "update sessions set second_factor = true where not second_factor",
    ):
        with pytest.raises(asyncpg.CheckViolationError):
            await town.database.fetch(statement)
    with pytest.raises(asyncpg.PostgresError):
        await town.database.fetch("delete from second_factors")
    used = "update recovery_codes set used_at = db_now()"
    await town.database.fetch(used)
    with pytest.raises(asyncpg.CheckViolationError):
        await town.database.fetch("update recovery_codes set used_at = null")


async def test_where_it_is_required_nobody_of_operations_comes_in_without(
    town: Town, two: Two
) -> None:
    """Served beside the town, as a start without CAAS_SECOND_FACTOR would be."""
    one, sales = two
    await one.sign_in(OPERATIONS)
    await sales.sign_in(SALES)
    strict = build_console(
        town.platform,
        ConsoleSettings(public_url=town.url, zone=ZONE, sign_in_keys=SIGN_IN_KEYS),
    )

    async def shown(client: Client, path: str) -> tuple[int, dict[bytes, bytes]]:
        sent: list[dict[str, object]] = []
        jar = "; ".join(f"{one.key}={one.value}" for one in client.session.cookie_jar)

        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": b""}

        async def send(message: dict[str, object]) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": path, "query_string": b"",
                 "headers": [(b"cookie", jar.encode())], "client": ("192.0.2.1", 1)}  # fmt: skip
        await strict(scope, receive, send)
        return sent[0]["status"], dict(sent[0]["headers"])  # type: ignore[return-value,call-overload]

    status, headers = await shown(one, "/operations")
    asked, _ = await shown(one, "/second-factor")
    theirs, _ = await shown(sales, "/intranet")

    assert (status, headers[b"location"]) == (303, b"/second-factor?next=/operations")
    assert (asked, theirs) == (200, 200)


@pytest.mark.parametrize(("tongue", "window"), windows((SPANISH, PHONE), (ENGLISH, {})))
async def test_it_is_set_up_and_used_in_a_browser_by_keyboard(
    town: Town, chromium: Browser, tongue: object, window: dict[str, object]
) -> None:
    english = tongue is ENGLISH
    spoken = ENGLISH if english else SPANISH
    one = await visitor(town, chromium, spoken, **window)
    await one.sign_in(OPERATIONS)
    await one.go("/account")
    await one.page.locator("#second-factor button").press("Enter")
    await expect(one.page.locator("svg.qr")).to_be_visible()
    secret = (await one.page.locator("#secret").inner_text()).replace(" ", "")
    await one.page.locator("#code").fill(code_of(secret))
    await one.page.keyboard.press("Enter")
    await expect(one.page.locator("#recovery-codes li")).to_have_count(10)
    await one.page.locator("main a.button").press("Enter")
    await one.page.wait_for_url("**/operations")
    await one.context.clear_cookies()

    await one.go("/operations/keys")
    await one.page.get_by_label(spoken.login).fill(OPERATIONS)
    await one.page.get_by_label(spoken.password).fill(PASSWORD)
    await one.page.keyboard.press("Enter")
    await expect(one.page.locator("#code")).to_be_focused()
    await one.page.keyboard.type(code_of(secret, steps_ahead=1))
    await one.page.keyboard.press("Enter")
    await one.page.wait_for_url("**/operations/keys")

    assert one.complaints == []


async def test_the_language_is_switched_while_it_is_set_up(town: Town, two: Two) -> None:
    """The page came from a form, so that going back to its address was no page."""
    one, _ = two
    await one.sign_in(OPERATIONS)
    token = (await one.get("/account")).field("form_token")
    page = await one.post("/second-factor/enrol", {"form_token": token})
    (path,) = re.findall(r'name="next" value="([^"]+)"', page.text)

    switched = await one.get(path)

    assert path == "/second-factor"
    assert (switched.status, switched.headers["location"]) == (303, "/operations")
    assert await reported(town, AuditType.SECOND_FACTOR_ENROLLED) == 0

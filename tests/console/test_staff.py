"""Accounts of staff: made, opened, given a new password and closed by the command line."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.cars import COMMAND_KEY
from tests.console.journeys import ENGLISH, SPANISH, visitor
from tests.console.test_safety import client_of
from tests.console.town import PASSWORD, SECRET, SOL, Town
from tests.ways_in import SETTINGS as WAYS_IN

ROOT = Path(__file__).parents[2]
LUIS = "luis@autos-sol.example"
DAY = 24 * 3600

Staff = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
def staff(town: Town, tmp_path: Path) -> Staff:
    """Run `caas staff <words>` beside the town; return its status and what it printed."""
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "src"),
        "CAAS_DATA_DIR": str(tmp_path), "CAAS_DATABASE_URL": town.database.dsn,
        "CAAS_PUBLIC_URL": town.url, "CAAS_GATEWAY_URL": town.gateway_url,
        "CAAS_GATEWAY_API_KEY": "sk_simulated", "CAAS_GATEWAY_WEBHOOK_SECRETS": SECRET,
        "CAAS_PARTNER_WEBHOOK_SECRETS": SECRET, "CAAS_VEHICLE_COMMAND_KEYS": COMMAND_KEY,
        **WAYS_IN,
        "CAAS_MQTT_URL": "in-process:",
        "CAAS_FACTORY_URL": town.partners_url, "CAAS_REGISTRATION_URL": town.partners_url,
        "CAAS_TRANSPORT_URL": town.partners_url, "CAAS_API_KEYS": "ops:operations:" + "k" * 43,
    }  # fmt: skip

    async def run(*words: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "caas.cli", "staff", *words, env=environment, cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode().strip()

    return run


async def test_a_salesperson_is_added_chooses_a_password_and_is_closed(
    town: Town, chromium: Browser, staff: Staff
) -> None:
    status, link = await staff("add", LUIS.upper(), "--role", "sales", "--dealership", SOL)
    again, stated = await staff("add", LUIS, "--role", "sales", "--dealership", SOL)
    luis = await visitor(town, chromium)

    await luis.page.goto(link)
    await luis.page.get_by_label(SPANISH.new_password).fill(PASSWORD)
    await luis.press(SPANISH.save)
    await luis.page.wait_for_url(f"{town.url}/intranet")
    await expect(luis.page.locator(".brand small")).to_have_text(SOL)
    late = await visitor(town, chromium, ENGLISH)
    await late.page.goto(link)
    await expect(late.page.get_by_role("heading", name="no longer works")).to_be_visible()
    closed, _ = await staff("disable", LUIS, "--yes")
    await luis.go("/intranet")
    listed, reported = await staff("list", "--json")

    assert (status, again, closed, listed) == (0, 4, 0, 0)
    assert "The login is taken" in stated
    assert "/sign-in" in luis.page.url
    (row,) = [one for one in json.loads(reported) if one["login"] == LUIS]
    assert (row["role"], row["dealership"]) == ("sales", SOL)
    assert row["disabled_at"] is not None
    assert (await staff("link", LUIS))[0] == 4


async def test_a_forgotten_password_is_replaced_by_a_link_that_works_once_and_not_for_ever(
    town: Town, staff: Staff
) -> None:
    _, first = await staff("add", LUIS, "--role", "operations")
    _, second = await staff("link", LUIS)
    luis = client_of(town)
    old, new = (link.removeprefix(town.url) for link in (first, second))

    ended = await luis.get(old)
    page = await luis.get(new)
    fields = {"password": PASSWORD, "form_token": page.field("form_token")}
    opened = await luis.post(new, fields)
    fields["form_token"] = (await luis.get("/account")).field("form_token")
    used = await luis.post(new, fields)
    _, third = await staff("link", LUIS)
    await town.pass_time(DAY + 1)
    too_late = await luis.get(third.removeprefix(town.url))

    assert (ended.status, page.status, opened.status) == (410, 200, 303)
    assert opened.headers["location"] == "/operations"
    assert (used.status, too_late.status) == (410, 410)
    await luis.session.close()


async def test_what_does_not_fit_is_refused_and_makes_no_account(town: Town, staff: Staff) -> None:
    before = await town.database.fetch("select id from accounts")

    ended = await asyncio.gather(
        staff("add", LUIS, "--role", "sales"),
        staff("add", LUIS, "--role", "operations", "--dealership", SOL),
        staff("add", "lu", "--role", "operations"),
        staff("add", "4111 1111 1111 1111", "--role", "operations"),
        staff("add", "x y", "--role", "operations"),
        staff("add", "x\u00a0yz", "--role", "operations"),
        staff("add", "x\u200byz", "--role", "operations"),
        staff("disable", LUIS, "--yes"),
    )

    assert [status for status, _ in ended] == [4] * 8
    assert all(stated.startswith("caas: ") for _, stated in ended)
    assert await town.database.fetch("select id from accounts") == before

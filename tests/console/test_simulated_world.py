"""The page of the simulated world: what it lets happen, and where there is no such page."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.async_api import Browser, expect
from yarl import URL

from caas.billing_database.identifiers import new_id
from caas.console.application import build_console
from caas.console.settings import ConsoleSettings
from caas.rules.order_states import OrderState
from tests.console.journeys import (
    ANA,
    DESK,
    ENGLISH,
    OPERATIONS,
    PHONE,
    SPANISH,
    Tongue,
    visitor,
)
from tests.console.test_safety import Client, client_of
from tests.console.town import STOCK, ZONE, Town
from tests.ways_in import SIGN_IN_KEYS

TO_BE_BUILT = STOCK[1][0]
PAGE = "/operations/simulators"
FORMS = ("finish", "deliver", "manner", "settle", "month", "next", "script", "clear")


@pytest.mark.parametrize(
    ("tongue", "window", "finish", "stated"),
    [
        (SPANISH, PHONE, "Terminar", "La fábrica ha terminado"),
        (ENGLISH, DESK, "Finish", "The factory has finished"),
    ],
)
async def test_a_car_is_finished_and_delivered_by_a_button(
    town: Town, chromium: Browser, tongue: Tongue, window: dict[str, Any], finish: str, stated: str
) -> None:
    order = await town.reserved(TO_BE_BUILT, email=ANA)
    await town.order_is(order, OrderState.FACTORY_ORDER_PLACED)
    one = await visitor(town, chromium, tongue, **window)
    await one.sign_in(OPERATIONS)

    await one.go(PAGE)
    await one.press(f"{finish} {TO_BE_BUILT}")
    await expect(one.page.locator(".notice.good")).to_contain_text(f"{stated} {TO_BE_BUILT}")
    await town.order_is(order, OrderState.READY)
    await town.pays_the_rest(order)
    await town.order_is(order, OrderState.DELIVERY_SCHEDULED)
    await one.go(PAGE)
    await one.page.locator("form[action$='/deliver'] button").click()
    await expect(one.page.locator(".notice.good")).to_contain_text(TO_BE_BUILT)

    await town.order_is(order, OrderState.DELIVERED)
    assert one.complaints == []


async def test_the_next_call_to_the_gateway_fails_as_chosen_and_once(
    town: Town, chromium: Browser
) -> None:
    one = await visitor(town, chromium, ENGLISH)
    await one.sign_in(OPERATIONS)

    await one.go(PAGE)
    await one.page.locator("#call").select_option("initiate")
    await one.page.locator("#way").select_option("half_an_answer")
    await one.page.locator("#fail-next").click()
    line = one.page.locator(".notice.good")
    await expect(line).to_contain_text("Authorize a payment: the next call fails.")
    await expect(one.page.get_by_text("triggered 0 times")).to_be_visible()
    order = await town.reserved(STOCK[0][0], email=ANA)
    await town.order_is(order, OrderState.READY)
    await one.go(PAGE)

    await expect(one.page.get_by_text("finished", exact=True)).to_be_visible()
    async with town.http.get(f"{town.gateway_url}/_control/ledger") as answer:
        ledger = await answer.json()
    assert [row["charges_executed"] for row in ledger["transactions"]] == [1]


async def test_what_is_not_on_the_page_is_refused_and_told(engineer: Client) -> None:
    for form, fields in (
        ("finish", {"id": "../faults"}),
        ("deliver", {"id": "del_0123456789abcdef"}),
        ("next", {"call": "initiate", "way": "explode"}),
        ("next", {"call": "webhook", "way": "error"}),
        ("manner", {"vin": "../faults", "behaviour": "obeys"}),
        ("script", {"simulator": "nobody", "fault": "lost_answer"}),
    ):
        token = (await engineer.get("/account")).field("form_token")
        known = {"form_token": token, "key": str(new_id())}
        reply = await engineer.post(f"{PAGE}/{form}", known | fields)
        assert (reply.status, reply.reported) == (422, "refused=no_such_fault"), form


async def test_the_letters_are_read_newest_first_and_their_links_lead_on(
    town: Town, engineer: Client, chromium: Browser
) -> None:
    await town.reserved(STOCK[0][0], email=ANA)
    link = await town.access_link(ANA)
    letters = await engineer.get(f"{PAGE}/messages")
    before = await engineer.get(f"{PAGE}/messages?before=20000101T000000.000000-x")
    ana = await visitor(town, chromium, SPANISH, **PHONE)
    await ana.page.goto(link)

    assert f'<a href="{link}"' in letters.text
    assert ANA in letters.text
    assert "Ningún correo sale de este equipo" in letters.text
    assert link not in before.text
    await expect(ana.page.get_by_label(SPANISH.new_password)).to_be_visible()


async def test_time_is_not_moved_where_not_all_the_world_is_simulated(engineer: Client) -> None:
    """The town's database is nobody's to move: other tests, or other platforms, live in it."""
    page = await engineer.get(PAGE)
    fields = {"form_token": page.field("form_token"), "key": str(new_id())}
    transitioned = await engineer.post(f"{PAGE}/month", fields)

    assert 'id="pass-month"' not in page.text
    assert transitioned.status == 404


async def test_a_platform_with_real_partners_has_none_of_it(town: Town, engineer: Client) -> None:
    settings = ConsoleSettings(
        public_url=town.url, zone=ZONE, sign_in_keys=SIGN_IN_KEYS, second_factor_required=False
    )
    entrance = build_console(town.platform, settings)
    page = await engineer.get("/account")
    cookies = engineer.session.cookie_jar.filter_cookies(URL(town.url))
    fields = {"form_token": page.field("form_token"), "key": str(new_id())}
    headers = [
        (b"cookie", "; ".join(f"{name}={it.value}" for name, it in cookies.items()).encode()),
        (b"content-type", b"application/x-www-form-urlencoded"),
    ]

    async def status(method: str, path: str) -> int:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": urlencode(fields).encode()}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {"type": "http", "method": method, "path": path, "query_string": b"",
                 "headers": headers, "client": ("192.0.2.1", 1)}  # fmt: skip
        await entrance(scope, receive, send)
        return int(sent[0]["status"])

    assert await status("GET", "/operations/keys") == 200
    assert await status("GET", PAGE) == 404
    assert await status("GET", f"{PAGE}/messages") == 404
    assert {form: await status("POST", f"{PAGE}/{form}") for form in FORMS} == dict.fromkeys(
        FORMS, 404
    )


@pytest.fixture
async def engineer(town: Town) -> AsyncIterator[Client]:
    """An engineer who sends what they like."""
    client = client_of(town)
    await client.sign_in(OPERATIONS)
    yield client
    await client.session.close()

"""The whole story with nothing but the pages of a real `up`: from a reservation to the invoice.

A newcomer copies what `up` printed, sells a car, and needs neither curl nor another terminal.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from playwright.async_api import Browser, Page, expect

from tests import browser
from tests.console.journeys import (
    DESK,
    ENGLISH,
    GOOD_CARD,
    PHONE,
    SPANISH,
    Tongue,
    Visitor,
    visitor,
)
from tests.first_minutes.checkout import SECONDS_MAX, Checkout, Up

TO_BE_BUILT = "VSSZZZCAS0R000003"
CARD_AT_ADYEN = "4111111111111111"
EVA = "eva@example.com"
LETTERS = "/operations/simulators/messages"
SIGN_IN = re.compile(r"^  (\S+@\S+) +(\S+) +\((.+)\)$", re.MULTILINE)
PATIENCE_MS = 120_000.0

Picture = Callable[[Visitor, str], Awaitable[None]]


async def no_picture(_who: Visitor, _name: str) -> None:
    """Take none."""


@dataclass(slots=True)
class Newcomer:
    """Somebody who has started `up`, a browser, and what `up` printed."""

    up: Up
    chromium: Browser
    picture: Picture = no_picture
    card: str = GOOD_CARD
    reads_letters: Visitor | None = None

    @property
    def url(self) -> str:
        """Where the pages are."""
        return self.up.url

    async def access_link(self, email: str) -> str:
        """Look at the letters of the simulated world until the one with the link is there."""
        assert self.reads_letters is not None
        page = await self.reads_letters.page.context.new_page()
        link = page.locator("article", has_text=email).locator("a[href*='/access/']").first
        async with asyncio.timeout(SECONDS_MAX):
            await page.goto(f"{self.url}{LETTERS}")
            while not await link.count():
                await asyncio.sleep(0.1)
                await page.reload()
        found = await link.get_attribute("href")
        await page.close()
        assert found is not None
        return found

    async def signed_in(self, role: str, tongue: Tongue, window: dict[str, Any]) -> Visitor:
        """Sign in with what was printed for a role or a dealership."""
        login, password, _ = next(one for one in SIGN_IN.findall(self.up.welcome) if one[2] == role)
        who = await self.somebody(tongue, window)
        await who.sign_in(login, password)
        return who

    async def somebody(self, tongue: Tongue, window: dict[str, Any]) -> Visitor:
        """Open another browser window."""
        who = await visitor(self, self.chromium, tongue, **window)
        who.page.set_default_timeout(PATIENCE_MS)
        return who


@pytest.mark.parametrize("words", ["./caas up", "./caas up --gateway stripe-fake"])
async def test_a_browser_alone_leads_from_a_reservation_to_the_invoice(
    checkout: Checkout, words: str
) -> None:
    async with checkout.up(words) as up, browser.started() as chromium:
        newcomer = Newcomer(up, chromium)
        people = await whole_story(newcomer)

    assert [who.complaints for who in people] == [[], [], []]


async def test_a_card_typed_at_the_simulated_adyen_starts_a_subscription(
    checkout: Checkout,
) -> None:
    async with (
        checkout.up("./caas up --gateway adyen-fake") as up, browser.started() as chromium,
    ):  # fmt: skip
        newcomer = Newcomer(up, chromium, card=CARD_AT_ADYEN)
        sales = await newcomer.signed_in("Autos Sol", ENGLISH, DESK)
        operations = await newcomer.signed_in("operations", ENGLISH, DESK)
        newcomer.reads_letters = operations
        eva = await a_car_is_delivered(newcomer, sales, operations)
        await a_service_is_subscribed_to(newcomer, eva, method="new")

    assert sales.complaints == operations.complaints == eva.complaints == []


async def whole_story(newcomer: Newcomer) -> list[Visitor]:
    """Play it, each in a window of their own: dealership, operations, customer."""
    sales = await newcomer.signed_in("Autos Sol", ENGLISH, DESK)
    operations = await newcomer.signed_in("operations", ENGLISH, DESK)
    newcomer.reads_letters = operations
    eva = await a_car_is_delivered(newcomer, sales, operations)
    await a_service_is_bought_and_extended(newcomer, eva, operations)
    await a_service_is_subscribed_to(newcomer, eva)
    await a_month_passes(newcomer, operations)
    await the_invoice_is_there(newcomer, eva)
    return [sales, operations, eva]


async def a_car_is_delivered(newcomer: Newcomer, sales: Visitor, operations: Visitor) -> Visitor:
    """Reserve a car, have it built, paid and delivered; return its owner."""
    order = await a_car_is_reserved(newcomer, sales)
    await the_world_goes_on(newcomer, operations, "finish", TO_BE_BUILT, "has finished {vin}")
    eva = await newcomer.somebody(SPANISH, PHONE)
    await eva.opens_account(EVA)
    await the_rest_is_paid(newcomer, eva, order)
    await the_world_goes_on(
        newcomer, operations, "deliver", TO_BE_BUILT, "{vin} has been delivered"
    )
    await seen(eva, f"/car/{order}", "a[href='/services']")
    await newcomer.picture(eva, "car-delivered")
    return eva


async def a_car_is_reserved(newcomer: Newcomer, sales: Visitor) -> UUID:
    """Reserve a car that has to be built, for a new customer, and pay the deposit."""
    order = await sales.reserves(TO_BE_BUILT, email=EVA, name="Eva Gil")
    await newcomer.picture(sales, "order-to-pay")
    await sales.page.get_by_text(sales.tongue.pay_here).click()
    await sales.page.get_by_label(sales.tongue.card).wait_for()
    await newcomer.picture(sales, "gateway")
    await sales.pays(newcomer.card)
    await sales.page.wait_for_url(f"**/intranet/orders/{order}")
    return order


async def the_world_goes_on(
    newcomer: Newcomer, operations: Visitor, verb: str, vin: str, stated: str
) -> None:
    """Press the button of a car on the page of the simulated world, once it stands there."""
    button = f"form[action$='/{verb}']:has(button[aria-label*='{vin}']) button"
    await seen(operations, "/operations/simulators", button)
    await newcomer.picture(operations, f"world-before-{verb}")
    await operations.page.locator(button).click()
    await reports(operations, stated.format(vin=vin))
    await expect(operations.page.locator(button)).to_have_count(0)


async def the_rest_is_paid(newcomer: Newcomer, eva: Visitor, order: UUID) -> None:
    """Pay the rest of a car that is ready."""
    await seen(eva, f"/car/{order}", f"a[href='/car/{order}/final-payment']")
    await newcomer.picture(eva, "car-ready")
    await eva.goes_to_pay_the_rest(order)
    await newcomer.picture(eva, "gateway-phone")
    await eva.pays(newcomer.card)


async def a_service_is_bought_and_extended(
    newcomer: Newcomer, eva: Visitor, operations: Visitor
) -> None:
    """Buy a service for a car that sleeps, wake it, and buy the same again: it lasts longer."""
    ends: list[str] = []
    await presses(operations, f"Put {TO_BE_BUILT} to sleep", f"{TO_BE_BUILT} is asleep")
    for confirmed in ("Su coche ha confirmado", "Ampliación confirmada"):
        await eva.goes_to_buy("heated-seats")
        await eva.pays()
        if not ends:
            await presses(operations, f"Wake {TO_BE_BUILT}", f"{TO_BE_BUILT} is awake")
        await eva.page.get_by_text(confirmed).wait_for()
        await newcomer.picture(eva, f"service-{len(ends)}")
        ends.append(await eva.page.locator("main .big").inner_text())

    assert ends[0] != ends[1]


async def a_service_is_subscribed_to(
    newcomer: Newcomer, eva: Visitor, *, method: str | None = None
) -> None:
    """Subscribe with the card that was used, or a `new` one, and wait until the service is on.

    A gateway that has not saved the card asks for it once more, on its page.
    """
    is_on, asked_again = eva.page.locator(".meter"), eva.page.locator("#go-on")
    is_typed = eva.page.get_by_label(eva.tongue.card)
    await eva.go("/subscribe/range-plus")
    if method:
        await eva.page.locator(f"input[value={method}]").check()
    await newcomer.picture(eva, "subscribe")
    await eva.page.locator("#agreed").check()
    await eva.page.locator("main button.first").click()
    await is_on.or_(asked_again).or_(is_typed).first.wait_for()
    if await asked_again.is_visible():
        await asked_again.click()
        await is_typed.wait_for()
    if await is_typed.is_visible():
        await newcomer.picture(eva, "gateway-of-a-new-card")
        await eva.pays(newcomer.card)
    await is_on.wait_for()
    await newcomer.picture(eva, "subscription")


async def a_month_passes(newcomer: Newcomer, operations: Visitor) -> None:
    """Let the month pass on the page."""
    await presses(operations, "Advance to end of month", "is over and billed. Invoices: 1")
    await newcomer.picture(operations, "world-after-month")


async def the_invoice_is_there(newcomer: Newcomer, eva: Visitor) -> None:
    """Find the invoice, and fetch it as a PDF."""
    await seen(eva, "/invoices", "a[href$='.pdf']")
    await newcomer.picture(eva, "invoices")
    path = await eva.page.locator("a[href$='.pdf']").first.get_attribute("href")
    answer = await eva.context.request.get(f"{newcomer.url}{path}")

    assert answer.headers["content-type"] == "application/pdf"
    assert (await answer.body()).startswith(b"%PDF-")


async def presses(operations: Visitor, button: str, stated: str) -> None:
    """Press a button of the simulated world, and read what it has done."""
    await operations.go("/operations/simulators")
    await operations.press(button)
    await reports(operations, stated)


async def reports(operations: Visitor, what: str) -> None:
    """Read the line that says what the button has done."""
    line = operations.page.locator(".notice.good[role=status]")
    await expect(line).to_contain_text(what, timeout=PATIENCE_MS)


async def seen(who: Visitor, path: str, selector: str) -> Page:
    """Look at a page again and again, as a person does who waits for something to be there."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            answer = await who.page.goto(who.town.url + path)
            assert answer is not None
            assert answer.ok, answer.status
            if await who.page.locator(selector).count():
                return who.page
            await asyncio.sleep(0.5)

"""The channels with a keyboard alone: the focus is seen, gets everywhere, and stays there."""

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from caas_simulators.vehicle_car import Behaviour, Manner
from tests.console.journeys import (
    ANA,
    DESK,
    ENGLISH,
    GOOD_CARD,
    PHONE,
    SPANISH,
    Tongue,
    Visitor,
    visitor,
    windows,
)
from tests.console.test_operations import engineer, unknown
from tests.console.test_operations_reconciliation import wrong_settlement
from tests.console.town import STOCK, Town

VIN = STOCK[0][0]
TABS_MAX = 60
OUTLINED = """
element => [element, element.closest('.choice')].filter(Boolean).map(getComputedStyle)
  .some(({outlineStyle, outlineWidth}) => outlineStyle !== 'none' && parseFloat(outlineWidth) > 0)
"""


async def tabs_to(page: Page, wanted: Locator) -> None:
    """Press Tab until something has the focus, which has to be seen on every step."""
    handle = await wanted.first.element_handle()
    assert handle is not None
    for _ in range(TABS_MAX):
        await page.keyboard.press("Tab")
        focus = await page.evaluate_handle("document.activeElement")
        if await focus.evaluate("element => element !== document.body"):
            assert await focus.evaluate(OUTLINED), await focus.evaluate("e => e.outerHTML")
        if await focus.evaluate("(element, wanted) => element === wanted", handle):
            return
    raise AssertionError(f"{TABS_MAX} times Tab do not lead to {wanted}")


async def opens(page: Page, wanted: Locator, address: str) -> None:
    """Go to a link or button with Tab and press Enter."""
    await tabs_to(page, wanted)
    await page.keyboard.press("Enter")
    await page.wait_for_url(address)


@pytest.mark.parametrize("tongue", [tongue for (tongue,) in windows((SPANISH,), (ENGLISH,))])
async def test_a_service_is_bought_and_a_subscription_ended(
    town: Town, chromium: Browser, tongue: Tongue
) -> None:
    order = await town.delivered(VIN, email=ANA)
    customer = (await town.platform.order_management.orders.get(order)).customer
    await town.platform.payment_processing.subscribe(
        customer=customer, vin=VIN, service="range-plus", payment_method="pm_ok"
    )
    ana = await visitor(town, chromium, tongue, **DESK)
    await ana.opens_account()
    page, keyboard = ana.page, ana.page.keyboard

    await opens(page, page.locator("a[href='/services']"), "**/services")
    await opens(page, page.locator("a[href='/services/heated-seats']"), "**/heated-seats")
    await keyboard.press("Tab")
    await expect(page.locator(".skip")).to_be_focused()
    await keyboard.press("Enter")
    await tabs_to(page, page.locator("input[value='30']"))
    await keyboard.press("ArrowDown")
    await expect(page.locator("input[value='90']")).to_be_checked()
    await tabs_to(page, page.locator("main button.first"))
    await keyboard.press("Enter")
    await page.get_by_label(tongue.card).focus()
    for text in (GOOD_CARD, "12/39", "123"):
        await keyboard.type(text)
        await keyboard.press("Tab")
    await keyboard.press("Enter")
    await page.wait_for_url("**/service-orders/*")
    active = "Activo en su coche" if tongue is SPANISH else "Active in your car"
    await expect(page.get_by_role("heading", name=active)).to_be_visible()

    await opens(page, page.locator("a[href='/services']"), "**/services")
    await opens(page, page.locator("a[href^='/subscriptions/']"), "**/subscriptions/*")
    await opens(page, page.locator("#end"), "**/end")
    await tabs_to(page, page.locator("main button.danger"))
    await keyboard.press("Enter")
    ended = "Ha desistido" if tongue is SPANISH else "You withdrew"
    await expect(page.get_by_role("heading", name=ended)).to_be_visible()
    assert ana.complaints == []


async def test_a_payment_is_found_and_a_discrepancy_decided(town: Town, chromium: Browser) -> None:
    await town.reserved(VIN, email=ANA)
    await wrong_settlement(town)
    one = await engineer(town, chromium, ENGLISH)
    page, keyboard = one.page, one.page.keyboard

    await tabs_to(page, page.locator("#q"))
    await keyboard.type(VIN)
    await keyboard.press("Enter")
    await expect(page.locator("#to-vehicle")).to_be_visible()  # a VIN leads to its car as well
    await opens(page, page.locator("td a.vin"), "**/operations/payments/*")
    await expect(page.locator(".timeline")).to_be_visible()
    await opens(page, page.locator("a[href='/operations']"), "**/operations")
    await opens(page, page.locator("a[href='/operations/discrepancies']"), "**/discrepancies")
    await opens(page, page.locator("td a"), "**/discrepancies/*")
    await tabs_to(page, page.locator("input[name=resolution]"))
    await keyboard.press("Space")
    await tabs_to(page, page.locator("#resolve-note"))
    await keyboard.type("Their mistake.")
    await opens(page, page.locator("#resolve"), "**?done=1")

    await expect(page.get_by_role("status").first).to_be_visible()
    assert one.complaints == []


async def test_a_menu_opens_and_escape_closes_it(town: Town, chromium: Browser) -> None:
    one = await engineer(town, chromium)
    page = one.page

    await tabs_to(page, page.locator("details.who summary"))
    await page.keyboard.press("Enter")
    await expect(page.locator("details.who .menu a").first).to_be_visible()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Escape")

    await expect(page.locator("details.who .menu a").first).to_be_hidden()
    await expect(page.locator("details.who summary")).to_be_focused()


async def waiting_service(town: Town, browser: Browser) -> Visitor:
    """Let a customer look at a service that a sleeping car does not confirm."""
    await town.delivered(VIN, email=ANA)
    town.fleet.add(VIN, Manner(Behaviour.SILENT))
    ana = await visitor(town, browser, **PHONE)
    await ana.opens_account()
    await ana.goes_to_buy("heated-seats")
    await ana.pays()
    await expect(ana.page.get_by_role("heading", name="Activando en su coche")).to_be_visible()
    return ana


async def test_the_focus_stays_when_a_live_part_is_swapped(town: Town, chromium: Browser) -> None:
    """It fell back to the top of the page, and a screen reader began to read there."""
    ana = await waiting_service(town, chromium)
    link = ana.page.locator("#service a[href^='/payments/']")
    await link.evaluate("element => { element.dataset.old = 'yes'; element.textContent = 'x'; }")
    await link.focus()

    await town.pass_time(3600)

    await expect(ana.page.get_by_role("heading", name="no cobrado")).to_be_visible()
    await expect(ana.page.locator("#service")).to_be_focused()


async def test_what_was_opened_stays_open_and_what_was_written_stays_written(
    town: Town, chromium: Browser
) -> None:
    """The recorder closed under its reader every few seconds, and a half-written note was lost."""
    payment = await unknown(town)
    one = await engineer(town, chromium)
    page = one.page
    await one.go(f"/operations/payments/{payment.id}")
    facts = page.locator(".timeline details summary").first
    await facts.focus()
    await page.keyboard.press("Enter")
    before = await page.locator("#payment").get_attribute("hx-get")
    await expect(page.locator("#payment")).not_to_have_attribute("hx-get", before or "")
    await expect(page.locator(".timeline details[open]")).to_have_count(1)
    await expect(facts).to_be_focused()

    await page.locator("details.more summary").click()
    await page.locator("#note").fill("The gateway wrote")
    await page.locator("#propose").focus()
    asked: list[str] = []
    page.on(
        "request", lambda reported: asked.append(reported.url) if "/live" in reported.url else None
    )
    await page.wait_for_timeout(2500)

    await expect(page.locator("#note")).to_have_value("The gateway wrote")
    assert asked == []

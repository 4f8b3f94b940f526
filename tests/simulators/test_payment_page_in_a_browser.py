"""The hosted payment page in a real browser: no script, strict policy, keyboard only."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import BrowserContext, Page

from tests.browser import started
from tests.simulators.gateway_client import Gateway, Receiver


@pytest.fixture
async def browser() -> AsyncIterator[BrowserContext]:
    """Open a browser as a Spanish customer has it, with script switched off."""
    async with started() as chromium:
        yield await chromium.new_context(
            locale="es-ES", java_script_enabled=False, viewport={"width": 360, "height": 740}
        )


async def opened(browser: BrowserContext, gateway: Gateway, back: str) -> tuple[Page, str]:
    """Open the hosted page of a new transaction."""
    transaction = (await gateway.initiate(None, return_url=back)).body
    page = await browser.new_page()
    await page.goto(transaction["hosted_page_url"])
    return page, str(transaction["id"])


async def test_a_customer_pays_with_the_keyboard_and_comes_back(
    browser: BrowserContext, gateway: Gateway, receiver: Receiver
) -> None:
    back = receiver.url.replace("127.0.0.1", "localhost") + "/back"
    page, transaction_id = await opened(browser, gateway, back)

    await page.keyboard.press("Tab")
    for text in ("4242424242424242", "1239", "123"):
        await page.keyboard.type(text)
        await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await page.wait_for_url(back)

    assert (await gateway.find(transaction_id))["status"] == "authorized"


async def test_the_page_obeys_its_own_policy_and_fits_a_small_screen(
    browser: BrowserContext, gateway: Gateway
) -> None:
    complaints: list[str] = []
    page, _ = await opened(browser, gateway, "https://shop.example/back")
    page.on("console", lambda message: complaints.append(message.text))

    await page.reload()
    background = await page.locator("button.first").evaluate(
        "button => getComputedStyle(button).backgroundColor"
    )
    overflow = await page.evaluate("document.documentElement.scrollWidth - innerWidth")

    assert complaints == []
    assert background == "rgb(11, 87, 208)"
    assert overflow <= 0


async def test_a_mistake_is_announced_and_can_be_mended(
    browser: BrowserContext, gateway: Gateway, receiver: Receiver
) -> None:
    back = f"{receiver.url}/back"
    page, transaction_id = await opened(browser, gateway, back)

    await page.get_by_label("Número de tarjeta").fill("4242 4242 4242 4241")
    await page.get_by_role("button", name="Pagar 10,00").click()
    alert = await page.get_by_role("alert").inner_text()
    await page.get_by_label("Número de tarjeta").fill("4000 0025 0000 3155")
    await page.get_by_label("Caducidad").fill("12/39")
    await page.get_by_label("Código CVC").fill("123")
    await page.get_by_role("button", name="Pagar 10,00").click()
    await page.get_by_role("button", name="Confirmar el pago").click()
    await page.wait_for_url(back)

    assert "Escriba un número de tarjeta correcto" in alert
    assert (await gateway.find(transaction_id))["status"] == "authorized"


async def test_a_customer_can_leave(
    browser: BrowserContext, gateway: Gateway, receiver: Receiver
) -> None:
    back = f"{receiver.url}/back"
    page, transaction_id = await opened(browser, gateway, back)

    await page.get_by_role("button", name="Salir sin pagar").click()
    await page.wait_for_url(back)

    assert (await gateway.find(transaction_id))["void_reason"] == "customer_left"

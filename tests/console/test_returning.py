"""Coming back from the gateway's page while its webhook is lost: asked at once, then shown."""

from playwright.async_api import Browser, expect

from tests.console.journeys import ANA, PHONE, SALES, SPANISH, Visitor, visitor
from tests.console.town import STOCK, Town

FINISHED = STOCK[0][0]


async def no_webhook_comes(town: Town) -> None:
    await town.gateway_does("faults", match={"operation": "webhook"}, action={"drop": True})


async def waits_at_the_gateway(visitor_: Visitor, subject: object) -> None:
    """Come back before anything was entered: the page is open, and leads back to the gateway."""
    page = await visitor_.context.new_page()
    await page.goto(f"{visitor_.town.url}/returned/{subject}")
    await expect(
        page.get_by_role("heading", name="La página de pago sigue abierta")
    ).to_be_visible()
    await expect(page.get_by_text("No pague de nuevo")).to_have_count(0)
    await page.locator("#go-on").click()
    await page.wait_for_url(lambda url: "/returned/" not in url)
    await page.close()


async def test_a_reservation_payment_is_confirmed_at_once(town: Town, chromium: Browser) -> None:
    sales = await visitor(town, chromium)
    await sales.sign_in(SALES)
    order = await sales.reserves(FINISHED)
    await no_webhook_comes(town)
    [payment] = await town.platform.tables.payments.listed(subject=order)
    await waits_at_the_gateway(sales, order)

    await sales.page.goto(payment.hosted_page_url or "")
    await sales.pays()

    await expect(sales.page).to_have_url(f"{town.url}/intranet/orders/{order}")
    assert (await town.platform.tables.payments.get(payment.id)).captured_amount == payment.amount


async def test_a_final_payment_is_confirmed_at_once(town: Town, chromium: Browser) -> None:
    order = await town.reserved(FINISHED, email=ANA)
    ana = await visitor(town, chromium, SPANISH, **PHONE)
    await ana.opens_account()
    await ana.goes_to_pay_the_rest(order)
    await no_webhook_comes(town)
    await waits_at_the_gateway(ana, order)

    await ana.pays()

    await expect(ana.page).to_have_url(f"{town.url}/car/{order}")
    assert await ana.page.locator("#pay-rest").count() == 0


async def test_a_service_payment_is_confirmed_at_once(town: Town, chromium: Browser) -> None:
    await town.delivered(FINISHED, email=ANA)
    ana = await visitor(town, chromium, SPANISH, **PHONE)
    await ana.opens_account()
    await ana.goes_to_buy("heated-seats")
    await no_webhook_comes(town)

    await ana.pays()

    await expect(ana.page.get_by_role("heading", name="Activo en su coche")).to_be_visible()
    assert "/service-orders/" in ana.page.url


async def test_who_leaves_the_page_of_a_new_card_reads_what_is_known(
    town: Town, chromium: Browser
) -> None:
    """It said "confirming with your bank, do not pay again", though nothing had been entered."""
    await town.delivered(FINISHED, email=ANA)
    ana = await visitor(town, chromium, SPANISH, **PHONE)
    await ana.opens_account()
    await ana.go("/subscribe/range-plus")
    await ana.page.locator("input[name=method][value=new]").check()
    await ana.page.locator("#agreed").check()
    await ana.page.locator("main button.first").click()
    await ana.page.get_by_label(ana.tongue.card).wait_for()
    at_gateway = ana.page.url
    [subscription] = await town.platform.subscriptions.subscriptions()

    await ana.go(f"/returned/{subscription.id}")
    await ana.page.locator("#go-on").click()
    await ana.page.wait_for_url(at_gateway)
    await ana.go(f"/subscriptions/{subscription.id}")
    await expect(
        ana.page.get_by_role("heading", name="Aún no ha introducido su tarjeta")
    ).to_be_visible()
    await ana.page.goto(at_gateway)
    await ana.page.get_by_role("button", name=ana.tongue.leave).click()

    await expect(
        ana.page.get_by_role("heading", name="La página de la tarjeta se ha cerrado")
    ).to_be_visible()
    await expect(ana.page.locator("#again")).to_have_attribute("href", "/subscribe/range-plus")
    assert ana.complaints == []


async def test_of_a_payment_that_is_not_there_nothing_is_said(
    town: Town, chromium: Browser
) -> None:
    nobody = await visitor(town, chromium, SPANISH)

    await nobody.page.goto(f"{town.url}/returned/01936d5e-0000-7000-8000-000000000001")

    await expect(nobody.page.get_by_role("heading", name="Página no encontrada")).to_be_visible()

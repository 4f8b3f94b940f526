"""Signing in and out in a browser: who may, who has to wait, and what ends a session."""

from playwright.async_api import Browser

from tests.channels.town import PASSWORD, Town


async def test_sales_sign_in_and_see_their_dealership(town: Town, chromium: Browser) -> None:
    context = await chromium.new_context(locale="es-ES")
    page = await context.new_page()
    said = []
    page.on("console", lambda message: said.append(message.text))

    await page.goto(town.url + "/intranet")
    await page.get_by_label("Correo electrónico o usuario").fill("ventas@autos-sol.example")
    await page.get_by_label("Contraseña").fill(PASSWORD)
    await page.get_by_role("button", name="Entrar").click()
    await page.wait_for_url(town.url + "/intranet")
    await context.close()

    assert said == []

"""Signing in and out in a browser: who may, who has to wait, and what ends a session."""

import re

from playwright.async_api import Browser, expect

from tests.console.journeys import ANA, ENGLISH, PHONE, SALES, visitor
from tests.console.test_sign_in_throttle import slowed_to_the_limit
from tests.console.town import PASSWORD, STOCK, Town

WEEK = 7 * 24 * 3600


async def test_sales_come_to_the_page_they_asked_for(town: Town, chromium: Browser) -> None:
    sales = await visitor(town, chromium)

    await sales.go("/intranet/stock")
    await sales.page.get_by_label(sales.tongue.login).fill(SALES.upper())
    await sales.page.get_by_label(sales.tongue.password).fill(PASSWORD)
    await sales.page.keyboard.press("Enter")

    await sales.page.wait_for_url(town.url + "/intranet/stock")
    await expect(sales.page.get_by_role("heading", name="Vehículos")).to_be_visible()
    assert sales.complaints == []


async def test_a_wrong_password_and_an_unknown_login_are_told_alike(
    town: Town, chromium: Browser
) -> None:
    reported = []
    for login in (SALES, "nobody@example.com"):
        somebody = await visitor(town, chromium, ENGLISH)
        await somebody.go("/sign-in")
        await somebody.page.get_by_label(ENGLISH.login).fill(login)
        await somebody.page.get_by_label(ENGLISH.password).fill("not the password")
        await somebody.press(ENGLISH.enter)
        reported.append(await somebody.page.get_by_role("alert").inner_text())

    assert reported[0] == reported[1]
    assert "is incorrect" in reported[0]


async def test_who_guesses_too_often_has_to_wait_even_with_the_right_password(
    town: Town, chromium: Browser
) -> None:
    somebody = await visitor(town, chromium, ENGLISH)
    await slowed_to_the_limit(town, SALES)
    await somebody.go("/sign-in")
    await somebody.page.get_by_label(ENGLISH.login).fill(SALES)
    await somebody.page.get_by_label(ENGLISH.password).fill(PASSWORD)
    await somebody.press(ENGLISH.enter)
    await expect(somebody.page.get_by_role("heading", name="Too many attempts")).to_be_visible()
    await expect(somebody.page.get_by_text("Try again in 15 min.")).to_be_visible()

    await town.pass_time(15 * 60 + 1)
    await somebody.sign_in(SALES)

    assert somebody.page.url == town.url + "/intranet"


async def test_signing_out_ends_the_session_for_a_copied_cookie_too(
    town: Town, chromium: Browser
) -> None:
    sales, thief = await visitor(town, chromium), await visitor(town, chromium)
    await sales.sign_in(SALES)
    await thief.context.add_cookies(await sales.context.cookies())  # type: ignore[arg-type]

    await sales.page.locator("details.who summary").click()
    await sales.press("Cerrar sesión")
    await thief.go("/intranet")

    assert "/sign-in" in thief.page.url


async def test_an_idle_session_ends_and_says_so(town: Town, chromium: Browser) -> None:
    sales = await visitor(town, chromium)
    await sales.sign_in(SALES)
    await sales.go("/intranet/orders")

    await town.pass_time(31 * 60)
    await sales.page.reload()

    await expect(sales.page.get_by_text("La sesión ha caducado")).to_be_visible()
    await sales.page.get_by_label(sales.tongue.login).fill(SALES)
    await sales.page.get_by_label(sales.tongue.password).fill(PASSWORD)
    await sales.press(sales.tongue.enter)
    await sales.page.wait_for_url(town.url + "/intranet/orders")


async def test_a_form_sent_after_the_session_ended_does_nothing_and_leads_to_sign_in(
    town: Town, chromium: Browser
) -> None:
    sales = await visitor(town, chromium)
    await sales.sign_in(SALES)
    await sales.go(f"/intranet/stock/{STOCK[0][0]}/reserve")
    await sales.page.get_by_label(sales.tongue.name).fill("Ana Ruiz")
    await sales.page.get_by_label(sales.tongue.email).fill(ANA)

    await town.pass_time(31 * 60)
    await sales.press(sales.tongue.reserve)

    await expect(sales.page.get_by_text("La sesión ha caducado")).to_be_visible()
    assert await town.database.fetch("select id from customers") == []


async def test_an_access_link_opens_the_account_once(town: Town, chromium: Browser) -> None:
    sales, ana = await visitor(town, chromium), await visitor(town, chromium, **PHONE)
    await sales.sign_in(SALES)
    await sales.reserves(STOCK[0][0])
    await sales.page.get_by_text(sales.tongue.pay_here).click()
    await sales.pays()
    link = await town.access_link(ANA)

    await ana.page.goto(link)
    await ana.page.goto(link)  # a mail program that looks first does not use it up
    await ana.page.get_by_label(ana.tongue.new_password).fill("aaaaaaaaaaaa")
    await ana.press(ana.tongue.save)
    await expect(ana.page.get_by_text("demasiado común")).to_be_visible()
    await ana.page.get_by_label(ana.tongue.new_password).fill(PASSWORD)
    await ana.press(ana.tongue.save)
    await ana.page.wait_for_url("**/car/*")
    await ana.page.goto(link)

    await expect(ana.page.get_by_role("heading", name="ya no es válido")).to_be_visible()
    await expect(sales.page.get_by_text("Activo", exact=True)).to_be_visible()


async def test_an_old_access_link_is_replaced_by_asking_for_another(
    town: Town, chromium: Browser
) -> None:
    sales, ana = await visitor(town, chromium), await visitor(town, chromium, ENGLISH)
    await sales.sign_in(SALES)
    await sales.reserves(STOCK[0][0])
    await sales.page.get_by_text(sales.tongue.pay_here).click()
    await sales.pays()
    old = await town.access_link(ANA)
    await town.pass_time(WEEK + 1)

    await ana.page.goto(old)
    await ana.page.get_by_role("link", name="Request a new link").click()
    await ana.page.get_by_label(ENGLISH.email).fill(ANA.title())
    await ana.press("Send link")
    await expect(ana.page.get_by_text("we have just sent a link")).to_be_visible()
    await ana.page.goto(await town.access_link(ANA, other_than=old))
    await ana.page.get_by_label(ENGLISH.new_password).fill(PASSWORD)
    await ana.press(ENGLISH.save)

    await ana.page.wait_for_url("**/car/*")


async def test_asking_for_a_link_does_not_tell_who_is_a_customer(
    town: Town, chromium: Browser
) -> None:
    stranger = await visitor(town, chromium, ENGLISH)

    await stranger.go("/forgotten")
    await stranger.page.get_by_label(ENGLISH.email).fill("stranger@example.com")
    await stranger.press("Send link")

    await expect(stranger.page.get_by_text("we have just sent a link")).to_be_visible()
    assert town.letterbox.letters == []


async def test_a_new_password_ends_every_other_session(town: Town, chromium: Browser) -> None:
    investigation, phone = await visitor(town, chromium), await visitor(town, chromium, **PHONE)
    await investigation.sign_in(SALES)
    await phone.sign_in(SALES)

    await investigation.go("/account")
    await investigation.page.get_by_label("Contraseña actual").fill(PASSWORD)
    await investigation.page.get_by_label("Contraseña nueva").fill("another long phrase")
    await investigation.press("Guardar nueva contraseña")
    await expect(investigation.page.get_by_text("Contraseña cambiada")).to_be_visible()
    await phone.page.reload()

    assert "/sign-in" in phone.page.url
    await phone.sign_in(SALES, "another long phrase")
    assert phone.page.url == town.url + "/intranet"


async def test_the_language_can_be_switched_and_stays(town: Town, chromium: Browser) -> None:
    somebody = await visitor(town, chromium)
    await somebody.go("/sign-in")

    await somebody.press("English")
    await expect(somebody.page.get_by_role("heading", name="Sign in")).to_be_visible()
    await somebody.go("/")

    await expect(somebody.page.locator("html")).to_have_attribute("lang", "en")
    await expect(somebody.page.get_by_text(re.compile("in one place"))).to_be_visible()

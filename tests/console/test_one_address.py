"""One e-mail address at two dealerships: one person sees both cars, two people see one each."""

import re
from uuid import UUID

from playwright.async_api import Browser, expect

from tests.console.journeys import ENGLISH, PHONE, SALES, Visitor, visitor
from tests.console.town import ACCESS_LINK, NORTE, PASSWORD, STOCK, Town, eventually

SHARED = "familia@example.com"
BRISA, DUNA = STOCK[0], STOCK[2]
OTHER_PASSWORD = "another long phrase"
BOTH = 2


async def two_cars(town: Town) -> tuple[UUID, UUID]:
    """Let two dealerships sell a car each to this address; return the orders."""
    brisa = await town.reserved(BRISA[0], email=SHARED, name="Ana Ruiz")
    duna = await town.reserved(DUNA[0], email=SHARED, name="Ana R.", dealership=NORTE)
    return brisa, duna


async def links(town: Town, *, but: set[str]) -> list[str]:
    """Wait for the links that two letters bring to the address, and return them."""

    async def arrived() -> list[str] | None:
        found = {
            match[0]
            for letter in town.letterbox.letters
            if letter.recipient == SHARED and (match := ACCESS_LINK.search(letter.text))
        } - but
        return sorted(found) if len(found) == BOTH else None

    return await eventually(arrived)


async def opens(who: Visitor, link: str, password: str = PASSWORD) -> None:
    """Open a link and choose a password."""
    await who.page.goto(link)
    await who.page.get_by_label(ENGLISH.new_password).fill(password)
    await who.press(ENGLISH.save)
    await who.page.wait_for_url("**/car**")


async def test_one_person_with_one_password_sees_both_cars(town: Town, chromium: Browser) -> None:
    brisa, duna = await two_cars(town)
    ana = await visitor(town, chromium, ENGLISH, **PHONE)
    for link in await links(town, but=set()):
        await opens(ana, link)
    await ana.context.clear_cookies()

    await ana.sign_in(SHARED)
    await ana.go("/car")
    await expect(ana.page.locator(".cards .card h2")).to_have_count(BOTH)
    here = {str(brisa), str(duna)} & {
        (await ana.page.locator("a.card").get_attribute("href") or "").rsplit("/", 1)[1]
    }
    await ana.page.locator("form.card button").click()
    await ana.page.wait_for_url(re.compile(r"/car/[0-9a-f-]{36}"))

    there = ana.page.url.rsplit("/", 1)[1]
    assert {there} | here == {str(brisa), str(duna)}
    await ana.go("/account")
    await ana.page.get_by_role("button", name="Switch to").click()
    await ana.page.wait_for_url("**/car**")
    await ana.go(f"/car/{here.pop()}")
    await expect(ana.page.get_by_role("heading", level=1)).to_be_visible()
    assert ana.complaints == []


async def test_two_people_with_passwords_of_their_own_see_one_car_each(
    town: Town, chromium: Browser
) -> None:
    orders = await two_cars(town)
    seen = []
    for link, password in zip(
        await links(town, but=set()), (PASSWORD, OTHER_PASSWORD), strict=True
    ):
        await opens(await visitor(town, chromium, ENGLISH), link, password)

    for password in (PASSWORD, OTHER_PASSWORD):
        one = await visitor(town, chromium, ENGLISH)
        await one.sign_in(SHARED, password)
        await one.go("/car")
        await one.page.wait_for_url(re.compile(r"/car/[0-9a-f-]{36}"))
        seen.append(one.page.url.rsplit("/", 1)[1])
        other = next(str(order) for order in orders if str(order) != seen[-1])
        reply = await one.page.goto(f"{town.url}/car/{other}")
        assert reply is not None
        assert reply.status == 404
        await one.go("/account")
        await expect(one.page.get_by_role("button", name="Switch to")).to_have_count(0)

    assert set(seen) == {str(order) for order in orders}


async def test_a_forgotten_password_brings_a_link_for_each_car_that_says_which(
    town: Town, chromium: Browser
) -> None:
    await two_cars(town)
    first = set(await links(town, but=set()))
    ana = await visitor(town, chromium, ENGLISH)

    await ana.go("/forgotten")
    await ana.page.get_by_label(ENGLISH.email).fill(SHARED)
    await ana.press("Send link")
    await expect(ana.page.get_by_text("we have just sent a link")).to_be_visible()

    reported = []
    for link in await links(town, but=first):
        await ana.page.goto(link)
        reported.append(await ana.page.get_by_text(re.compile("^For your")).inner_text())
    assert sorted(reported) == [
        "For your Brisa, from Autos Sol.",
        "For your Duna, from Motor Norte.",
    ]


async def test_a_password_changed_since_opens_the_other_account_no_more(
    town: Town, chromium: Browser
) -> None:
    await two_cars(town)
    investigation, phone = (
        await visitor(town, chromium, ENGLISH),
        await visitor(town, chromium, ENGLISH, **PHONE),
    )
    for link in await links(town, but=set()):
        await opens(investigation, link)
    await investigation.context.clear_cookies()
    await investigation.sign_in(SHARED)
    await phone.sign_in(SHARED)
    await phone.go("/account")
    await phone.page.get_by_role("button", name="Switch to").click()
    await phone.page.wait_for_url("**/car**")
    await phone.go("/account")
    await phone.page.get_by_label("Current password").fill(PASSWORD)
    await phone.page.get_by_label("New password").fill(OTHER_PASSWORD)
    await phone.page.locator("form[action='/account/password'] button").click()
    await expect(phone.page.get_by_text("Password changed", exact=True)).to_be_visible()

    await investigation.go("/account")

    await expect(investigation.page.get_by_role("button", name="Switch to")).to_have_count(0)


async def test_a_dealership_sees_the_name_of_nobody_who_has_not_paid_there(
    town: Town, chromium: Browser
) -> None:
    """An order that a subsystem wrote down for another's customer, before it is paid."""
    management = town.platform.order_management
    known = await town.reserved(BRISA[0], email=SHARED, name="Ana Ruiz", dealership=NORTE)
    customer = (await management.orders.get(known)).customer
    order = await management.ordering.create_order(
        customer=customer, vin=DUNA[0], model=None, dealership="Autos Sol",
        deposit=(await management.orders.get(known)).deposit,
    )  # fmt: skip
    sales = await visitor(town, chromium, ENGLISH)
    await sales.sign_in(SALES)

    await sales.go(f"/intranet/orders/{order.id}")

    await expect(sales.page.get_by_text("Available once the deposit is paid")).to_be_visible()
    assert SHARED not in await sales.page.content()
    assert "Ana Ruiz" not in await sales.page.content()

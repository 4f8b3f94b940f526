"""What goes wrong on a journey, in the other language and at the other size than beside it.

`test_customer`, `test_services` and `test_intranet` go wrong in Spanish, customers on a telephone
and sales at a desk. Here is the same in English, the other way round, each in one town.
"""

import pytest
from playwright.async_api import Browser, expect

from caas.rules.order_states import OrderState
from caas_simulators.vehicle_car import Behaviour, Manner
from tests.console.journeys import (
    ANA,
    DECLINED_CARD,
    DESK,
    ENGLISH,
    PHONE,
    POOR_CARD,
    SALES,
    Visitor,
    visitor,
)
from tests.console.town import PASSWORD, STOCK, Town

VIN, OTHER = STOCK[0][0], STOCK[2][0]


async def heading(who: Visitor, name: str) -> None:
    """Wait until a heading says this."""
    await expect(who.page.get_by_role("heading", name=name)).to_be_visible()


async def session_ends(town: Town) -> None:
    """End every session, as time or an operator does."""
    await town.as_owner("update caas.sessions set ended_at = caas.db_now() where ended_at is null")


async def signs_in_again(who: Visitor, login: str) -> None:
    """Be told that the session has ended, and go on where one was."""
    await expect(who.page.get_by_text("Your session has ended")).to_be_visible()
    await who.page.get_by_label(ENGLISH.login).fill(login)
    await who.page.get_by_label(ENGLISH.password).fill(PASSWORD)
    await who.press(ENGLISH.enter)


async def test_a_customer_at_a_desk_in_english(town: Town, chromium: Browser) -> None:
    await town.delivered(VIN, email=ANA)
    ana = await visitor(town, chromium, ENGLISH, **DESK)
    await ana.opens_account()

    # A session that ends under a form
    await ana.go("/services/heated-seats")
    await session_ends(town)
    await ana.page.locator("main button.first").click()
    await signs_in_again(ana, ANA)
    await ana.page.wait_for_url("**/services/heated-seats")
    assert await town.database.fetch("select id from service_orders") == []

    # A double click, and the back button from the gateway's page
    await ana.page.locator("main button.first").dblclick(no_wait_after=True)
    await ana.page.get_by_label(ENGLISH.card).wait_for()
    await ana.page.go_back()
    await ana.go("/services")
    await ana.page.locator("[id^='go-on']").first.click()
    await ana.page.get_by_label(ENGLISH.card).wait_for()
    assert len(await town.database.fetch("select id from payments where type = 'service'")) == 1

    # A declined card, while another tab looks on
    other = await ana.context.new_page()
    [order] = await town.database.fetch("select id from service_orders")
    await other.goto(f"{town.url}/service-orders/{order['id']}")
    await ana.pays(DECLINED_CARD)
    await heading(ana, "Payment not completed")
    await expect(other.get_by_role("heading", name="Payment not completed")).to_be_visible()

    # A car that is asleep
    town.fleet.add(VIN, Manner(Behaviour.SILENT))
    await ana.page.locator("#again").click()
    await ana.page.locator("main button.first").click()
    await ana.pays()
    await heading(ana, "Activating in your car")
    await town.pass_time(3600 / 20)
    await heading(ana, "Not activated, not charged")
    await ana.page.locator("#service a[href^='/payments/']").click()
    await expect(ana.page.get_by_text("Voided before it was charged")).to_be_visible()

    assert ana.complaints == []


async def test_a_lost_reservation_at_a_desk_in_english(town: Town, chromium: Browser) -> None:
    order = await town.reserved(OTHER, email=ANA)
    ana = await visitor(town, chromium, ENGLISH, **DESK)
    await ana.opens_account()
    await town.order_is(order, OrderState.READY)
    await ana.go(f"/car/{order}/final-payment")
    second = await ana.context.new_page()
    await second.goto(f"{town.url}/car/{order}/final-payment")
    await second.locator("#understood").check()

    await ana.page.locator("#understood").check()
    await ana.page.locator("main button.first").dblclick(no_wait_after=True)
    await ana.pays(POOR_CARD)
    await heading(ana, "Reservation lost")
    await second.locator("main button.first").click()

    await expect(second.get_by_role("heading", name="Reservation lost")).to_be_visible()
    vehicle = await town.platform.order_management.vehicles.get(OTHER)
    payments = await town.platform.tables.payments.listed(subject=order)
    assert (vehicle.state, len(payments)) == ("sin asignar", 2)


async def test_dealership_sales_on_a_telephone_in_english(town: Town, chromium: Browser) -> None:
    sales = await visitor(town, chromium, ENGLISH, **PHONE)
    await sales.sign_in(SALES)
    await sales.go(f"/intranet/stock/{VIN}/reserve")
    await sales.page.get_by_label(ENGLISH.name).fill("Ana Ruiz")
    await sales.page.get_by_label(ENGLISH.email).fill(ANA)
    await sales.says_where_they_are()
    await session_ends(town)
    await sales.press(ENGLISH.reserve)
    await signs_in_again(sales, SALES)
    await sales.page.wait_for_url(f"**/{VIN}/reserve")

    await sales.page.get_by_label(ENGLISH.name).fill("Ana Ruiz")
    await sales.page.get_by_label(ENGLISH.email).fill(ANA)
    await sales.says_where_they_are()
    await sales.page.get_by_role("button", name=ENGLISH.reserve).dblclick(no_wait_after=True)
    await sales.page.wait_for_url("**/intranet/orders/*")
    await sales.page.go_back()
    await sales.page.go_forward()
    assert len(await town.database.fetch("select id from orders")) == 1

    await sales.page.get_by_text(ENGLISH.pay_here).click()
    await sales.pays(DECLINED_CARD)
    await expect(sales.page.get_by_text("Deposit not paid").first).to_be_visible()
    await sales.press("Request payment again")
    await expect(sales.page.locator("svg.qr")).to_be_visible()
    assert sales.complaints == []


@pytest.mark.parametrize("window", [PHONE, DESK], ids=["phone", "desk"])
async def test_a_subscription_for_a_car_that_is_asleep_is_not_charged(
    town: Town, chromium: Browser, window: dict[str, object]
) -> None:
    await town.delivered(VIN, email=ANA)
    town.fleet.add(VIN, Manner(Behaviour.SILENT))
    ana = await visitor(town, chromium, ENGLISH, **window)
    await ana.opens_account()
    await ana.go("/subscribe/range-plus")
    await ana.page.locator("#agreed").check()

    await ana.page.locator("main button.first").dblclick(no_wait_after=True)
    await ana.page.wait_for_url("**/subscriptions/*")
    await ana.page.go_back()
    await ana.page.go_forward()
    await expect(ana.page.locator(".badge.busy").first).to_be_visible()

    assert len(await town.platform.subscriptions.subscriptions()) == 1
    assert await town.database.fetch("select id from invoices") == []

"""A customer buys at the price that the form showed, or sees the new price (decision 251)."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, expect

from tests.console.journeys import ANA, ENGLISH, PHONE, SALES, Visitor, visitor
from tests.console.town import STOCK, Town

VIN = STOCK[0][0]
FREE = STOCK[1][0]


@pytest.fixture
async def ana(town: Town, chromium: Browser) -> AsyncIterator[Visitor]:
    """A customer whose car was delivered, with her telephone."""
    await town.delivered(VIN, email=ANA)
    ana = await visitor(town, chromium, **PHONE)
    await ana.opens_account()
    yield ana
    await ana.context.close()


async def reprice(town: Town, code: str, *, fee: int | None, metered: int = 0) -> None:
    """Change every price of a service."""
    catalog = town.platform.service_catalog
    known = await catalog.service(code)
    await catalog.put_service(
        code=code, name=known.name, names=known.names, kind=known.kind, currency=known.currency,
        prices=[{**one, "amount": 9999} for one in known.prices], monthly_fee=fee,
        metered=[{**one, "unit_price": one["unit_price"] + metered} for one in known.metered],
    )  # fmt: skip


@pytest.mark.parametrize("method", ["stored", "new"])
async def test_a_fee_that_changed_behind_the_open_form_is_shown_and_agreed_to_again(
    town: Town, ana: Visitor, method: str
) -> None:
    await ana.go("/subscribe/range-plus")
    await ana.page.locator("#agreed").check()
    if method == "new":
        await ana.page.locator("input[name=method][value=new]").check()
    await reprice(town, "range-plus", fee=4999)

    await ana.page.locator("main button.first").click()

    await expect(ana.page.get_by_text("El precio ha cambiado")).to_be_visible()
    await expect(ana.page.get_by_text("49,99\u00a0€").first).to_be_visible()
    assert await town.platform.subscriptions.subscriptions() == []
    await ana.page.locator("#agreed").check()
    await ana.page.locator("main button.first").click()
    await ana.page.wait_for_url("**/subscriptions/*")
    [made] = await town.platform.subscriptions.subscriptions()
    assert made.monthly_fee == 4999


async def test_the_price_of_a_metered_unit_is_agreed_to_as_well(town: Town, ana: Visitor) -> None:
    await ana.go("/subscribe/range-plus")
    await ana.page.locator("#agreed").check()
    known = await town.platform.service_catalog.service("range-plus")
    await reprice(town, "range-plus", fee=known.monthly_fee, metered=90)

    await ana.page.locator("main button.first").click()

    await expect(ana.page.get_by_text("El precio ha cambiado")).to_be_visible()
    assert await town.platform.subscriptions.subscriptions() == []


async def test_a_service_is_not_ordered_at_a_price_that_the_form_did_not_show(
    town: Town, ana: Visitor
) -> None:
    await ana.go("/services/heated-seats")
    await ana.page.get_by_label("90 días").check()
    await reprice(town, "heated-seats", fee=None)

    await ana.page.locator("main button.first").click()

    await expect(ana.page.get_by_text("El precio ha cambiado")).to_be_visible()
    await expect(ana.page.get_by_text("99,99\u00a0€").first).to_be_visible()
    await expect(ana.page.get_by_label("90 días")).to_be_checked()
    assert await town.platform.service_catalog.service_orders() == []


async def test_a_car_is_not_reserved_at_a_price_that_the_desk_did_not_show(
    town: Town, chromium: Browser
) -> None:
    sales = await visitor(town, chromium, ENGLISH)
    await sales.sign_in(SALES)
    await sales.go(f"/intranet/stock/{FREE}/reserve")
    await sales.page.get_by_label(ENGLISH.name).fill("Ana Ruiz")
    await sales.page.get_by_label(ENGLISH.email).fill("ana@example.com")
    await sales.says_where_they_are()
    vehicle = await town.platform.order_management.vehicles.get(FREE)
    price = vehicle.price
    await town.platform.order_management.put_vehicle(
        vin=FREE, model=vehicle.model, price=price + price, public_key=None, finished=False
    )

    await sales.press(ENGLISH.reserve)

    await expect(sales.page.get_by_text("The price has changed")).to_be_visible()
    assert await town.database.fetch("select id from orders") == []
    assert await town.database.fetch("select id from customers") == []
    await expect(sales.page.get_by_label(ENGLISH.name)).to_have_value("Ana Ruiz")
    await sales.press(ENGLISH.reserve)
    await sales.page.wait_for_url("**/intranet/orders/*")

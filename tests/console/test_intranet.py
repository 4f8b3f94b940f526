"""The Corporate Intranet in a browser: reserving a vehicle (Diagram 2), and what may go wrong."""

import asyncio
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from caas.rules.order_states import OrderState
from tests.buyers import AT_HOME
from tests.console.journeys import (
    ANA,
    DECLINED_CARD,
    DESK,
    ENGLISH,
    PHONE,
    SALES,
    SPANISH,
    Tongue,
    visitor,
    windows,
)
from tests.console.town import STOCK, Town

FINISHED, TO_BE_BUILT = STOCK[0][0], STOCK[1][0]
NORTE_SALES = "ventas@motor-norte.example"


@pytest.mark.parametrize(("tongue", "window"), windows((ENGLISH, PHONE), (SPANISH, DESK)))
async def test_a_vehicle_is_reserved_and_the_customer_gets_access(
    town: Town, chromium: Browser, tongue: Tongue, window: dict[str, Any]
) -> None:
    sales = await visitor(town, chromium, tongue, **window)
    await sales.sign_in(SALES)

    await sales.go("/intranet/stock")
    await sales.page.get_by_role("link", name=TO_BE_BUILT).click()
    await sales.page.get_by_label(tongue.name).fill("Ana Ruiz")
    await sales.page.get_by_label(tongue.email).fill(ANA)
    await sales.says_where_they_are()
    await sales.press(tongue.reserve)
    await sales.page.get_by_text(tongue.pay_here).click()
    await sales.pays()

    placed = "Pedido a fábrica realizado" if tongue is SPANISH else "Factory order placed"
    sent = "Enviado" if tongue is SPANISH else "Sent"
    await expect(sales.page.locator("li.done", has_text=placed)).to_be_visible()
    await expect(sales.page.get_by_text(sent, exact=True)).to_be_visible()
    assert "/access/" in await town.letter_to(ANA)
    assert sales.complaints == []


async def test_the_customer_pays_on_their_telephone_and_sales_see_it_without_reloading(
    town: Town, chromium: Browser
) -> None:
    sales, ana = await visitor(town, chromium), await visitor(town, chromium, **PHONE)
    await sales.sign_in(SALES)
    await sales.reserves(TO_BE_BUILT)
    loaded = await sales.page.evaluate("performance.timeOrigin")
    await expect(sales.page.locator("svg.qr")).to_be_visible()
    link = await sales.page.get_by_role("link", name=SPANISH.pay_here).get_attribute("href")
    assert link is not None

    await ana.page.goto(link)
    await ana.pays()

    await expect(ana.page.get_by_role("heading", name="Gracias")).to_be_visible()
    await expect(sales.page.get_by_text("En fábrica").first).to_be_visible()
    assert await sales.page.evaluate("performance.timeOrigin") == loaded


async def test_a_declined_deposit_is_told_plainly_and_can_be_tried_again(
    town: Town, chromium: Browser
) -> None:
    sales = await visitor(town, chromium)
    await sales.sign_in(SALES)
    order = await sales.reserves(FINISHED)

    await sales.page.get_by_text(SPANISH.pay_here).click()
    await sales.pays(DECLINED_CARD)
    await expect(sales.page.get_by_text("el banco ha rechazado el pago")).to_be_visible()
    await expect(sales.page.get_by_text("No hay ninguna reserva")).to_be_visible()
    await sales.press("Solicitar el pago de nuevo")
    await sales.page.get_by_text(SPANISH.pay_here).click()
    await sales.pays()

    await town.order_is(order, OrderState.READY)
    await expect(sales.page.get_by_text("Listo, falta el pago final").first).to_be_visible()


async def test_a_customer_who_leaves_the_payment_page_has_reserved_nothing(
    town: Town, chromium: Browser
) -> None:
    sales = await visitor(town, chromium)
    await sales.sign_in(SALES)
    await sales.reserves(FINISHED)

    await sales.page.get_by_text(SPANISH.pay_here).click()
    await sales.page.get_by_role("button", name=SPANISH.leave).click()

    await expect(sales.page.get_by_text("salió de la página de pago")).to_be_visible()
    vehicle = await town.platform.order_management.vehicles.get(FINISHED)
    assert vehicle.state == "sin asignar"


async def test_a_double_click_reserves_once(town: Town, chromium: Browser) -> None:
    sales = await visitor(town, chromium)
    await sales.sign_in(SALES)
    await sales.go(f"/intranet/stock/{FINISHED}/reserve")
    await sales.page.get_by_label(SPANISH.name).fill("Ana Ruiz")
    await sales.page.get_by_label(SPANISH.email).fill(ANA)
    await sales.says_where_they_are()

    await sales.page.get_by_role("button", name=SPANISH.reserve).dblclick(no_wait_after=True)
    await sales.page.wait_for_url("**/intranet/orders/*")

    assert len(await town.database.fetch("select id from orders")) == 1


async def test_a_form_sent_twice_at_the_same_moment_reserves_once(
    town: Town, chromium: Browser
) -> None:
    """Without a script to hold the second click back: what protects is the form's key."""
    sales = await visitor(town, chromium, java_script_enabled=False, **DESK)
    await sales.sign_in(SALES)
    await sales.go(f"/intranet/stock/{FINISHED}/reserve")
    fields = (
        {
            await field.get_attribute("name"): await field.get_attribute("value")
            for field in await sales.page.locator("main form input").all()
        }
        | {"name": "Ana Ruiz", "email": ANA, "language": "es", "deposit": "500"}
        | AT_HOME
    )
    path = f"{town.url}/intranet/stock/{FINISHED}/reserve"

    answers = await asyncio.gather(
        *(
            sales.context.request.post(path, form=fields, max_redirects=0)  # type: ignore[arg-type]
            for _ in range(4)
        )
    )

    assert len({answer.headers["location"] for answer in answers}) == 1
    assert len(await town.database.fetch("select id from orders")) == 1
    assert len(await town.database.fetch("select id from payments")) == 1


async def test_reloading_and_going_back_changes_nothing(town: Town, chromium: Browser) -> None:
    sales = await visitor(town, chromium)
    await sales.sign_in(SALES)
    await sales.reserves(FINISHED)

    await sales.page.reload()
    await sales.page.go_back()
    await sales.page.go_forward()

    assert len(await town.database.fetch("select id from orders")) == 1


async def test_two_dealerships_want_one_vehicle_and_the_second_is_told(
    town: Town, chromium: Browser
) -> None:
    sol, norte = await visitor(town, chromium), await visitor(town, chromium)
    await sol.sign_in(SALES)
    await norte.sign_in(NORTE_SALES)
    await norte.go(f"/intranet/stock/{FINISHED}/reserve")
    await norte.page.get_by_label(SPANISH.name).fill("Bea Sanz")
    await norte.page.get_by_label(SPANISH.email).fill("bea@example.com")
    await norte.says_where_they_are()
    order = await sol.reserves(FINISHED)
    await sol.page.get_by_text(SPANISH.pay_here).click()
    await sol.pays()
    await town.order_is(order, OrderState.READY)

    await norte.press(SPANISH.reserve)

    await expect(norte.page.get_by_role("alert")).to_contain_text("ya no está disponible")
    await norte.page.get_by_role("link", name="Ver stock").click()
    assert await norte.page.get_by_text(FINISHED).count() == 0
    await norte.go(f"/intranet/orders/{order}")
    await expect(norte.page.get_by_role("heading", name="Página no encontrada")).to_be_visible()


async def test_mistakes_in_the_form_are_named_and_keep_what_was_typed(
    town: Town, chromium: Browser
) -> None:
    sales = await visitor(town, chromium, ENGLISH)
    await sales.sign_in(SALES)
    await sales.go(f"/intranet/stock/{FINISHED}/reserve")

    await sales.page.get_by_label(ENGLISH.name).fill("Ana Ruiz")
    await sales.page.get_by_label(ENGLISH.email).fill("ana at example")
    await sales.says_where_they_are()
    await sales.page.get_by_label(ENGLISH.deposit).fill("99,999.00")
    await sales.press(ENGLISH.reserve)

    await expect(sales.page.get_by_text("Enter a valid email address")).to_be_visible()
    await expect(sales.page.get_by_text("with a point before the cents")).to_be_visible()
    await expect(sales.page.get_by_label(ENGLISH.name)).to_have_value("Ana Ruiz")
    await expect(sales.page.get_by_label(ENGLISH.email)).to_be_focused()
    assert await town.database.fetch("select id from customers") == []


async def test_an_amount_that_was_typed_is_shown_back_before_it_counts(
    town: Town, chromium: Browser
) -> None:
    """A deposit typed as 1.000 in English was one euro, and asked for at once."""
    sales = await visitor(town, chromium, ENGLISH)
    await sales.sign_in(SALES)
    await sales.go(f"/intranet/stock/{FINISHED}/reserve")
    await sales.page.get_by_label(ENGLISH.name).fill("Ana Ruiz")
    await sales.page.get_by_label(ENGLISH.email).fill("ana@example.com")
    await sales.says_where_they_are()

    await sales.page.get_by_label(ENGLISH.deposit).fill("")
    await sales.press(ENGLISH.reserve)
    await expect(sales.page.get_by_text("Confirm a deposit of €500.00")).to_be_visible()
    await expect(sales.page.get_by_label(ENGLISH.deposit)).to_have_value("500")
    assert await town.database.fetch("select id from orders") == []
    await sales.page.get_by_label(ENGLISH.deposit).fill("1.000")
    await sales.press(ENGLISH.reserve)
    await expect(sales.page.get_by_text("with a point before the cents")).to_be_visible()
    await sales.page.get_by_label(ENGLISH.deposit).fill("1,000.50")
    await sales.press(ENGLISH.reserve)
    await expect(sales.page.get_by_text("Confirm a deposit of €1,000.50")).to_be_visible()
    assert await town.database.fetch("select id from orders") == []
    await sales.press(ENGLISH.reserve)
    await sales.page.wait_for_url("**/intranet/orders/*")

    [order] = await town.database.fetch("select deposit from orders")
    assert order["deposit"] == 100_050


async def test_an_outcome_nobody_knows_is_not_told_as_a_failure(
    town: Town, chromium: Browser
) -> None:
    await town.gateway_does("faults", match={"operation": "any"}, action={"status": 503})
    sales = await visitor(town, chromium)
    await sales.sign_in(SALES)
    await sales.reserves(FINISHED)

    await expect(sales.page.get_by_text("no sabemos si el pago se ha cobrado")).to_be_visible()
    again = sales.page.get_by_role("button", name="Solicitar el pago de nuevo")
    await expect(again).to_have_count(0)


KEEP_WHAT_IS_SAID = """() => {
  const aloud = document.getElementById("announcer");
  new MutationObserver(() => {
    sessionStorage.aloud = aloud.textContent;
    sessionStorage.shown = [...document.querySelectorAll("form p")].at(-1).innerText;
  }).observe(aloud, { childList: true });
}"""
"""The browser shows nothing to its driver while it waits for another page."""


async def test_a_gateway_that_takes_its_time_is_told_as_that(town: Town, chromium: Browser) -> None:
    """Whoever reserved saw a dimmed button, for as long as the gateway was silent."""
    await town.gateway_does("faults", match={"operation": "any"}, action={"latency_ms": 6_000})
    sales = await visitor(town, chromium)
    await sales.sign_in(SALES)
    await sales.go(f"/intranet/stock/{FINISHED}/reserve")
    await sales.page.get_by_label(SPANISH.name).fill("Ana Ruiz")
    await sales.page.get_by_label(SPANISH.email).fill(ANA)
    await sales.says_where_they_are()
    await sales.page.evaluate(KEEP_WHAT_IS_SAID)
    await sales.press(SPANISH.reserve)
    await sales.page.wait_for_url("**/intranet/orders/*")

    aloud, shown = await sales.page.evaluate("[sessionStorage.aloud, sessionStorage.shown]")
    assert aloud.startswith("La operación tarda más de lo habitual")
    assert shown == aloud


async def test_lists_keep_themselves_up_with_what_happens(town: Town, chromium: Browser) -> None:
    """The stock promised that what becomes free appears at once, and had to be loaded again."""
    sales = await visitor(town, chromium)
    await sales.sign_in(SALES)
    orders = await sales.context.new_page()
    await orders.goto(f"{town.url}/intranet/orders")
    await sales.go("/intranet/stock")
    link = sales.page.locator(f"a[href$='{FINISHED}/reserve']")
    await sales.page.locator(f"a[href$='{TO_BE_BUILT}/reserve']").focus()
    loaded = await sales.page.evaluate("performance.timeOrigin")

    await town.reserved(FINISHED, email=ANA)

    await expect(link).to_have_count(0)
    await expect(sales.page.locator(f"a[href$='{TO_BE_BUILT}/reserve']")).to_be_focused()
    await expect(orders.get_by_text("Brisa").first).to_be_visible()
    assert await sales.page.evaluate("performance.timeOrigin") == loaded
    assert sales.complaints == []


@pytest.mark.parametrize(("tongue", "window"), windows((SPANISH, PHONE), (ENGLISH, DESK)))
async def test_sales_follow_an_order_to_the_customers_door_without_reloading(
    town: Town, chromium: Browser, tongue: Tongue, window: dict[str, Any]
) -> None:
    order = await town.reserved(TO_BE_BUILT, email=ANA)
    sales = await visitor(town, chromium, tongue, **window)
    await sales.sign_in(SALES)
    await town.order_is(order, OrderState.FACTORY_ORDER_PLACED)
    await sales.go(f"/intranet/orders/{order}")
    loaded = await sales.page.evaluate("performance.timeOrigin")
    done = sales.page.locator("ol.way li.done")
    before = await done.count()

    await town.vehicle_is_ready(order)
    await expect(done).to_have_count(before + 1)
    await town.pays_the_rest(order)
    await town.delivery_is_completed(order)

    delivered = "Entregado" if tongue is SPANISH else "Delivered"
    await expect(sales.page.locator("ol.way li.done", has_text=delivered)).to_be_visible()
    assert await sales.page.evaluate("performance.timeOrigin") == loaded
    assert sales.complaints == []


@pytest.mark.parametrize(
    ("tongue", "button"),
    [(SPANISH, "Vehículo devuelto"), (ENGLISH, "Vehicle returned")],
)
async def test_a_vehicle_that_comes_back_is_sold_to_somebody_else(
    town: Town, chromium: Browser, tongue: Tongue, button: str
) -> None:
    order = await town.delivered(FINISHED, email=ANA)
    await town.platform.order_management.withdrawal.withdraw(order)
    sales = await visitor(town, chromium, tongue)
    await sales.sign_in(SALES)

    await sales.go(f"/intranet/orders/{order}")
    await sales.page.get_by_role("link", name=button).click()
    await expect(sales.page.get_by_role("heading", level=1)).to_contain_text(FINISHED)
    await sales.page.locator("#confirm-it").click()
    await expect(sales.page.locator("#vehicle-returned")).to_have_count(0)
    await sales.page.wait_for_url(f"**/intranet/orders/{order}")
    await sales.go(f"/intranet/stock/{FINISHED}/reserve")
    await expect(sales.page.get_by_label(tongue.name)).to_be_visible()

    second = await town.delivered(FINISHED, email="bea@example.com", name="Bea Sanz")
    (held,) = await town.platform.order_management.vehicles.assignments(vin=FINISHED)
    assert held.order_id == second
    assert sales.complaints == []


async def test_a_vehicle_its_customer_keeps_has_no_button_to_bring_it_back(
    town: Town, chromium: Browser
) -> None:
    order = await town.delivered(FINISHED, email=ANA)
    sales = await visitor(town, chromium)
    await sales.sign_in(SALES)

    await sales.go(f"/intranet/orders/{order}")

    await expect(sales.page.get_by_text("Entregado").first).to_be_visible()
    assert await sales.page.locator("#vehicle-returned").count() == 0

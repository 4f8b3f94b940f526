"""A customer's car in a browser: from the access link to the delivered car (Diagram 3)."""

from typing import Any
from uuid import UUID

import pytest
from playwright.async_api import Browser, expect

from caas.rules.order_states import OrderState
from tests.console.journeys import (
    ANA,
    DESK,
    ENGLISH,
    PHONE,
    POOR_CARD,
    SPANISH,
    Tongue,
    Visitor,
    visitor,
    windows,
)
from tests.console.town import STOCK, Town

FINISHED, TO_BE_BUILT = STOCK[0][0], STOCK[1][0]


async def customer_with(
    town: Town, browser: Browser, vin: str = FINISHED, tongue: Tongue = SPANISH, **window: Any
) -> tuple[Visitor, UUID]:
    """Return a customer who has reserved this vehicle and opened the account."""
    order_id = await town.reserved(vin, email=ANA)
    ana = await visitor(town, browser, tongue, **(window or PHONE))
    await ana.opens_account()
    return ana, order_id


@pytest.mark.parametrize(("tongue", "window"), windows((SPANISH, PHONE), (ENGLISH, DESK)))
async def test_a_customer_follows_the_car_from_the_factory_to_the_door(
    town: Town, chromium: Browser, tongue: Tongue, window: dict[str, Any]
) -> None:
    ana, order = await customer_with(town, chromium, TO_BE_BUILT, tongue, **window)
    loaded = await ana.page.evaluate("performance.timeOrigin")
    spanish = tongue is SPANISH

    await town.vehicle_is_ready(order)
    ready = "Su coche está listo" if spanish else "Your car is ready"
    await expect(ana.page.get_by_role("heading", name=ready)).to_be_visible()
    assert await ana.page.evaluate("performance.timeOrigin") == loaded
    await ana.page.locator("#pay-rest").click()
    lost = "pierde la reserva" if spanish else "you lose the reservation"
    await expect(ana.page.get_by_text(lost).first).to_be_visible()
    await ana.page.locator("#understood").check()
    await ana.page.locator("main button.first").click()
    await ana.pays()
    await town.order_is(order, OrderState.DELIVERY_SCHEDULED)
    await town.delivery_is_completed(order)

    delivered = "Disfrute de su coche" if spanish else "Enjoy your car"
    await expect(ana.page.get_by_role("heading", name=delivered)).to_be_visible()
    assert ana.complaints == []


async def test_the_final_payment_is_not_begun_before_its_consequence_was_accepted(
    town: Town, chromium: Browser
) -> None:
    ana, order = await customer_with(town, chromium)
    await ana.go(f"/car/{order}/final-payment")
    await ana.page.locator("form[method=post].card").evaluate("form => form.noValidate = true")

    await ana.page.locator("main button.first").click()

    await expect(ana.page.get_by_text("Marque la casilla para continuar")).to_be_visible()
    payments = await town.platform.tables.payments.listed(subject=order)
    assert [payment.type for payment in payments] == ["reservation"]


async def test_a_declined_final_payment_loses_the_reservation_and_says_so(
    town: Town, chromium: Browser
) -> None:
    ana, order = await customer_with(town, chromium)

    await ana.goes_to_pay_the_rest(order)
    await ana.pays(POOR_CARD)

    await expect(ana.page.get_by_role("heading", name="Reserva perdida")).to_be_visible()
    await expect(ana.page.get_by_text("no hay fondos suficientes")).to_be_visible()
    await ana.go(f"/car/{order}/final-payment")
    assert ana.page.url == f"{town.url}/car/{order}"
    vehicle = await town.platform.order_management.vehicles.get(FINISHED)
    assert vehicle.state == "sin asignar"


async def test_leaving_the_payment_page_does_not_lose_the_reservation(
    town: Town, chromium: Browser
) -> None:
    ana, order = await customer_with(town, chromium)

    await ana.goes_to_pay_the_rest(order)
    await ana.page.get_by_role("button", name=SPANISH.leave).click()
    await expect(ana.page.get_by_text("su reserva sigue vigente")).to_be_visible()
    await ana.goes_to_pay_the_rest(order)
    await ana.pays()

    await town.order_is(order, OrderState.DELIVERY_SCHEDULED)


async def test_going_back_from_the_payment_page_leads_on_to_the_same_payment(
    town: Town, chromium: Browser
) -> None:
    ana, order = await customer_with(town, chromium)
    await ana.goes_to_pay_the_rest(order)

    await ana.page.go_back()
    await ana.go(f"/car/{order}")
    await ana.page.locator("#go-on").click()
    await ana.page.get_by_label(SPANISH.card).wait_for()

    payments = await town.platform.tables.payments.listed(subject=order)
    assert [payment.type for payment in payments] == ["final", "reservation"]


async def test_while_the_outcome_is_unknown_the_car_is_held(town: Town, chromium: Browser) -> None:
    ana, order = await customer_with(town, chromium)
    await town.gateway_does("faults", match={"operation": "any"}, action={"status": 503})
    await ana.go(f"/car/{order}/final-payment")
    await ana.page.locator("#understood").check()

    await ana.page.locator("main button.first").click()

    await expect(ana.page.get_by_text("Su coche está reservado para usted")).to_be_visible()
    assert (await town.platform.order_management.orders.get(order)).state is OrderState.READY


async def test_a_withdrawal_is_taken_while_the_outcome_is_unknown(
    town: Town, chromium: Browser
) -> None:
    ana, order = await customer_with(town, chromium)
    await town.gateway_does("faults", match={"operation": "any"}, action={"status": 503})
    await ana.go(f"/car/{order}/final-payment")
    await ana.page.locator("#understood").check()
    await ana.page.locator("main button.first").click()
    await expect(ana.page.get_by_text("Su coche está reservado para usted")).to_be_visible()

    await ana.page.locator(f"a[href='/car/{order}/withdrawal']").click()
    await expect(ana.page.get_by_text("Su desistimiento cuenta desde ahora")).to_be_visible()
    await ana.page.locator("main button.danger").click()

    await expect(ana.page.get_by_role("heading", name="Desistimiento recibido")).to_be_visible()
    await expect(ana.page.get_by_text("No se cobra nada más")).to_be_visible()
    assert (await town.platform.order_management.orders.get(order)).state is OrderState.READY


async def test_two_tabs_pay_once(town: Town, chromium: Browser) -> None:
    ana, order = await customer_with(town, chromium)
    second = await ana.context.new_page()
    await second.goto(f"{town.url}/car/{order}/final-payment")
    await second.locator("#understood").check()
    await ana.goes_to_pay_the_rest(order)
    await ana.pays()
    await town.order_is(order, OrderState.DELIVERY_SCHEDULED)

    await second.locator("main button.first").click()

    await expect(second.get_by_role("heading", name="Entrega programada")).to_be_visible()
    payments = await town.platform.tables.payments.listed(subject=order)
    assert len(payments) == 2


async def test_a_customer_withdraws_and_gets_everything_back(town: Town, chromium: Browser) -> None:
    ana, order = await customer_with(town, chromium)
    await town.gateway_does("settle")

    await ana.go(f"/car/{order}")
    await ana.page.get_by_role("link", name="Desistir de la compra").click()
    await ana.press("Desistir de la compra")

    await expect(ana.page.get_by_role("heading", name="Ha desistido")).to_be_visible()
    await ana.page.locator(".list a.line").first.click()
    await expect(ana.page.get_by_role("heading", name="Devoluciones")).to_be_visible()
    await expect(ana.page.get_by_text("Desistimiento", exact=False).first).to_be_visible()


async def test_after_the_legal_window_desistimiento_is_refused_plainly(
    town: Town, chromium: Browser
) -> None:
    ana, order = await customer_with(town, chromium)
    await ana.goes_to_pay_the_rest(order)
    await ana.pays()
    await town.order_is(order, OrderState.DELIVERY_SCHEDULED)
    await town.delivery_is_completed(order)
    await town.order_is(order, OrderState.DELIVERED)
    await ana.go(f"/car/{order}/withdrawal")
    await town.pass_time(24 * 3600)  # the window passes at the pace of the town

    await ana.press("Desistir de la compra")

    await expect(ana.page.get_by_role("heading", name="Ya no es posible desistir")).to_be_visible()
    await ana.go(f"/car/{order}")
    assert await ana.page.get_by_role("link", name="Desistir de la compra").count() == 0
    await ana.go(f"/car/{order}/withdrawal")
    await expect(ana.page.get_by_role("heading", name="Ya no es posible desistir")).to_be_visible()
    assert (await town.platform.order_management.orders.get(order)).state is OrderState.DELIVERED


async def test_messages_are_counted_until_they_were_read(town: Town, chromium: Browser) -> None:
    ana, _ = await customer_with(town, chromium)
    await ana.go("/payments")
    assert await ana.page.locator(".count").count() == 1

    await ana.page.get_by_role("link", name="Notificaciones").click()
    await expect(ana.page.get_by_role("heading", name="Su vehículo está listo")).to_be_visible()
    await ana.go("/payments")

    assert await ana.page.locator(".count").count() == 0


async def test_amounts_and_dates_are_written_as_the_reader_does(
    town: Town, chromium: Browser
) -> None:
    ana, order = await customer_with(town, chromium)
    spanish = await ana.page.locator("main").inner_text()
    english = await visitor(town, chromium, ENGLISH)
    await english.context.add_cookies(await ana.context.cookies())  # type: ignore[arg-type]

    await english.go(f"/car/{order}")

    assert "24.500,00\u00a0€" in spanish
    assert "€24,500.00" in await english.page.locator("main").inner_text()

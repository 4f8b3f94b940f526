"""Services as entitlements in a browser: extended, pending, withdrawn from."""

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from caas.billing_database.payments import Payment
from caas.billing_database.services import ServiceOrder
from caas.payment_processing import PaymentRequest
from caas_simulators.vehicle_car import Behaviour, Manner
from tests.console.journeys import ANA, ENGLISH, PHONE, Visitor, visitor
from tests.console.town import SCALE, STOCK, Town, eventually

VIN = STOCK[0][0]
SEATS = "heated-seats"
PERIOD_SECONDS = 14 * 86400 / SCALE


@pytest.fixture
async def ana(town: Town, chromium: Browser) -> AsyncIterator[Visitor]:
    """A customer whose car was delivered, with her telephone."""
    await town.delivered(VIN, email=ANA)
    ana = await visitor(town, chromium, **PHONE)
    await ana.opens_account()
    yield ana
    await ana.context.close()


async def pictured(who: Visitor, name: str) -> None:
    folder = os.environ.get("CAAS_TEST_PICTURES")
    if folder:
        await who.page.screenshot(path=f"{folder}/{name}.png", full_page=True)


async def ordered(town: Town, days: int = 30, service: str = SEATS) -> ServiceOrder:
    """Let the customer of the car order a service without paying for it."""
    (car,) = await town.platform.order_management.orders.listed()
    return await town.platform.service_catalog.create_service_order(
        customer=car.customer, vin=VIN, service=service, duration_days=days
    )


async def bought(town: Town, days: int = 30, service: str = SEATS) -> ServiceOrder:
    """Let the customer of the car buy a service, and wait until it is active."""
    order = await ordered(town, days, service)
    payment = await town.platform.payment_processing.initiate_service_payment(
        PaymentRequest(
            subject=order.id, customer=order.customer, amount=order.amount,
            currency=order.currency, payment_method="pm_ok",
        )
    )  # fmt: skip
    assert isinstance(payment, Payment)

    async def active() -> ServiceOrder | None:
        found = await town.platform.service_catalog.service_order(order.id)
        return found if found.state == "active" else None

    return await eventually(active)


async def test_a_running_service_is_extended_and_never_offered_as_new(
    town: Town, ana: Visitor
) -> None:
    await bought(town)
    await ana.go("/services")
    await pictured(ana, "services-active")
    await expect(ana.page.get_by_text("Activo hasta el")).to_be_visible()
    await expect(ana.page.get_by_text("Puede ampliarlo hasta el")).to_be_visible()
    assert await ana.page.locator(".cards", has_text="Asientos calefactables").count() == 0

    await ana.page.get_by_role("link", name="Ampliar Asientos calefactables").click()
    await pictured(ana, "service-extend")
    await expect(ana.page.locator("#new-start")).to_contain_text("empieza entonces")
    await ana.page.get_by_label("90 días").check()
    await ana.press("Ampliar y pagar")
    await ana.pays()
    await expect(ana.page.get_by_role("heading", name="Ampliación confirmada")).to_be_visible()
    await pictured(ana, "order-scheduled")

    await ana.go("/services")
    assert await ana.page.get_by_role("listitem").filter(has_text="Asientos").count() == 1
    one, other = await town.platform.tables.entitlements.terms(VIN, SEATS)
    assert one.ends_at == other.starts_at
    await ana.page.get_by_role("link", name="Asientos calefactables", exact=True).click()
    await pictured(ana, "service-two-terms")
    await expect(ana.page.locator("#standing li")).to_have_count(2)
    await ana.go("/car")
    await pictured(ana, "car")
    await expect(ana.page.get_by_text("Activo hasta el")).to_be_visible()
    await expect(ana.page.get_by_text("Puede ampliarlo hasta el")).to_be_visible()
    letter = await town.letter_to(ANA, containing="queda ampliado hasta el")
    assert "el tiempo nuevo empieza el" in letter
    assert "hasta el" in await town.letter_to(ANA, containing="está activo en el vehículo")
    assert ana.complaints == []


async def test_a_pending_purchase_is_gone_on_with_instead_of_bought_twice(
    town: Town, ana: Visitor
) -> None:
    second = await ana.context.new_page()
    await second.goto(f"{town.url}/services/{SEATS}")
    await ana.goes_to_buy(SEATS)

    await second.locator("main button.first").click()

    await expect(second.get_by_text("Ya hay una compra en curso")).to_be_visible()
    await expect(second.get_by_role("button", name="Continuar al pago")).to_have_count(0)
    await ana.go("/services")
    await pictured(ana, "services-pending")
    assert await ana.page.locator(".cards", has_text="Asientos calefactables").count() == 0
    await ana.page.get_by_role("link", name="Continuar al pago").click()
    await ana.page.get_by_label(ana.tongue.card).wait_for()
    await ana.pays()
    await expect(ana.page.get_by_role("heading", name="Activo en su coche")).to_be_visible()
    assert len(await town.platform.service_catalog.service_orders()) == 1
    await second.reload()
    await expect(second.get_by_role("button", name="Ampliar y pagar")).to_be_visible()


async def test_an_order_whose_payment_never_began_is_paid_on_its_own_page(
    town: Town, ana: Visitor
) -> None:
    order = await ordered(town)
    await ana.go("/services")
    await ana.page.get_by_role("link", name="Ver estado").click()
    await ana.page.wait_for_url(f"**/service-orders/{order.id}")
    await ana.page.locator("#pay").dblclick()
    await ana.page.get_by_label(ana.tongue.card).wait_for()
    await ana.pays()

    await expect(ana.page.get_by_role("heading", name="Activo en su coche")).to_be_visible()


async def test_a_reservation_that_lapsed_no_longer_takes_the_place_of_the_offer(
    town: Town, ana: Visitor
) -> None:
    await ordered(town)
    await town.pass_time(60)
    await ana.go("/services")

    await ana.page.locator(".cards").get_by_role("link", name="Asientos calefactables").click()

    await expect(ana.page.get_by_role("button", name="Continuar al pago")).to_be_visible()


async def test_a_service_that_is_not_sold_twice_says_until_when_it_runs(
    town: Town, ana: Visitor
) -> None:
    await town.platform.service_catalog.put_service(
        code=SEATS, name="Asientos calefactables", kind="one_time", currency="EUR",
        repeat_purchase="refuse", prices=[{"duration_days": 30, "amount": 1299}],
    )  # fmt: skip
    tab = await ana.context.new_page()
    await tab.goto(f"{town.url}/services/{SEATS}")
    await bought(town)

    await tab.locator("main button.first").click()

    await expect(tab.get_by_text("Este servicio ya está activo")).to_be_visible()
    await expect(tab.get_by_text("no se puede ampliar mientras está activo")).to_be_visible()
    await expect(tab.get_by_role("button", name="Ampliar y pagar")).to_have_count(0)
    await ana.go("/services")
    assert await ana.page.get_by_role("link", name="Ampliar").count() == 0


async def test_a_subscription_under_way_is_shown_instead_of_the_offer(
    town: Town, ana: Visitor
) -> None:
    await bought(town, service="matrix-lights")
    town.fleet.add(VIN, Manner(Behaviour.SILENT))
    tab = await ana.context.new_page()
    for page in (tab, ana.page):
        await page.goto(f"{town.url}/subscribe/range-plus")
        await page.locator("#agreed").check()
    await ana.press("Suscribirse")
    await ana.page.wait_for_url("**/subscriptions/*")
    subscription = ana.page.url

    await tab.get_by_role("button", name="Suscribirse", exact=True).click()

    await expect(tab.get_by_role("button", name="Suscribirse")).to_have_count(0)
    await tab.locator("#go-on").click()
    await tab.wait_for_url(subscription)
    await ana.go("/services")
    assert await ana.page.locator(".cards", has_text="Autonomía ampliada").count() == 0
    await ana.page.get_by_role("link", name="Ver estado").click()
    await ana.page.wait_for_url(subscription)
    assert len(await town.platform.subscriptions.subscriptions()) == 1


async def test_withdrawing_from_the_car_says_that_its_services_end_and_ends_them(
    town: Town, ana: Visitor
) -> None:
    order = await bought(town)
    await ana.go("/car")
    await ana.page.get_by_role("link", name="Desistir de la compra").click()
    await expect(ana.page.get_by_text("Los servicios de este coche finalizan")).to_be_visible()
    await pictured(ana, "car-withdrawal")
    await ana.press("Desistir de la compra")

    async def withdrawn() -> bool | None:
        found = await town.platform.service_catalog.service_order(order.id)
        return True if found.state == "withdrawn" else None

    await eventually(withdrawn)
    await ana.go(f"/service-orders/{order.id}")
    await expect(
        ana.page.get_by_role("heading", name="Ha desistido de este servicio")
    ).to_be_visible()


async def becomes(town: Town, kind: str) -> None:
    """Let the catalogue sell the seats in another way from now on."""
    how: dict[str, Any] = (
        {"monthly_fee": 990} if kind == "subscription"
        else {"prices": [{"duration_days": 30, "amount": 1299}]}
    )  # fmt: skip
    await town.platform.service_catalog.put_service(
        code=SEATS, name="Asientos calefactables", kind=kind, currency="EUR", **how
    )


async def test_a_subscription_follows_what_is_paid_for_and_is_not_sold_beside_itself(
    town: Town, ana: Visitor
) -> None:
    await bought(town)
    await becomes(town, "subscription")
    await ana.go("/services")
    await expect(ana.page.get_by_text("Empezaría el")).to_be_visible()
    await ana.page.locator(".cards").get_by_role("link", name="Asientos calefactables").click()
    await expect(ana.page.get_by_text("no se cobra antes de ese día")).to_be_visible()
    await pictured(ana, "subscribe-follows")
    tab = await ana.context.new_page()
    await tab.goto(f"{town.url}/subscribe/{SEATS}")
    await ana.page.locator("#agreed").check()
    await ana.press("Suscribirse")
    await ana.page.wait_for_url("**/subscriptions/*")
    await expect(ana.page.get_by_text("Empieza el")).to_be_visible()
    await pictured(ana, "subscription-scheduled")

    await tab.locator("#agreed").check()
    await tab.get_by_role("button", name="Suscribirse", exact=True).click()
    await expect(tab.locator("#see-subscription")).to_be_visible()
    await expect(tab.get_by_role("button", name="Suscribirse")).to_have_count(0)

    await becomes(town, "one_time")
    await ana.go(f"/services/{SEATS}")
    await pictured(ana, "service-subscribed")
    await expect(ana.page.get_by_text("después continúa su suscripción")).to_be_visible()
    await expect(ana.page.locator("#see-subscription")).to_be_visible()
    await expect(ana.page.get_by_role("button", name="Ampliar y pagar")).to_have_count(0)


async def test_a_customer_withdraws_from_a_service_and_what_follows_moves_up(
    town: Town, ana: Visitor
) -> None:
    first = await bought(town)
    second = await bought(town, 90)
    await ana.go(f"/service-orders/{first.id}")
    await pictured(ana, "order-active")
    await ana.page.locator("#withdraw").click()
    await pictured(ana, "withdrawal")
    await expect(ana.page.get_by_text("Su compra posterior se adelanta")).to_be_visible()
    await ana.page.get_by_role("button", name="Desistir del servicio").dblclick()

    await expect(
        ana.page.get_by_role("heading", name="Ha desistido de este servicio")
    ).to_be_visible()
    await pictured(ana, "order-withdrawn")
    withdrawn, transitioned = await town.platform.tables.entitlements.terms(VIN, SEATS)
    assert (withdrawn.status, transitioned.status) == ("ended", "running")
    assert withdrawn.payment_id is not None
    status = await town.platform.payment_processing.query_payment_status(withdrawn.payment_id)
    assert len(status.refunds) == 1
    await ana.go(f"/service-orders/{second.id}")
    await expect(ana.page.get_by_role("heading", name="Activo en su coche")).to_be_visible()


async def test_withdrawing_is_possible_until_its_period_is_over_and_then_says_so(
    town: Town, ana: Visitor
) -> None:
    order = await bought(town)
    await ana.go(f"/service-orders/{order.id}/withdrawal")
    await town.pass_time(PERIOD_SECONDS + 60)
    await town.as_owner(
        "update caas.sessions set idle_until = caas.db_now() + interval '1 day',"
        " ends_at = caas.db_now() + interval '1 day'"
    )
    await ana.page.locator("#withdraw").click()

    await expect(ana.page.get_by_text("Ya no es posible desistir")).to_be_visible()
    await expect(ana.page.locator("#withdrawal-over")).to_contain_text("Se podía desistir")
    await pictured(ana, "withdrawal-over")
    assert await ana.page.locator("#withdraw").count() == 0


async def test_a_purchase_that_the_car_has_not_confirmed_can_be_called_off(
    town: Town, ana: Visitor, chromium: Browser
) -> None:
    town.fleet.add(VIN, Manner(Behaviour.SILENT))
    english = await visitor(town, chromium, ENGLISH, **PHONE)
    await english.context.add_cookies(await ana.context.cookies())  # type: ignore[arg-type]
    await english.goes_to_buy(SEATS)
    await english.pays()
    await english.page.locator("#withdraw").click()
    await pictured(english, "call-off-en")
    await english.page.locator("#withdraw").click()

    await expect(english.page.get_by_role("heading", name="Purchase cancelled")).to_be_visible()
    assert english.complaints == []

"""One-time services in a browser (Diagrams 4 and 8): active in the car, or not charged."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace
from playwright.async_api import Browser, expect

from caas.billing_database.services import ServiceOrder
from caas_simulators.vehicle_car import Behaviour, Manner
from tests.console.journeys import (
    ANA,
    DECLINED_CARD,
    DESK,
    ENGLISH,
    PHONE,
    SPANISH,
    Tongue,
    Visitor,
    visitor,
)
from tests.console.town import SCALE, STOCK, Town

VIN = STOCK[0][0]
ACTIVATION_SECONDS = 3600 / SCALE
"""Longer than a car may take, at the pace of the town."""
HIDDEN = "Object.defineProperty(document, 'hidden', {{get: () => {}, configurable: true}})"


@pytest.fixture
async def ana(town: Town, chromium: Browser) -> AsyncIterator[Visitor]:
    """A customer whose car was delivered, with her telephone."""
    await town.delivered(VIN, email=ANA)
    ana = await visitor(town, chromium, **PHONE)
    await ana.opens_account()
    yield ana
    await ana.context.close()


async def test_a_service_becomes_active_in_the_car_while_the_customer_watches(
    town: Town, ana: Visitor
) -> None:
    await ana.go("/services")
    await ana.page.get_by_role("link", name="Asientos calefactables").click()
    await ana.page.get_by_label("90 días").check()
    await ana.press("Continuar al pago")
    await ana.pays()

    await expect(ana.page.get_by_role("heading", name="Activo en su coche")).to_be_visible()
    await expect(ana.page.locator("li.done", has_text="Cobrado")).to_be_visible()
    assert town.fleet.cars[VIN].services["heated-seats"].active
    assert ana.complaints == []


@pytest.mark.parametrize(("tongue", "window"), [(ENGLISH, DESK)])
async def test_the_same_in_english_at_a_desk(
    town: Town, ana: Visitor, chromium: Browser, tongue: Tongue, window: dict[str, Any]
) -> None:
    at_desk = await visitor(town, chromium, tongue, **window)
    await at_desk.context.add_cookies(await ana.context.cookies())  # type: ignore[arg-type]

    await at_desk.go("/services")
    await at_desk.page.get_by_role("link", name="Matrix headlights").click()
    await at_desk.page.locator("main button.first").click()
    await at_desk.page.get_by_label(tongue.card).wait_for()
    await expect(at_desk.page.get_by_text("Faros matriciales, 30 días")).to_be_visible()
    await at_desk.pays()

    await expect(at_desk.page.get_by_role("heading", name="Active in your car")).to_be_visible()
    await expect(at_desk.page.get_by_text("Matrix headlights").first).to_be_visible()
    await expect(at_desk.page.get_by_text("€9.90").first).to_be_visible()
    assert at_desk.complaints == []


async def test_a_car_that_is_asleep_is_told_and_in_the_end_nothing_is_charged(
    town: Town, ana: Visitor
) -> None:
    town.fleet.add(VIN, Manner(Behaviour.SILENT))
    await ana.goes_to_buy("heated-seats")
    await ana.pays()
    await expect(ana.page.get_by_role("heading", name="Activando en su coche")).to_be_visible()
    await expect(ana.page.get_by_text("en reposo o sin cobertura")).to_be_visible()

    await town.pass_time(ACTIVATION_SECONDS)

    await expect(ana.page.get_by_role("heading", name="no cobrado")).to_be_visible()
    await ana.page.get_by_role("link", name="Anulado, no cobrado").click()
    await expect(ana.page.get_by_text("Se anuló antes de cobrarse")).to_be_visible()


async def test_a_declined_card_activates_and_charges_nothing(town: Town, ana: Visitor) -> None:
    await ana.goes_to_buy("heated-seats")
    await ana.pays(DECLINED_CARD)

    await expect(ana.page.get_by_role("heading", name="Pago no completado")).to_be_visible()
    await expect(ana.page.get_by_role("link", name="Comprar de nuevo")).to_be_visible()
    assert town.fleet.cars[VIN].services == {}


async def test_leaving_the_payment_page_buys_nothing(ana: Visitor) -> None:
    await ana.goes_to_buy("heated-seats")
    await ana.page.get_by_role("button", name=SPANISH.leave).click()

    await expect(ana.page.get_by_role("heading", name="Pago no completado")).to_be_visible()


async def test_a_page_drawn_before_the_order_heard_of_its_payment_still_says_what_became_of_it(
    town: Town, ana: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It said that no payment had been asked for, and stayed so until somebody loaded it again."""
    catalog = town.platform.service_catalog
    really = catalog.service_order
    looks: list[UUID] = []

    async def late(order_id: UUID) -> ServiceOrder:
        looks.append(order_id)
        order = await really(order_id)
        return replace(order, state="awaiting payment") if len(looks) == 1 else order

    await ana.goes_to_buy("heated-seats")
    await ana.page.get_by_role("button", name=SPANISH.leave).click()
    await expect(ana.page.get_by_role("heading", name="Pago no completado")).to_be_visible()
    monkeypatch.setattr(catalog, "service_order", late)
    await ana.page.reload()

    await expect(ana.page.get_by_role("heading", name="Pago en curso")).to_be_visible()
    await expect(ana.page.get_by_role("heading", name="Pago no completado")).to_be_visible()


async def test_a_page_at_rest_asks_for_nothing_and_a_hidden_page_neither(
    town: Town, ana: Visitor
) -> None:
    town.fleet.add(VIN, Manner(Behaviour.SILENT))
    asked: list[str] = []
    ana.page.on(
        "request", lambda reported: asked.append(reported.url) if "/live" in reported.url else None
    )
    await ana.goes_to_buy("heated-seats")
    await ana.pays()
    async with ana.page.expect_response(lambda answer: answer.status == 204):
        pass  # nothing new, and nothing sent

    await ana.page.evaluate(HIDDEN.format("true"))
    asked.clear()
    await ana.page.wait_for_timeout(4500)
    while_hidden = len(asked)
    await ana.page.evaluate(HIDDEN.format("false"))
    town.fleet.add(VIN, Manner(Behaviour.OBEYS))
    await town.pass_time(ACTIVATION_SECONDS)
    await expect(ana.page.get_by_role("heading", name="no cobrado")).to_be_visible()
    asked.clear()
    await ana.page.wait_for_timeout(4500)

    assert (while_hidden, asked) == (0, [])


async def test_a_session_that_ends_under_a_live_page_leads_to_the_sign_in(
    town: Town, ana: Visitor
) -> None:
    town.fleet.add(VIN, Manner(Behaviour.SILENT))
    await ana.goes_to_buy("heated-seats")
    await ana.pays()

    await town.as_owner("update caas.sessions set ended_at = caas.db_now()")

    await ana.page.wait_for_url("**/sign-in?next=/service-orders/*")


async def test_without_a_delivered_car_nothing_can_be_bought(town: Town, chromium: Browser) -> None:
    await town.reserved(STOCK[1][0], email=ANA)
    ana = await visitor(town, chromium, **PHONE)
    await ana.opens_account()

    await ana.go("/services/heated-seats")

    await expect(ana.page.get_by_text("cuando se entregue su coche")).to_be_visible()
    assert await ana.page.get_by_role("button", name="Continuar al pago").count() == 0

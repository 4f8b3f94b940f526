"""The services of a vehicle as staff see them in a browser, and sending them to it again."""

from uuid import uuid4

from playwright.async_api import Browser, expect

from caas.ota_activation_engine.vehicle_responses import GOODWILL, NOT_DELIVERED
from tests.console.journeys import ANA, DESK, ENGLISH, OPERATIONS, PHONE, SALES, visitor
from tests.console.test_entitlements_seen import SEATS, VIN, bought, pictured
from tests.console.town import Town, eventually


async def test_operations_find_a_vehicle_and_send_it_everything_again(
    town: Town, chromium: Browser
) -> None:
    await town.delivered(VIN, email=ANA)
    order = await bought(town)
    await bought(town, 90)
    one = await visitor(town, chromium, **DESK)
    await one.sign_in(OPERATIONS)
    await one.go(f"/operations/payments?q={VIN.lower()}")
    await one.page.locator("#to-vehicle").click()
    await expect(one.page.get_by_text("Sincronizado")).to_be_visible()
    await expect(one.page.locator("tbody tr")).to_have_count(2)
    await pictured(one, "ops-vehicle")
    car = town.fleet.cars[VIN]
    car.services.clear()

    await one.page.get_by_text("Reenviar al vehículo").click()
    await one.page.locator("#confirmed").check()
    await one.page.locator("#send-again").dblclick()

    await expect(one.page.get_by_role("status").first).to_be_visible()

    async def on_again() -> bool | None:
        service = car.services.get(SEATS)
        return True if service is not None and service.active else None

    await eventually(on_again)
    await pictured(one, "ops-vehicle-sent")
    await town.platform.payment_processing.withdraw_from_service(order.id, requested_by="customer")
    await one.go(f"/operations/payments?q={order.id}")
    await expect(one.page.locator("#term")).to_contain_text("Finalizado antes")
    await expect(one.page.locator("#term")).to_contain_text("Desistimiento")
    await pictured(one, "ops-payment-term")
    await one.page.locator("#to-vehicle").click()
    await one.page.wait_for_url(f"**/operations/vehicles/{VIN}")
    assert one.complaints == []


async def test_a_vehicle_that_is_not_ours_is_not_there(town: Town, chromium: Browser) -> None:
    one = await visitor(town, chromium, **DESK)
    await one.sign_in(OPERATIONS)

    await one.go("/operations/vehicles/WVWZZZ1JZXW999999")

    await expect(one.page.get_by_role("heading", name="Página no encontrada")).to_be_visible()


async def test_cases_of_services_that_drifted_explain_themselves_and_lead_to_the_vehicle(
    town: Town, chromium: Browser
) -> None:
    await town.delivered(VIN, email=ANA)
    order = await bought(town)
    cases = town.platform.tables.cases
    one = await visitor(town, chromium, ENGLISH, **PHONE)
    await one.sign_in(OPERATIONS)
    for kind, title in (
        (GOODWILL, "Active without payment"), (NOT_DELIVERED, "Paid but not active"),
    ):  # fmt: skip
        await cases.open(kind, order.payment_id or uuid4(), "The vehicle drifted.")
        (case,) = await cases.listed(kind=kind)
        await one.go(f"/operations/cases/{case.id}")
        await expect(one.page.get_by_role("heading", name=title)).to_be_visible()
        await expect(one.page.locator(".notice").first).to_contain_text("Resend from")
        await pictured(one, f"ops-case-{kind}")
        await one.page.locator("#to-vehicle").click()
        await expect(one.page.get_by_text("In sync")).to_be_visible()


async def test_a_dealer_sees_the_services_of_a_vehicle_on_its_order(
    town: Town, chromium: Browser
) -> None:
    car = await town.delivered(VIN, email=ANA)
    await bought(town)
    sales = await visitor(town, chromium, **DESK)
    await sales.sign_in(SALES)

    await sales.go(f"/intranet/orders/{car}")

    await expect(sales.page.locator("#services")).to_contain_text("Asientos calefactables")
    await expect(sales.page.locator("#services")).to_contain_text("Sincronizado")
    await pictured(sales, "dealer-order")
    assert sales.complaints == []

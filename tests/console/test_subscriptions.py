"""Subscriptions and invoices in a browser (Diagram 6)."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from playwright.async_api import Browser, expect

from caas import app
from caas.rules.subscription_states import SubscriptionState
from tests.console.journeys import ANA, ASKING_CARD, DESK, ENGLISH, PHONE, Visitor, visitor
from tests.console.town import STOCK, Town, eventually

VIN = STOCK[0][0]


@pytest.fixture
async def ana(town: Town, chromium: Browser) -> AsyncIterator[Visitor]:
    """A customer whose car was delivered, with her telephone."""
    await town.delivered(VIN, email=ANA)
    ana = await visitor(town, chromium, **PHONE)
    await ana.opens_account()
    yield ana
    await ana.context.close()


async def subscribes(ana: Visitor) -> UUID:
    """Subscribe, and wait until it is active."""
    await ana.go("/subscribe/range-plus")
    await ana.page.locator("#agreed").check()
    await ana.page.locator("main button.first").click()
    await ana.page.wait_for_url("**/subscriptions/*")
    await expect(ana.page.locator(".badge.good").first).to_be_visible()
    return UUID(ana.page.url.rsplit("/", 1)[1])


async def test_a_customer_subscribes_and_sees_use_and_the_next_charge(
    town: Town, ana: Visitor
) -> None:
    await ana.go("/services")
    await ana.page.get_by_role("link", name="Autonomía ampliada").click()
    await expect(ana.page.get_by_text("Hoy no se cobra nada")).to_be_visible()
    subscription = await subscribes(ana)
    await town.platform.usage.record_usage(
        subscription, quantity=250, at=app.now(), source_id="charger-1"
    )

    await ana.page.reload()

    await expect(ana.page.get_by_role("heading", name="Activa en su coche")).to_be_visible()
    await expect(ana.page.get_by_text("250 kWh usados")).to_be_visible()
    await expect(ana.page.get_by_text("30,00\u00a0€").first).to_be_visible()
    await expect(ana.page.get_by_text("Próximo cobro")).to_be_visible()
    assert town.fleet.cars[VIN].services["range-plus"].active
    assert ana.complaints == []


async def test_the_monthly_charge_has_to_be_agreed_to(town: Town, ana: Visitor) -> None:
    await ana.go("/subscribe/range-plus")
    await ana.page.locator("form.card").evaluate("form => form.noValidate = true")

    await ana.page.locator("main button.first").click()

    await expect(ana.page.get_by_role("alert")).to_contain_text("acepte el cargo mensual")
    assert await town.platform.subscriptions.subscriptions() == []


async def test_ending_a_subscription_switches_the_service_off(town: Town, ana: Visitor) -> None:
    subscription = await subscribes(ana)

    await ana.page.locator("#end").click()
    await ana.press("Cancelar la suscripción")

    await expect(
        ana.page.get_by_role("heading", name="Ha desistido de esta suscripción")
    ).to_be_visible()

    async def switched_off() -> bool | None:
        return None if town.fleet.cars[VIN].services["range-plus"].active else True

    await eventually(switched_off)
    ended = await town.platform.subscriptions.subscription(subscription)
    assert ended.state is SubscriptionState.CANCELLED


async def test_a_month_that_is_over_is_invoiced_and_the_invoice_is_a_pdf(
    town: Town, ana: Visitor, chromium: Browser
) -> None:
    await subscribes(ana)
    month = await town.month_is_over()
    await town.platform.billing.run_month(month)

    async def paid() -> bool | None:
        invoices = await town.platform.invoices.invoices(month=month)
        return True if [invoice.state for invoice in invoices] == ["paid"] else None

    await eventually(paid)
    at_desk = await visitor(town, chromium, ENGLISH, **DESK)
    await at_desk.context.add_cookies(await ana.context.cookies())  # type: ignore[arg-type]

    await at_desk.go("/invoices")
    async with at_desk.page.expect_download() as downloading:
        await at_desk.page.get_by_role("link", name="Download PDF").click()
    download = await downloading.value
    path = await download.path()

    assert path.read_bytes().startswith(b"%PDF-")
    assert download.suggested_filename.endswith(".pdf")
    await expect(at_desk.page.get_by_text("Paid")).to_be_visible()


async def changes_to_a_card_whose_bank_asks(ana: Visitor, subscription: UUID) -> None:
    """Change the payment method to a new card, typed and confirmed at the gateway."""
    await ana.page.locator("#change-method").click()
    await ana.page.locator("main button.first").click()
    await ana.pays(ASKING_CARD, confirm=True)
    await ana.page.wait_for_url(f"**/subscriptions/{subscription}")


async def test_another_payment_method_takes_over_when_the_customer_has_confirmed_it(
    town: Town, ana: Visitor
) -> None:
    subscription = await subscribes(ana)

    await changes_to_a_card_whose_bank_asks(ana, subscription)

    async def changed() -> bool | None:
        found = await town.platform.subscriptions.subscription(subscription)
        return True if found.payment_method == "pm_3ds" else None

    await eventually(changed)
    await ana.go("/messages")
    await expect(ana.page.get_by_role("heading", name="Medio de pago cambiado")).to_be_visible()
    assert ana.complaints == []


async def test_a_card_that_was_not_confirmed_changes_nothing_and_says_so(
    town: Town, ana: Visitor
) -> None:
    subscription = await subscribes(ana)
    await ana.page.locator("#change-method").click()
    await ana.page.locator("main button.first").click()

    await ana.page.get_by_role("button", name=ana.tongue.leave).click()

    await expect(ana.page.get_by_text("Medio de pago no cambiado")).to_be_visible()
    assert (await town.platform.subscriptions.subscription(subscription)).payment_method == "pm_ok"


async def test_a_month_that_the_bank_wants_confirmed_is_told_and_paid(
    town: Town, ana: Visitor
) -> None:
    subscription = await subscribes(ana)
    await changes_to_a_card_whose_bank_asks(ana, subscription)
    month = await town.month_is_over()

    await town.platform.billing.run_month(month)
    letter = await town.letter_to(ANA, containing="solicita que confirme el cobro")
    assert town.gateway_url in letter
    await ana.go(f"/subscriptions/{subscription}")
    await ana.page.locator("#confirm").click()
    await ana.page.locator("button[value=confirm]").click()

    await expect(ana.page.get_by_text("Cobrado").first).to_be_visible()
    (invoice,) = await town.platform.invoices.invoices(month=month)
    assert invoice.state == "paid"


async def test_an_invoice_is_nobody_elses(town: Town, ana: Visitor, chromium: Browser) -> None:
    subscription = await subscribes(ana)
    await town.delivered(STOCK[2][0], email="eva@example.com", name="Eva Gil")
    eva = await visitor(town, chromium, **PHONE)
    await eva.opens_account("eva@example.com")

    for path in (f"/subscriptions/{subscription}", f"/subscriptions/{subscription}/end"):
        answer = await eva.page.goto(town.url + path)
        assert answer is not None
        assert answer.status == 404


async def asks_with_a_new_card(ana: Visitor) -> None:
    """Choose a card that is not known yet, and go to the gateway's page."""
    await ana.go("/subscribe/range-plus")
    await ana.page.locator("input[value=new]").check()
    await ana.page.locator("#agreed").check()
    await ana.page.locator("main button.first").click()


async def test_a_customer_subscribes_with_a_card_that_is_typed_at_the_gateway(
    town: Town, ana: Visitor
) -> None:
    await asks_with_a_new_card(ana)

    await ana.pays(ASKING_CARD, confirm=True)
    await ana.page.wait_for_url("**/subscriptions/*")

    await expect(ana.page.locator(".badge.good").first).to_be_visible()
    (subscription,) = await town.platform.subscriptions.subscriptions()
    assert subscription.payment_method == "pm_3ds"
    assert ana.complaints == []


async def test_a_card_that_was_not_typed_starts_no_subscription_and_says_so(
    town: Town, ana: Visitor
) -> None:
    await asks_with_a_new_card(ana)

    await ana.page.get_by_role("button", name=ana.tongue.leave).click()

    await expect(
        ana.page.get_by_text("La página de la tarjeta se ha cerrado").first
    ).to_be_visible()
    (subscription,) = await town.platform.subscriptions.subscriptions()
    assert subscription.state is SubscriptionState.REFUSED
    await expect(ana.page.locator("#again")).to_be_visible()


async def test_a_page_left_open_is_gone_on_with_from_another_tab(town: Town, ana: Visitor) -> None:
    await asks_with_a_new_card(ana)
    await expect(ana.page.get_by_label(ana.tongue.card)).to_be_visible()

    await ana.go("/subscribe/range-plus")
    await ana.page.locator("#go-on").click()
    await ana.pays()

    await expect(ana.page.locator(".badge.good").first).to_be_visible()
    assert len(await town.platform.subscriptions.subscriptions()) == 1

"""The operations console in a browser: an engineer at night finds, understands and resolves."""

import re
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from playwright.async_api import Browser, expect

from caas.billing_database.payments import Payment
from caas.payment_processing import PaymentRequest
from caas.rules.order_states import OrderState
from tests.console.journeys import (
    ANA,
    DESK,
    ENGLISH,
    OPERATIONS,
    PHONE,
    SECOND,
    SPANISH,
    Tongue,
    Visitor,
    visitor,
    windows,
)
from tests.console.town import PASSWORD, STOCK, Town, eventually
from tests.people import employed

FINISHED = STOCK[0][0]


async def engineer(
    town: Town, browser: Browser, tongue: Tongue = SPANISH, login: str = OPERATIONS, **window: Any
) -> Visitor:
    who = await visitor(town, browser, tongue, **window)
    await who.sign_in(login)
    return who


async def payment_of(town: Town, subject: UUID) -> Payment:
    """Wait for the newest payment of an order."""

    async def there() -> Payment | None:
        listed = await town.platform.tables.payments.listed(subject=subject)
        return listed[0] if listed else None

    return await eventually(there)


async def unknown(town: Town) -> Payment:
    """Let a reservation payment be asked for behind a gateway that answers nothing any more."""
    await town.gateway_does("faults", match={"operation": "any"}, action={"status": 503})
    order = await town.reserved(FINISHED, email=ANA)

    async def known_to_be_unknown() -> Payment | None:
        payment = await payment_of(town, order)
        return payment if payment.outcome == "unknown" else None

    return await eventually(known_to_be_unknown)


@pytest.mark.parametrize(("tongue", "window"), windows((ENGLISH, PHONE), (SPANISH, DESK)))
async def test_an_alert_leads_by_what_to_do_to_the_payment(
    town: Town, chromium: Browser, tongue: Tongue, window: dict[str, Any]
) -> None:
    """What an engineer does who is woken by a message: open it, read, look."""
    payment = await unknown(town)
    letter = await town.letter_to("operations", containing="/operations/alerts/")
    path = letter[letter.index("/operations/alerts/") :].split()[0]
    one = await visitor(town, chromium, tongue, **window)

    await one.go(path)
    await one.page.get_by_label(tongue.login).fill(OPERATIONS)
    await one.page.get_by_label(tongue.password).fill(PASSWORD)
    await one.press(tongue.enter)
    await expect(one.page.locator(".notice").first).to_contain_text(
        "Consulte la pasarela ahora" if tongue is SPANISH else "Query the gateway now"
    )
    await one.page.locator(f"a.first[href='/operations/payments/{payment.id}']").click()
    await expect(one.page.locator("#probe")).to_be_visible()
    await one.go("/messages")
    await one.page.locator(f"a[href='{path}']").click()

    await expect(one.page).to_have_url(re.compile("/operations/cases/"))
    assert one.complaints == []


@pytest.mark.parametrize(("tongue", "window"), windows((SPANISH, DESK), (ENGLISH, PHONE)))
async def test_two_people_end_an_unknown_outcome(
    town: Town, chromium: Browser, tongue: Tongue, window: dict[str, Any]
) -> None:
    payment = await unknown(town)
    one = await engineer(town, chromium, tongue, **window)
    two = await engineer(town, chromium, tongue, SECOND, **window)

    await one.page.locator("a.tile[href='/operations/unknown']").click()
    await one.page.locator(f"a[href='/operations/payments/{payment.id}']").click()
    await one.page.locator("#probe").click()
    await one.page.wait_for_url("**?done=1")
    await one.page.locator("details.more summary").click()
    await one.page.locator("#note").fill("The gateway wrote that it has no such transaction.")
    await one.page.locator("#propose").click()
    await expect(one.page.locator("#withdraw")).to_be_visible()
    await expect(one.page.locator("#agree")).to_have_count(0)
    loaded = await one.page.evaluate("performance.timeOrigin")
    await two.go(f"/operations/payments/{payment.id}")
    await two.page.locator("#agree").click()
    assert (await town.platform.tables.payments.get(payment.id)).outcome == "unknown"
    await two.page.locator("#confirm-it").click()

    await expect(one.page.locator(".states .here text")).to_have_text("Failed")
    assert await one.page.evaluate("performance.timeOrigin") == loaded
    decided = "Two people decide" if tongue is ENGLISH else "Dos personas deciden"
    await expect(one.page.locator(".timeline").get_by_text(decided).first).to_be_visible()
    assert one.complaints == []


async def test_whoever_proposed_is_refused_as_the_second_person(
    town: Town, chromium: Browser
) -> None:
    """The button is not there; whoever sends the form all the same is told why not."""
    payment = await unknown(town)
    await town.platform.payment_processing.outcome_approval.propose(
        payment.id, note="The gateway's word.", by=await employed(town.database, OPERATIONS)
    )
    one = await engineer(town, chromium)
    await one.go(f"/operations/payments/{payment.id}")

    await one.page.locator("form[action$='/withdraw']").evaluate(
        "form => { form.action = form.action.replace('withdraw', 'agree'); }"
    )
    await one.page.locator("#withdraw").click()

    await expect(one.page.get_by_role("alert")).to_contain_text("Debe aprobarlo otra persona")
    assert (await town.platform.tables.payments.get(payment.id)).outcome == "unknown"


async def test_the_payment_timeline_shows_everything_of_a_service(
    town: Town, chromium: Browser
) -> None:
    await town.delivered(FINISHED, email=ANA)
    ana = await visitor(town, chromium, **PHONE)
    await ana.opens_account()
    await ana.goes_to_buy("heated-seats")
    await ana.pays()
    one = await engineer(town, chromium)

    await one.page.locator("#q").fill(FINISHED)
    await one.page.keyboard.press("Enter")
    await one.page.locator("td a.vin").first.click()
    timeline = one.page.locator(".timeline")

    for reported in ("Fondos retenidos", "Autorizar · respondida", "Orden: activar", "SUCCEEDED",
                 "Webhook · transaction", "Capturar · respondida", "Servicio activo"):  # fmt: skip
        await expect(timeline.get_by_text(reported).first).to_be_visible()
    await expect(timeline.get_by_text("gateway_receivable").first).to_be_visible()
    await expect(one.page.locator(".states .here text")).to_have_text("Capturing")
    assert one.complaints == []


async def test_any_id_leads_to_its_payment_and_a_list_is_taken_along(
    town: Town, chromium: Browser
) -> None:
    order = await town.reserved(FINISHED, email=ANA)
    await town.order_is(order, OrderState.READY)
    payment = await payment_of(town, order)
    one = await engineer(town, chromium)
    assert payment.gateway_transaction_id is not None

    for key in (payment.id, order, payment.customer, payment.gateway_transaction_id):
        await one.go(f"/operations/payments?q={key}")
        assert one.page.url.endswith(f"/operations/payments/{payment.id}")
    await one.go(f"/operations/payments?q={FINISHED}")
    await expect(one.page.locator(f'a[href="/operations/vehicles/{FINISHED}"]')).to_be_visible()
    await expect(one.page.locator(f'a[href="/operations/payments/{payment.id}"]')).to_be_visible()
    file = await one.context.request.get(f"{town.url}/operations/payments.csv?type=reservation")
    none = await one.context.request.get(f"{town.url}/operations/payments.csv?type=final")

    header, row = (await file.text()).splitlines()
    assert header.startswith("payment,type,state")
    assert row.startswith(f"{payment.id},reservation,")
    assert ",500.00,EUR," in row
    assert len((await none.text()).splitlines()) == 1


@pytest.mark.parametrize(("tongue", "window"), windows((ENGLISH, DESK), (SPANISH, PHONE)))
async def test_exposure_and_losses_are_drawn_as_they_happen(
    town: Town, chromium: Browser, tongue: Tongue, window: dict[str, Any]
) -> None:
    order = await town.delivered(FINISHED, email=ANA)
    one = await engineer(town, chromium, tongue, **window)
    loaded = await one.page.evaluate("performance.timeOrigin")
    exposed, lost = (
        one.page.locator("section.card", has_text=text).locator(".bars li")
        for text in (("Exposición", "Pérdidas") if tongue is SPANISH else ("Exposure", "Losses"))
    )
    await expect(exposed).to_have_count(2)
    await expect(lost).to_have_count(0)

    customer = (await town.platform.order_management.orders.get(order)).customer
    wanted = await town.platform.service_catalog.create_service_order(
        customer=customer, vin=FINISHED, service="heated-seats", duration_days=30
    )
    await town.platform.payment_processing.initiate_service_payment(
        PaymentRequest(
            subject=wanted.id, customer=customer, amount=wanted.amount, currency="EUR",
            payment_method="pm_settlement_fails",
        )
    )  # fmt: skip
    await expect(exposed).to_have_count(3)
    await town.gateway_does("settle")

    await expect(lost).to_have_count(1)
    await expect(lost).to_contain_text("12,99" if tongue is SPANISH else "12.99")
    await expect(exposed).to_have_count(0)
    assert await one.page.evaluate("performance.timeOrigin") == loaded
    assert one.complaints == []


async def test_parked_work_is_released_once(town: Town, chromium: Browser) -> None:
    order = await town.reserved(FINISHED, email=ANA)
    await town.order_is(order, OrderState.READY)
    await town.platform.tables.jobs.add("place_factory_order", order, due_in=3600.0)
    await town.database.fetch(
        "update jobs set paused_at = db_now(), last_error = 'a test parked it'"
        " where subject = $1 and kind = 'place_factory_order'", order,
    )  # fmt: skip
    await town.platform.tables.cases.open("jobs_parked", order, "The work was parked.")
    one, late = await engineer(town, chromium), await engineer(town, chromium, ENGLISH, SECOND)
    await late.go("/operations/jobs?show=paused")

    await one.page.locator("a.tile[href='/operations/jobs?show=paused']").click()
    await one.press("Reanudar: Hacer el pedido a fábrica")
    await expect(one.page.get_by_role("status").first).to_contain_text("Hecho")
    await late.press("Resume: Place the factory order")

    await expect(late.page.get_by_role("alert")).to_contain_text("no longer paused")
    assert await town.platform.tables.cases.listed(subject=order) == []


async def test_a_case_is_taken_and_closed_with_words(town: Town, chromium: Browser) -> None:
    order = await town.reserved(FINISHED, email=ANA)
    await town.platform.tables.cases.open("late_outcome", order, "Money came late.")
    one = await engineer(town, chromium)

    await one.go("/operations/cases?kind=late_outcome")
    await one.page.locator("td a").first.click()
    await one.page.locator("#take").click()
    await expect(one.page.locator("dd", has_text=OPERATIONS)).to_be_visible()
    await one.page.locator("#resolution").fill("Devuelta por transferencia, tique 4711.")
    await one.page.locator("#close").dblclick(no_wait_after=True)

    await expect(one.page.get_by_text("tique 4711")).to_be_visible()
    closed = (await town.platform.tables.cases.listed(status="resolved", subject=order))[0]
    assert closed.owner == OPERATIONS


async def test_one_person_decides_about_a_small_deposit(town: Town, chromium: Browser) -> None:
    case = await town.lost(FINISHED, email=ANA)
    one = await engineer(town, chromium, ENGLISH, **PHONE)
    await one.go(f"/operations/cases/{case.id}")
    await expect(one.page.locator("#close")).to_have_count(0)

    await one.page.locator("input[value=refund]").check()
    await one.page.locator("#note").fill("The card was stolen, ticket 4711.")
    await one.page.locator("#decide").click()
    await expect(one.page.get_by_role("heading", level=1)).to_have_text(
        "Refund the deposit of €500.00?"
    )
    assert await town.database.fetch("select id from refunds") == []
    await one.page.locator("#confirm-it").dblclick(no_wait_after=True)

    await expect(one.page.get_by_text("Resolved").first).to_be_visible()
    (refund,) = await town.database.fetch("select amount, reason from refunds")
    assert (refund["amount"], refund["reason"]) == (50_000, "reservation_lost")
    assert one.complaints == []


async def test_two_people_decide_about_a_large_deposit(town: Town, chromium: Browser) -> None:
    case = await town.lost(FINISHED, email=ANA, deposit=60_000)
    one = await engineer(town, chromium)
    two = await engineer(town, chromium, ENGLISH, SECOND, **PHONE)
    await one.go(f"/operations/cases/{case.id}")
    await two.go(f"/operations/cases/{case.id}")

    await one.page.locator("input[value=keep]").check()
    await one.page.locator("#note").fill("El contrato lo dice.")
    await one.page.locator("#decide").click()
    await expect(one.page.locator("#withdraw")).to_be_visible()
    await expect(one.page.locator("#agree")).to_have_count(0)
    await two.page.locator("input[value=refund]").check()
    await two.page.locator("#note").fill("Too late.")
    await two.page.locator("#decide").click()
    await expect(two.page.get_by_role("alert")).to_contain_text("A proposal is pending")
    await two.page.locator("#agree").click()
    await expect(two.page.get_by_role("heading", level=1)).to_contain_text("Retain the deposit")
    await two.page.locator("#confirm-it").click()

    await expect(two.page.get_by_text("Resolved").first).to_be_visible()
    assert await town.database.fetch("select id from refunds") == []
    (closed,) = await town.platform.tables.cases.listed(status="resolved", kind="deposit_held")
    assert (closed.owner, closed.resolution) == (SECOND, "keep")


async def test_a_key_is_shown_once_activated_by_another_and_revoked_for_ever(
    town: Town, chromium: Browser
) -> None:
    one = await engineer(town, chromium)
    two = await engineer(town, chromium, SPANISH, SECOND)

    await one.go("/operations/keys")
    await one.page.locator("#name").fill("night-shift")
    await one.page.get_by_label("operations", exact=True).check()
    await one.page.locator("#make").click()
    key = await one.page.locator("#made").inner_text()
    bearer = {"Authorization": f"Bearer {key}"}
    early = await one.context.request.get(f"{town.url}/v1/self-check", headers=bearer)
    await one.go("/operations/keys")
    assert await one.page.locator("#made").count() == 0
    await expect(one.page.get_by_text("Pendiente de segunda aprobación")).to_be_visible()
    await expect(one.page.get_by_label("Activar la clave de night-shift")).to_have_count(0)
    await two.go("/operations/keys")
    await two.page.get_by_label("Activar la clave de night-shift").click()
    await one.page.goto(two.page.url)
    await expect(one.page.get_by_text("Usted creó esta clave")).to_be_visible()
    await expect(one.page.locator("#confirm-it")).to_have_count(0)
    await expect(two.page.get_by_text("Pendiente de segunda aprobación")).to_have_count(0)
    await two.page.locator("#confirm-it").click()
    await expect(two.page.get_by_text("Pendiente de segunda aprobación")).to_have_count(0)

    async def answers(status: int) -> bool | None:
        answer = await one.context.request.get(f"{town.url}/v1/self-check", headers=bearer)
        return True if answer.status == status else None

    await eventually(partial(answers, 200))
    await one.go("/operations/keys")
    await one.page.get_by_label("Revocar la clave de night-shift").click()
    await expect(one.page.get_by_text("Una clave revocada no se puede restaurar")).to_be_visible()
    asked, still = one.page.url, await answers(200)
    await one.page.locator("#confirm-it").click()
    await expect(one.page.get_by_text("Revocada")).to_be_visible()
    await eventually(partial(answers, 401))
    gone = await one.context.request.get(asked)
    assert (early.status, still, gone.status) == (401, True, 404)


async def test_laws_are_checked_and_a_fault_is_scripted(town: Town, chromium: Browser) -> None:
    one = await engineer(town, chromium, ENGLISH)

    await one.go("/operations/system")
    await one.page.locator("#check").click()
    await expect(one.page.get_by_text("All checks passed")).to_be_visible()
    await one.page.get_by_role("link", name="Simulation").click()
    await one.page.locator("#fault-gateway").select_option("lost_answer")
    await one.page.locator("#fault-gateway ~ *, form:has(#fault-gateway) button").first.click()
    await expect(one.page.get_by_text("triggered 0 times")).to_be_visible()
    order = await town.reserved(FINISHED, email=ANA)
    await town.order_is(order, OrderState.READY)
    await one.go("/operations/simulators")

    await expect(one.page.get_by_text("finished", exact=True)).to_be_visible()
    assert one.complaints == []

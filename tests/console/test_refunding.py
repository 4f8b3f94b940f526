"""A payment is refunded from its page: by one person, by two above the limit, and again."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from playwright.async_api import Browser, expect
from yarl import URL

from caas.billing_database.identifiers import new_id
from caas.billing_database.payments import Payment
from caas.payment_processing import PaymentRequest
from caas.rules.payment_states import PaymentState
from caas.web.response import OK
from tests.console.journeys import ANA, OPERATIONS, SECOND
from tests.console.test_operations import engineer
from tests.console.test_safety import Client, Reply, client_of
from tests.console.town import STOCK, Town, eventually

FINISHED = STOCK[0][0]
CASES = "select kind from cases where subject = $1 and status = 'open'"


@pytest.fixture
async def investigation(town: Town) -> AsyncIterator[tuple[Client, Client]]:
    """Two engineers of operations, signed in without a browser."""
    clients = client_of(town), client_of(town)
    for client, login in zip(clients, (OPERATIONS, SECOND), strict=True):
        await client.sign_in(login)
    yield clients
    for client in clients:
        await client.session.close()


async def service_paid(town: Town, *, vin: str = FINISHED) -> Payment:
    """Let a customer's car be delivered and heated seats be bought for it and settled."""
    order_id = await town.delivered(vin, email=ANA)
    customer = (await town.platform.order_management.orders.get(order_id)).customer
    order = await town.platform.service_catalog.create_service_order(
        customer=customer, vin=vin, service="heated-seats", duration_days=30
    )
    payment = await town.platform.payment_processing.initiate_service_payment(
        PaymentRequest(
            subject=order.id, customer=customer, amount=order.amount, currency=order.currency,
            payment_method="pm_ok",
        )
    )  # fmt: skip
    assert isinstance(payment, Payment)
    return await in_state(town, payment.id, PaymentState.SETTLED)


async def in_state(town: Town, payment_id: UUID, state: PaymentState) -> Payment:
    """Wait until a payment is in a state."""

    async def there() -> Payment | None:
        await town.gateway_does("settle")
        payment = await town.platform.tables.payments.get(payment_id)
        return payment if payment.state is state else None

    return await eventually(there)


async def refunds(client: Client, payment: Payment, **fields: str) -> str:
    """Send the form of the page and confirm it; return what the page says of it."""
    return (await asks_to_refund(client, payment, **fields))[-1].reported


async def asks_to_refund(client: Client, payment: Payment, **fields: str) -> list[Reply]:
    """Send the form of the page, and of the page that asks whether it was read as it was meant."""
    path = f"/operations/payments/{payment.id}"
    page = await client.get(path)
    keys = {name: page.field(name) for name in ("form_token", "key")}
    form = {"reason": "goodwill", "note": "They called.", **keys, **fields}
    answers = [await client.post(f"{path}/refund", form)]
    if answers[0].status == OK:
        answers.append(await client.post(f"{path}/refund", answers[0].hidden))
    return answers


async def test_one_person_refunds_a_part_and_then_says_what_becomes_of_the_service(
    town: Town, investigation: tuple[Client, Client]
) -> None:
    payment, (one, _) = await service_paid(town), investigation

    refused = [
        await refunds(one, payment, amount="0"),
        await refunds(one, payment, amount="12.3456"),
        await refunds(one, payment, amount="3,00", reason="whim"),
        await refunds(one, payment, amount="13,00", term="end"),
        await refunds(one, payment, amount="12,99"),
        await refunds(one, payment, amount="3,00", note=""),
    ]
    part = await refunds(one, payment, amount="3,00")
    await eventually_refunded(town, payment, 300)
    rest = await refunds(one, payment, amount="9,99", term="end")
    await in_state(town, payment.id, PaymentState.REFUNDED)

    assert refused == [
        "refused=amount_not_read", "refused=amount_not_read", "refused=refund_reason_missing",
        "refused=refund_too_large", "refused=term_decision_required", "refused=note_refused",
    ]  # fmt: skip
    assert (part, rest) == ("done=1", "done=1")
    term = await town.platform.tables.entitlements.of_order(payment.subject)
    assert term is not None
    assert term.state == "ended"
    page = await one.get(f"/operations/payments/{payment.id}")
    assert 'id="refund-do"' not in page.text


async def test_an_amount_is_shown_back_before_it_counts_and_what_was_typed_stays(
    town: Town, investigation: tuple[Client, Client]
) -> None:
    payment, (one, _) = await service_paid(town), investigation
    english = {"caas-language": "en"}
    one.session.cookie_jar.update_cookies(english, URL(town.url))

    (wrong,) = await asks_to_refund(
        one, payment, amount="1.000", reason="not_delivered", note="Cold & wet.", term="keep"
    )
    asked, done = await asks_to_refund(one, payment, amount="10.5", term="keep")
    other = asked.hidden | {"confirmed": "1000", "key": str(new_id())}
    looked_up_again = await one.post(f"/operations/payments/{payment.id}/refund", other)
    await eventually_refunded(town, payment, 1050)

    assert (wrong.status, wrong.reported) == (422, "refused=amount_not_read")
    assert "1.000 is ambiguous" in wrong.text
    assert 'required value="1.000"' in wrong.text
    assert '<option value="not_delivered" selected>' in wrong.text
    assert ">Cold &amp; wet.</textarea>" in wrong.text
    assert 'value="keep" required checked' in wrong.text
    assert "Refund €10.50?" in asked.text
    assert done.reported == "done=1"
    assert "Refund €10.50?" in looked_up_again.text


async def test_beside_a_refund_of_unknown_outcome_nothing_is_offered_or_asked(
    town: Town, investigation: tuple[Client, Client]
) -> None:
    payment, (one, two) = await service_paid(town), investigation
    path = f"/operations/payments/{payment.id}"
    page = await two.get(path)
    form = {name: page.field(name) for name in ("form_token", "key")}
    await town.gateway_does(
        "faults", match={"operation": "refund"}, action={"drop_connection_after": True}
    )
    await town.gateway_does("faults", match={"operation": "find"}, action={"status": 503})

    first = await refunds(one, payment, amount="3,00")
    seen = await one.get(path)
    again = await two.post(
        f"{path}/refund", {"amount": "3,00", "reason": "goodwill", "note": "Again.", **form}
    )

    (refund,) = await town.database.fetch("select id, outcome from refunds")
    assert (first, refund["outcome"]) == ("done=1", "unknown")
    assert 'id="refund-unknown"' in seen.text
    assert str(refund["id"]) in seen.text
    assert 'id="refund-do"' not in seen.text
    assert again.reported == "refused=refund_unknown"


async def test_above_the_limit_two_people_refund(
    town: Town, investigation: tuple[Client, Client]
) -> None:
    one, two = investigation
    order_id = await town.delivered(FINISHED, email=ANA)
    listed = await town.platform.tables.payments.listed(subject=order_id)
    final = await in_state(town, listed[0].id, PaymentState.SETTLED)
    path = f"/operations/payments/{final.id}"

    proposed = await refunds(one, final, amount="2000")
    again = await refunds(two, final, amount="2000")
    own = await agreed(one, path)
    other = await agreed(two, path)
    await eventually_refunded(town, final, 200_000)

    assert (proposed, again) == ("done=1", "refused=decision_pending")
    assert (own, other) == ("refused=same_person", "done=1")


async def agreed(client: Client, path: str) -> str:
    """Agree to the refund that waits."""
    page = await client.get(path)
    keys = {name: page.field(name) for name in ("form_token", "key")}
    answer = await client.post(f"{path}/refund/agree", keys)
    return answer.reported


async def eventually_refunded(town: Town, payment: Payment, amount: int) -> None:
    """Wait until so much of a payment has gone back."""

    async def there() -> bool | None:
        await town.gateway_does("settle")
        now = await town.platform.tables.payments.get(payment.id)
        return True if now.refunded_amount == amount else None

    await eventually(there)


async def test_a_refund_that_failed_is_made_again_from_the_page_of_its_case(
    town: Town, chromium: Browser
) -> None:
    """Withdrawn, and the gateway failed the refund: operations are told and send it again."""
    payment = await service_paid(town)
    await town.gateway_does(
        "faults", match={"operation": "refund", "times": 1}, action={"refund_fails": True}
    )
    await town.platform.payment_processing.withdraw_from_service(
        payment.subject, requested_by="customer"
    )

    async def reported() -> bool | None:
        await town.gateway_does("settle")
        rows = await town.database.fetch(CASES, payment.id)
        return True if [row["kind"] for row in rows] == ["refund_failed"] else None

    await eventually(reported)
    one = await engineer(town, chromium)
    await one.go(f"/operations/payments/{payment.id}")
    await one.page.locator("#refund summary").click()
    await one.page.locator("#refund-note").fill("El banco la devolvió; otra vez.")
    await one.page.locator("#refund-do").click()
    await one.page.locator("#confirm-it").click()
    await one.page.wait_for_url("**?done=1")

    await in_state(town, payment.id, PaymentState.REFUNDED)
    await expect(one.page.locator(".notice").first).to_be_visible()
    assert await town.database.fetch(CASES, payment.id) == []
    assert one.complaints == []


async def test_a_credit_note_from_the_console_says_what_becomes_of_the_service(
    town: Town, investigation: tuple[Client, Client]
) -> None:
    payment, (one, _) = await service_paid(town), investigation
    await town.platform.issuing.issue_due()
    (invoice,) = await town.platform.invoices.invoices(subject=payment.subject)
    path = f"/operations/invoices/{invoice.id}"

    async def corrects(**fields: str) -> str:
        page = await one.get(path)
        keys = {name: page.field(name) for name in ("form_token", "key")}
        form = {"reason": "Never on.", "amount": "", **keys, **fields}
        answer = await one.post(f"{path}/credit-notes", form)
        if answer.status == OK:
            assert f"{invoice.full_number} · 12,99" in answer.text
            answer = await one.post(f"{path}/credit-notes", answer.hidden)
        return answer.reported

    shown = (await one.get(path)).text
    stated = [await corrects(), await corrects(term="end")]
    await in_state(town, payment.id, PaymentState.REFUNDED)

    assert 'name="term"' in shown
    assert stated == ["refused=term_decision_required", "done=1"]
    term = await town.platform.tables.entitlements.of_order(payment.subject)
    assert term is not None
    assert term.state == "ended"

"""Documents on pages: a customer's own with their address, and the console that corrects them."""

from collections.abc import AsyncIterator

import pytest

from caas.billing_database.identifiers import new_id
from caas.console.application import REFUSED
from caas.rules.order_states import OrderState
from caas.web.response import OK
from tests.buyers import AT_HOME
from tests.console.journeys import ANA, OPERATIONS, SALES
from tests.console.test_safety import Client, client_of
from tests.console.town import STOCK, Town

ADDRESS = {
    "name": "", "street": "Calle Luna 7", "postcode": "28013", "city": "Madrid",
    "country": "es", "tax_id": "12345678Z",
}  # fmt: skip


@pytest.fixture
async def ana(town: Town) -> AsyncIterator[Client]:
    """Ana, who has a reservation, signed in."""
    await town.reserved(STOCK[0][0], email=ANA)
    opened = client_of(town)
    await opened.opens_account(ANA)
    yield opened
    await opened.session.close()


@pytest.fixture
async def console(town: Town) -> AsyncIterator[Client]:
    """Somebody of operations, signed in."""
    opened = client_of(town)
    await opened.sign_in(OPERATIONS)
    yield opened
    await opened.session.close()


async def sends(client: Client, page: str, path: str, fields: dict[str, str]) -> str:
    """Send a form as its page has it; return the page that follows."""
    token = (await client.get(page)).field("form_token")
    reply = await client.post(path, {"form_token": token, "key": str(new_id()), **fields})
    if reply.status == OK:
        reply = await client.post(path, reply.hidden)
    if reply.status == REFUSED:
        return reply.text
    assert reply.status == 303, reply.text
    return (await client.get(reply.headers["location"])).text


async def test_a_customer_says_where_they_are_and_finds_it_on_their_document(
    town: Town, ana: Client
) -> None:
    wrong = await sends(ana, "/billing-details", "/billing-details", {**ADDRESS, "tax_id": "1A"})
    fresh = (await ana.get("/billing-details")).text
    kept = await sends(ana, "/billing-details", "/billing-details", ADDRESS)
    await town.platform.issuing.issue_due()

    listed = (await ana.get("/invoices")).text
    (invoice,) = await town.platform.invoices.invoices()
    document = await town.platform.invoices.document(invoice.id)

    assert "NIF no válido" in wrong
    assert 'value="Calle Luna 7"' in wrong
    assert "Calle Luna 7" not in fresh
    assert "Calle Luna 7" in kept
    assert f"Factura de anticipo {invoice.full_number}" in " ".join(listed.split())
    assert document.buyer is not None
    assert (await ana.get(f"/invoices/{invoice.id}.pdf")).status == 200


async def test_the_console_finds_corrects_and_sends_documents(
    town: Town, ana: Client, console: Client
) -> None:
    await town.platform.issuing.issue_due()
    (invoice,) = await town.platform.invoices.invoices()
    path = f"/operations/invoices/{invoice.id}"

    listed = (await console.get(f"/operations/invoices?about={invoice.subject}")).text
    numbered = (await console.get(f"/operations/invoices?number={invoice.full_number}")).text
    other = (await console.get("/operations/invoices?number=2026-999999")).text
    assert invoice.full_number in numbered
    assert path not in other
    nothing = (await console.get(f"/operations/invoices?customer={new_id()}")).text
    shown = (await console.get(path)).text
    refused = await sends(console, path, f"{path}/credit-notes", {"reason": "", "amount": "1"})
    too_much = await sends(
        console, path, f"{path}/credit-notes", {"reason": "Wrong.", "amount": "99999,00"}
    )
    sent = await sends(console, path, f"{path}/sending", {})
    corrected = await sends(
        console, path, f"{path}/credit-notes", {"reason": "One euro off.", "amount": "1,00"}
    )
    note, _ = await town.platform.invoices.invoices()
    of_note = " ".join((await console.get(f"/operations/invoices/{note.id}")).text.split())

    assert invoice.full_number in listed
    assert invoice.full_number not in nothing
    assert "se devuelve al cliente" in shown
    assert "Falta el motivo" in refused
    assert "No se puede rectificar" in too_much
    assert "Hecho" in sent
    assert "Hecho" in corrected
    assert (note.gross, note.corrects, note.reason) == (-100, invoice.id, "One euro off.")
    assert 'lang="es">Corrección</dt><dd class="money">-1,00' in of_note
    assert (await console.get(f"{path}.pdf")).status == 200
    assert (await ana.get(path)).status == 403


async def test_the_rest_is_paid_by_who_has_said_where_they_are(town: Town) -> None:
    order = await town.reserved(STOCK[0][0], email=ANA, deposit=40_000, known=False)
    await town.order_is(order, OrderState.READY)
    ana = client_of(town)
    await ana.opens_account(ANA)
    page = f"/car/{order}/final-payment"

    asked = await ana.get(page)
    form = {"form_token": asked.field("form_token"), "understood": "yes"}
    nothing = await ana.post(page, {**form, "key": str(new_id())})
    wrong = await ana.post(page, {**form, "key": str(new_id()), **AT_HOME, "tax_id": "1A"})
    paying = await ana.post(page, {**form, "key": str(new_id()), **AT_HOME})
    await ana.session.close()

    assert 'name="tax_id"' in asked.text
    assert (nothing.status, wrong.status) == (422, 422)
    assert "Falta la dirección de facturación" in nothing.text
    assert "NIF no válido" in wrong.text
    assert "Calle Mayor 1" in wrong.text
    assert (paying.status, paying.headers["location"][:5]) == (303, "/pay/")


async def test_a_document_that_waits_for_its_buyer_is_issued_once_sales_know_them(
    town: Town, console: Client
) -> None:
    order = await town.reserved(STOCK[0][0], email=ANA, deposit=40_000, known=False)
    async with town.database.connection() as connection:
        await connection.execute("set role none")
        await connection.execute("update caas.markets set simplified_up_to = 10000")
        await connection.execute("set role caas_app")
    await town.platform.issuing.issue_due()
    (case,) = await town.platform.tables.cases.listed(kind="buyer_details_missing")
    sales = client_of(town)
    await sales.sign_in(SALES)
    path, buyer = f"/operations/cases/{case.id}", f"/intranet/orders/{order}/buyer"

    too_early = await sends(console, path, f"{path}/document", {})
    reported = (await sales.get(buyer)).text
    kept = await sends(sales, buyer, buyer, {"name": "", **AT_HOME})
    issued = await sends(console, path, f"{path}/document", {})
    await sales.session.close()
    (invoice,) = await town.platform.invoices.invoices()

    assert "El documento todavía no se puede emitir" in too_early
    assert "son obligatorios para pagar" in reported
    assert "Calle Mayor 1" in kept
    assert "son obligatorios para pagar" not in kept
    assert "Resuelto" in issued
    assert invoice.subject == order


async def test_a_buyer_corrects_their_details_and_has_the_document_issued_again(
    town: Town, console: Client
) -> None:
    """Above the limit the buyer's wish is a proposal, which operations approve."""
    await town.reserved(STOCK[0][0], email=ANA, deposit=60_000)
    ana = client_of(town)
    await ana.opens_account(ANA)
    await town.platform.issuing.issue_due()
    (wrong,) = await town.platform.invoices.invoices()
    before = (await ana.get("/invoices")).text
    await sends(ana, "/billing-details", "/billing-details", ADDRESS)
    listed = (await ana.get("/invoices")).text
    asked = await sends(ana, "/invoices", f"/invoices/{wrong.id}/reissues", {})
    twice = await sends(ana, "/invoices", f"/invoices/{wrong.id}/reissues", {})
    page = f"/operations/invoices/{wrong.id}"
    proposed = (await console.get(page)).text
    agreed = await sends(console, page, f"{page}/credit-notes/approval", {})

    new, note, old = await town.platform.invoices.invoices()
    assert "Emitir" not in before
    assert f"Emitir {wrong.full_number} con" in listed
    assert "Hecho" in asked
    assert "Hecho" not in twice
    assert "Pendiente de segunda aprobación para emitir de nuevo" in proposed
    assert "Hecho" in agreed
    assert (old.replaced_by, new.replaces, note.corrects) == (new.id, wrong.id, wrong.id)
    assert new.buyer is not None
    assert new.buyer["street"] == "Calle Luna 7"
    assert "Sustituida" in (await ana.get("/invoices")).text
    assert wrong.full_number in (await console.get(f"/operations/invoices/{new.id}")).text
    assert (await ana.get(page)).status == 403
    await ana.session.close()


async def test_the_console_issues_a_document_again_and_says_why_it_does_not(
    town: Town, ana: Client, console: Client
) -> None:
    await town.platform.issuing.issue_due()
    (invoice,) = await town.platform.invoices.invoices()
    page = f"/operations/invoices/{invoice.id}"

    same = await sends(console, page, f"{page}/reissues", {"reissue-reason": "Their wish."})
    unsaid = await sends(console, page, f"{page}/reissues", {"reissue-reason": ""})
    await sends(ana, "/billing-details", "/billing-details", ADDRESS)
    asked = await sends(console, page, f"{page}/reissues", {"reissue-reason": "Their wish."})

    assert "Nada que corregir" in same
    assert "Falta el motivo" in unsaid
    new, _, _ = await town.platform.invoices.invoices()
    assert "Hecho" in asked
    assert f"/operations/invoices/{new.id}" in asked
    assert new.replaces == invoice.id

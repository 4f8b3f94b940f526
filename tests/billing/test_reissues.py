"""A document with a wrong buyer is credited as a whole and issued again, and no money moves."""

import io
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import facturx
import pypdf
import pytest

from caas.billing.buyers import checked_details
from caas.billing.document_xml import to_xml
from caas.billing.invoice_document import document_of
from caas.billing.issuing import Issuing
from caas.billing.reissues import NothingToCorrectError, NotReissuableError, Reissues
from caas.billing_database import self_check
from caas.billing_database.connection import Database
from caas.billing_database.customers import BillingDetailsRequiredError, BillingDetailsRows
from caas.billing_database.identifiers import new_id
from caas.billing_database.invoices import Invoice, InvoiceRows
from caas.billing_database.payments import Payment
from tests.billing.norm import broken_rules
from tests.billing.test_documents import documents, documents_of, refund_order
from tests.buyers import AT_HOME
from tests.installation import Installation, standing
from tests.people import COMMAND_LINE
from tests.showroom import PACE, PRICE, Showroom, opened, simulated_world
from tests.subscription_installation import LETTERHEAD

ELSEWHERE = {**AT_HOME, "street": "Calle Menor 2", "postcode": "41001", "city": "Sevilla"}
WHY = "The address was wrong."


@pytest.fixture
async def installation(database: Database) -> AsyncIterator[Installation]:
    """An installation with a car and a service on offer."""
    async with standing(database) as built:
        await built.car()
        await built.offer_heated_seats()
        yield built


@pytest.fixture
async def showroom(database: Database) -> AsyncIterator[Showroom]:
    """A showroom with everything at hand."""
    async with simulated_world() as world, opened(database, world) as built:
        yield built


async def lives(installation: Installation, customer: UUID, details: dict[str, str]) -> None:
    """Let a customer say where they live."""
    rows = BillingDetailsRows(installation.database)
    await rows.put(customer, checked_details(**details))


async def bought(installation: Installation) -> tuple[Payment, Invoice]:
    """Buy a service, and only then say where; return its payment and document."""
    payment = await installation.settled()
    (invoice,) = await documents_of(installation, payment)
    await lives(installation, payment.customer, AT_HOME)
    return payment, invoice


async def reissued(installation: Installation, invoice: Invoice) -> tuple[Invoice, Invoice]:
    """Issue a document again; return its credit note and the new document."""
    done = await installation.platform.invoices.credit_notes.reissue(
        invoice.id, reason=WHY, by=COMMAND_LINE
    )
    assert done.note is not None
    assert done.replacement is not None
    return done.note, done.replacement


async def violated_invariants(database: Database) -> set[str]:
    return {found.invariant.name for found in await self_check.self_check(database) if found.broken}


async def test_a_document_with_a_wrong_buyer_is_credited_and_issued_again(
    installation: Installation,
) -> None:
    payment, simplified = await bought(installation)
    _, first = await reissued(installation, simplified)
    await lives(installation, payment.customer, ELSEWHERE)

    note, new = await reissued(installation, first)

    old = await installation.platform.invoices.invoice(first.id)
    assert (note.corrects, new.replaces, old.replaced_by) == (first.id, first.id, new.id)
    assert (note.gross + first.gross, note.iva + first.iva, note.refund) == (0, 0, None)
    assert (new.gross, new.iva, new.supplied_on, new.tax_rate, new.payment_id) == (
        first.gross, first.iva, first.supplied_on, first.tax_rate, payment.id,
    )  # fmt: skip
    assert first.buyer is not None
    assert first.buyer == note.buyer
    assert new.buyer == first.buyer | {"street": "Calle Menor 2", "postcode": "41001",
                                      "city": "Sevilla"}  # fmt: skip
    assert (simplified.simplified, first.simplified, new.simplified) == (True, False, False)
    assert (await installation.platform.tables.payments.get(payment.id)).refunded_amount == 0
    assert await violated_invariants(installation.database) == set()


async def test_both_documents_keep_to_the_rules_of_en_16931_and_name_each_other(
    installation: Installation,
) -> None:
    _, invoice = await bought(installation)
    note, new = await reissued(installation, invoice)

    pdf = await installation.platform.invoices.pdf(new.id)

    _, xml = facturx.get_xml_from_pdf(pdf.content)
    text = pypdf.PdfReader(io.BytesIO(pdf.content)).pages[0].extract_text()
    document = await installation.platform.invoices.document(new.id)
    assert broken_rules(xml) == []
    assert broken_rules((await installation.platform.invoices.xml(note.id)).content) == []
    assert [one.number for one in document.preceding] == [invoice.full_number]
    assert f"Sustituye a la factura {invoice.full_number}" in text
    assert "Calle Mayor 1" in text
    letters = await installation.database.fetch(
        "select subject from notifications where template = 'document_sent' and subject = any ($1)",
        [note.id, new.id],
    )
    assert {row["subject"] for row in letters} == {note.id, new.id}


async def test_a_later_refund_corrects_the_new_document(installation: Installation) -> None:
    payment, invoice = await bought(installation)
    _, new = await reissued(installation, invoice)

    await refund_order(installation, payment, 500, "later")

    credit = (await documents_of(installation, payment))[-1]
    assert (credit.corrects, credit.gross) == (new.id, -500)
    assert await violated_invariants(installation.database) == set()
    with pytest.raises(NotReissuableError):
        await reissued(installation, new)


async def test_what_cannot_be_issued_again_is_refused_with_a_sentence(
    installation: Installation,
) -> None:
    payment = await installation.settled()
    (invoice,) = await documents_of(installation, payment)
    with pytest.raises(BillingDetailsRequiredError, match="street"):
        await reissued(installation, invoice)
    await lives(installation, payment.customer, AT_HOME)
    note, new = await reissued(installation, invoice)
    for one in (invoice, note):
        with pytest.raises(NotReissuableError):
            await reissued(installation, one)
    with pytest.raises(NothingToCorrectError):
        await reissued(installation, new)
    await lives(installation, payment.customer, ELSEWHERE)
    async with installation.database.connection() as connection:
        await connection.execute("set role none")
        await connection.execute("update clock set moved = moved + interval '5 years'")
        await connection.execute("set role caas_app")
    with pytest.raises(NotReissuableError, match="four years"):
        await reissued(installation, new)


async def test_the_database_refuses_a_replacement_of_what_is_not_credited(
    installation: Installation,
) -> None:
    """By hand: the row of the new document, and no credit note."""
    _, invoice = await bought(installation)
    statement = (
        "with taken as (update invoice_series s set next = next + 1 from invoices i"
        " where i.id = $1 and s.series = i.series returning s.series, s.next - 1 as next) "
        "insert into invoices select (jsonb_populate_record(i, jsonb_build_object('id', "
        "gen_random_uuid(), 'number', s.next, 'replaces', i.id))).* "
        "from invoices i join taken s using (series) where i.id = $1"
    )
    with pytest.raises(asyncpg.CheckViolationError, match="does not replace document"):
        async with installation.database.transaction() as connection:
            await connection.execute(statement, invoice.id)


async def test_a_vehicle_s_documents_are_issued_again_and_deduct_the_new_advance(
    showroom: Showroom,
) -> None:
    order = await showroom.ready()
    await documents(showroom, order.id)
    await showroom.pay_rest(order)
    (advance, vehicle), _ = await documents(showroom, order.id)
    details = BillingDetailsRows(showroom.database)
    await details.put(order.customer, checked_details(**ELSEWHERE))
    issuing = Issuing(tables=showroom.tables, letterhead=LETTERHEAD,
                      notifications=showroom.notifications, time_scale=PACE)  # fmt: skip
    reissues = Reissues(tables=showroom.tables, letterhead=LETTERHEAD, issuing=issuing)
    for one in (advance, vehicle):
        async with showroom.database.transaction() as connection:
            await reissues.issue(one.id, reason=WHY, note_id=new_id(), within=connection)

    rows = await InvoiceRows(showroom.database).listed(subject=order.id)
    by_old = {row.replaces: row for row in rows if row.replaces}
    new_advance, new_vehicle = by_old[advance.id], by_old[vehicle.id]
    document = document_of(new_vehicle, LETTERHEAD, replaces=vehicle)
    assert new_vehicle.advance == new_advance.id
    assert [one.number for one in document.deducts] == [new_advance.full_number]
    assert [one.number for one in document.preceding] == [
        vehicle.full_number, new_advance.full_number,
    ]  # fmt: skip
    assert document.totals.payable == 0
    assert broken_rules(to_xml(document)) == []
    assert sum(row.gross for row in rows) == PRICE.amount
    assert await violated_invariants(showroom.database) == set()

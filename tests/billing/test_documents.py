"""Every payment has its document and every refund its credit note (record 123)."""

import io
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pypdf
import pytest

from caas.billing.document import Document, TypeCode
from caas.billing.document_page import page_of
from caas.billing.invoice_document import document_of
from caas.billing.issuing import Issuing
from caas.billing_database import self_check
from caas.billing_database.connection import Database
from caas.billing_database.invariants import INVARIANTS
from caas.billing_database.invoices import Invoice, InvoiceRows
from caas.billing_database.payments import Payment
from caas.billing_database.tax_rates import TaxRates
from caas.rules.market import tax_in
from caas.rules.order_states import OrderState
from caas.rules.payment_states import PaymentState
from tests.billing.norm import broken_rules
from tests.installation import Installation, standing
from tests.showroom import DEPOSIT, PACE, PRICE, Showroom, opened, simulated_world
from tests.subscription_installation import LETTERHEAD

DETAILS = """
insert into billing_details (customer, name, street, postcode, city, country, tax_id, updated_at)
values ($1, 'Ana García', 'Calle Mayor 1', '28013', 'Madrid', 'ES', '12345678Z', db_now())
"""


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


async def documents_of(installation: Installation, payment: Payment) -> list[Invoice]:
    """Issue what is due; return a payment's documents, oldest first."""
    await installation.platform.issuing.issue_due()
    listed = await installation.platform.invoices.invoices(subject=payment.subject)
    return listed[::-1]


async def refund_order(installation: Installation, payment: Payment, amount: int, key: str) -> None:
    before = (await installation.platform.tables.payments.get(payment.id)).refunded_amount
    await installation.platform.payment_processing.refund_payment(
        payment.id, amount=amount, reason="desistimiento", key=key, requested_by="operations"
    )
    await installation.until(payment.id, lambda p: p.refunded_amount > before)


async def violated_invariants(database: Database) -> set[str]:
    return {found.invariant.name for found in await self_check.self_check(database) if found.broken}


async def test_a_service_has_a_simplified_invoice_and_each_refund_its_credit_note(
    installation: Installation,
) -> None:
    payment = await installation.settled()
    await refund_order(installation, payment, 500, "first")
    between = await documents_of(installation, payment)
    await refund_order(installation, payment, 799, "second")
    every = await documents_of(installation, payment)
    again = await documents_of(installation, payment)

    invoice, *notes = every
    assert [one.id for one in again] == [one.id for one in every]
    assert len(between) == 2
    assert invoice.kind == "service invoice"
    assert (invoice.simplified, invoice.gross, invoice.iva) == (True, 1299, 225)
    assert invoice.payment_id == payment.id
    assert [(note.gross, note.corrects, note.reason) for note in notes] == [
        (-500, invoice.id, "desistimiento"), (-799, invoice.id, "desistimiento")
    ]  # fmt: skip
    assert sum(one.gross for one in every) == sum(one.iva for one in every) == 0
    assert [one.full_number[0] for one in every] == ["S", "R", "R"]
    assert notes[1].number == notes[0].number + 1
    text = (
        pypdf.PdfReader(io.BytesIO((await installation.platform.invoices.pdf(invoice.id)).content))
        .pages[0]
        .extract_text()
    )
    stated = page_of(await installation.platform.invoices.document(notes[0].id))["lines"][0]
    assert stated[0] == "Corrección, Heated seats"
    assert [text[0] for text in (stated[1], stated[4])] == ["-", "-"]
    for words in ("Factura simplificada", "Heated seats, 30 días", "IVA 21", "12,99"):
        assert words in text
    for one in every:
        assert broken_rules((await installation.platform.invoices.xml(one.id)).content) == []


async def test_who_gives_an_address_has_a_full_invoice_which_keeps_it(
    installation: Installation, database: Database
) -> None:
    payment = await installation.buys()
    await database.fetch(DETAILS, payment.customer)
    await installation.until(payment.id, lambda p: p.state is PaymentState.CAPTURING)
    (invoice,) = await documents_of(installation, payment)
    await database.fetch(
        "update billing_details set street = 'Elsewhere 2' where customer = $1", payment.customer
    )

    document = await installation.platform.invoices.document(invoice.id)

    assert not document.simplified
    assert document.buyer is not None
    assert (document.buyer.street, document.buyer.tax_id) == ("Calle Mayor 1", "12345678Z")


async def documents(showroom: Showroom, order: UUID) -> tuple[list[Invoice], list[Document]]:
    """Issue what is due; return an order's documents, oldest first."""
    issuing = Issuing(tables=showroom.tables, letterhead=LETTERHEAD,
                      notifications=showroom.notifications, time_scale=PACE)  # fmt: skip
    await issuing.issue_due()
    rows = (await InvoiceRows(showroom.database).listed(subject=order))[::-1]
    by_id = {row.id: row for row in rows}
    corrects = [by_id.get(row.corrects) if row.corrects else None for row in rows]
    return rows, [
        document_of(row, LETTERHEAD, corrects=of) for row, of in zip(rows, corrects, strict=True)
    ]


async def test_a_vehicle_has_an_advance_invoice_which_its_invoice_deducts(
    showroom: Showroom,
) -> None:
    order = await showroom.ready()
    _, (advance,) = await documents(showroom, order.id)
    await showroom.pay_rest(order)
    rows, (_, invoice) = await documents(showroom, order.id)

    rest = PRICE.amount - DEPOSIT.amount
    assert advance.type_code is TypeCode.ADVANCE_INVOICE
    assert advance.totals.gross == DEPOSIT.amount
    assert (invoice.type_code, invoice.totals.gross) == (TypeCode.INVOICE, PRICE.amount)
    assert invoice.totals.tax == tax_in(PRICE.amount, 2100)
    assert [one.number for one in invoice.deducts] == [advance.number]
    assert (invoice.totals.prepaid, invoice.totals.payable) == (PRICE.amount, 0)
    assert [row.gross for row in rows] == [DEPOSIT.amount, rest]
    assert sum(row.iva for row in rows) == invoice.totals.tax
    assert [row.full_number[0] for row in rows] == ["A", "V"]
    assert rows[1].buyer is not None
    assert (rows[1].buyer["name"], rows[1].buyer["postcode"]) == ("Ana", "28013")


async def test_vehicles_of_a_dealership_fall_under_the_taxes_of_its_market(
    showroom: Showroom,
) -> None:
    order = await showroom.ready()
    await TaxRates(showroom.database).dealership_sells_in(order.dealership, "ES-CN")
    await showroom.pay_rest(order)

    (advance, rest), (_, invoice) = await documents(showroom, order.id)

    assert (advance.iva_basis_points, rest.iva_basis_points) == (2100, 700)
    assert [(one.tax_category, one.rate_basis_points) for one in invoice.tax] == [
        ("L", 700), ("S", 2100)
    ]  # fmt: skip
    assert rest.iva == tax_in(PRICE.amount - DEPOSIT.amount, 700)
    assert invoice.totals.tax - invoice.deducts[0].tax == rest.iva


async def test_withdrawing_from_a_vehicle_credits_both_of_its_documents(
    showroom: Showroom,
) -> None:
    order = await showroom.ready()
    await showroom.pay_rest(order)
    await showroom.work_until_order(order.id, OrderState.DELIVERY_SCHEDULED)
    await showroom.orders.withdrawal.withdraw(order.id)
    payments = await showroom.tables.payments.listed(subject=order.id)

    async def are(*states: PaymentState) -> bool:
        found = [await showroom.tables.payments.get(payment.id) for payment in payments]
        return all(payment.state in states for payment in found)

    await showroom.world.gateway("POST", "settle", {})
    await showroom.work_until(lambda: are(PaymentState.REFUNDING, PaymentState.REFUNDED))
    await showroom.world.gateway("POST", "settle", {})
    await showroom.work_until(lambda: are(PaymentState.REFUNDED))

    rows, _ = await documents(showroom, order.id)

    assert sorted(row.kind for row in rows) == [
        "advance invoice", "credit note", "credit note", "vehicle invoice"
    ]  # fmt: skip
    assert sum(row.gross for row in rows) == sum(row.iva for row in rows) == 0


async def test_what_was_issued_is_sealed_and_numbered_without_a_gap(
    installation: Installation, database_dsn: str
) -> None:
    payment = await installation.settled()
    (invoice,) = await documents_of(installation, payment)
    assert invoice.digest is not None
    owner = await asyncpg.connect(database_dsn, server_settings={"search_path": "caas,public"})
    found = []
    for statement in (
        "update invoices set reason = 'x', lines = '[]'",
        'update document_buyers set buyer = \'{"name": "Eve"}\'',
        "update invoice_series set next = next + 1",
        "delete from invoices",
        "update invoices set iva = iva + 1, net = net - 1",
    ):
        transaction = owner.transaction()
        await transaction.start()
        for table in ("invoices", "document_buyers", "invoice_series"):
            await owner.execute(f"alter table {table} disable trigger all")
        await owner.execute("alter table invoices drop constraint adds_or_takes_back")
        await owner.execute(statement)
        broken = [invariant.name for invariant in INVARIANTS if await owner.fetch(invariant.query)]
        found.append(set(broken) - {"guards_are_enabled"})
        await transaction.rollback()
    await owner.close()

    assert found[0] >= {"documents_are_as_issued"}
    assert found[1] >= {"documents_are_as_issued"}
    assert found[2] >= {"no_gap_in_invoice_numbers"}
    assert found[3] >= {"every_payment_has_its_document", "no_gap_in_invoice_numbers"}
    assert found[4] >= {"documents_are_as_issued", "tax_on_documents_is_output_vat"}

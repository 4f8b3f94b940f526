"""A refund that failed after it had succeeded takes its credit note back by a debit note."""

import io
from collections.abc import AsyncIterator

import pypdf
import pytest

from caas.billing_database.connection import Database
from caas.billing_database.payments import Payment
from caas.billing_database.refunds import Refunds
from tests.billing.norm import broken_rules
from tests.billing.test_documents import documents_of, refund_order
from tests.installation import Installation, standing
from tests.payment_processing.test_refunds_that_return import at_gateway

CREDIT_NOTE_DUE = "select count(*) from documents_due where refund = $1"


@pytest.fixture
async def installation(database: Database) -> AsyncIterator[Installation]:
    """An installation with a car and a service on offer."""
    async with standing(database) as built:
        await built.car()
        await built.offer_heated_seats()
        yield built


async def returned(installation: Installation, payment: Payment) -> Payment:
    """Let the gateway return every refund of a payment that succeeded."""
    at_gateway(installation, payment)
    refunds = installation.platform.payment_processing.refunds
    for refund in await Refunds(installation.database).of_payment(payment.id):
        if refund.state == "succeeded":
            await refunds.returned.take_back(refund)
    return await installation.platform.tables.payments.get(payment.id)


async def test_a_refund_that_returns_has_a_debit_note(installation: Installation) -> None:
    payment = await installation.settled()
    await refund_order(installation, payment, 500, "first")
    await documents_of(installation, payment)

    after = await returned(installation, payment)
    await documents_of(installation, payment)
    await refund_order(installation, after, 1299, "again")

    invoice, note, debit, again = await documents_of(installation, payment)
    [refund, _] = await Refunds(installation.database).of_payment(payment.id)
    assert (debit.kind, debit.corrects, debit.returned) == ("debit note", invoice.id, refund.id)
    assert (debit.gross, debit.iva, debit.full_number[0]) == (500, -note.iva, "R")
    assert (again.gross, again.iva) == (-1299, -225)
    document = await installation.platform.invoices.document(debit.id)
    assert document.reason == (
        f"La devolución de la factura rectificativa {note.full_number} no llegó al cliente."
    )
    assert (document.totals.gross, document.totals.payable) == (500, 0)
    assert broken_rules((await installation.platform.invoices.xml(debit.id)).content) == []
    file = await installation.platform.invoices.pdf(debit.id)
    text = pypdf.PdfReader(io.BytesIO(file.content)).pages[0].extract_text()
    assert "rectificativa de cargo" in text


async def test_one_of_two_refunds_has_its_own_debit_note(installation: Installation) -> None:
    payment = await installation.settled()
    await refund_order(installation, payment, 3, "first")
    await returned(installation, payment)
    await refund_order(installation, payment, 1299, "second")
    await returned(installation, payment)

    documents = await documents_of(installation, payment)

    assert sum(one.gross for one in documents) == 1299
    assert sum(one.iva for one in documents) == 225


async def test_the_refund_of_a_credit_note_takes_the_note_back(installation: Installation) -> None:
    payment = await installation.settled()
    [invoice] = await documents_of(installation, payment)
    note = await installation.platform.invoices.credit_notes.issue(
        invoice.id, reason="complaint", gross=400
    )
    await installation.until(payment.id, lambda p: p.refunded_amount == 400)

    await returned(installation, payment)

    _, _, debit = await documents_of(installation, payment)
    assert (debit.gross, debit.net, debit.iva) == (400, -note.net, -note.iva)
    left = await installation.platform.invoices.invoice(invoice.id)
    assert left.credited == 0


async def test_a_missing_debit_note_is_found_and_issued(
    installation: Installation, database: Database
) -> None:
    payment = await installation.settled()
    await refund_order(installation, payment, 500, "first")
    await documents_of(installation, payment)
    await returned(installation, payment)
    await database.fetch("delete from documents_due where refund is not null")

    await installation.platform.issuing.issue_again(payment.id)

    kinds = [one.kind for one in await documents_of(installation, payment)]
    assert kinds == ["service invoice", "credit note", "debit note"]

"""Invoices on paper and as data, and the credit notes that correct them (decision 30)."""

import asyncio
import io
from xml.etree import ElementTree as ET

import facturx
import pypdf
import pytest

from caas.billing.credit_notes import InvalidReasonError, NotCorrectableError
from caas.billing_database import erasure_rows
from caas.billing_database.identifiers import new_id
from caas.billing_database.invoices import Invoice, InvoiceNotFoundError
from caas.rules.mes_vencido import Month
from caas.rules.payment_states import PaymentState
from tests.billing.norm import broken_rules
from tests.buyers import AT_HOME, gives_details
from tests.people import COMMAND_LINE
from tests.subscription_installation import SubscriptionInstallation

RAM = {"ram": "urn:un:unece:uncefact:data:standard:ReusableAggregateBusinessInformationEntity:100"}


async def paid(installation: SubscriptionInstallation) -> Invoice:
    """A month that was used, charged, captured and settled."""
    subscription = await installation.active()
    now = await installation.billing._runs.now()
    await installation.usage.record_usage(subscription.id, quantity=41, at=now, source_id="m-1")
    invoice = await installation.billed(subscription)
    await installation.charged(invoice)
    await installation.rest()
    await installation.gateway_does("settle")
    assert invoice.payment_id is not None
    await installation.until_paid(invoice.payment_id, lambda p: p.state is PaymentState.SETTLED)
    return await installation.invoices.get(invoice.id)


def amounts(xml: bytes, *names: str) -> list[str | None]:
    """Return what the data say of these amounts."""
    tree = ET.fromstring(xml)  # noqa: S314  # our own document
    return [tree.findtext(f".//ram:{name}", namespaces=RAM) for name in names]


async def test_an_invoice_is_a_pdf_that_a_person_can_read(
    installation: SubscriptionInstallation,
) -> None:
    invoice = await paid(installation)

    pdf = await installation.invoice_desk.pdf(invoice.id)

    text = pypdf.PdfReader(io.BytesIO(pdf.content)).pages[0].extract_text()
    assert pdf.name == f"{invoice.full_number}.pdf"
    for words in (
        f"Simplified invoice {invoice.full_number}", "Ana", "Range plus", "Paid by card.",
        "VAT 21 %", "ESA12345674", "41",
    ):  # fmt: skip
        assert words in text
    assert f"€{invoice.gross / 100:.2f}" in text


async def test_an_invoice_keeps_to_the_rules_of_en_16931(
    installation: SubscriptionInstallation,
) -> None:
    invoice = await paid(installation)

    pdf = await installation.invoice_desk.pdf(invoice.id)

    name, xml = facturx.get_xml_from_pdf(pdf.content, check_xsd=True)
    assert name == "factur-x.xml"
    assert broken_rules(xml) == []
    assert amounts(xml, "GrandTotalAmount", "DuePayableAmount") == [
        f"{invoice.gross / 100:.2f}", "0.00"
    ]  # fmt: skip


async def test_an_invoice_is_pdf_a_3(installation: SubscriptionInstallation) -> None:
    invoice = await paid(installation)

    pdf = await installation.invoice_desk.pdf(invoice.id)

    reader = pypdf.PdfReader(io.BytesIO(pdf.content))
    metadata = reader.root_object["/Metadata"].get_object()
    assert isinstance(metadata, pypdf.generic.StreamObject)
    stated = metadata.get_data().decode()
    assert "pdfaid:part" in stated
    assert ">3<" in stated or 'part="3"' in stated
    assert "factur-x" in stated.lower()


async def test_an_erased_customers_invoice_stays_without_the_name(
    installation: SubscriptionInstallation,
) -> None:
    invoice = await paid(installation)
    await installation.subscriptions.end_subscription(invoice.of_subscription)
    async with installation.database.transaction() as connection:
        await erasure_rows.clear(invoice.customer, within=connection)

    pdf = await installation.invoice_desk.pdf(invoice.id)

    text = pypdf.PdfReader(io.BytesIO(pdf.content)).pages[0].extract_text()
    assert "Ana" not in text
    assert "Simplified invoice" in text


async def test_a_credit_note_takes_back_what_was_paid(
    installation: SubscriptionInstallation,
) -> None:
    invoice = await paid(installation)
    assert invoice.payment_id is not None

    note = await installation.invoice_desk.credit_notes.issue(
        invoice.id, reason="The service was down."
    )
    refunded = await installation.until_paid(
        invoice.payment_id, lambda p: p.state is PaymentState.REFUNDED
    )
    letter = await installation.until_told(f"Credit note {note.full_number}")

    assert note.full_number.startswith("R")
    assert (note.net, note.iva, note.gross) == (-invoice.net, -invoice.iva, -invoice.gross)
    assert refunded.refunded_amount == invoice.gross
    assert (await installation.invoices.get(invoice.id)).credited == invoice.gross
    assert invoice.full_number in letter.text


async def test_a_credit_note_keeps_to_the_rules_of_en_16931(
    installation: SubscriptionInstallation,
) -> None:
    invoice = await paid(installation)
    note = await installation.invoice_desk.credit_notes.issue(
        invoice.id, reason="Too much", gross=100
    )

    pdf = await installation.invoice_desk.pdf(note.id)

    _, xml = facturx.get_xml_from_pdf(pdf.content)
    text = pypdf.PdfReader(io.BytesIO(pdf.content)).pages[0].extract_text()
    assert broken_rules(xml) == []
    assert amounts(xml, "TypeCode", "GrandTotalAmount") == ["381", "1.00"]
    assert f"Corrects invoice {invoice.full_number}" in text
    assert "-€0.83" in text


async def test_credit_notes_together_take_back_no_more_than_the_invoice(
    installation: SubscriptionInstallation,
) -> None:
    invoice = await paid(installation)
    most_of_a_third = invoice.gross * 3 // 10

    notes = await asyncio.gather(
        *(
            installation.invoice_desk.credit_notes.issue(
                invoice.id, reason="A part", gross=most_of_a_third
            )
            for _ in range(5)
        ),
        return_exceptions=True,
    )
    with_rest = await installation.invoice_desk.credit_notes.issue(invoice.id, reason="The rest")

    issued = [note for note in notes if isinstance(note, Invoice)]
    assert len(issued) == 3
    assert sum(isinstance(note, NotCorrectableError) for note in notes) == 2
    taken = sum(note.gross for note in [*issued, with_rest])
    assert taken == -invoice.gross
    assert len({note.number for note in [*issued, with_rest]}) == 4


async def test_what_was_written_off_is_credited_without_a_refund(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await installation.active()
    await installation.from_now_on(decline_code="card_declined")
    invoice = await installation.billed(subscription)
    await installation.charged(invoice)

    note = await installation.invoice_desk.credit_notes.issue(
        invoice.id, reason="Billed by mistake"
    )
    await installation.rest()

    assert note.gross == -invoice.gross
    assert await installation.database.fetch("select 1 from refunds") == []


async def test_an_invoice_whose_charge_is_open_cannot_be_corrected_yet(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await installation.active()
    invoice = await installation.billed(subscription)

    with pytest.raises(NotCorrectableError):
        await installation.invoice_desk.credit_notes.issue(invoice.id, reason="Too early")


async def test_a_credit_note_is_not_corrected_and_needs_a_reason(
    installation: SubscriptionInstallation,
) -> None:
    invoice = await paid(installation)
    note = await installation.invoice_desk.credit_notes.issue(invoice.id, reason="Right")

    with pytest.raises(NotCorrectableError):
        await installation.invoice_desk.credit_notes.issue(note.id, reason="Back again")
    with pytest.raises(NotCorrectableError):
        await installation.invoice_desk.credit_notes.issue(invoice.id, reason="Once more")
    for reason in ("", "  ", "x" * 201):
        with pytest.raises(InvalidReasonError):
            await installation.invoice_desk.credit_notes.issue(invoice.id, reason=reason)


async def test_a_customer_sees_only_what_is_theirs(installation: SubscriptionInstallation) -> None:
    invoice = await paid(installation)
    stranger = await installation.customer()

    mine = await installation.invoice_desk.invoices(customer=invoice.customer)
    of_month = await installation.invoice_desk.invoices(month=Month.parse(str(invoice.month)))
    theirs = await installation.invoice_desk.invoices(customer=stranger)

    assert [one.id for one in mine] == [one.id for one in of_month] == [invoice.id]
    assert theirs == []
    with pytest.raises(InvoiceNotFoundError):
        await installation.invoice_desk.invoice(new_id())


async def test_a_month_with_a_wrong_buyer_is_issued_again_as_an_invoice_of_its_payment(
    installation: SubscriptionInstallation,
) -> None:
    invoice = await paid(installation)
    await gives_details(installation.database, invoice.customer)

    done = await installation.invoice_desk.credit_notes.reissue(
        invoice.id, reason="The address was missing.", by=COMMAND_LINE
    )

    note, new = done.note, done.replacement
    assert note is not None
    assert new is not None
    assert (new.kind, new.gross, new.iva, new.month) == (
        "service invoice", invoice.gross, invoice.iva, invoice.month,
    )  # fmt: skip
    assert (new.replaces, note.corrects, note.gross) == (invoice.id, invoice.id, -invoice.gross)
    assert new.buyer is not None
    assert new.buyer["street"] == AT_HOME["street"]
    for one in (note, new):
        assert broken_rules((await installation.invoice_desk.xml(one.id)).content) == []

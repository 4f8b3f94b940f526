"""A full invoice names its buyer: asked for before a vehicle is paid, waited for otherwise."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from msgspec.structs import replace

from caas.billing.buyers import checked_details
from caas.billing.invoice_document import document_of
from caas.billing.issuing import BUYER_MISSING, NOT_ISSUED, DocumentHeldError, Issuing
from caas.billing_database import self_check
from caas.billing_database.connection import Database
from caas.billing_database.customers import (
    BillingDetailsRequiredError,
    BillingDetailsRows,
    NoTaxTableError,
)
from caas.billing_database.documents import UNTAXED, DocumentRows
from caas.billing_database.invariants import INVARIANTS
from caas.billing_database.invoices import Invoice, InvoiceRows
from caas.billing_database.orders import Order
from caas.billing_database.payments import Payment
from caas.payment_processing import PaymentRequest
from caas.rules.market import tax_in
from caas.rules.money import Money
from caas.rules.payment_states import PaymentState
from caas_simulators.vehicle_car import Behaviour, Manner
from tests.buyers import AT_HOME, gives_details
from tests.installation import VIN, Installation, standing
from tests.showroom import (
    DEALERSHIP,
    DEPOSIT,
    KEY,
    PACE,
    Showroom,
    opened,
    simulated_world,
)
from tests.subscription_installation import LETTERHEAD


@pytest.fixture
async def showroom(database: Database) -> AsyncIterator[Showroom]:
    """A showroom with everything at hand."""
    async with simulated_world() as world, opened(database, world) as built:
        yield built


@pytest.fixture
async def installation(database: Database) -> AsyncIterator[Installation]:
    """An installation with a car and a service on offer."""
    async with standing(database) as built:
        await built.car()
        await built.offer_heated_seats()
        yield built


def issuing_of(showroom: Showroom) -> Issuing:
    return Issuing(
        tables=showroom.tables,
        letterhead=LETTERHEAD,
        notifications=showroom.notifications,
        time_scale=PACE,
    )


SMALL = Money(40_000, "EUR")
"""A deposit that is documented without its buyer."""


async def stranger_orders(showroom: Showroom, deposit: Money = SMALL) -> Order:
    """Let somebody order of whom nobody knows where they are."""
    made = await showroom.orders.ordering.create_customer(
        name="Ana", email="a@b.example", language="es"
    )
    return await showroom.orders.ordering.create_order(
        customer=made.id, vin=await showroom.stock(), model=None, dealership=DEALERSHIP,
        deposit=deposit,
    )  # fmt: skip


async def issued(showroom: Showroom, order: UUID) -> list[Invoice]:
    """Issue what is due; return an order's documents, oldest first."""
    await issuing_of(showroom).issue_due()
    return (await InvoiceRows(showroom.database).listed(subject=order))[::-1]


async def as_owner(database: Database, statement: str) -> None:
    """Run a statement as the one who owns the schema, not as the application."""
    async with database.connection() as connection:
        await connection.execute("set role none")
        try:
            await connection.execute(statement)
        finally:
            await connection.execute("set role caas_app")


async def violated_invariants(database: Database) -> set[str]:
    return {found.invariant.name for found in await self_check.self_check(database) if found.broken}


async def test_the_rest_of_a_vehicle_is_paid_only_by_a_buyer_whom_its_invoice_can_name(
    showroom: Showroom,
) -> None:
    order = await stranger_orders(showroom)
    await showroom.reserve(order)
    known = await showroom.orders.orders.get(order.id)
    await showroom.orders.partner_events.vehicle_ready(
        vin=known.vin or "", public_key=KEY, factory_order_id=known.factory_order_id
    )

    with pytest.raises(BillingDetailsRequiredError) as refused:
        await showroom.pay_rest(order)
    before = await showroom.tables.payments.listed(subject=order.id)
    await gives_details(showroom.database, order.customer)
    paid = await showroom.pay_rest(order)
    documents = await issued(showroom, order.id)

    assert refused.value.facts["missing"] == tuple(
        f"billing_details.{it}" for it in ("street", "postcode", "city", "country", "tax_id")
    )
    assert [one.type for one in before] == ["reservation"]
    assert paid.state is PaymentState.CAPTURING
    assert [(one.kind, one.simplified) for one in documents] == [
        ("advance invoice", False), ("vehicle invoice", False)
    ]  # fmt: skip
    for one in documents:
        assert one.buyer is not None
        assert (one.buyer["street"], one.buyer["tax_id"]) == ("Calle Mayor 1", "12345678Z")


async def test_a_document_whose_buyer_is_unknown_waits_behind_a_case_until_they_say(
    showroom: Showroom,
) -> None:
    """The limit of its market was lowered when it was paid already."""
    order = await stranger_orders(showroom)
    payment = await showroom.reserve(order)
    await showroom.as_owner("update caas.markets set simplified_up_to = 10000")
    none_yet = await issued(showroom, order.id)
    again = await issued(showroom, order.id)
    (case,) = await showroom.tables.cases.listed(subject=payment.id)
    with pytest.raises(DocumentHeldError):
        await issuing_of(showroom).issue_again(payment.id)
    asked = await showroom.reported(order.customer)
    violated_while_waiting = await violated_invariants(showroom.database)

    await gives_details(showroom.database, order.customer)
    (document,) = await issued(showroom, order.id)
    (closed,) = await showroom.tables.cases.listed(subject=payment.id, status="resolved")

    assert (none_yet, again) == ([], [])
    assert case.kind == BUYER_MISSING
    assert asked.count("billing_details_needed") == 1
    assert violated_while_waiting == set()
    assert document.payment_id == payment.id
    assert closed.id == case.id
    assert (await showroom.reported(order.customer))[-1] == "document_sent"
    assert await violated_invariants(showroom.database) == set()


async def test_a_deposit_above_the_limit_is_paid_only_by_a_buyer_whom_its_invoice_can_name(
    showroom: Showroom,
) -> None:
    order = await stranger_orders(showroom, DEPOSIT)

    with pytest.raises(BillingDetailsRequiredError) as refused:
        await showroom.reserve(order)
    before = await showroom.tables.payments.listed(subject=order.id)
    await gives_details(showroom.database, order.customer)
    payment = await showroom.reserve(order)
    (advance,) = await issued(showroom, order.id)

    assert "billing_details.street" in str(refused.value.facts["missing"])
    assert before == []
    assert (advance.payment_id, advance.simplified) == (payment.id, False)


async def test_a_small_deposit_is_documented_without_its_buyer(showroom: Showroom) -> None:
    order = await stranger_orders(showroom)
    await showroom.reserve(order)

    (advance,) = await issued(showroom, order.id)

    assert advance.simplified
    assert advance.kind == "advance invoice"


async def test_a_dear_service_is_sold_to_a_buyer_whom_its_invoice_can_name(
    installation: Installation,
) -> None:
    catalog = installation.platform.service_catalog
    await catalog.put_service(
        code="range-plus", name="Range plus", kind="one_time", currency="EUR",
        prices=[{"duration_days": 30, "amount": 40_000}, {"duration_days": 365, "amount": 40_001}],
    )  # fmt: skip
    customer = await installation.customer()

    async def orders(days: int) -> object:
        return await catalog.create_service_order(
            customer=customer, vin=VIN, service="range-plus", duration_days=days, by_fleet=True
        )

    with pytest.raises(BillingDetailsRequiredError):
        await orders(365)
    await gives_details(installation.platform.tables.database, customer)

    assert await orders(365)


async def test_a_service_is_paid_again_only_by_a_buyer_whom_its_invoice_can_name(
    installation: Installation, database: Database
) -> None:
    """The limit was lowered between the first attempt, which was declined, and the second."""
    declined = await installation.buys("pm_declined")
    await as_owner(database, "update caas.markets set simplified_up_to = 1000")
    again = PaymentRequest(
        subject=declined.subject, customer=declined.customer, amount=1299, currency="EUR",
        payment_method="pm_ok",
    )  # fmt: skip

    with pytest.raises(BillingDetailsRequiredError):
        await installation.platform.payment_processing.initiate_service_payment(again)
    await gives_details(database, declined.customer)
    paid = await installation.platform.payment_processing.initiate_service_payment(again)

    assert declined.state is PaymentState.FAILED
    assert isinstance(paid, Payment)
    await installation.until(paid.id, lambda p: p.state is PaymentState.CAPTURING)


async def test_nothing_is_sold_to_an_address_without_tax_rates(
    showroom: Showroom, installation: Installation
) -> None:
    order = await stranger_orders(showroom)
    await showroom.reserve(order)
    known = await showroom.orders.orders.get(order.id)
    await showroom.orders.partner_events.vehicle_ready(
        vin=known.vin or "", public_key=KEY, factory_order_id=known.factory_order_id
    )
    catalog, database = installation.platform.service_catalog, installation.platform.tables.database
    customer = await installation.customer()
    for buyer in (order.customer, customer):
        in_paris = checked_details(
            **{**AT_HOME, "country": "FR", "postcode": "75001", "tax_id": ""}
        )
        await BillingDetailsRows(database).put(buyer, in_paris)

    with pytest.raises(NoTaxTableError, match="FR, postcode 75001"):
        await showroom.pay_rest(order)
    with pytest.raises(NoTaxTableError):
        await showroom.orders.ordering.create_order(
            customer=customer, vin=await showroom.stock(), model=None, dealership=DEALERSHIP,
            deposit=DEPOSIT,
        )  # fmt: skip
    with pytest.raises(NoTaxTableError):
        await catalog.create_service_order(
            customer=customer, vin=VIN, service="heated-seats", duration_days=30, by_fleet=True
        )


async def test_a_capture_where_no_tax_rate_is_leaves_a_case_that_is_mended(
    installation: Installation, database: Database
) -> None:
    """The buyer moved while the payment was under way; it is taxed where they live then."""
    rows, tables = BillingDetailsRows(database), installation.platform.tables
    installation.fleet.add(VIN, Manner(Behaviour.ASLEEP))
    car = installation.fleet.cars[VIN]
    payment = await installation.buys()
    in_paris = {**AT_HOME, "country": "FR", "postcode": "75001", "tax_id": ""}
    await rows.put(payment.customer, checked_details(**in_paris))
    installation.fleet.wake(car)
    await installation.until(payment.id, lambda p: p.state is PaymentState.CAPTURING)
    await installation.platform.issuing.issue_due()
    await installation.platform.issuing.issue_due()
    (case,) = await tables.cases.listed(subject=payment.id)
    with pytest.raises(DocumentHeldError):
        await installation.platform.issuing.issue_again(payment.id)
    violated_while_waiting = await violated_invariants(database)

    in_tenerife = {**AT_HOME, "postcode": "38001"}
    await rows.put(payment.customer, checked_details(**in_tenerife))
    await installation.platform.issuing.issue_again(payment.id)

    (document,) = await installation.platform.invoices.invoices()
    assert (case.kind, str(payment.id) in case.sentence) == (UNTAXED, True)
    assert violated_while_waiting == set()
    assert (document.payment_id, document.market) == (payment.id, "ES-CN")
    assert document.iva == tax_in(1299, 700)
    assert await tables.cases.listed(subject=payment.id) == []
    assert await violated_invariants(database) == set()


async def test_what_cannot_be_issued_is_tried_again_and_hides_no_other_payment(
    installation: Installation, database: Database
) -> None:
    lost, held = await installation.settled(), await installation.settled()
    await database.fetch("delete from documents_due where payment_id = $1", lost.id)
    await as_owner(
        database,
        "alter table caas.invoices add constraint no_more check (kind <> 'service invoice')",
    )
    await installation.platform.issuing.issue_due()
    (case,) = await installation.platform.tables.cases.listed(subject=held.id)
    named = ("every_payment_has_its_document", "tax_on_documents_is_output_vat")
    broken = [
        await database.fetch(invariant.query) for invariant in INVARIANTS if invariant.name in named
    ]

    await as_owner(database, "alter table caas.invoices drop constraint no_more")
    await installation.platform.issuing.issue_again(held.id)
    await installation.platform.issuing.issue_again(lost.id)

    assert case.kind == NOT_ISSUED
    assert [[row["id"] for row in rows] for rows in broken] == [[lost.id], [lost.id]]
    issued = await installation.platform.invoices.invoices()
    assert [one.payment_id for one in issued] == [lost.id, held.id]
    assert await installation.platform.tables.cases.listed(subject=held.id) == []
    assert await violated_invariants(database) == set()


async def test_payments_of_before_documents_get_theirs_once(
    installation: Installation, database: Database
) -> None:
    await database.fetch("update tax_settings set since = 'infinity'")
    payment = await installation.settled()
    await database.fetch("update tax_settings set since = db_now()")
    rows = DocumentRows(database)

    noted = [await rows.note_missing(), await rows.note_missing()]
    await installation.platform.issuing.issue_due()
    (invoice,) = await installation.platform.invoices.invoices()
    await installation.platform.payment_processing.refund_payment(
        payment.id, amount=payment.amount, reason="desistimiento", key="all", requested_by="ops"
    )
    await installation.until(payment.id, lambda it: it.refunded_amount == payment.amount)
    await installation.platform.issuing.issue_due()
    note, _ = await installation.platform.invoices.invoices()

    assert noted == [1, 0]
    assert (invoice.payment_id, invoice.gross) == (payment.id, payment.amount)
    assert document_of(invoice, LETTERHEAD).totals.tax == tax_in(payment.amount, 2100)
    assert (note.corrects, note.gross, note.iva) == (invoice.id, -invoice.gross, -invoice.iva)
    assert await rows.note_missing() == 0
    assert await violated_invariants(database) == set()


async def test_buyers_are_kept_for_the_term_of_the_law_and_not_longer(
    showroom: Showroom,
) -> None:
    order = await showroom.ordered(await showroom.stock())
    payment = await showroom.reserve(order)
    (document,) = await issued(showroom, order.id)
    await showroom.as_owner(f"select caas.clear_customer('{order.customer}')")
    rows = DocumentRows(showroom.database)

    await rows.forget_buyers()
    kept = await InvoiceRows(showroom.database).get(document.id)
    await showroom.pass_time(8 * 366 * 86_400.0)
    await rows.forget_buyers()
    over = await InvoiceRows(showroom.database).get(document.id)

    assert kept.buyer is not None
    assert kept.buyer["tax_id"] == "12345678Z"
    assert over.buyer is None
    assert replace(over, buyer=kept.buyer) == kept
    assert payment.customer == order.customer
    found = await violated_invariants(showroom.database)
    assert not found & {"documents_are_as_issued", "full_documents_name_their_buyer"}

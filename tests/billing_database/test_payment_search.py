"""Finding payments: by any id, by filters, and page by page."""

from datetime import timedelta
from uuid import UUID

import pytest

from caas.billing_database import payment_search
from caas.billing_database.connection import Database
from caas.billing_database.identifiers import new_id
from caas.billing_database.payment_search import Wanted, found_by, listed
from caas.billing_database.payments import NewPayment, Payments
from caas.rules.payment_states import PaymentState
from caas.rules.payment_types import PaymentType
from tests.billing_database.test_transitions import new_payment


@pytest.fixture
async def some(database: Database) -> list[NewPayment]:
    """Twelve payments of four types, three customers and subjects of their own."""
    customers = [new_id() for _ in range(3)]
    made = [
        NewPayment(
            id=new_id(), type=list(PaymentType)[place % 4], subject=new_id(),
            customer=customers[place % 3], amount=1000 + place, currency="EUR", gateway="contract",
            job_kind="authorize", due_in=3600.0,
        )
        for place in range(12)
    ]  # fmt: skip
    await Payments(database).accept_all(made)
    return made


async def test_a_payment_is_found_by_its_own_id_and_its_subjects(
    database: Database, some: list[NewPayment]
) -> None:
    wanted = some[5]

    for key in (wanted.id, wanted.subject):
        assert [one.id for one in await found_by(database, str(key))] == [wanted.id]


async def test_a_customers_payments_are_found_newest_first(
    database: Database, some: list[NewPayment]
) -> None:
    found = await found_by(database, str(some[0].customer))

    ids = [one.id for one in some if one.customer == some[0].customer]
    assert [one.id for one in found] == sorted(ids, reverse=True)


@pytest.mark.usefixtures("some")
async def test_what_leads_to_nothing_finds_nothing(database: Database) -> None:
    for text in (str(new_id()), "txn_nobody", "WVWZZZ1JZXW000009", "A-1", "';--", "A-" + "9" * 40):
        assert await found_by(database, text) == []


async def test_payments_are_listed_by_their_gateway(
    database: Database, some: list[NewPayment]
) -> None:
    moved = new_payment(gateway="stripe")
    await Payments(database).accept(moved)

    of_stripe = await listed(database, Wanted(gateway="stripe"))
    of_contract = await listed(database, Wanted(gateway="contract"))

    assert [one.id for one in of_stripe.payments] == [moved.id]
    assert len(of_contract.payments) == len(some)


async def test_pages_go_back_without_gap_and_without_repetition(
    database: Database, some: list[NewPayment]
) -> None:
    seen: list[UUID] = []
    below: UUID | None = None
    for _ in range(4):
        page = await listed(database, Wanted(), below=below, rows_max=5)
        seen += [one.id for one in page.payments]
        below = page.below
        if below is None:
            break

    assert seen == sorted((one.id for one in some), reverse=True)


async def test_filters_are_joined(database: Database, some: list[NewPayment]) -> None:
    everything = await listed(database, Wanted())
    now = everything.payments[0].created_at

    finals = await listed(
        database, Wanted(payment_type=PaymentType.FINAL, state=PaymentState.PENDING)
    )
    later = await listed(database, Wanted(since=now + timedelta(hours=1)))

    assert {one.type for one in finals.payments} == {PaymentType.FINAL}
    assert len(finals.payments) == 3
    assert later.payments == []
    assert len(some) == len(everything.payments)


async def test_a_rare_payment_is_looked_for_window_by_window(
    database: Database, some: list[NewPayment], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that finds nothing in its window says where the next one begins."""
    monkeypatch.setattr(payment_search, "WINDOW_ROWS_MAX", 4)
    oldest = min(some, key=lambda one: one.id)
    wanted, below, found = Wanted(payment_type=oldest.type), None, []
    for _ in range(5):
        page = await listed(database, wanted, below=below)
        found += [one.id for one in page.payments]
        below = page.below
        if below is None:
            break

    assert oldest.id in found

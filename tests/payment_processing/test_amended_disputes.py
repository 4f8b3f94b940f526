"""A dispute whose amount the bank changes: the books lose what the bank took in the end."""

import pytest

from caas.billing_database.laws import LAWS
from tests.house import House
from tests.payment_processing.test_money_that_contradicts import LOST, OPENED, says
from tests.payment_processing.test_refunds import balances, give_back


@pytest.mark.parametrize(
    ("first", "last", "given_back", "counts", "excess"),
    [(600, 900, 0, 900, 0), (600, 900, 699, 600, 300), (900, 600, 0, 600, 0)],
)
async def test_the_amount_a_dispute_is_lost_at_is_what_the_books_lose(
    house: House, first: int, last: int, given_back: int, counts: int, excess: int
) -> None:
    payment = await house.settled()
    if given_back:
        payment = await house.platform.books.payments.get(
            (await give_back(house, payment, given_back)).payment_id
        )
    await says(house, payment, OPENED, first, minute=1)

    told = await says(house, payment, LOST, last, minute=2)
    await says(house, payment, LOST, last, minute=2)
    await says(house, payment, OPENED, first, minute=1)

    assert (told.state, told.amount, told.excess) == ("lost", counts, excess)
    now = await house.platform.books.payments.get(payment.id)
    booked = await balances(house)
    assert now.disputed_amount == counts
    assert booked.get("settled_funds", 0) == 1299 - given_back - last
    assert booked["risk_loss:chargeback"] == counts
    assert booked.get("risk_loss:dispute_excess", 0) == excess
    broken = [law.name for law in LAWS if await house.database.fetch(law.query)]
    assert broken == []


@pytest.mark.parametrize("told", [10**18, 2599])
async def test_no_bank_takes_more_than_any_dispute_can_come_to(house: House, told: int) -> None:
    payment = await house.settled()

    opened = await says(house, payment, OPENED, told, minute=1)
    lost = await says(house, payment, LOST, told, minute=2)

    assert (opened.state, opened.amount, opened.excess) == ("opened", 1299, 0)
    assert (lost.state, lost.amount, lost.excess) == ("lost", 1299, 0)
    booked = await balances(house)
    assert booked["risk_loss:chargeback"] == 1299
    assert "risk_loss:dispute_excess" not in booked
    [case] = await house.platform.books.cases.listed(subject=payment.id)
    assert case.kind == "dispute_contradiction"
    assert str(told - 1299) in case.sentence
    broken = [law.name for law in LAWS if await house.database.fetch(law.query)]
    assert broken == []

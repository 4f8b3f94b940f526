"""A dispute whose amount the bank changes: the books lose what the bank took in the end."""

import pytest

from caas.billing_database.invariants import INVARIANTS
from tests.installation import Installation
from tests.payment_processing.test_money_that_contradicts import LOST, OPENED, reports
from tests.payment_processing.test_refunds import balances, refund_order


@pytest.mark.parametrize(
    ("first", "last", "given_back", "counts", "excess"),
    [(600, 900, 0, 900, 0), (600, 900, 699, 600, 300), (900, 600, 0, 600, 0)],
)
async def test_the_amount_a_dispute_is_lost_at_is_what_the_books_lose(
    installation: Installation, first: int, last: int, given_back: int, counts: int, excess: int
) -> None:
    payment = await installation.settled()
    if given_back:
        payment = await installation.platform.tables.payments.get(
            (await refund_order(installation, payment, given_back)).payment_id
        )
    await reports(installation, payment, OPENED, first, minute=1)

    reported = await reports(installation, payment, LOST, last, minute=2)
    await reports(installation, payment, LOST, last, minute=2)
    await reports(installation, payment, OPENED, first, minute=1)

    assert (reported.state, reported.amount, reported.excess) == ("lost", counts, excess)
    now = await installation.platform.tables.payments.get(payment.id)
    booked = await balances(installation)
    assert now.disputed_amount == counts
    assert booked.get("settled_funds", 0) == 1299 - given_back - last
    assert booked["risk_loss:chargeback"] == counts
    assert booked.get("risk_loss:dispute_excess", 0) == excess
    broken = [
        invariant.name
        for invariant in INVARIANTS
        if await installation.database.fetch(invariant.query)
    ]
    assert broken == []


@pytest.mark.parametrize("reported", [10**18, 2599])
async def test_no_bank_takes_more_than_any_dispute_can_come_to(
    installation: Installation, reported: int
) -> None:
    payment = await installation.settled()

    opened = await reports(installation, payment, OPENED, reported, minute=1)
    lost = await reports(installation, payment, LOST, reported, minute=2)

    assert (opened.state, opened.amount, opened.excess) == ("opened", 1299, 0)
    assert (lost.state, lost.amount, lost.excess) == ("lost", 1299, 0)
    booked = await balances(installation)
    assert booked["risk_loss:chargeback"] == 1299
    assert "risk_loss:dispute_excess" not in booked
    [case] = await installation.platform.tables.cases.listed(subject=payment.id)
    assert case.kind == "dispute_contradiction"
    assert str(reported - 1299) in case.sentence
    broken = [
        invariant.name
        for invariant in INVARIANTS
        if await installation.database.fetch(invariant.query)
    ]
    assert broken == []

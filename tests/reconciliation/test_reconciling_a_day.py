"""Diagram 10 from its start to its end, over HTTP, with the simulated gateway's reports."""

from caas.rules.payment_states import PaymentState
from tests.reconciliation.office import Office


async def test_a_line_settles_a_payment_whose_webhook_was_lost(office: Office) -> None:
    payment = await office.capturing()
    await office.line(payment)

    done = await office.closed()

    assert (await office.payment(payment)).state is PaymentState.SETTLED
    assert (done.run.counts, done.day.verdict) == ({"matched": 1}, "closed")
    assert await office.balance("bank") == 1256
    assert await office.balance("gateway_fees") == 43
    assert await office.balance("settled_funds") == 0
    assert await office.balance("gateway_receivable") == 0


async def test_a_payment_that_a_webhook_settled_only_gets_its_payout(office: Office) -> None:
    payment = await office.house.settled()
    before = await office.house.platform.books.payments.timeline(payment.id)

    done = await office.closed()

    after = await office.house.platform.books.payments.timeline(payment.id)
    assert len(after) == len(before)
    assert done.run.counts == {"matched": 1}
    assert await office.balance("bank") == 1256
    assert await office.balance("settled_funds") == 0

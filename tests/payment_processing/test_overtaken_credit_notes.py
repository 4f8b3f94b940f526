"""Credit notes whose refund waits for the bank while a lost dispute takes the money.

The document named more than was ever paid back, and its tax stood in the ledger.
"""

from uuid import UUID

import pytest

from caas.billing_database.invariants import INVARIANTS
from caas.billing_database.invoices import Invoice, of_note
from caas.billing_database.payments import Payment
from caas.payment_processing.refund_requests import RefundMustWaitError, RefundTooLargeError
from caas.rules.payment_states import PaymentState
from tests.installation import Installation
from tests.payment_processing.test_money_that_contradicts import LOST, OPENED, WON, reports, until
from tests.payment_processing.test_refunds import ask_back, balances

OWED = """
select from jobs where kind in ('refund', 'promised_refund', 'refund_credit_note')
"""


async def capturing(installation: Installation, method: str = "pm_ok") -> Payment:
    """Sell the service; the bank has not confirmed yet, and the document is there."""
    payment = await installation.buys(method)
    payment = await installation.until(payment.id, lambda p: p.state is PaymentState.CAPTURING)
    await installation.platform.issuing.issue_due()
    return payment


async def noted(installation: Installation, payment: Payment, gross: int) -> Invoice:
    """Issue a credit note of the payment's document."""
    [document] = await installation.platform.invoices.invoices(subject=payment.subject)
    return await installation.platform.invoices.credit_notes.issue(
        document.id, reason="Cold seats.", gross=gross, term="end"
    )


async def bank_confirms(installation: Installation, payment: Payment) -> None:
    """Let the bank confirm, and every refund and promise end."""

    async def ended() -> bool:
        now = await installation.platform.tables.payments.get(payment.id)
        return now.state is not PaymentState.CAPTURING and not await installation.database.fetch(
            OWED
        )

    await until(installation, ended)


async def money_of(installation: Installation, note: UUID) -> tuple[int, int, int]:
    """What of a note was given back, is promised and is covered."""
    standing = await of_note(installation.database, note)
    assert standing is not None
    return (standing.given_back, standing.promised, standing.covered)


async def broken(installation: Installation) -> list[str]:
    """The invariants that do not hold."""
    return [
        invariant.name
        for invariant in INVARIANTS
        if await installation.database.fetch(invariant.query)
    ]


@pytest.mark.parametrize(
    ("note", "lost", "given_back"), [(1299, 1299, 0), (1299, 800, 499), (500, 1000, 299),
                                     (500, 600, 500)]
)  # fmt: skip
async def test_what_a_chargeback_took_covers_the_credit_note(
    installation: Installation, note: int, lost: int, given_back: int
) -> None:
    payment = await capturing(installation)
    credit = await noted(installation, payment, note)
    await reports(installation, payment, LOST, lost)

    await bank_confirms(installation, payment)

    now = await installation.platform.tables.payments.get(payment.id)
    assert (now.refunded_amount, now.disputed_amount) == (given_back, lost)
    assert await money_of(installation, credit.id) == (given_back, 0, note - given_back)
    booked = await balances(installation)
    assert booked.get("risk_loss:credited", 0) == given_back - note
    assert booked.get("service_revenue", 0) + booked.get("output_vat", 0) == note - 1299
    assert await broken(installation) == []


async def test_what_the_bank_gives_back_after_all_is_refunded(installation: Installation) -> None:
    payment = await capturing(installation)
    credit = await noted(installation, payment, 1299)
    await reports(installation, payment, LOST, minute=1)
    await bank_confirms(installation, payment)

    await reports(installation, payment, WON, minute=2)
    await bank_confirms(installation, payment)

    now = await installation.platform.tables.payments.get(payment.id)
    assert (now.refunded_amount, now.disputed_amount) == (1299, 0)
    assert await money_of(installation, credit.id) == (1299, 0, 0)
    assert await balances(installation) == {}
    assert await broken(installation) == []


async def test_a_charge_that_never_came_covers_the_credit_note(installation: Installation) -> None:
    payment = await capturing(installation, "pm_settlement_fails")
    credit = await noted(installation, payment, 1299)

    await bank_confirms(installation, payment)

    now = await installation.platform.tables.payments.get(payment.id)
    assert now.state is PaymentState.SETTLEMENT_FAILED
    assert await money_of(installation, credit.id) == (0, 0, 1299)
    booked = await balances(installation)
    assert booked == {"risk_loss:settlement_failed": 1299, "risk_loss:credited": -1299}
    assert await broken(installation) == []


async def test_a_promise_that_waits_is_counted_by_later_refunds(installation: Installation) -> None:
    payment = await installation.settled()
    await reports(installation, payment, OPENED, 300, minute=1)
    waits = await installation.platform.payment_processing.promise_refund(
        payment.id, amount=900, reason="factory", key="f", requested_by="order-management"
    )
    with pytest.raises(RefundMustWaitError):
        await ask_back(installation, payment, 99, "beside")
    await reports(installation, payment, LOST, 300, minute=2)

    with pytest.raises(RefundTooLargeError, match="At most 99 "):
        await ask_back(installation, payment, 100, "beside")

    after = await installation.until(payment.id, lambda p: p.refunded_amount > 0)
    assert (waits, after.refunded_amount) == (None, 900)
